/**
 * When a word of the lists is a protected term: what stands around it says whether it is said of a person.
 *
 * @module
 */

import { type CaptionWords, Gap } from "./caption_words.ts";
import {
  AMBIGUOUS_PEOPLE,
  ANIMALS,
  CLOSERS,
  COMPOUNDING,
  COPULAS,
  COUNTRIES,
  DECADES,
  DETERMINERS,
  GATHERINGS,
  MODIFIERS,
  NUMBERS,
  PEOPLE,
  POSSESSIVES,
  PRONOUNS,
  type ProtectedCategory,
  type TermEntry,
  TERMS,
  type TermUse,
} from "./word_lists.ts";

/** A protected term among the words of a caption. */
export interface FoundTerm {
  /** Place of its first word. */
  readonly from: number;
  /** Place after its last word. */
  readonly to: number;
  /** What it says of a person. */
  readonly category: ProtectedCategory;
  /** How its list has it; `age` is a number of years or a decade, `country` follows "from". */
  readonly use: TermUse | "age" | "country";
}

/** Adjectives looked past on the way to the person they describe. */
const MAX_ADJECTIVES = 6;

/** Categories whose adjectives are said of things at least as often. */
const LOOSE: ReadonlySet<ProtectedCategory> = new Set(["race/ethnicity", "age"]);

/** Finds the terms of a caption's words, in their order; where a word says two things it is given twice. */
export function scanTerms(tokens: CaptionWords): FoundTerm[] {
  const { words } = tokens;
  const found: FoundTerm[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    const age = ageAt(tokens, at);
    if (age !== undefined) {
      found.push({ from: at, to: age, category: "age", use: "age" });
      at = age - 1;
      continue;
    }
    if (word === "from" && at > 0 && isPersonAt(tokens, at - 1)) {
      const country = COUNTRIES.find((country) => matchesAt(words, at + 1, country));
      if (country !== undefined) {
        const to = at + 1 + country.length;
        found.push({ from: at + 1, to, category: "nationality", use: "country" });
        at = to - 1;
      }
      continue;
    }
    const entries = TERMS.get(word)?.filter((entry) => holds(tokens, at, entry)) ?? [];
    const length = entries[0]?.words.length;
    if (length === undefined) continue;
    const said = new Set<ProtectedCategory>();
    for (const { words, category, use } of entries) {
      if (words.length !== length || said.has(category)) continue;
      said.add(category);
      found.push({ from: at, to: at + length, category, use });
    }
    at += length - 1;
  }
  return found;
}

/** Whether an entry's words stand at a place and mean a person there. */
function holds(tokens: CaptionWords, at: number, entry: TermEntry): boolean {
  const { words } = tokens;
  if (entry.words.length > 1 && !matchesAt(words, at, entry.words)) return false;
  const after = at + entry.words.length;
  if (isFalseFriend(tokens, at, entry)) return false;
  if (entry.withPeople && isAnimals(tokens, at)) return false;
  if (entry.use === "always" || entry.use === "accepted") return true;
  const loose = LOOSE.has(entry.category) && entry.use === "ofPeople";
  const isColour = COLOURS.has(entry.words[0]!);
  if (leadsToPerson(tokens, after, { loose, isColour })) return true;
  if (isSaidOfPerson(tokens, at, after) || isOneOfPair(tokens, at, after)) return true;
  return entry.use === "ofPeopleOrAlone" && standsAlone(tokens, at, after);
}

function matchesAt(words: readonly string[], at: number, wanted: readonly string[]): boolean {
  return wanted.every((word, i) => words[at + i] === word);
}

function isFalseFriend({ words, gaps }: CaptionWords, at: number, entry: TermEntry): boolean {
  const after = at + entry.words.length;
  if (entry.unlessWith.some((word) => words.includes(word))) return true;
  const follows = gaps[after - 1] === Gap.None;
  if (follows && entry.notBeforeAnimals && ANIMALS.has(words[after] ?? "")) return true;
  if (
    follows && entry.unlessBefore.some((following) => matchesAt(words, after, following))
  ) return true;
  return entry.unlessAfter.some((before) =>
    at >= before.length && matchesAt(words, at - before.length, before)
  );
}

/**
 * Whether the caption names animals and nobody else: then "mother" is an animal, and "his" the animal's if it comes after
 * ("his dog" has an owner).
 */
function isAnimals(tokens: CaptionWords, at: number): boolean {
  const { words } = tokens;
  const animal = words.findIndex((word) => ANIMALS.has(word));
  if (animal < 0 || (PRONOUNS.has(words[at]!) && animal > at)) return false;
  return !words.some((word, at) => !isWithPeople(word) && isPersonAt(tokens, at));
}

function isWithPeople(word: string): boolean {
  return TERMS.get(word)?.some(({ words, withPeople }) => withPeople && words.length === 1) ?? false;
}

/** Whether a word names a person, and not the animal or thing whose name it begins: "baby elephant", "police car". */
export function isPersonAt(tokens: CaptionWords, at: number): boolean {
  const { words, gaps } = tokens;
  const word = words[at]!;
  if (!PEOPLE.has(word)) return false;
  if (TERMS.get(word)?.some((entry) => entry.words.length === 1 && isFalseFriend(tokens, at, entry))) {
    return false;
  }
  const next = gaps[at] === Gap.None ? words[at + 1] : undefined;
  if (next === undefined) return true;
  if (ANIMALS.has(next)) return false;
  if (GATHERINGS.has(word) && next === "of") return leadsToPerson(tokens, at + 2);
  return !COMPOUNDING.has(word) || isClosing(next) || PEOPLE.has(next);
}

/** Whether a word cannot be a noun that the word before belongs to. */
function isClosing(word: string): boolean {
  return CLOSERS.has(word) || word.endsWith("ing") || word.endsWith("ly") || word.endsWith("ed") ||
    TERMS.get(word)?.some(({ use }) => use !== "always") === true;
}

/** What a colour before it is said of: hair, beard, clothes. */
const COLOURS = new Set(["black", "white", "brown"]);
const COLOURED = new Set(["haired", "bearded", "dressed", "blonde", "blond"]);

/**
 * Whether adjectives from a place on lead to a person: "[black] and white people" does, "[black] and white photo" does not.
 *
 * @param kind Whether the adjective is said of things as well, so that words that are things as often as people do not count; whether
 * it is a colour
 */
export function leadsToPerson(
  tokens: CaptionWords,
  from: number,
  { loose = false, isColour = false }: { loose?: boolean; isColour?: boolean } = {},
): boolean {
  const { words, gaps } = tokens;
  for (let at = from; at < words.length && at < from + MAX_ADJECTIVES; at++) {
    if (gaps[at - 1] === Gap.Stop) return false;
    const word = words[at]!;
    // "a white haired man" has white hair.
    if (isColour && at === from && COLOURED.has(word)) return false;
    if (isPersonAt(tokens, at) && !(loose && AMBIGUOUS_PEOPLE.has(word))) return true;
    const joins = (word === "and" || word === "or") && MODIFIERS.has(words[at + 1] ?? "");
    if (!joins && !MODIFIERS.has(word)) return false;
  }
  return false;
}

const DEGREES = new Set(["very", "quite", "so", "too", "almost", "partially", "legally", "also", "both"]);
const SUBJECTS = new Set(["he", "she", "they", "who", "i", "you", "we"]);

/** Whether a form of "be" says it of a person: "the girl is [blind]". */
export function isSaidOfPerson(tokens: CaptionWords, at: number, after: number): boolean {
  const { words } = tokens;
  let copula = at - 1;
  while (words[copula] === "and" && MODIFIERS.has(words[copula - 1] ?? "")) copula -= 2;
  if (DEGREES.has(words[copula] ?? "")) copula--;
  if (copula < 1 || !COPULAS.has(words[copula]!)) return false;
  if (!SUBJECTS.has(words[copula - 1]!) && !isPersonAt(tokens, copula - 1)) return false;
  return endsAt(tokens, after);
}

/** Whether it belongs to "young and old", said of people without a noun. */
function isOneOfPair(tokens: CaptionWords, at: number, after: number): boolean {
  const { words } = tokens;
  const other = words[at] === "young" ? "old" : words[at] === "old" ? "young" : undefined;
  if (other === undefined) return false;
  if (words[after] === "and" && words[after + 1] === other) return endsAt(tokens, after + 2);
  return words[at - 1] === "and" && words[at - 2] === other && endsAt(tokens, after);
}

/** Whether it is a noun with an article: "an [American] in a hat", "two [males]". */
function standsAlone(tokens: CaptionWords, at: number, after: number): boolean {
  const { words } = tokens;
  let first = at;
  while (first > 0 && MODIFIERS.has(words[first - 1]!) && tokens.gaps[first - 1] !== Gap.Stop) first--;
  const before = words[first - 1];
  if (before !== undefined && !DETERMINERS.has(before) && tokens.gaps[first - 1] !== Gap.Stop) return false;
  return endsAt(tokens, after);
}

/** Whether the noun phrase ends before a place; "Mexican and American flags" goes on after "Mexican". */
export function endsAt(tokens: CaptionWords, after: number): boolean {
  const { words, gaps } = tokens;
  const next = words[after];
  if (next === undefined || gaps[after - 1] !== Gap.None) return true;
  if (!CLOSERS.has(next)) return isVerbAfterOne(tokens, after);
  const second = words[after + 1];
  const joins = (next === "and" || next === "or") && second !== undefined && MODIFIERS.has(second);
  return !joins || endsAt(tokens, after + 2);
}

/** Whether a word is a verb: "a male dives for the ball", where a plural could not follow the article. */
function isVerbAfterOne({ words, gaps }: CaptionWords, at: number): boolean {
  if (!/[^siu]s$/.test(words[at]!) || !ONE.has(words[at - 2] ?? "")) return false;
  const next = words[at + 1];
  return next === undefined || gaps[at] !== Gap.None || CLOSERS.has(next) || DETERMINERS.has(next);
}

const ONE = new Set(["a", "an", "one", "this", "that", "each", "every", "another"]);

/** Where an age ends that begins at a place ("a [five year old] boy", "in his [twenties]"), or `undefined`. */
function ageAt(tokens: CaptionWords, at: number): number | undefined {
  const { words } = tokens;
  const word = words[at]!;
  const first = word.charCodeAt(0);
  const isDigits = first >= 48 && first <= 57;
  if (!isDigits && !NUMBERS.has(word) && !DECADES.has(word)) return undefined;
  if (DECADES.has(word)) {
    let owner = at - 1;
    if (["early", "mid", "late"].includes(words[owner] ?? "")) owner--;
    if (POSSESSIVES.has(words[owner] ?? "")) return at + 1;
  }
  const [unit, old] = [words[at + 1], words[at + 2]];
  if (unit !== "year" && unit !== "years" && unit !== "month" && unit !== "months") return undefined;
  if (old !== "old" && old !== "olds") return undefined;
  const after = at + 3;
  if (old === "olds" || leadsToPerson(tokens, after, { loose: true })) return after;
  if (isSaidOfPerson(tokens, at, after)) return after;
  return !COPULAS.has(words[at - 1] ?? "") && endsAt(tokens, after) ? after : undefined;
}
