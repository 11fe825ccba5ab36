/**
 * The order of examples from the worst to the best, and how often each should be seen in training.
 *
 * @module
 */

import type { Counts } from "./distribution.ts";
import { missedShare, type QualityExample } from "./example.ts";

/** Weights of the three terms. */
export interface RankingWeights {
  /** Of alignment. */
  readonly clip: number;
  /** Of fidelity. */
  readonly bert: number;
  /** Of objects that are left out. */
  readonly obj: number;
}

/** Weights of the Python report. */
export const RANKING_WEIGHTS: RankingWeights = { clip: 0.4, bert: 0.3, obj: 0.3 };

/**
 * How bad an example is, before it is scaled to the data set: `clip (1 - (cosine + 1) / 2) + bert (1 - F1) + obj missed`. An image that
 * could not be compared counts as the worst where others were, as in the Python report; a caption without an original loses nothing.
 *
 * @param options Weights, and whether images were compared at all
 */
export function rawBadness(
  example: QualityExample,
  { weights, hasClip }: { weights: RankingWeights; hasClip: boolean },
): number {
  const clip = hasClip ? weights.clip * (1 - ((finite(example.clip) ?? -1) + 1) / 2) : 0;
  const bert = weights.bert * (1 - (finite(example.bert) ?? 1));
  return clip + bert + weights.obj * (missedShare(example) ?? 0);
}

/** A number, or nothing for NaN and infinities. */
export function finite(value: number | undefined): number | undefined {
  return value !== undefined && Number.isFinite(value) ? value : undefined;
}

/** The least and the largest badness; 0 and 0 of nothing. */
export function badnessRange(badness: Float64Array): { low: number; high: number } {
  if (badness.length === 0) return { low: 0, high: 0 };
  let [low, high] = [Infinity, -Infinity];
  for (const value of badness) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return { low, high };
}

/** Scales badness to 0 for the best and 1 for the worst of a data set; all 0 where they are equal. */
export function scaleBadness(raw: number, { low, high }: { low: number; high: number }): number {
  return high - low > 1e-12 ? (raw - low) / (high - low) : 0;
}

/** Added to frequencies, as the Python report does. */
const EPSILON = 1e-6;

/** Mean inverse frequency of a row's objects; `undefined` where it has none. */
export function reweight({ objects }: QualityExample, frequencies: Counts): number | undefined {
  if (objects === undefined || objects.length === 0) return undefined;
  let sum = 0;
  for (const name of objects) sum += 1 / ((frequencies.get(name) ?? 0) + EPSILON);
  return sum / objects.length;
}
