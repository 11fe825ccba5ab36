/**
 * BLEU-1 to -4 as the COCO caption evaluation computes it: the closest reference's length, tiny numbers instead of smoothing.
 *
 * Source: Papineni et al., "BLEU: a Method for Automatic Evaluation of Machine Translation", 2002; pycocoevalcap, `bleu_scorer.py`,
 * option `closest`
 *
 * @module
 */

import { type CountedText, MAX_ORDER, visitCounts } from "./ngrams.ts";

/** What BLEU is computed from; of a corpus the sums over its captions. */
export interface BleuStatistics {
  /** Words of the candidate. */
  readonly candidateLength: number;
  /** Words of the reference whose length is nearest; of two the shorter. */
  readonly referenceLength: number;
  /** N-grams of the candidate that a reference has, each at most as often as the reference that has most of it; by n - 1. */
  readonly correct: readonly number[];
  /** N-grams of the candidate, by n - 1. */
  readonly guessed: readonly number[];
}

const TINY = 1e-15;
const SMALL = 1e-9;

/** Statistics of one caption. */
export function bleuStatistics(candidate: CountedText, references: readonly CountedText[]): BleuStatistics {
  let referenceLength = 0;
  let nearest = Infinity;
  for (const { length } of references) {
    const distance = Math.abs(length - candidate.length);
    if (distance < nearest || (distance === nearest && length < referenceLength)) {
      nearest = distance;
      referenceLength = length;
    }
  }
  const correct = Array.from({ length: MAX_ORDER }, (_, n) => {
    const most: number[] = [];
    for (const reference of references) {
      let at = 0;
      visitCounts([candidate, reference], n, (_, ours, theirs) => {
        most[at] = Math.max(most[at] ?? 0, Math.min(ours, theirs));
        at++;
      });
    }
    return most.reduce((sum, count) => sum + count, 0);
  });
  const guessed = correct.map((_, n) => Math.max(0, candidate.length - n));
  return { candidateLength: candidate.length, referenceLength, correct, guessed };
}

/** Statistics of a corpus. */
export function sumBleuStatistics(all: Iterable<BleuStatistics>): BleuStatistics {
  const sum = {
    candidateLength: 0,
    referenceLength: 0,
    correct: new Array<number>(MAX_ORDER).fill(0),
    guessed: new Array<number>(MAX_ORDER).fill(0),
  };
  for (const { candidateLength, referenceLength, correct, guessed } of all) {
    sum.candidateLength += candidateLength;
    sum.referenceLength += referenceLength;
    for (let n = 0; n < MAX_ORDER; n++) {
      sum.correct[n]! += correct[n]!;
      sum.guessed[n]! += guessed[n]!;
    }
  }
  return sum;
}

/** BLEU-1 to -4 in [0, 1]. A perfect caption has a little less than 1, and one without a common n-gram a little more than 0. */
export function bleuScores(statistics: BleuStatistics): number[] {
  const { candidateLength, referenceLength, correct, guessed } = statistics;
  const ratio = (candidateLength + TINY) / (referenceLength + SMALL);
  const penalty = ratio < 1 ? Math.exp(1 - 1 / ratio) : 1;
  let product = 1;
  return correct.map((count, n) => {
    product *= (count + TINY) / (guessed[n]! + SMALL);
    return product ** (1 / (n + 1)) * penalty;
  });
}
