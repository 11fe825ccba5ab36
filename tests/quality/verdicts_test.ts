import assert from "node:assert/strict";
import {
  describeThreshold,
  formatValue,
  gradeOf,
  thresholdOf,
  THRESHOLDS,
} from "../../lib/quality/verdicts.ts";
import { CAPTION_FLAGS } from "../../lib/quality/caption_checks.ts";
import { IMAGE_FLAGS } from "../../lib/quality/image_facts.ts";
import { PROTECTED_CATEGORIES } from "../../lib/quality/protected_terms.ts";
import { categoryKey } from "../../lib/quality/example.ts";

const DOCS = await Deno.readTextFile(new URL("../../docs/dataset_quality.md", import.meta.url));

Deno.test("bounds are included, and what lies beyond is poor", () => {
  const clip = thresholdOf("alignment_clip");
  assert.deepEqual([0.36, 0.35, 0.3, 0.299, 0.25, 0.249].map((value) => gradeOf(value, clip)), [
    "excellent",
    "excellent",
    "good",
    "fair",
    "fair",
    "poor",
  ]);
  const gender = thresholdOf("protected_gender");
  assert.deepEqual([0, 0.01, 0.05, 0.15, 0.16].map((value) => gradeOf(value, gender)), [
    "excellent",
    "excellent",
    "good",
    "fair",
    "poor",
  ]);
  assert.throws(() => thresholdOf("none"), RangeError);
});

Deno.test("thresholds go from better to worse, and every category has one", () => {
  for (const { id, bounds: [a, b, c], higherIsBetter } of THRESHOLDS) {
    assert.ok(higherIsBetter ? a > b && b > c : a < b && b < c, id);
  }
  for (const category of PROTECTED_CATEGORIES) thresholdOf(`protected_${categoryKey(category)}`);
  assert.equal(new Set(THRESHOLDS.map(({ id }) => id)).size, THRESHOLDS.length);
});

Deno.test("the page of the documentation states every threshold with its bounds, and every fault", () => {
  const lines = DOCS.split("\n");
  for (const threshold of THRESHOLDS) {
    const line = lines.find((text) => text.includes(`\`${threshold.id}\``));
    assert.ok(line, `${threshold.id} is not documented`);
    for (const bound of threshold.bounds) {
      const shown = threshold.unit === "share" ? `${+(bound * 100).toFixed(2)} %` : String(bound);
      assert.ok(line.includes(shown), `${threshold.id}: ${shown} is not in "${line}"`);
    }
  }
  for (const flag of [...Object.keys(CAPTION_FLAGS), ...Object.keys(IMAGE_FLAGS)]) {
    assert.ok(DOCS.includes(`\`${flag}\``), `${flag} is not documented`);
  }
});

Deno.test("values are written for people", () => {
  assert.equal(formatValue(0.0123, { unit: "share" }), "1.23 %");
  assert.equal(formatValue(0, { unit: "share" }), "0.0 %");
  assert.equal(formatValue(0.5, { unit: "share" }), "50.0 %");
  assert.equal(formatValue(0.31, { unit: "number" }), "0.310");
  assert.equal(
    describeThreshold(thresholdOf("alignment_clip")),
    "excellent ≥ 0.350 · good ≥ 0.300 · fair ≥ 0.250",
  );
});
