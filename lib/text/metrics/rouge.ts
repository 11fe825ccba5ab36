/**
 * ROUGE-1, -2, -L and -Lsum as Google's rouge_score computes them.
 *
 * Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004; google-research/rouge, `rouge_scorer.py`
 *
 * @module
 */

import { stemOf } from "./porter.ts";
import { commonLength, commonPositions } from "./subsequence.ts";

/** F-measures in [0, 1]. */
export interface RougeScores {
  /** Of words. */
  readonly rouge1: number;
  /** Of pairs of words. */
  readonly rouge2: number;
  /** Of the longest common subsequence. */
  readonly rougeL: number;
  /** Of the union of longest common subsequences of lines. */
  readonly rougeLsum: number;
}

/** Names of the scores. */
export const ROUGE_NAMES = ["rouge1", "rouge2", "rougeL", "rougeLsum"] as const;

/** A text cut for ROUGE; its words are numbers that only texts of one {@linkcode RougeIndex} share. */
export interface RougeText {
  /** All words. */
  readonly words: readonly number[];
  /** Neighbours. */
  readonly pairs: readonly number[];
  /** Words of its lines, without those that are empty. */
  readonly lines: readonly (readonly number[])[];
}

/**
 * Words of a text as rouge_score cuts them without its stemmer: lower-cased, everything but a-z and 0-9 separates, so that accented
 * letters cut words.
 */
export function rougeWords(text: string): string[] {
  return text.toLowerCase().match(/[a-z0-9]+/g) ?? [];
}

/** {@linkcode rougeWords} with those of more than three characters stemmed. */
export function rougeTokens(text: string): string[] {
  return rougeWords(text).map(stemmed);
}

const stemmed = (word: string): string => word.length > 3 ? stemOf(word) : word;

/** Cuts texts for {@linkcode rougeScores} and numbers their stems: numbers compare faster than words. */
export class RougeIndex {
  readonly #stems = new Map<string, number>();
  readonly #words = new Map<string, number>();

  /** Cuts a text, with stemmer. */
  text(text: string): RougeText {
    const words = this.#numbers(text);
    const pairs = words.slice(1).map((word, i) => words[i]! * 2 ** 26 + word);
    if (!text.includes("\n")) return { words, pairs, lines: [words] };
    const lines = text.split("\n").filter((line) => line !== "").map((line) => this.#numbers(line));
    return { words, pairs, lines };
  }

  #numbers(text: string): number[] {
    return rougeWords(text).map((word) => {
      let number = this.#words.get(word);
      if (number === undefined) {
        const stem = stemmed(word);
        number = this.#stems.get(stem) ?? this.#stems.size;
        this.#stems.set(stem, number);
        this.#words.set(word, number);
      }
      return number;
    });
  }
}

/** Scores against one reference. */
export function rougeScores(candidate: RougeText, reference: RougeText): RougeScores {
  const common = commonLength(reference.words, candidate.words);
  const rougeL = fMeasure(common, [candidate.words.length, reference.words.length]);
  // One line each: the union is the subsequence itself.
  const isOneLine = candidate.lines.length === 1 && reference.lines.length === 1;
  return {
    rouge1: ngramScore(candidate.words, reference.words),
    rouge2: ngramScore(candidate.pairs, reference.pairs),
    rougeL,
    rougeLsum: isOneLine ? rougeL : unionScore(candidate.lines, reference.lines),
  };
}

/**
 * Scores against the reference that is best for each measure.
 *
 * @throws {RangeError} If there are no references
 */
export function bestRougeScores(candidate: RougeText, references: readonly RougeText[]): RougeScores {
  if (references.length === 0) throw new RangeError("Cannot score a caption without references");
  const all = references.map((reference) => rougeScores(candidate, reference));
  const best = (name: keyof RougeScores): number => Math.max(...all.map((scores) => scores[name]));
  return {
    rouge1: best("rouge1"),
    rouge2: best("rouge2"),
    rougeL: best("rougeL"),
    rougeLsum: best("rougeLsum"),
  };
}

/** Harmonic mean of the hits' shares of both sides; 0 where there are none. */
function fMeasure(hits: number, [candidateLength, referenceLength]: readonly [number, number]): number {
  return hits === 0 ? 0 : 2 * hits / (candidateLength + referenceLength);
}

function countWords(words: Iterable<number>): Map<number, number> {
  const counts = new Map<number, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/** Texts whose lengths have a smaller product are compared word by word, which is faster than counting. */
const SHORT = 1024;
const taken = new Uint8Array(SHORT);

function ngramScore(candidate: readonly number[], reference: readonly number[]): number {
  const [ours, theirs] = [candidate.length, reference.length];
  if (ours === 0 || theirs === 0) return 0;
  let hits = 0;
  if (ours * theirs < SHORT) {
    taken.fill(0, 0, ours);
    for (let j = 0; j < theirs; j++) {
      for (let i = 0; i < ours; i++) {
        if (candidate[i] !== reference[j] || taken[i] !== 0) continue;
        taken[i] = 1;
        hits++;
        break;
      }
    }
  } else {
    const counts = countWords(candidate);
    for (const word of reference) {
      const left = counts.get(word);
      if (left === undefined || left === 0) continue;
      hits++;
      counts.set(word, left - 1);
    }
  }
  return fMeasure(hits, [ours, theirs]);
}

/** Each line of the reference is matched with all lines of the candidate; a word hits at most as often as either side has it. */
function unionScore(candidate: RougeText["lines"], reference: RougeText["lines"]): number {
  const candidateCounts = countWords(candidate.flat());
  const referenceCounts = countWords(reference.flat());
  let hits = 0;
  for (const line of reference) {
    const positions = new Set(candidate.flatMap((other) => commonPositions(line, other)));
    for (const position of [...positions].sort((a, b) => a - b)) {
      const word = line[position]!;
      const [ours, theirs] = [candidateCounts.get(word) ?? 0, referenceCounts.get(word) ?? 0];
      if (ours === 0 || theirs === 0) continue;
      hits++;
      candidateCounts.set(word, ours - 1);
      referenceCounts.set(word, theirs - 1);
    }
  }
  return fMeasure(hits, [candidate.flat().length, reference.flat().length]);
}
