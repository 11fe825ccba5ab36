import assert from "node:assert/strict";
import { examineText, type QualityExample, type QualityRow } from "../../lib/quality/example.ts";
import { areaUnderCurve, NumberList } from "../../lib/quality/number_list.ts";
import { RANKING_WEIGHTS, rawBadness, reweight, scaleBadness } from "../../lib/quality/ranking.ts";
import { EXAMPLE_COLUMNS, exampleCells, SCORE_COLUMNS, scoreCells } from "../../lib/quality/tables.ts";
import { QualityTotals } from "../../lib/quality/totals.ts";

const CONTEXT = {
  dataset: "d",
  split: "all",
  clipModel: "m",
  clipFamily: "clip",
  bertModel: "b",
  bertIsReference: true,
  rareThreshold: 50,
  giniAlert: 0.5,
  topkAlert: 0.5,
  badRows: [],
  byHash: { groups: 0, surplus: 0, leakedGroups: 0, leakedTrainImages: 0 },
  byEmbedding: null,
} as const;

function example(row: Partial<QualityRow> = {}, found: Partial<QualityExample> = {}): QualityExample {
  return {
    ...examineText({
      idx: 0,
      source: "d",
      split: "train",
      id: "0",
      caption: "a dog runs",
      original: "",
      ...row,
    }),
    ...found,
  };
}

const ranking = { weights: RANKING_WEIGHTS, hasClip: true };

Deno.test("sums follow their definitions", () => {
  const totals = new QualityTotals(ranking);
  totals.add(
    example({ caption: "a dog runs", original: "a man and a dog", objects: ["dog"] }, {
      clip: 0.3,
      bert: 0.9,
    }),
  );
  totals.add(
    example({ caption: "a man runs", original: "a man", objects: ["cat", "man"] }, { clip: 0.2, bert: 0.8 }),
  );
  totals.add(example({ caption: "a dog runs" }, { clip: 0.1, mismatched: 0.1 }));
  const summary = totals.summarize(CONTEXT);
  assert.ok(Math.abs(summary.clip_score_mean! - 0.2) < 1e-12);
  assert.equal(summary.clip_score_median, 0.2);
  assert.ok(Math.abs(summary.clip_score_std! - Math.sqrt(0.02 / 3)) < 1e-12);
  assert.ok(Math.abs(summary.bert_score_mean! - 0.85) < 1e-12);
  assert.equal(summary.duplicate_rate, 1 / 3);
  assert.deepEqual([summary.avg_word_count, summary.median_word_count, summary.unique_words], [3, 3, 4]);
  assert.deepEqual(summary.bias.gender, { original: 1, transformed: 1 / 3, change: -0.5 });
  assert.deepEqual([summary.samples_with_objects, summary.obj_total_mentions], [2, 3]);
  assert.equal(summary.avg_object_coverage, 0.75);
  assert.equal(summary.obj_miss_rate, 0);
  assert.equal(summary.clip_ranking_accuracy, 2.5 / 3);
  assert.deepEqual(totals.mentions.get("gender"), [{ idx: 0, caption: "a man runs", start: 2, text: "man" }]);
  const verdict = (id: string) => summary.verdicts.find((one) => one.id === id)?.grade;
  assert.deepEqual([verdict("alignment_clip"), verdict("fidelity_roberta"), verdict("protected_gender")], [
    "poor",
    "good",
    "poor",
  ]);
});

Deno.test("scores that are NaN or infinite count as absent, everywhere", () => {
  const totals = new QualityTotals(ranking);
  totals.add(example({}, { clip: NaN, bert: NaN, mismatched: Infinity }));
  totals.add(example({ caption: "a cat sleeps" }, { clip: 0.4, bert: 0.9 }));
  const summary = totals.summarize(CONTEXT);
  assert.deepEqual([summary.clip_score_mean, summary.bert_score_mean], [0.4, 0.9]);
  assert.equal(summary.clip_score_mismatched_mean, null);
  assert.equal(totals.badness.size, 2, "each has a rank");
  assert.ok(totals.badness.values[0]! > totals.badness.values[1]!, "and is worse than one that was compared");
  const bad = example({}, { clip: NaN, bert: Infinity });
  const cells = exampleCells(bad, { reweight: undefined });
  assert.equal(cells.length, EXAMPLE_COLUMNS.length);
  assert.ok(!cells.some((cell) => /NaN|Infinity|undefined/.test(cell)));
  const scores = scoreCells(bad, { reweight: undefined, combined: 1 });
  assert.equal(scores.length, SCORE_COLUMNS.length);
  assert.deepEqual(scores.slice(4, 7), [null, null, null]);
});

Deno.test("nothing at all gives a summary without NaN", () => {
  const summary = new QualityTotals(ranking).summarize(CONTEXT);
  assert.ok(!JSON.stringify(summary, (_, value) => Number.isNaN(value) ? "NaN" : value).includes("NaN"));
  assert.deepEqual(summary.verdicts.filter(({ id }) => /alignment|fidelity|object/.test(id)), []);
});

Deno.test("objects that few classes dominate give warnings at the thresholds", () => {
  const totals = new QualityTotals(ranking);
  for (let i = 0; i < 60; i++) totals.add(example({ objects: [i < 50 ? "dog" : `thing${i}`] }));
  const { imbalance_warnings: warnings } = totals.summarize(CONTEXT);
  assert.deepEqual(warnings.map((text) => text.replace(/ \(.*/, "")), [
    "Gini",
    "Top-5 share",
    "Top-10 share",
  ]);
  assert.deepEqual(totals.summarize({ ...CONTEXT, giniAlert: 1, topkAlert: 1 }).imbalance_warnings, []);
});

Deno.test("badness is the Python report's formula, and scaled to the data set", () => {
  const one = example({ objects: ["dog", "cat"], original: "a hound" }, { clip: 0.2, bert: 0.7 });
  const wanted = 0.4 * (1 - 1.2 / 2) + 0.3 * 0.3 + 0.3 * 0.5;
  assert.ok(Math.abs(rawBadness(one, ranking) - wanted) < 1e-12);
  assert.ok(Math.abs(rawBadness(example(), ranking) - 0.4) < 1e-12, "an image that could not be compared");
  assert.equal(rawBadness(example(), { ...ranking, hasClip: false }), 0);
  assert.ok(Math.abs(scaleBadness(0.3, { low: 0.1, high: 0.5 }) - 0.5) < 1e-12);
  assert.equal(scaleBadness(0.3, { low: 0.3, high: 0.3 }), 0);
});

Deno.test("weights are mean inverse frequencies of objects", () => {
  const frequencies = new Map([["dog", 4], ["cat", 1]]);
  const weight = reweight(example({ objects: ["dog", "cat"] }), frequencies)!;
  assert.ok(Math.abs(weight - (0.25 + 1) / 2) < 1e-5);
  assert.equal(reweight(example(), frequencies), undefined);
  assert.equal(reweight(example({ objects: [] }), frequencies), undefined);
});

Deno.test("a list of numbers grows, and the area under the curve counts pairs", () => {
  const list = new NumberList();
  for (let i = 0; i < 1000; i++) list.add(i);
  list.add(NaN);
  list.add(undefined);
  assert.deepEqual(list.summary(), {
    count: 1000,
    mean: 499.5,
    std: Math.sqrt((1000 ** 2 - 1) / 12),
    min: 0,
    max: 999,
    median: 499.5,
  });
  assert.deepEqual(list.histogram(4).map(({ count }) => count), [250, 250, 250, 250]);
  assert.equal(new NumberList().summary(), undefined);
  const right = Float64Array.of(1, 2, 2, 5), wrong = Float64Array.of(2, 3, 0);
  let pairs = 0;
  for (const a of right) for (const b of wrong) pairs += a > b ? 1 : a === b ? 0.5 : 0;
  assert.equal(areaUnderCurve(right, wrong), pairs / 12);
  assert.equal(areaUnderCurve(new Float64Array(), wrong), undefined);
});
