/**
 * Two reports side by side: what got better, what got worse.
 *
 * @module
 */

import { isJsonObject, type JsonObject } from "../format/json.ts";
import type { QualitySummary } from "./summary.ts";
import { formatValue, gradeOf, THRESHOLDS } from "./verdicts.ts";

/** A value of two reports. */
export interface ComparedValue {
  /** Name in summaries. */
  readonly id: string;
  readonly title: string;
  readonly before: number | null;
  readonly after: number | null;
  /** Whether the change is for the better; `undefined` where nothing says which way is, or nothing changed. */
  readonly isBetter?: boolean;
  /** How values are written. */
  readonly unit: "number" | "share";
}

/** Two reports. */
export interface QualityComparison {
  /** What the other report is called. */
  readonly name: string;
  /** What makes the two hard to compare, such as another model. */
  readonly warnings: readonly string[];
  readonly values: readonly ComparedValue[];
}

/** Values beside those that have a verdict; more says neither good nor bad unless it is stated. */
const OTHERS: readonly {
  id: keyof QualitySummary;
  title: string;
  unit: "number" | "share";
  better?: "higher" | "lower";
}[] = [
  { id: "total_samples", title: "Captions", unit: "number" },
  { id: "bad_rows", title: "Rows that cannot be used", unit: "number", better: "lower" },
  { id: "clip_score_mean", title: "Mean cosine of image and caption", unit: "number", better: "higher" },
  { id: "bert_score_mean", title: "Mean BERTScore", unit: "number", better: "higher" },
  { id: "avg_word_count", title: "Words of a caption", unit: "number" },
  { id: "unique_words", title: "Different words", unit: "number" },
  { id: "vocabulary_entropy", title: "Entropy of words, bits", unit: "number" },
  { id: "obj_num_unique", title: "Different objects", unit: "number" },
  { id: "obj_entropy_bits", title: "Entropy of objects, bits", unit: "number", better: "higher" },
  { id: "obj_rare_count", title: "Rare objects", unit: "number", better: "lower" },
];

/**
 * Compares a report with an earlier one.
 *
 * @param before The other's `quality_summary.json`; fields that are missing or no numbers are shown as unknown
 * @param name What messages call it
 */
export function compareReports(before: JsonObject, after: QualitySummary, name: string): QualityComparison {
  const number = (fields: JsonObject, id: string): number | null => {
    const value = fields[id];
    return typeof value === "number" && Number.isFinite(value) ? value : null;
  };
  const plain = after as unknown as JsonObject;
  const warnings = (["clip_model", "bert_model"] as const).flatMap((id) =>
    before[id] === after[id]
      ? []
      : [`${id} differs (${String(before[id])}, now ${String(after[id])}): its scores are on other scales`]
  );
  const verdicts = (fields: JsonObject): Map<string, number> =>
    new Map(
      (Array.isArray(fields.verdicts) ? fields.verdicts : []).filter(isJsonObject).flatMap((verdict) => {
        const value = number(verdict, "value");
        return value === null ? [] : [[String(verdict.id), value] as const];
      }),
    );
  const [old, now] = [verdicts(before), verdicts(plain)];
  const graded = THRESHOLDS.filter(({ id }) => old.has(id) || now.has(id)).map((threshold) =>
    compared({
      ...threshold,
      before: old.get(threshold.id) ?? null,
      after: now.get(threshold.id) ?? null,
      better: threshold.higherIsBetter ? "higher" : "lower",
    })
  );
  const others = OTHERS.map((one) =>
    compared({ ...one, before: number(before, one.id), after: number(plain, one.id) })
  ).filter((value) => value.before !== null || value.after !== null);
  return { name, warnings, values: [...graded, ...others] };
}

function compared(
  { id, title, unit, before, after, better }: Omit<ComparedValue, "isBetter"> & {
    better?: "higher" | "lower" | undefined;
  },
): ComparedValue {
  const isKnown = better !== undefined && before !== null && after !== null && before !== after;
  return {
    id,
    title,
    unit,
    before,
    after,
    ...(isKnown && { isBetter: better === "higher" ? after > before : after < before }),
  };
}

/** Before, after and what that means, as text. */
export function comparisonCells({ id, before, after, unit, isBetter }: ComparedValue): string[] {
  const show = (value: number | null) => {
    if (value === null) return "–";
    return unit === "share" || !Number.isInteger(value) ? formatValue(value, { unit }) : String(value);
  };
  const threshold = THRESHOLDS.find((one) => one.id === id);
  const grade = (value: number | null) =>
    value === null || threshold === undefined ? "" : ` (${gradeOf(value, threshold)})`;
  return [
    show(before) + grade(before),
    show(after) + grade(after),
    isBetter === undefined ? before === after ? "same" : "" : isBetter ? "better" : "worse",
  ];
}
