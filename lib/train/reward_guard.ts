/**
 * What keeps a reward from being won by captions that nobody would write: repeated words, lists without end, nothing at all.
 *
 * @module
 */

import { simpleTokens } from "../text/metrics/corpus.ts";

/** Lengths that pass: from the shortest reference divided by it to the longest times it. */
const LENGTH_SLACK = 1.5;

/** Options of {@linkcode guardPenalty}. */
export interface GuardOptions {
  /** Captions of the image; at least one. */
  references: readonly string[];
  /** Whether the caption came to its end before the most tokens. */
  isFinished: boolean;
}

/**
 * How far a caption goes beyond what its references do, in [0, 2]: the share of its words that repeat, beyond the most repetitive
 * reference's, and how much longer or shorter it is than a half more than the longest and two thirds of the shortest, at most 1. Empty
 * captions and those that never end have 1 for their length.
 *
 * Words are what white space separates, so the guard works for every script that has spaces.
 */
export function guardPenalty(caption: string, { references, isFinished }: GuardOptions): number {
  const words = simpleTokens(caption);
  const others = references.map(simpleTokens);
  const lengths = others.map(({ length }) => length);
  const longest = Math.max(...lengths) * LENGTH_SLACK;
  const shortest = Math.min(...lengths) / LENGTH_SLACK;
  const excess = isFinished && words.length > 0
    ? Math.min(1, Math.max(0, words.length / longest - 1, 1 - words.length / shortest))
    : 1;
  return Math.max(0, repetition(words) - Math.max(...others.map(repetition))) + excess;
}

/** Share of words that equal the one before, or follow a word that they followed before. */
function repetition(words: readonly string[]): number {
  const pairs = new Set<string>();
  let repeated = 0;
  for (let i = 1; i < words.length; i++) {
    const pair = `${words[i - 1]} ${words[i]}`;
    if (words[i] === words[i - 1] || pairs.has(pair)) repeated++;
    pairs.add(pair);
  }
  return words.length === 0 ? 0 : repeated / words.length;
}
