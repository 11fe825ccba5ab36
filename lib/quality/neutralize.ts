/**
 * Rewrites captions without protected terms, by rules: for plain cases, where no model can be asked.
 *
 * Words for persons become neutral ones ("a man" a person, "two girls" two children, "policeman" police officer), adjectives of
 * protected categories go, pronouns become "they" with its verbs. What is said of animals and things stays, to the letter.
 *
 * @module
 */

import neutral from "../../data/words/neutral.json" with { type: "json" };
import { type CaptionWords } from "./caption_words.ts";
import { indefiniteArticle, pluralOf, pluralVerb } from "./grammar.ts";
import { captionWords, findProtectedTerms, type ProtectedMatch } from "./protected_terms.ts";
import {
  endsAt,
  type FoundTerm,
  isPersonAt,
  isSaidOfPerson,
  leadsToPerson,
  scanTerms,
} from "./term_rules.ts";
import { CLOSERS, COPULAS, MODIFIERS, NUMBERS, PRONOUNS, VERBS } from "./word_lists.ts";

/** A caption that was gone over. */
export interface NeutralCaption {
  /** The caption; the very same where nothing was found. */
  readonly caption: string;
  /** Whether it differs. */
  readonly changed: boolean;
  /** Protected terms that the rules could not remove. */
  readonly remaining: readonly ProtectedMatch[];
}

const NOUNS: ReadonlyMap<string, string> = new Map(Object.entries(neutral.nouns));
const TITLES: ReadonlySet<string> = new Set(neutral.titles);
const AFTER_WITH: ReadonlySet<string> = new Set(neutral.afterWith);
/** Younger ones are children. */
const ADULT_YEARS = 18;

/** A word of the caption while it is rewritten. */
interface Piece {
  /** As it will stand; empty where it goes. */
  text: string;
  /** What stands between it and the next. */
  separator: string;
  /** Lower case, as the caption had it. */
  readonly word: string;
  /** It was changed, so articles before it are looked at again. */
  edited: boolean;
}

/** Rewrites a caption; one without protected terms is given back as it is. */
export function neutralizeCaption(caption: string): NeutralCaption {
  let text = caption;
  // What goes may let another term be seen for what it is.
  for (let round = 0; round < 2; round++) {
    const next = rewrite(text);
    if (next === text) break;
    text = next;
  }
  return { caption: text, changed: text !== caption, remaining: findProtectedTerms(text) };
}

function rewrite(caption: string): string {
  const tokens = captionWords(caption);
  const terms = scanTerms(tokens).filter(({ use }) => use !== "accepted");
  if (terms.length === 0) return caption;
  const { words, starts, ends } = tokens;
  const pieces = words.map((word, at): Piece => ({
    word,
    text: caption.slice(starts[at], ends[at]),
    separator: caption.slice(ends[at], starts[at + 1]),
    edited: false,
  }));
  const editor = new Editor(tokens, pieces);
  const isCovered = (at: number, by: FoundTerm) => terms.some((other) => other !== by && other.from === at);
  for (const [place, term] of terms.entries()) {
    if (terms.slice(0, place).some(({ from }) => from === term.from)) continue;
    editor.replace(term, isCovered(term.to, term));
  }
  editor.addCounts();
  editor.joinTwins();
  editor.fixArticles();
  const start = caption.slice(0, starts[0]);
  return restoreCapital(
    tidy(start + pieces.map(({ text, separator }) => text + separator).join("")),
    caption,
  );
}

class Editor {
  readonly #tokens: CaptionWords;
  readonly #pieces: Piece[];

  constructor(tokens: CaptionWords, pieces: Piece[]) {
    this.#tokens = tokens;
    this.#pieces = pieces;
  }

  /** Gives a term its neutral form. */
  replace(term: FoundTerm, termFollows: boolean): void {
    const { from, to, use } = term;
    const { words } = this.#tokens;
    const text = words.slice(from, to).join(" ");
    if (this.#pieces[from]!.edited) return;
    if (PRONOUNS.has(text)) return this.#replacePronoun(from);
    if (use === "country") return this.#delete(from - 1, to);
    if (use === "age") return this.#replaceAge(from, to);
    if (AFTER_WITH.has(text)) return this.#deleteAfterWith(from, to);
    if (TITLES.has(text)) {
      this.#pieces[from]!.separator = " ";
      return this.#delete(from, words[to] === "and" && TITLES.has(words[to + 1] ?? "") ? to + 1 : to);
    }
    const noun = this.#nounFor(term, text, termFollows);
    if (noun !== undefined) return this.#put(from, to, noun);
    this.#deleteAdjective(from, to);
  }

  /** The noun that takes a term's place, or none where the term is an adjective. */
  #nounFor({ from, to, use }: FoundTerm, text: string, termFollows: boolean): string | undefined {
    const { words } = this.#tokens;
    if (words[from - 1] === "baby" && /^(?:boy|girl|brother|sister)s?$/.test(text)) return "";
    const scouts = NOUNS.get(`${text} ${words[to]}`);
    if (scouts !== undefined) {
      this.#delete(from, to);
      return "";
    }
    const pair = NOUNS.get(`${words[from - 1]} ${text}`);
    if (pair !== undefined) {
      this.#delete(from - 1, from);
      return pair;
    }
    const known = NOUNS.get(text);
    const isAdjective = leadsToPerson(this.#tokens, to);
    if (known !== undefined && !(isAdjective && (use !== "always" || MODIFIERS.has(text)))) return known;
    if (use === "always" && /[^s]s$/.test(text)) return isAdjective ? undefined : "people";
    if (isAdjective || isSaidOfPerson(this.#tokens, from, to)) return undefined;
    if (words[to] === "and" && /^(?:young|old)$/.test(text) && words[to + 1] !== text) return undefined;
    if (termFollows && use !== "always") return undefined;
    if (!endsAt(this.#tokens, to)) return undefined;
    const isPlural = /[^s]s$/.test(text) || this.#isAfterNumber(from);
    if (words[from - 1] === "the" && MODIFIERS.has(text)) {
      this.#delete(from - 1, from);
      return "people";
    }
    return isPlural || text === "old" || text === "young" ? "people" : "person";
  }

  #isAfterNumber(at: number): boolean {
    const before = this.#tokens.words[at - 1] ?? "";
    return (NUMBERS.has(before) && before !== "one") ||
      /^(?:several|many|some|these|those|few|both)$/.test(before) ||
      /^\d+$/.test(before);
  }

  #put(from: number, to: number, text: string): void {
    const piece = this.#pieces[from]!;
    const separator = this.#pieces[to - 1]!.separator;
    if (text === "") return this.#delete(from, to);
    for (const gone of this.#pieces.slice(from + 1, to)) [gone.text, gone.separator] = ["", ""];
    piece.text = /^\p{Lu}/u.test(piece.text) && from === 0 ? capitalize(text) : text;
    piece.separator = separator;
    piece.edited = true;
  }

  #delete(from: number, to: number): void {
    for (const piece of this.#pieces.slice(from, to)) Object.assign(piece, { text: "", edited: true });
    const last = this.#pieces[to - 1]!;
    const kept = last.separator.trim() === "" || last.separator === "-" || /^'s\s/.test(last.separator)
      ? ""
      : last.separator;
    for (const piece of this.#pieces.slice(from, to)) piece.separator = "";
    const before = this.#pieces.slice(0, from).findLast(({ text }) => text !== "");
    if (kept === "" || before === undefined) return;
    // A full stop or comma after what goes belongs to the word before, unless that has one.
    before.separator = kept.startsWith(",") && to < this.#pieces.length ? before.separator : kept;
  }

  /** Deletes an adjective, and what joins it to the next or the one before. */
  #deleteAdjective(from: number, to: number): void {
    const { words } = this.#tokens;
    const isSaying = words[from - 2] === "who" && COPULAS.has(words[from - 1]!);
    if (isSaying || isSaidOfPerson(this.#tokens, from, to)) return this.#deleteSaying(from, to);
    const joins = (at: number) => words[at] === "and" || words[at] === "or";
    if (joins(to) && this.#isAdjective(to + 1)) return this.#delete(from, to + 1);
    if (joins(from - 1) && this.#isAdjective(from - 2) && this.#pieces[from - 1]!.text !== "") {
      return this.#delete(from - 1, to);
    }
    const before = this.#pieces[from - 1];
    if (before?.separator.startsWith(",") && MODIFIERS.has(words[from - 1] ?? "")) before.separator = " ";
    this.#delete(from, to);
  }

  #isAdjective(at: number): boolean {
    const word = this.#tokens.words[at];
    return word !== undefined && MODIFIERS.has(word) && !isPersonAt(this.#tokens, at);
  }

  /** "The girl is blind and reads" becomes "The girl reads"; "a man who is deaf" loses all of it. */
  #deleteSaying(from: number, to: number): void {
    const { words } = this.#tokens;
    let start = from - 1;
    while (!CLOSERS.has(words[start]!)) start--;
    if (words[start - 1] === "who") start--;
    const end = words[to] === "and" && VERBS.has(words[to + 1] ?? "") ? to + 1 : to;
    this.#delete(start, end);
  }

  /** "with Down syndrome" goes with its preposition and article. */
  #deleteAfterWith(from: number, to: number): void {
    const { words } = this.#tokens;
    let start = from;
    while (/^(?:a|an|the|severe|physical|mental)$/.test(words[start - 1] ?? "")) start--;
    this.#delete(words[start - 1] === "with" ? start - 1 : from, to);
  }

  #replaceAge(from: number, to: number): void {
    const { words } = this.#tokens;
    if (to === from + 1) {
      // "in his twenties" goes whole.
      let start = from - 1;
      while (start > 0 && words[start] !== "in") start--;
      return this.#delete(words[start] === "in" ? start : from, to);
    }
    if (leadsToPerson(this.#tokens, to)) return this.#delete(from, to);
    if (isSaidOfPerson(this.#tokens, from, to)) return this.#deleteSaying(from, to);
    const years = /^\d+$/.test(words[from]!) ? Number(words[from]) : spelledYears(words[from]!);
    const isPlural = words[to - 1] === "olds";
    const noun = /^month/.test(words[from + 1]!) ? "baby" : years < ADULT_YEARS ? "child" : "person";
    this.#put(from, to, isPlural ? pluralOf(noun) : noun);
  }

  #replacePronoun(at: number): void {
    const { words, gaps } = this.#tokens;
    const word = words[at]!;
    // "his or her" is one of them.
    if (words[at + 1] === "or" && PRONOUNS.has(words[at + 2] ?? "")) return this.#delete(at, at + 2);
    if (word === "he" || word === "she") {
      if (at === 0) return this.#put(at, at + 1, "a person");
      this.#put(at, at + 1, "they");
      const piece = this.#pieces[at]!;
      if (/^['’]s\b/.test(piece.separator)) piece.separator = piece.separator.replace(/^(['’])s/, "$1re");
      else this.#agree(at + 1);
      return;
    }
    if (word === "himself" || word === "herself") return this.#put(at, at + 1, "themselves");
    const next = words[at + 1];
    const ownsNext = next !== undefined && gaps[at] === 0 &&
      (!CLOSERS.has(next) || isPersonAt(this.#tokens, at + 1));
    if (word === "hers" || (word === "his" && !ownsNext)) return this.#put(at, at + 1, "theirs");
    this.#put(at, at + 1, word === "his" || (word === "her" && ownsNext) ? "their" : "them");
  }

  /** Gives the verbs of "they" their plural: "he runs and jumps" becomes "they run and jump". */
  #agree(from: number): void {
    const { words } = this.#tokens;
    let at = from;
    while (/(?:ly|also|still|then|never|always|just|now)$/.test(words[at] ?? "")) at++;
    for (let verb = words[at]; verb !== undefined; verb = words[at]) {
      const piece = this.#pieces[at]!;
      const plural = pluralVerb(verb);
      if (plural !== verb) Object.assign(piece, { text: plural, edited: true });
      if (words[at + 1] !== "and" || !VERBS.has(words[at + 2] ?? "")) return;
      at += 2;
    }
  }

  /** "three people and two people" becomes "five people". */
  addCounts(): void {
    const standing = this.#pieces.filter(({ text }) => text !== "");
    for (let at = 0; at + 4 < standing.length; at++) {
      const [first, noun, and, second, other] = standing.slice(at, at + 5) as [
        Piece,
        Piece,
        Piece,
        Piece,
        Piece,
      ];
      const [left, right] = [countOf(first.text), countOf(second.text)];
      if (left === undefined || right === undefined || left < 2 || and.text !== "and") continue;
      if (!noun.edited || !other.edited || noun.separator.trim() !== "") continue;
      if (pluralOf(other.text) !== noun.text && other.text !== noun.text) continue;
      const sum = SPELLED[left + right] ?? String(left + right);
      first.text = /^\p{Lu}/u.test(first.text) ? capitalize(sum) : sum;
      noun.separator = other.separator;
      for (const gone of [and, second, other]) Object.assign(gone, { text: "", separator: "" });
    }
  }

  /** "a person and a person" becomes "two people". */
  joinTwins(): void {
    const standing = this.#pieces.filter(({ text }) => text !== "");
    for (let at = 0; at + 2 < standing.length; at++) {
      const noun = standing[at]!;
      if (!noun.edited || standing[at + 1]!.text !== "and") continue;
      const second = [at + 2, at + 3].find((place) =>
        standing[place]?.edited && standing[place]!.text.toLowerCase() === noun.text.toLowerCase()
      );
      if (second === undefined || noun.separator.trim() !== "") continue;
      const between = standing[second - 1]!.text.toLowerCase();
      const isArticle = (text: string) => /^(?:an?|the|one|their)$/.test(text);
      if (second === at + 3 && !isArticle(between)) continue;
      const before = standing[at - 1];
      const plural = pluralOf(noun.text.toLowerCase());
      const first = before?.text.toLowerCase() ?? "";
      for (const gone of standing.slice(at + 1, second)) Object.assign(gone, { text: "", separator: "" });
      standing[second]!.text = "";
      noun.separator = standing[second]!.separator;
      standing[second]!.separator = "";
      noun.text = at === 0 ? capitalize(plural) : plural;
      if (before !== undefined && /^(?:an?|one)$/.test(first)) {
        before.text = at === 1 && /^\p{Lu}/u.test(before.text) ? "Two" : "two";
      }
      return this.joinTwins();
    }
  }

  /** Articles before what was changed follow its sound. */
  fixArticles(): void {
    for (const [at, piece] of this.#pieces.entries()) {
      if (!/^an?$/i.test(piece.text) || !this.#pieces[at + 1]?.edited) continue;
      const next = this.#pieces.slice(at + 1).find(({ text }) => text !== "");
      if (next === undefined) continue;
      const article = indefiniteArticle(next.text);
      piece.text = /^A/.test(piece.text) ? capitalize(article) : article;
    }
  }
}

const SPELLED = [
  "zero",
  "one",
  "two",
  "three",
  "four",
  "five",
  "six",
  "seven",
  "eight",
  "nine",
  "ten",
  "eleven",
  "twelve",
  "thirteen",
  "fourteen",
  "fifteen",
  "sixteen",
  "seventeen",
  "eighteen",
];

/** How many a word says, articles being one; `undefined` if it is no number. */
function countOf(text: string): number | undefined {
  const word = text.toLowerCase();
  if (word === "a" || word === "an") return 1;
  const count = SPELLED.indexOf(word);
  return count < 0 ? undefined : count;
}

/** Years of a number written out; beyond the list they are many. */
function spelledYears(word: string): number {
  const years = SPELLED.indexOf(word);
  return years < 0 ? Infinity : years;
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function tidy(text: string): string {
  return text.replace(/ {2,}/g, " ").replace(/ +([,.;:!?])/g, "$1").replace(/^[\s,]+|\s+$/g, "");
}

function restoreCapital(text: string, before: string): string {
  if (/\p{Lu}{2}/u.test(before) && !/\p{Ll}/u.test(before)) return text.toUpperCase();
  return /^\W*\p{Lu}/u.test(before) ? text.replace(/\p{L}/u, (letter) => letter.toUpperCase()) : text;
}
