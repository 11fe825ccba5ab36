/**
 * METEOR as NLTK computes it, and `evaluate` reports it: words matched exactly, then by stem, then as synonyms.
 *
 * Source: Banerjee and Lavie, "METEOR: An Automatic Metric for MT Evaluation", 2005; nltk.translate.meteor_score, whose alignment is
 * greedy from the end and hands stems on to the synonyms
 *
 * @module
 */

import { stemOf } from "./porter.ts";

/** Words of the same meaning, as {@linkcode WordNet} gives them. */
export interface Synonyms {
  /** Names of all synsets of a word, of one word each. */
  synonyms(word: string): ReadonlySet<string>;
}

/** Share of recall in the mean. */
const ALPHA = 0.9;
const BETA = 3;
/** Most that a scattered match loses. */
const GAMMA = 0.5;

/** A tokenized text, lower-cased, with the stems of its words. */
export interface MeteorText {
  /** Words, lower-cased. */
  readonly words: readonly string[];
  /** Their stems. */
  readonly stems: readonly string[];
}

/** Prepares a tokenized text for {@linkcode meteorScore}. */
export function meteorText(tokens: readonly string[]): MeteorText {
  const words = tokens.map((token) => token.toLowerCase());
  return {
    words,
    stems: words.map(stemOf),
  };
}

/**
 * Score against the best reference, in [0, 1). A perfect match of m words has 1 - 0.5 / m^3; no match has 0.
 *
 * @param synonyms WordNet; without it the third stage is left out
 * @throws {RangeError} If there are no references
 */
export function meteorScore(
  candidate: MeteorText,
  references: readonly MeteorText[],
  options: { synonyms?: Synonyms | undefined } = {},
): number {
  if (references.length === 0) throw new RangeError("Cannot score a caption without references");
  return Math.max(...references.map((reference) => singleScore(candidate, reference, options.synonyms)));
}

interface Matching {
  /** Of each word of the candidate the matched one of the reference, or -1. */
  readonly matched: Int32Array;
  /** Of each word of the reference, whether it is matched. */
  readonly taken: Uint8Array;
}

function singleScore(candidate: MeteorText, reference: MeteorText, synonyms: Synonyms | undefined): number {
  const matching = {
    matched: new Int32Array(candidate.words.length).fill(-1),
    taken: new Uint8Array(reference.words.length),
  };
  matchSame(candidate.words, reference.words, matching);
  matchSame(candidate.stems, reference.stems, matching);
  if (synonyms !== undefined) matchSynonyms(candidate.stems, reference.stems, { ...matching, synonyms });
  let [matches, chunks] = [0, 0];
  let [lastAt, lastIn] = [-2, -2];
  for (const [i, j] of matching.matched.entries()) {
    if (j < 0) continue;
    matches++;
    if (i !== lastAt + 1 || j !== lastIn + 1) chunks++;
    [lastAt, lastIn] = [i, j];
  }
  if (matches === 0) return 0;
  const precision = matches / candidate.words.length;
  const recall = matches / reference.words.length;
  const mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall);
  return (1 - GAMMA * (chunks / matches) ** BETA) * mean;
}

/** Matches equal words, each the last that is free. */
function matchSame(
  candidate: readonly string[],
  reference: readonly string[],
  { matched, taken }: Matching,
): void {
  // Long texts look their words up, short ones are faster without.
  const places = reference.length > 64 ? placesOf(reference, taken) : undefined;
  for (let i = candidate.length - 1; i >= 0; i--) {
    if (matched[i]! >= 0) continue;
    const word = candidate[i]!;
    const j = places === undefined ? lastFree(reference, { word, taken }) : places.get(word)?.pop() ?? -1;
    if (j < 0) continue;
    matched[i] = j;
    taken[j] = 1;
  }
}

function lastFree(words: readonly string[], { word, taken }: { word: string; taken: Uint8Array }): number {
  for (let j = words.length - 1; j >= 0; j--) if (taken[j] === 0 && words[j] === word) return j;
  return -1;
}

function placesOf(words: readonly string[], taken: Uint8Array): Map<string, number[]> {
  const places = new Map<string, number[]>();
  for (const [j, word] of words.entries()) {
    if (taken[j] !== 0) continue;
    const list = places.get(word);
    if (list === undefined) places.set(word, [j]);
    else list.push(j);
  }
  return places;
}

function matchSynonyms(
  candidate: readonly string[],
  reference: readonly string[],
  { matched, taken, synonyms }: Matching & { synonyms: Synonyms },
): void {
  for (let i = candidate.length - 1; i >= 0; i--) {
    if (matched[i]! >= 0) continue;
    const names = synonyms.synonyms(candidate[i]!);
    for (let j = reference.length - 1; j >= 0; j--) {
      const word = reference[j]!;
      if (taken[j] !== 0 || (word !== candidate[i] && !names.has(word))) continue;
      matched[i] = j;
      taken[j] = 1;
      break;
    }
  }
}
