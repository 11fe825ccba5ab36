/**
 * `quality_summary.json`: everything that the report says of a data set as a whole. Names that the Python report has mean what they
 * mean there.
 *
 * @module
 */

import type { CaptionFlag } from "./caption_checks.ts";
import type { ImageFlag } from "./image_facts.ts";
import type { DuplicateCounts } from "./near_duplicates.ts";
import type { Verdict } from "./verdicts.ts";

/** Share of captions that mention a category, and how it changed. */
export interface BiasRates {
  /** Of the captions that an original is known of, by the originals; `null` where none is. */
  readonly original: number | null;
  /** Of all captions. */
  readonly transformed: number;
  /** (transformed - original) / original, of the captions with an original; `null` where that is not a number. */
  readonly change: number | null;
}

/** The report in numbers. */
export interface QualitySummary {
  readonly dataset: string;
  readonly split: string;
  /** Splits that were looked at. */
  readonly splits: readonly string[];
  readonly total_samples: number;
  readonly samples_with_images: number;
  readonly samples_with_originals: number;
  readonly samples_with_objects: number;
  /** Rows that could not be used, such as those without a caption; they are in no other figure. */
  readonly bad_rows: number;
  /** The first of them with their reasons. */
  readonly bad_row_examples: readonly { readonly id: string; readonly reason: string }[];

  readonly clip_model: string | null;
  readonly clip_family: "clip" | "siglip" | null;
  readonly clip_score_mean: number | null;
  readonly clip_score_std: number | null;
  readonly clip_score_min: number | null;
  readonly clip_score_max: number | null;
  readonly clip_score_median: number | null;
  /** Mean cosine of images with captions of other images. */
  readonly clip_score_mismatched_mean: number | null;
  /** How often a right pair is closer than a wrong one. */
  readonly clip_ranking_accuracy: number | null;

  readonly bert_model: string | null;
  /** Whether the encoder is one that the thresholds of BERTScore were made for. */
  readonly bert_is_reference: boolean;
  readonly bert_score_mean: number | null;
  readonly bert_score_std: number | null;
  readonly bert_score_median: number | null;

  readonly avg_word_count: number;
  readonly median_word_count: number;
  readonly unique_words: number;
  readonly total_words: number;
  readonly vocabulary_entropy: number;
  readonly word_dist_entropy: number;
  readonly word_dist_gini: number;
  readonly word_dist_top10_share: number;
  readonly duplicate_rate: number;

  /** By category. */
  readonly bias: Readonly<Record<string, BiasRates>>;

  readonly flagged_captions: number;
  readonly caption_flags: Readonly<Record<CaptionFlag, number>>;
  readonly images_inspected: number;
  readonly images_broken: number;
  readonly flagged_images: number;
  readonly image_flags: Readonly<Record<ImageFlag, number>>;
  readonly train_images: number;
  /** Images whose bytes are equal to an earlier one's. */
  readonly identical_images: number;
  readonly near_duplicates_by_hash: DuplicateCounts;
  readonly near_duplicates_by_embedding: DuplicateCounts | null;

  readonly obj_num_unique: number;
  readonly obj_total_mentions: number;
  readonly obj_entropy_bits: number;
  readonly obj_gini: number;
  readonly obj_top5_share: number;
  readonly obj_top10_share: number;
  readonly obj_rare_count: number;
  readonly obj_rare_threshold: number;
  /** Share of the captions with objects that mention none of them. */
  readonly obj_miss_rate: number;
  /** Mean share of a row's objects that its caption mentions. */
  readonly avg_object_coverage: number | null;
  readonly imbalance_warnings: readonly string[];

  readonly verdicts: readonly Verdict[];
  /** Rates by category under the names of the Python report: `protected_gender_rate_original`, `protected_gender_rate_transformed`. */
  readonly [protectedRate: `protected_${string}_rate_${"original" | "transformed"}`]: number | null;
}
