/**
 * Captions in which people marked the protected terms, and how many of these are found.
 *
 * @module
 */

import {
  findProtectedTerms,
  PROTECTED_CATEGORIES,
  type ProtectedCategory,
} from "../../lib/quality/protected_terms.ts";

/** Categories by the letter that marks them. */
const CATEGORY_OF: Readonly<Record<string, ProtectedCategory>> = {
  g: "gender",
  s: "sexual orientation",
  r: "race/ethnicity",
  n: "nationality",
  f: "religion",
  d: "disability",
  a: "age",
};

/** A term that somebody marked. */
export interface LabelledTerm {
  readonly category: ProtectedCategory;
  /** Place of its first UTF-16 unit in the caption. */
  readonly start: number;
  /** As the caption has it. */
  readonly text: string;
}

/** A caption and its terms. */
export interface LabelledCaption {
  /** Without the marks. */
  readonly caption: string;
  readonly terms: readonly LabelledTerm[];
  /** Whether it was kept from view while the rules were tuned. */
  readonly heldBack: boolean;
}

/** All captions of a file, in its order: the labelled ones, or the fresh ones that nothing was tuned on. */
export function readLabelledCaptions(file: "labelled" | "fresh" = "labelled"): LabelledCaption[] {
  const text = Deno.readTextFileSync(new URL(`${file}_captions.txt`, import.meta.url));
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return lines.map((line, index) => ({ ...parseLine(line), heldBack: index % 2 === 1 }));
}

function parseLine(line: string): { caption: string; terms: LabelledTerm[] } {
  const terms: LabelledTerm[] = [];
  let caption = "";
  let at = 0;
  for (const mark of line.matchAll(/\[(\w+) ([^\]]+)\]/g)) {
    const [whole, letters, text] = mark as unknown as [string, string, string];
    caption += line.slice(at, mark.index);
    for (const letter of letters) {
      const category = CATEGORY_OF[letter];
      if (category === undefined) throw new SyntaxError(`Cannot read "${line}": no category ${letter}`);
      terms.push({ category, start: caption.length, text });
    }
    caption += text;
    at = mark.index + whole.length;
  }
  return { caption: caption + line.slice(at), terms };
}

/** Terms that were found and marked, found in error, and missed. */
export interface Counts {
  hits: number;
  errors: number;
  misses: number;
}

/** Compares what is found with the marks: same category, same place, same text. */
export function countHits(captions: readonly LabelledCaption[]): Record<ProtectedCategory, Counts> {
  const counts = Object.fromEntries(
    PROTECTED_CATEGORIES.map((category) => [category, { hits: 0, errors: 0, misses: 0 }]),
  ) as Record<ProtectedCategory, Counts>;
  const keyOf = ({ category, start, text }: { category: string; start: number; text: string }) =>
    `${category}|${start}|${text}`;
  for (const { caption, terms } of captions) {
    const marked = new Set(terms.map(keyOf));
    for (const match of findProtectedTerms(caption)) {
      counts[match.category][marked.delete(keyOf(match)) ? "hits" : "errors"]++;
    }
    for (const { category } of terms.filter((term) => marked.has(keyOf(term)))) counts[category].misses++;
  }
  return counts;
}

/** Share of what is found that is marked, and share of what is marked that is found. */
export function precisionAndRecall({ hits, errors, misses }: Counts): { precision: number; recall: number } {
  return { precision: hits / (hits + errors), recall: hits / (hits + misses) };
}
