/**
 * CIDEr-D, which is what captioning papers report as CIDEr, and the plain CIDEr.
 *
 * Rare n-grams weigh more; how rare they are is taken from the references of the captions that are scored, so a score depends on the
 * whole set, and a single image has none.
 *
 * Source: Vedantam et al., "CIDEr: Consensus-based Image Description Evaluation", 2015, equations 1 to 6; pycocoevalcap,
 * `cider_scorer.py` (CIDEr-D)
 *
 * @module
 */

import { type CountedText, MAX_ORDER, orderStart, visitCounts } from "./ngrams.ts";

/** Scores of one caption, each in [0, 10]. */
export interface CiderScores {
  /** Clipped counts, and a penalty for another length. */
  readonly ciderD: number;
  /** Neither. */
  readonly cider: number;
}

/** Words of width of the length penalty. */
const SIGMA = 6;

/** How many images of a corpus have each n-gram in a reference. */
export class CiderCorpus {
  /** By n-gram: logarithm of images by images that have it. */
  readonly #rarity: Float64Array;
  /** Of n-grams that were not counted then: no image has them. */
  readonly #unseen: number;

  /**
   * Counts the references of all images.
   *
   * @param images Their references
   * @param ngrams Numbers of n-grams given so far, see {@linkcode NgramIndex.size}
   */
  constructor(images: readonly (readonly CountedText[])[], ngrams: number) {
    const frequency = new Int32Array(ngrams + 1);
    const lastSeen = new Int32Array(ngrams + 1);
    for (const [i, references] of images.entries()) {
      for (const reference of references) {
        for (const ngram of reference.ngrams) {
          if (lastSeen[ngram] === i + 1) continue;
          lastSeen[ngram] = i + 1;
          frequency[ngram]!++;
        }
      }
    }
    this.#unseen = Math.log(images.length);
    this.#rarity = Float64Array.from(frequency, (count) => this.#unseen - Math.log(Math.max(1, count)));
  }

  /** Scores of one caption: means over its references. */
  score(candidate: CountedText, references: readonly CountedText[]): CiderScores {
    const rarity = this.#rarity;
    const ours = this.#norms(candidate);
    let [ciderD, cider] = [0, 0];
    for (const reference of references) {
      const theirs = this.#norms(reference);
      // Lengths are counted in bigrams.
      const delta = Math.max(0, candidate.length - 1) - Math.max(0, reference.length - 1);
      const penalty = Math.exp(-(delta ** 2) / (2 * SIGMA ** 2));
      for (let n = 0; n < MAX_ORDER; n++) {
        let [clipped, plain] = [0, 0];
        visitCounts([candidate, reference], n, (ngram, inOurs, inTheirs) => {
          const squared = (rarity[ngram] ?? this.#unseen) ** 2 * inTheirs;
          clipped += Math.min(inOurs, inTheirs) * squared;
          plain += inOurs * squared;
        });
        const norms = ours[n]! * theirs[n]!;
        ciderD += penalty * (norms === 0 ? clipped : clipped / norms);
        cider += norms === 0 ? plain : plain / norms;
      }
    }
    const scale = 10 / (MAX_ORDER * references.length);
    return { ciderD: ciderD * scale, cider: cider * scale };
  }

  /** Length of the vector of weights, by n - 1. */
  #norms({ length, ngrams }: CountedText): number[] {
    return Array.from({ length: MAX_ORDER }, (_, n) => {
      const end = orderStart(length, n + 1);
      let squares = 0;
      for (let i = orderStart(length, n); i < end;) {
        const ngram = ngrams[i]!;
        let count = 0;
        while (i < end && ngrams[i] === ngram) i++, count++;
        squares += (count * (this.#rarity[ngram] ?? this.#unseen)) ** 2;
      }
      return Math.sqrt(squares);
    });
  }
}
