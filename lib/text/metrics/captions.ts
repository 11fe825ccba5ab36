/**
 * What a training looks at: ROUGE-L without stemmer, exact matches and named objects.
 *
 * @module
 */

import { normalizeCaption } from "../normalize.ts";
import { rougeWords } from "./rouge.ts";
import { commonLength } from "./subsequence.ts";

/** One caption to score. */
export interface ScoredCaption {
  /** What the model wrote. */
  readonly candidate: string;
  /** What it should have written; at least one. */
  readonly references: readonly string[];
  /** Nouns (singular) of what the picture shows, if known. */
  readonly objects?: readonly string[];
}

/** Means over captions, each in [0, 1]. */
export interface CaptionScores {
  /** Captions scored. */
  readonly count: number;
  /** Mean F-measure of {@linkcode rougeL}. */
  readonly rougeL: number;
  /** Share of captions equal to a reference, see {@linkcode isExactMatch}. */
  readonly exactMatch: number;
  /** Share of captions that name their objects rightly, see {@linkcode namesObjects}; absent where no row lists objects. */
  readonly objectAccuracy?: number;
}

/** Options of {@linkcode namesObjects}. */
export interface NamesObjectsOptions {
  /** Every noun the data set lists anywhere: those that do not belong to the picture must not be named. Without it only missing nouns count. */
  readonly vocabulary?: readonly string[];
}

const IRREGULAR_PLURALS: Readonly<Record<string, string>> = {
  child: "children",
  foot: "feet",
  goose: "geese",
  knife: "knives",
  leaf: "leaves",
  loaf: "loaves",
  man: "men",
  mouse: "mice",
  person: "people",
  shelf: "shelves",
  tooth: "teeth",
  wolf: "wolves",
  woman: "women",
};

/**
 * ROUGE-L F-measure: harmonic mean of the longest common subsequence's share of both texts, words cut by {@linkcode rougeWords}
 * (no stemming); of several references the best counts.
 *
 * Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3.1
 *
 * @returns A number in [0, 1]; 0 if either side has no words
 * @throws {RangeError} If there are no references
 */
export function rougeL(candidate: string, references: readonly string[]): number {
  requireReferences(references);
  const words = rougeWords(candidate);
  return Math.max(...references.map((reference) => {
    const wanted = rougeWords(reference);
    const common = commonLength(words, wanted);
    // 2PR / (P + R) with P = common / |candidate| and R = common / |reference|
    return common === 0 ? 0 : (2 * common) / (words.length + wanted.length);
  }));
}

/** Whether a caption equals a reference, apart from white space and invisible marks; case and punctuation count. */
export function isExactMatch(candidate: string, references: readonly string[]): boolean {
  requireReferences(references);
  const normalized = normalizeCaption(candidate);
  return references.some((reference) => normalizeCaption(reference) === normalized);
}

/**
 * Whether a caption names every object, in the singular or the plural, and (given a vocabulary) no object that is not there.
 *
 * @param candidate The caption
 * @param objects Nouns in the singular; of several words where needed ("traffic light")
 */
export function namesObjects(
  candidate: string,
  objects: readonly string[],
  options: NamesObjectsOptions = {},
): boolean {
  const words = ` ${wordsOf(candidate).join(" ")} `;
  const named = (noun: string) => nounForms(noun).some((form) => words.includes(` ${form} `));
  // A "light" that is part of a listed "traffic light" is not another object.
  const listed = (noun: string) => objects.some((object) => ` ${object} `.includes(` ${noun} `));
  return objects.every(named) && !(options.vocabulary ?? []).some((noun) => !listed(noun) && named(noun));
}

/**
 * Mean scores of captions. Objects are judged against the vocabulary of all rows: a caption that names an object of another row,
 * which its own row does not list, is wrong.
 *
 * @throws {RangeError} If there are no captions, or one has no references
 */
export function scoreCaptions(captions: readonly ScoredCaption[]): CaptionScores {
  if (captions.length === 0) throw new RangeError("Cannot score captions: there are none");
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const withObjects = captions.filter(({ objects }) => objects !== undefined && objects.length > 0);
  const vocabulary = [...new Set(withObjects.flatMap(({ objects }) => objects ?? []))];
  const scores = {
    count: captions.length,
    rougeL: mean(captions.map(({ candidate, references }) => rougeL(candidate, references))),
    exactMatch: mean(
      captions.map(({ candidate, references }) => isExactMatch(candidate, references) ? 1 : 0),
    ),
  };
  if (withObjects.length === 0) return scores;
  const objectAccuracy = mean(
    withObjects.map(({ candidate, objects }) =>
      namesObjects(candidate, objects ?? [], { vocabulary }) ? 1 : 0
    ),
  );
  return { ...scores, objectAccuracy };
}

function wordsOf(text: string): string[] {
  return text.toLowerCase().normalize("NFC").match(/[\p{L}\p{N}]+/gu) ?? [];
}

/** The noun and its plurals: "bus" gives bus, buses; "berry" berry, berries; "person" person, people. */
function nounForms(noun: string): string[] {
  const words = wordsOf(noun);
  const last = words.pop();
  if (last === undefined) return [];
  const forms = [last, `${last}s`, `${last}es`];
  if (last.endsWith("y")) forms.push(`${last.slice(0, -1)}ies`);
  const irregular = IRREGULAR_PLURALS[last];
  if (irregular !== undefined) forms.push(irregular);
  return forms.map((form) => [...words, form].join(" "));
}

function requireReferences(references: readonly string[]): void {
  if (references.length === 0) throw new RangeError("Cannot score a caption without references");
}
