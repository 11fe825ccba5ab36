/**
 * Words of captions as the COCO caption evaluation cuts them: the Penn Treebank tokenizer of CoreNLP 3.4.1, lower-cased, without
 * punctuation.
 *
 * Source: pycocoevalcap, `tokenizer/ptbtokenizer.py`, which runs CoreNLP's PTBTokenizer with `-preserveLines -lowerCase`
 *
 * @module
 */

import { keepsPeriod, LETTER_START, SPLIT_WORDS, TOKEN_PATTERNS } from "./ptb_patterns.ts";

// The list also has -LRB- and its like in capitals, which lower-casing makes it miss: brackets stay.
const PUNCTUATION: ReadonlySet<string> = new Set(
  ["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"],
);

const PATTERNS_BY_START = Object.fromEntries(
  ["L", "D", "O"].map((start) => [start, TOKEN_PATTERNS.filter(({ starts }) => starts.includes(start))]),
);
/** A plain word with what lets it be taken as it is: a space, a comma and a space, the end, or a period and the end. */
const PLAIN_WORD = /([A-Za-z]+)(?:( +)|, |(\.?) *$)/y;
const DIGIT_START = /\p{Nd}/uy;

/** Letters, apostrophes and hyphens before a space: what becomes of them depends on nothing around. */
const PLAIN_CHUNK = /[A-Za-z][A-Za-z'\u2019-]*(?= )/y;
const chunks = new Map<string, readonly string[]>();
/** A table of chunks that grew larger starts anew. */
const MAX_CHUNKS = 100_000;

/**
 * Words of a caption, each as one string that can hold a no-break space (`1 1/2` is one word). A caption is cut by itself; line
 * breaks count as spaces.
 *
 * @example `ptbTokens("A dog's toy, isn't it?")` gives `a dog 's toy is n't it`
 */
export function ptbTokens(text: string): string[] {
  const tokens: string[] = [];
  let at = 0;
  while (at < text.length) {
    PLAIN_WORD.lastIndex = at;
    const plain = PLAIN_WORD.exec(text);
    if (plain !== null && isPlain(plain)) {
      tokens.push(plain[1]!.toLowerCase());
      at += plain[0].length;
      continue;
    }
    PLAIN_CHUNK.lastIndex = at;
    const chunk = PLAIN_CHUNK.exec(text)?.[0];
    if (chunk === undefined) {
      at = readToken(text, { at, tokens });
    } else {
      for (const token of chunkTokens(chunk)) tokens.push(token);
      at += chunk.length + 1;
    }
  }
  return tokens;
}

function chunkTokens(chunk: string): readonly string[] {
  const known = chunks.get(chunk);
  if (known !== undefined) return known;
  const tokens: string[] = [];
  const text = `${chunk} `;
  for (let at = 0; at < chunk.length;) at = readToken(text, { at, tokens });
  if (chunks.size >= MAX_CHUNKS) chunks.clear();
  chunks.set(chunk, tokens);
  return tokens;
}

function isPlain([, word, , period]: RegExpExecArray): boolean {
  if (word!.length > 3 && word!.length < 7 && SPLIT_WORDS.has(word!.toLowerCase())) return false;
  return period !== "." || !keepsPeriod(word!);
}

/** Reads one token, the longest, and gives the position after it. */
function readToken(text: string, { at, tokens }: { at: number; tokens: string[] }): number {
  let longest = 0, found: RegExpExecArray | undefined, kind;
  for (const candidate of PATTERNS_BY_START[startOf(text, at)]!) {
    if (candidate.needs !== undefined && !text.includes(candidate.needs, at)) continue;
    candidate.pattern.lastIndex = at;
    const match = candidate.pattern.exec(text);
    if (match !== null && match[0].length > longest) {
      longest = match[0].length;
      found = match;
      kind = candidate;
    }
  }
  // What no pattern knows, such as emoji, is dropped.
  if (found === undefined || kind === undefined) return at + (text.codePointAt(at)! > 0xffff ? 2 : 1);
  const { write, rereads = 0, keepsReread = false } = kind;
  const read = found[1]!;
  const kept = keepsReread ? read : read.slice(0, read.length + rereads);
  const written = write === undefined ? kept : write(kept);
  if (written !== undefined) {
    const word = written.toLowerCase();
    if (!PUNCTUATION.has(word)) tokens.push(word);
  }
  return at + read.length + rereads;
}

function startOf(text: string, at: number): "L" | "D" | "O" {
  const code = text.charCodeAt(at);
  if (code < 128) {
    if ((code | 32) >= 97 && (code | 32) <= 122) return "L";
    return code >= 48 && code <= 57 ? "D" : "O";
  }
  DIGIT_START.lastIndex = LETTER_START.lastIndex = at;
  if (DIGIT_START.test(text)) return "D";
  return LETTER_START.test(text) ? "L" : "O";
}
