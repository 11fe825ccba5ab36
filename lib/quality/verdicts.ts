/**
 * The thresholds of the report, each with where it comes from, and the verdicts that follow.
 *
 * `docs/dataset_quality.md` lists them; a test checks that it does.
 *
 * @module
 */

import type { QualitySummary } from "./summary.ts";

/** From the best to the worst. */
export type Grade = "excellent" | "good" | "fair" | "poor";

/** Grades that ask for nothing, and those that do. */
export const GRADES: readonly Grade[] = ["excellent", "good", "fair", "poor"];

/** Where a value begins to be excellent, good or fair; beyond is poor. */
export interface Threshold {
  /** Name in summaries. */
  readonly id: string;
  /** Shown to people. */
  readonly title: string;
  /** Whether more is better. */
  readonly higherIsBetter: boolean;
  /** Bounds of excellent, good and fair, each included. */
  readonly bounds: readonly [excellent: number, good: number, fair: number];
  /** How the value is written. */
  readonly unit: "number" | "share";
  /** Where the bounds come from. */
  readonly source: string;
}

const PYTHON = "the Python project's report";
const OWN = "chosen for this program";

const bias = (
  category: string,
  title: string,
  bounds: Threshold["bounds"],
  source: string,
): Threshold => ({
  id: `protected_${category}`,
  title,
  higherIsBetter: false,
  bounds,
  unit: "share",
  source,
});

/** Every threshold that gives a verdict. */
export const THRESHOLDS: readonly Threshold[] = [
  {
    id: "alignment_clip",
    title: "Image-text alignment (CLIP)",
    higherIsBetter: true,
    bounds: [0.35, 0.3, 0.25],
    unit: "number",
    source: `${PYTHON}; typical of CLIP ViT-B/32`,
  },
  {
    id: "alignment_ranking",
    title: "Image-text alignment (against wrong captions)",
    higherIsBetter: true,
    bounds: [0.98, 0.95, 0.9],
    unit: "share",
    source: `${OWN}: 0.5 is chance, whatever the model's scale`,
  },
  {
    id: "fidelity_roberta",
    title: "Caption fidelity (BERTScore)",
    higherIsBetter: true,
    bounds: [0.9, 0.85, 0.8],
    unit: "number",
    source: `${PYTHON}; RoBERTa-large, layer 17, not rescaled`,
  },
  {
    id: "duplicate_captions",
    title: "Duplicate captions",
    higherIsBetter: false,
    bounds: [0.01, 0.05, 0.1],
    unit: "share",
    source: PYTHON,
  },
  bias("gender", "Gender", [0.01, 0.05, 0.15], PYTHON),
  bias("sexual_orientation", "Sexual orientation", [0.01, 0.05, 0.15], `${PYTHON}, as for gender`),
  bias("race_ethnicity", "Race and ethnicity", [0.02, 0.1, 0.2], PYTHON),
  bias("nationality", "Nationality", [0.02, 0.1, 0.2], `${PYTHON}, as for race`),
  bias("religion", "Religion", [0.02, 0.1, 0.2], `${PYTHON}, as for race`),
  bias(
    "disability",
    "Disability",
    [0.02, 0.05, 0.1],
    `${PYTHON} accepts 5 %; the other bounds ${OWN}`,
  ),
  bias("age", "Age", [0.1, 0.2, 0.4], `${PYTHON} accepts 20 and 40 %; the first bound ${OWN}`),
  {
    id: "object_gini",
    title: "Gini of objects",
    higherIsBetter: false,
    bounds: [0.4, 0.5, 0.6],
    unit: "number",
    source: `${PYTHON} is content below 0.5 and warns above 0.6; the first bound ${OWN}`,
  },
  {
    id: "object_coverage",
    title: "Objects that captions mention",
    higherIsBetter: true,
    bounds: [0.95, 0.85, 0.7],
    unit: "share",
    source: OWN,
  },
  {
    id: "flagged_captions",
    title: "Captions with a fault",
    higherIsBetter: false,
    bounds: [0.01, 0.05, 0.1],
    unit: "share",
    source: `${OWN}, as for duplicates`,
  },
  {
    id: "flagged_images",
    title: "Images with a fault",
    higherIsBetter: false,
    bounds: [0.01, 0.05, 0.1],
    unit: "share",
    source: `${OWN}, as for duplicates`,
  },
  {
    id: "duplicate_images",
    title: "Near-duplicate images",
    higherIsBetter: false,
    bounds: [0.01, 0.05, 0.1],
    unit: "share",
    source: `${OWN}, as for duplicates`,
  },
  {
    id: "leaked_images",
    title: "Training images that are in another split, too",
    higherIsBetter: false,
    bounds: [0, 0.001, 0.01],
    unit: "share",
    source: `${OWN}: any leak makes an evaluation too good`,
  },
];

/** A threshold by its name. @throws {RangeError} If there is none */
export function thresholdOf(id: string): Threshold {
  const found = THRESHOLDS.find((one) => one.id === id);
  if (found === undefined) throw new RangeError(`There is no threshold "${id}"`);
  return found;
}

/** The grade of a value. */
export function gradeOf(value: number, { bounds, higherIsBetter }: Threshold): Grade {
  const at = bounds.findIndex((bound) => higherIsBetter ? value >= bound : value <= bound);
  return at < 0 ? "poor" : GRADES[at]!;
}

/** A graded value. */
export interface Verdict {
  readonly id: string;
  readonly title: string;
  readonly value: number;
  readonly grade: Grade;
}

/** A value as people read it; shares near none and near all with more digits. */
export function formatValue(value: number, { unit }: Pick<Threshold, "unit">): string {
  if (unit === "number") return value.toFixed(3);
  const isNearEnd = (value > 0 && value < 0.1) || (value > 0.99 && value < 1);
  return `${(value * 100).toFixed(isNearEnd ? 2 : 1)} %`;
}

/** The bounds of a threshold in a line: `excellent ≥ 0.350 · good ≥ 0.300 · fair ≥ 0.250`. */
export function describeThreshold(threshold: Threshold): string {
  const sign = threshold.higherIsBetter ? "≥" : "≤";
  return threshold.bounds.map((bound, i) => `${GRADES[i]} ${sign} ${formatValue(bound, threshold)}`).join(
    " · ",
  );
}

/** Verdicts on everything that was measured, in the order of {@linkcode THRESHOLDS}. */
export function judge(summary: QualitySummary): Verdict[] {
  const rows = Math.max(1, summary.total_samples);
  const images = Math.max(1, summary.samples_with_images + summary.images_broken);
  const values: Record<string, number | null | undefined> = {
    // Cosines have a scale of their own in every model: CLIP's is the one that the bounds were made for.
    ...(summary.clip_family === "clip"
      ? { alignment_clip: summary.clip_score_mean }
      : { alignment_ranking: summary.clip_ranking_accuracy }),
    ...(summary.bert_is_reference && { fidelity_roberta: summary.bert_score_mean }),
    duplicate_captions: summary.duplicate_rate,
    ...Object.fromEntries(
      Object.entries(summary.bias).map((
        [category, { transformed }],
      ) => [`protected_${category}`, transformed]),
    ),
    ...(summary.obj_num_unique > 0 && {
      object_gini: summary.obj_gini,
      object_coverage: summary.avg_object_coverage,
    }),
    flagged_captions: summary.flagged_captions / rows,
    ...(summary.images_inspected + summary.images_broken > 0 && {
      flagged_images: summary.flagged_images / images,
      // Embeddings tell what a picture shows, and pictures of the same thing are no duplicates: those are listed, not judged.
      duplicate_images: summary.near_duplicates_by_hash.surplus / images,
      ...(summary.train_images > 0 && summary.splits.length > 1 && {
        leaked_images: summary.near_duplicates_by_hash.leakedTrainImages / summary.train_images,
      }),
    }),
  };
  return THRESHOLDS.flatMap((threshold) => {
    const value = values[threshold.id];
    if (value === undefined || value === null || !Number.isFinite(value)) return [];
    return [{ id: threshold.id, title: threshold.title, value, grade: gradeOf(value, threshold) }];
  });
}
