/**
 * Words of a caption that say a person's gender, sexual orientation, race or ethnicity, nationality, religion, disability or age.
 *
 * A word counts when it is said of a person: "a black man", "an American"; not of a thing, an animal, a colour or a place: "a black dog",
 * "an American flag". Lists and their sources: `data/words`; how well it does, on which captions: `docs/fighting_bias.md`.
 *
 * @module
 */

import { type CaptionWords, splitWords } from "./caption_words.ts";
import { scanTerms } from "./term_rules.ts";
import { MODIFIERS, type ProtectedCategory, TERMS } from "./word_lists.ts";

export { LIST_SOURCES, PROTECTED_CATEGORIES, type ProtectedCategory } from "./word_lists.ts";

/** A protected term in a caption. */
export interface ProtectedMatch {
  /** What it says of a person. */
  readonly category: ProtectedCategory;
  /** As the caption has it. */
  readonly text: string;
  /** As the list has it: lower case. */
  readonly term: string;
  /** Place of its first UTF-16 unit. */
  readonly start: number;
  /** Place after its last unit. */
  readonly end: number;
  /** The caption around it, at most 30 units on either side. */
  readonly context: string;
  /** The guidelines themselves ask for it ("child" in place of "boy"): only with `includeAccepted`. */
  readonly accepted: boolean;
}

/** Options of {@linkcode findProtectedTerms}. */
export interface FindTermsOptions {
  /** Also those that the guidelines ask for: child, kid, baby, adult. @default {false} */
  readonly includeAccepted?: boolean;
}

const CONTEXT_UNITS = 30;

/** The words of a caption; hyphenated ones that a list has stay whole. */
export function captionWords(caption: string): CaptionWords {
  return splitWords(caption, (word) => TERMS.has(word) || MODIFIERS.has(word));
}

/**
 * Finds the protected terms of a caption, in the order in which they stand there, none overlapping.
 *
 * Takes one pass over the text and a look around the words that a list has; a caption of ten words takes microseconds.
 */
export function findProtectedTerms(caption: string, options: FindTermsOptions = {}): ProtectedMatch[] {
  const { includeAccepted = false } = options;
  const tokens = captionWords(caption);
  const { words, starts, ends } = tokens;
  const matches: ProtectedMatch[] = [];
  for (const { from, to, category, use } of scanTerms(tokens)) {
    const accepted = use === "accepted";
    if (accepted && !includeAccepted) continue;
    const [start, end] = [starts[from]!, ends[to - 1]!];
    matches.push({
      category,
      text: caption.slice(start, end),
      term: words.slice(from, to).join(" "),
      start,
      end,
      context: caption.slice(Math.max(0, start - CONTEXT_UNITS), end + CONTEXT_UNITS),
      accepted,
    });
  }
  return matches;
}
