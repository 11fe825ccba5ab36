/**
 * One image with one caption as the report sees it: what is known of it by itself. Everything that needs the others comes later.
 *
 * @module
 */

import type { Split } from "../datasets/rows.ts";
import { type CaptionFlag, checkCaption } from "./caption_checks.ts";
import type { ImageFacts } from "./image_facts.ts";
import { findProtectedTerms, PROTECTED_CATEGORIES, type ProtectedCategory } from "./protected_terms.ts";
import { matchObjects, wordsOf } from "./words.ts";

/** A row of a data set before it is looked at. */
export interface QualityRow {
  /** Number of the row in its data set, as training counts rows. */
  readonly idx: number;
  /** Name of its data set. */
  readonly source: string;
  /** Split that it belongs to. */
  readonly split: Split;
  /** What messages call it. */
  readonly id: string;
  /** The caption. */
  readonly caption: string;
  /** What it was before somebody rewrote it; empty where nothing says. */
  readonly original: string;
  /** Names of objects in normal form; absent where the data set names none. */
  readonly objects?: readonly string[];
}

/** A mention of a protected attribute: category, place in the caption, words. */
export type ExampleMatch = readonly [category: ProtectedCategory, start: number, text: string];

/** An example with what was found of it. JSON holds it whole. */
export interface QualityExample extends QualityRow {
  /** Words of the caption. */
  readonly words: number;
  /** What is wrong with the caption. */
  readonly flags: readonly CaptionFlag[];
  /** Mentions in the caption. */
  readonly matches: readonly ExampleMatch[];
  /** Mentions in the original, by category; absent without an original. */
  readonly originalMatches?: Readonly<Partial<Record<ProtectedCategory, number>>>;
  /** Objects that the caption mentions. */
  readonly objectsMatched: number;
  /** What is known of the image; absent where it was not looked at or could not be. */
  readonly image?: ImageFacts & { readonly sha256: string };
  /** Why the image could not be read. */
  readonly imageError?: string;
  /** Place of its embedding in the file of embeddings. */
  readonly embedding?: number;
  /** Cosine of image and caption. */
  readonly clip?: number;
  /** Cosine of the image and another row's caption: what a wrong caption gets. */
  readonly mismatched?: number;
  /** BERTScore F1 of caption and original. */
  readonly bert?: number;
}

/** Name of a category in columns and summaries: `race_ethnicity`. */
export function categoryKey(category: ProtectedCategory): string {
  return category.replace(/[^a-z]+/g, "_");
}

/** Looks at everything that text alone tells. */
export function examineText(row: QualityRow): QualityExample {
  const words = wordsOf(row.caption);
  const normal = words.join(" ");
  return {
    ...row,
    words: words.length,
    flags: checkCaption(row.caption, words),
    matches: findProtectedTerms(row.caption).map(({ category, start, text }) => [category, start, text]),
    ...(row.original !== "" && { originalMatches: countMatches(row.original) }),
    objectsMatched: row.objects === undefined ? 0 : matchObjects(normal, row.objects).matched,
  };
}

function countMatches(caption: string): Partial<Record<ProtectedCategory, number>> {
  const counts: Partial<Record<ProtectedCategory, number>> = {};
  for (const { category } of findProtectedTerms(caption)) counts[category] = (counts[category] ?? 0) + 1;
  return counts;
}

/** Mentions by category in the caption. */
export function captionMatches({ matches }: QualityExample): Record<ProtectedCategory, number> {
  const counts = Object.fromEntries(PROTECTED_CATEGORIES.map((category) => [category, 0]));
  for (const [category] of matches) counts[category]!++;
  return counts as Record<ProtectedCategory, number>;
}

/** Share of a row's objects that its caption leaves out; `undefined` where it has none. */
export function missedShare({ objects, objectsMatched }: QualityExample): number | undefined {
  return objects === undefined || objects.length === 0 ? undefined : 1 - objectsMatched / objects.length;
}
