/**
 * Adds examples up to the summary of a data set. Memory grows with the vocabulary and by some bytes an example, never with the texts.
 *
 * @module
 */

import { CAPTION_FLAGS, type CaptionFlag } from "./caption_checks.ts";
import { count, entropyBits, gini, rareClasses, topShare, totalOf } from "./distribution.ts";
import { captionMatches, categoryKey, missedShare, type QualityExample } from "./example.ts";
import { IMAGE_FLAGS, type ImageFlag } from "./image_facts.ts";
import type { DuplicateCounts } from "./near_duplicates.ts";
import { areaUnderCurve, NumberList } from "./number_list.ts";
import { PROTECTED_CATEGORIES } from "./protected_terms.ts";
import { finite, type RankingWeights, rawBadness } from "./ranking.ts";
import type { BiasRates, QualitySummary } from "./summary.ts";
import { judge } from "./verdicts.ts";
import { wordsOf } from "./words.ts";

/** Mentions kept of each category to be shown. */
const MENTIONS_SHOWN = 25;

/** A mention to be shown in its caption. */
export interface Mention {
  readonly idx: number;
  readonly caption: string;
  readonly start: number;
  readonly text: string;
}

/** What a summary says beside the sums. */
export interface SummaryContext {
  readonly dataset: string;
  readonly split: string;
  readonly clipModel: string | null;
  readonly clipFamily: "clip" | "siglip" | null;
  readonly bertModel: string | null;
  readonly bertIsReference: boolean;
  readonly rareThreshold: number;
  readonly giniAlert: number;
  readonly topkAlert: number;
  readonly badRows: readonly { readonly id: string; readonly reason: string }[];
  readonly byHash: DuplicateCounts;
  readonly byEmbedding: DuplicateCounts | null;
}

/** Sums over all examples. */
export class QualityTotals {
  /** Words of captions and how often they occur. */
  readonly vocabulary = new Map<string, number>();
  /** Objects and in how many rows they are named. */
  readonly objects = new Map<string, number>();
  /** Cosines of images and their captions. */
  readonly clip = new NumberList();
  /** Cosines of images and other rows' captions. */
  readonly mismatched = new NumberList();
  /** BERTScores. */
  readonly bert = new NumberList();
  /** Badness before it is scaled, one an example. */
  readonly badness = new NumberList();
  /** Captions by their number of words. */
  readonly lengths = new Map<number, number>();
  /** Mentions by category, the first of them. */
  readonly mentions = new Map<string, Mention[]>();
  /** Examples. */
  total = 0;
  readonly #captions = new Set<number>();
  readonly #identical = new Set<string>();
  readonly #splits = new Set<string>();
  readonly #captionFlags = new Map<string, number>();
  readonly #imageFlags = new Map<string, number>();
  readonly #bias = new Map<string, { original: number; transformed: number; paired: number }>();
  #flagged = { captions: 0, images: 0 };
  #images = { good: 0, broken: 0, inspected: 0, train: 0, identical: 0 };
  #originals = 0;
  #objectRows = { count: 0, missed: 0, missedShares: 0 };

  /** @param ranking Weights of the ranking, and whether images were compared at all */
  constructor(readonly ranking: { weights: RankingWeights; hasClip: boolean }) {}

  /** Adds an example. */
  add(example: QualityExample): void {
    const { caption, split, words, flags, objects, objectsMatched } = example;
    this.total++;
    this.#splits.add(split);
    for (const word of wordsOf(caption)) count(this.vocabulary, word);
    this.lengths.set(words, (this.lengths.get(words) ?? 0) + 1);
    this.#captions.add(hash53(caption));
    if (flags.length > 0) this.#flagged.captions++;
    for (const flag of flags) count(this.#captionFlags, flag);
    this.#addBias(example);
    this.#addImage(example);
    this.clip.add(finite(example.clip));
    this.mismatched.add(finite(example.mismatched));
    this.bert.add(finite(example.bert));
    this.badness.add(rawBadness(example, this.ranking));
    for (const name of objects ?? []) count(this.objects, name);
    const missed = missedShare(example);
    if (missed === undefined) return;
    this.#objectRows.count++;
    this.#objectRows.missedShares += missed;
    if (objectsMatched === 0) this.#objectRows.missed++;
  }

  #addBias(example: QualityExample): void {
    const { originalMatches, matches, idx, caption } = example;
    if (originalMatches !== undefined) this.#originals++;
    const found = captionMatches(example);
    for (const category of PROTECTED_CATEGORIES) {
      const sums = this.#bias.get(category) ?? { original: 0, transformed: 0, paired: 0 };
      this.#bias.set(category, sums);
      if (found[category] > 0) sums.transformed++;
      if (originalMatches === undefined) continue;
      if (found[category] > 0) sums.paired++;
      if ((originalMatches[category] ?? 0) > 0) sums.original++;
    }
    for (const [category, start, text] of matches) {
      const shown = this.mentions.get(categoryKey(category)) ?? [];
      this.mentions.set(categoryKey(category), shown);
      if (shown.length < MENTIONS_SHOWN) shown.push({ idx, caption, start, text });
    }
  }

  #addImage({ image, imageError, split }: QualityExample): void {
    if (imageError !== undefined) {
      this.#images.broken++;
      this.#flagged.images++;
      count(this.#imageFlags, "broken");
    }
    if (image === undefined) return;
    this.#images.good++;
    this.#images.inspected++;
    if (split === "train") this.#images.train++;
    if (this.#identical.has(image.sha256)) this.#images.identical++;
    else this.#identical.add(image.sha256);
    if (image.flags.length > 0) this.#flagged.images++;
    for (const flag of image.flags) count(this.#imageFlags, flag);
  }

  /** The summary of what was added, with its verdicts. */
  summarize(context: SummaryContext): QualitySummary {
    const { total, vocabulary, objects } = this;
    const [clip, bert] = [this.clip.summary(), this.bert.summary()];
    const bias = this.#biasRates();
    const words = totalOf(vocabulary);
    const rows = this.#objectRows;
    const flagCounts = <Flag extends string>(names: object, counts: ReadonlyMap<string, number>) =>
      Object.fromEntries(Object.keys(names).map((name) => [name, counts.get(name) ?? 0])) as Record<
        Flag,
        number
      >;
    const summary: QualitySummary = {
      dataset: context.dataset,
      split: context.split,
      splits: [...this.#splits],
      total_samples: total,
      samples_with_images: this.#images.good,
      samples_with_originals: this.#originals,
      samples_with_objects: rows.count,
      bad_rows: context.badRows.length,
      bad_row_examples: context.badRows.slice(0, 20),
      clip_model: context.clipModel,
      clip_family: context.clipFamily,
      clip_score_mean: clip?.mean ?? null,
      clip_score_std: clip?.std ?? null,
      clip_score_min: clip?.min ?? null,
      clip_score_max: clip?.max ?? null,
      clip_score_median: clip?.median ?? null,
      clip_score_mismatched_mean: this.mismatched.summary()?.mean ?? null,
      clip_ranking_accuracy: areaUnderCurve(this.clip.values, this.mismatched.values) ?? null,
      bert_model: context.bertModel,
      bert_is_reference: context.bertIsReference,
      bert_score_mean: bert?.mean ?? null,
      bert_score_std: bert?.std ?? null,
      bert_score_median: bert?.median ?? null,
      avg_word_count: total === 0 ? 0 : sumOfLengths(this.lengths) / total,
      median_word_count: medianLength(this.lengths, total),
      unique_words: vocabulary.size,
      total_words: words,
      vocabulary_entropy: entropyBits(vocabulary),
      word_dist_entropy: entropyBits(vocabulary),
      word_dist_gini: gini(vocabulary),
      word_dist_top10_share: topShare(vocabulary, 10),
      duplicate_rate: (total - this.#captions.size) / Math.max(1, total),
      bias,
      ...pythonRates(bias),
      flagged_captions: this.#flagged.captions,
      caption_flags: flagCounts<CaptionFlag>(CAPTION_FLAGS, this.#captionFlags),
      images_inspected: this.#images.inspected,
      images_broken: this.#images.broken,
      flagged_images: this.#flagged.images,
      image_flags: flagCounts<ImageFlag>(IMAGE_FLAGS, this.#imageFlags),
      train_images: this.#images.train,
      identical_images: this.#images.identical,
      near_duplicates_by_hash: context.byHash,
      near_duplicates_by_embedding: context.byEmbedding,
      obj_num_unique: objects.size,
      obj_total_mentions: totalOf(objects),
      obj_entropy_bits: entropyBits(objects),
      obj_gini: gini(objects),
      obj_top5_share: topShare(objects, 5),
      obj_top10_share: topShare(objects, 10),
      obj_rare_count: rareClasses(objects, context.rareThreshold).length,
      obj_rare_threshold: context.rareThreshold,
      obj_miss_rate: rows.missed / Math.max(1, rows.count),
      avg_object_coverage: rows.count === 0 ? null : 1 - rows.missedShares / rows.count,
      imbalance_warnings: this.#imbalance(context),
      verdicts: [],
    };
    return { ...summary, verdicts: judge(summary) };
  }

  #biasRates(): Record<string, BiasRates> {
    return Object.fromEntries(PROTECTED_CATEGORIES.map((category) => {
      const { original, transformed, paired } = this.#bias.get(category) ??
        { original: 0, transformed: 0, paired: 0 };
      const hasOriginals = this.#originals > 0;
      return [categoryKey(category), {
        original: hasOriginals ? original / this.#originals : null,
        transformed: transformed / Math.max(1, this.total),
        change: hasOriginals && original > 0 ? (paired - original) / original : null,
      }];
    }));
  }

  #imbalance({ giniAlert, topkAlert }: SummaryContext): string[] {
    if (this.objects.size === 0) return [];
    const found: string[] = [];
    const check = (title: string, value: number, alert: number) => {
      if (value >= alert) found.push(`${title} (${value.toFixed(3)}) >= alert threshold ${alert}`);
    };
    check("Gini", gini(this.objects), giniAlert);
    check("Top-5 share", topShare(this.objects, 5), topkAlert);
    check("Top-10 share", topShare(this.objects, 10), topkAlert);
    return found;
  }
}

function pythonRates(bias: Readonly<Record<string, BiasRates>>) {
  const rates: Record<`protected_${string}_rate_${"original" | "transformed"}`, number | null> = {};
  for (const [category, { original, transformed }] of Object.entries(bias)) {
    rates[`protected_${category}_rate_original`] = original;
    rates[`protected_${category}_rate_transformed`] = transformed;
  }
  return rates;
}

function sumOfLengths(lengths: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const [length, captions] of lengths) sum += length * captions;
  return sum;
}

function medianLength(lengths: ReadonlyMap<number, number>, total: number): number {
  const sorted = [...lengths].sort((a, b) => a[0] - b[0]);
  const at = (place: number): number => {
    let seen = 0;
    for (const [length, captions] of sorted) {
      seen += captions;
      if (seen > place) return length;
    }
    return 0;
  };
  return (at(Math.floor((total - 1) / 2)) + at(Math.floor(total / 2))) / 2;
}

/** 53 bits of a text: among a million captions two different ones meet once in ten thousand data sets. */
function hash53(text: string): number {
  let [a, b] = [0x811c9dc5, 0x1b873593];
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x01000193);
    b = Math.imul(b ^ unit, 0x85ebca6b);
    b ^= b >>> 13;
  }
  a = Math.imul(a ^ a >>> 16, 0xc2b2ae35);
  return (a >>> 0) * 2 ** 21 + ((b ^ b >>> 16) >>> 11);
}
