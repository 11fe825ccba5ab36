import assert from "node:assert/strict";
import { CAPTION_FLAGS } from "../../lib/quality/caption_checks.ts";
import { IMAGE_FLAGS } from "../../lib/quality/image_facts.ts";
import { PROTECTED_CATEGORIES } from "../../lib/quality/protected_terms.ts";
import { examineText } from "../../lib/quality/example.ts";
import { RANKING_WEIGHTS } from "../../lib/quality/ranking.ts";
import type { QualitySummary } from "../../lib/quality/summary.ts";
import { formatTerminalSummary } from "../../lib/quality/terminal_summary.ts";
import { QualityTotals } from "../../lib/quality/totals.ts";
import { gradeOf, THRESHOLDS } from "../../lib/quality/verdicts.ts";

/** A summary in which every line has something to say. */
function fullSummary(): QualitySummary {
  const totals = new QualityTotals({ weights: RANKING_WEIGHTS, hasClip: true });
  for (let i = 0; i < 9; i++) {
    totals.add({
      ...examineText({
        idx: i,
        source: "s",
        split: "train",
        id: String(i),
        caption: "a man",
        original: "a man",
        objects: ["man", `o${i}`],
      }),
      clip: 0.3,
      mismatched: 0.1,
      bert: 0.9,
    });
  }
  const summary = totals.summarize({
    dataset:
      "a data set with a name that is longer than any line of a terminal that people still use today, really",
    split: "train",
    clipModel: "openai/clip-vit-large-patch14-336",
    clipFamily: "clip",
    bertModel: "FacebookAI/roberta-large",
    bertIsReference: false,
    rareThreshold: 50,
    giniAlert: 0,
    topkAlert: 0,
    badRows: [{ id: "1", reason: "r" }],
    byHash: { groups: 9, surplus: 9, leakedGroups: 9, leakedTrainImages: 9 },
    byEmbedding: null,
  });
  const many = (names: object) =>
    Object.fromEntries(Object.keys(names).map((name) => [name, 123_456])) as never;
  return {
    ...summary,
    caption_flags: many(CAPTION_FLAGS),
    image_flags: many(IMAGE_FLAGS),
    verdicts: THRESHOLDS.map((threshold) => ({
      ...threshold,
      value: 0.12345,
      grade: gradeOf(0.12345, threshold),
    })),
  };
}

Deno.test("the summary fits a screen of 24 lines and 80 columns, whatever there is to say", () => {
  const lines = formatTerminalSummary(fullSummary(), "quality_reports").split("\n");
  assert.ok(lines.length <= 24, `${lines.length} lines`);
  assert.deepEqual(lines.filter((line) => line.length > 80), []);
  assert.ok(PROTECTED_CATEGORIES.length === 7 && lines.join("\n").includes("Gender"));
});
