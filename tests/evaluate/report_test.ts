import assert from "node:assert/strict";
import {
  findChanges,
  formatComparisonPage,
  formatEvaluationPage,
  formatScoreCsv,
  formatScoreLines,
  pageRows,
  scoreRows,
} from "../../lib/evaluate/report.ts";
import { parseCsv } from "../../lib/format/csv.ts";
import { bootstrapIntervals, pairedBootstrap } from "../../lib/text/metrics/bootstrap.ts";
import { type CandidateRow, METRIC_NAMES, scoreCorpus } from "../../lib/text/metrics/corpus.ts";

const PICTURE = "data:image/png;base64,AAAA";
const rows: CandidateRow[] = [
  { id: "good", candidate: "a brown dog runs", references: ["a brown dog runs"] },
  { id: "<bad>", candidate: '=1+1 <script>alert("x")</script>', references: ["two cats, asleep", "cats"] },
  { id: "none", candidate: "", references: ["a house"] },
];

async function evaluated(list: readonly CandidateRow[] = rows) {
  const scores = await scoreCorpus(list);
  return { scores, rows: scoreRows(list, scores.images) };
}

Deno.test("CSV and JSON lines hold every row and metric, and no cell is a formula", async () => {
  const { rows: scored } = await evaluated();
  const [header, ...records] = [...parseCsv(formatScoreCsv(scored))].map(({ fields }) => fields);
  assert.deepEqual(header, ["id", "candidate", "references", ...METRIC_NAMES]);
  assert.equal(records.length, 3);
  assert.equal(records[1]![1], `'${rows[1]!.candidate}`);
  assert.equal(records[1]![2], "two cats, asleep | cats");
  assert.equal(Number(records[0]![3]), scored[0]!.values.bleu_1);
  const lines = formatScoreLines(scored).trim().split("\n").map((line) => JSON.parse(line));
  assert.deepEqual(lines.map(({ id }) => id), ["good", "<bad>", "none"]);
  assert.equal(lines[0].rougeL, 1);
});

Deno.test("the page is escaped, fetches nothing, and shows the worst first", async () => {
  const { scores, rows: scored } = await evaluated();
  const page = formatEvaluationPage({
    title: "T <1>",
    facts: [["Images", "3"]],
    values: scores.values,
    intervals: bootstrapIntervals(scores.images, { samples: 20 }),
    rows: scored,
    picture: ({ id }) => id === "good" ? PICTURE : "https://example.org/x.png",
  });
  assert.ok(!page.includes("<script") && page.includes("&lt;script&gt;") && page.includes("T &lt;1&gt;"));
  assert.ok(!/(src|href)="(?!data:)/.test(page));
  assert.equal(page.split("<img").length, 2);
  assert.ok(page.indexOf("(nothing)") < page.indexOf("a brown dog runs"));
  assert.match(page, /name="viewport"/);
});

Deno.test("of many captions the worst and the best are shown", async () => {
  const { rows: scored } = await evaluated();
  const many = Array.from({ length: 1500 }, (_, i) => ({
    ...scored[0]!,
    id: String(i),
    values: { ...scored[0]!.values, meteor: (i * 7919) % 1500 },
  }));
  const shown = pageRows(many, "meteor");
  assert.equal(shown.length, 1000);
  assert.deepEqual([shown[0], shown[499], shown[500], shown[999]].map((row) => row!.values.meteor), [
    0,
    499,
    1000,
    1499,
  ]);
});

Deno.test("a comparison lists what got worse and better, with the largest changes first", async () => {
  const before = await evaluated();
  const after = await evaluated(
    rows.map((row) =>
      row.id === "none"
        ? { ...row, candidate: "a house" }
        : row.id === "good"
        ? { ...row, candidate: "a dog" }
        : row
    ),
  );
  const { worse, better } = findChanges(before, after, "rougeL");
  assert.deepEqual([worse, better].map((list) => list.map(({ after }) => after.id)), [["good"], ["none"]]);
  const model = (name: string, { scores, rows }: typeof before) => ({
    name,
    values: scores.values,
    rows,
    facts: { weights: "1 MB" },
  });
  const page = formatComparisonPage({
    title: "C",
    facts: [],
    models: [model("old", before), model("new & better", after)],
    differences: [undefined, pairedBootstrap(before.scores.images, after.scores.images, { samples: 20 })],
    sortBy: "rougeL",
    picture: () => undefined,
  });
  assert.ok(
    page.includes("new &amp; better: worse by ROUGE-L (1)") && page.includes("new &amp; better: better (1)"),
  );
  assert.ok(page.includes("1 MB"));
});
