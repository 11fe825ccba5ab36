import assert from "node:assert/strict";
import {
  areaUnder,
  coverageCurve,
  coverageOf,
  errorAt,
  isError,
  summarizeCoverage,
} from "../../lib/evaluate/coverage.ts";
import { describeCoverage, formatCoverage } from "../../lib/evaluate/coverage_page.ts";
import type { ScoredRow } from "../../lib/evaluate/report.ts";
import { METRIC_NAMES, type MetricValues } from "../../lib/text/metrics/corpus.ts";

const close = (a: number, b: number) => assert.ok(Math.abs(a - b) < 1e-12, `${a}, expected ${b}`);

const row = (
  id: string,
  sure: number,
  options: { gain?: number; rougeL?: number; candidate?: string } = {},
) =>
  ({
    id,
    candidate: options.candidate ?? "a dog",
    references: ["a dog", "one dog"],
    values: {
      ...Object.fromEntries(METRIC_NAMES.map((name) => [name, 0])) as unknown as MetricValues,
      rougeL: options.rougeL ?? 1,
    },
    confidence: {
      logProb: 2 * sure,
      logProbPerToken: sure,
      imageGain: 2 * (options.gain ?? 1),
      imageGainPerToken: options.gain ?? 1,
    },
  }) satisfies ScoredRow;

Deno.test("error among the surest captions, and its mean over all coverages", () => {
  // Surest first: right, wrong, right, wrong.
  const curve = coverageCurve([
    { sureness: -4, isError: true },
    { sureness: -1, isError: false },
    { sureness: -3, isError: false },
    { sureness: -2, isError: true },
  ]);
  assert.deepEqual(curve.map(({ coverage }) => coverage), [0.25, 0.5, 0.75, 1]);
  for (const [i, error] of [0, 1 / 2, 1 / 3, 1 / 2].entries()) close(curve[i]!.error, error);
  close(areaUnder(curve), (0 + 1 / 2 + 1 / 3 + 1 / 2) / 4);
  close(errorAt(curve, 0.5), 1 / 2);
  close(errorAt(curve, 0.51), 1 / 3);
  close(errorAt(curve, 1), 1 / 2);
});

Deno.test("equally sure captions count as a draw among them would on average", () => {
  const curve = coverageCurve([
    { sureness: 0, isError: true },
    { sureness: 0, isError: false },
    { sureness: 0, isError: false },
    { sureness: 1, isError: false },
  ]);
  for (const [i, error] of [0, 1 / 6, 2 / 9, 1 / 4].entries()) close(curve[i]!.error, error);
  // Where sureness says nothing the curve is flat, whatever the order of the rows.
  const flat = coverageCurve(Array.from({ length: 10 }, (_, i) => ({ sureness: 5, isError: i < 3 })));
  for (const { error } of flat) close(error, 0.3);
});

Deno.test("a share of captions that rounding puts past a whole number is that number", () => {
  const curve = coverageCurve(Array.from({ length: 10 }, (_, i) => ({ sureness: -i, isError: i >= 3 })));
  close(errorAt(curve, 0.1 * 3), 0);
});

Deno.test("nothing to rank, or a confidence that is no number, is refused; an infinitely unsure caption comes last", () => {
  assert.throws(() => coverageCurve([]), /no captions/);
  assert.throws(() => coverageCurve([{ sureness: NaN, isError: false }]), /not a number/);
  const curve = coverageCurve([{ sureness: -Infinity, isError: true }, { sureness: 0, isError: false }]);
  assert.deepEqual(curve.map(({ error }) => error), [0, 0.5]);
});

Deno.test("a caption is wrong below the bound, and where its score is no number", () => {
  assert.equal(isError(row("a", 0, { rougeL: 0.5 }), { metric: "rougeL", below: 0.5 }), false);
  assert.equal(isError(row("a", 0, { rougeL: 0.49 }), { metric: "rougeL", below: 0.5 }), true);
  assert.equal(isError(row("a", 0, { rougeL: NaN }), { metric: "rougeL", below: 0.5 }), true);
  assert.equal(isError(row("a", 0, { candidate: " one  dog" }), { metric: "exact", below: 0.5 }), false);
  assert.equal(isError(row("a", 0, { candidate: "One dog" }), { metric: "exact", below: 0.5 }), true);
});

Deno.test("both figures have their curve, in numbers and on the page; without confidence there is none", () => {
  const rows = [
    row("a", -1, { gain: 0.1, rougeL: 0.2 }),
    row("b", -2, { gain: 3 }),
    row("c", -3, { gain: 2 }),
    row("d", -4, { gain: 1 }),
    row("e", -5, { gain: 0.2, rougeL: 0.1 }),
  ];
  const rule = { metric: "rougeL", below: 0.5 } as const;
  const coverage = coverageOf(rows, rule)!;
  const summary = summarizeCoverage(coverage);
  close(summary.error, 0.4);
  close(summary.log_probability_per_token.error_at_80, 0.25);
  close(summary.image_gain_per_token.error_at_80, 0.25);
  close(summary.image_gain_per_token.error_at["0.6"]!, 0);
  close(summary.log_probability_per_token.area, (1 + 1 / 2 + 1 / 3 + 1 / 4 + 2 / 5) / 5);
  close(summary.best_area, (0 + 0 + 0 + 1 / 4 + 2 / 5) / 5);
  const page = formatCoverage(coverage);
  assert.match(page, /<svg [^>]*role="img"/);
  assert.match(
    page,
    /<title>Wrong captions among those kept, %<\/title><desc>.+from 100 at 20 to 40 at 100/s,
  );
  assert.match(page, /<th scope="row" class="n">80 %<\/th><td class="n">25.0 %<\/td>/);
  assert.match(page, /ROUGE-L below 0\.5/);
  assert.ok(!page.includes("<script"));
  assert.equal(describeCoverage(coverage)[0]![1], "40.0 % (ROUGE-L below 0.5)");
  const { confidence: _, ...unknown } = row("f", 0);
  assert.equal(coverageOf([...rows, unknown], rule), undefined);
  assert.equal(formatCoverage(undefined), "");
  assert.deepEqual(describeCoverage(undefined), []);
});
