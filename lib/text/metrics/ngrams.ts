/**
 * N-grams of tokens as numbers, so that those of a large corpus fit into memory and are counted once for BLEU and CIDEr.
 *
 * @module
 */

/** Longest n-grams that are counted. */
export const MAX_ORDER = 4;

/** A tokenized text with its 1- to 4-grams. */
export interface CountedText {
  /** Words. */
  readonly length: number;
  /** Numbers of its n-grams: all unigrams, ascending, then all bigrams and so on; one that occurs twice is there twice. */
  readonly ngrams: Int32Array;
}

/** Where the n-grams of an order begin in {@linkcode CountedText}, n counted from 0; they end where those of the next begin. */
export function orderStart(length: number, n: number): number {
  let start = 0;
  for (let m = 0; m < n; m++) start += Math.max(0, length - m);
  return start;
}

/** Gives n-grams their numbers, from 1: texts that share an index can be compared. */
export class NgramIndex {
  readonly #tokens = new Map<string, number>();
  // A table with open addressing: key is the number of the n-gram without its last token, then that token.
  #keys = new Float64Array(1 << 12);
  #values = new Int32Array(1 << 12);
  #size = 0;

  /** The highest number given so far. */
  get size(): number {
    return this.#size;
  }

  /** Numbers the n-grams of a text. White space inside a token separates. */
  count(tokens: readonly string[]): CountedText {
    return countNgrams(tokens, {
      token: (word) => {
        let number = this.#tokens.get(word);
        if (number === undefined) this.#tokens.set(word, number = this.#tokens.size + 1);
        return number;
      },
      ngram: (key) => this.#numberOf(key),
    });
  }

  /**
   * Numbers the n-grams of a text without keeping those that are new: they have numbers above {@linkcode NgramIndex.size} that mean
   * nothing beyond this text. The same text has the same numbers, whatever was looked up before.
   */
  lookUp(tokens: readonly string[]): CountedText {
    const [newTokens, newNgrams] = [new Map<string, number>(), new Map<number, number>()];
    const numberIn = <T>(map: Map<T, number>, key: T, size: number): number => {
      let number = map.get(key);
      if (number === undefined) map.set(key, number = size + map.size + 1);
      return number;
    };
    return countNgrams(tokens, {
      token: (word) => this.#tokens.get(word) ?? numberIn(newTokens, word, this.#tokens.size),
      ngram: (key) => this.#values[this.#slotOf(key)] || numberIn(newNgrams, key, this.#size),
    });
  }

  #slotOf(key: number): number {
    const mask = this.#keys.length - 1;
    let slot = hash(key) & mask;
    while (this.#keys[slot] !== 0 && this.#keys[slot] !== key) slot = (slot + 1) & mask;
    return slot;
  }

  #numberOf(key: number): number {
    const slot = this.#slotOf(key);
    if (this.#keys[slot] === key) return this.#values[slot]!;
    if (this.#size === 2 ** 26 - 1) {
      throw new RangeError("Cannot count n-grams: there are more than 67 million");
    }
    this.#keys[slot] = key;
    const number = this.#values[slot] = ++this.#size;
    if (this.#size * 2 > this.#keys.length) this.#grow();
    return number;
  }

  #grow(): void {
    const [keys, values] = [this.#keys, this.#values];
    this.#keys = new Float64Array(keys.length * 2);
    this.#values = new Int32Array(keys.length * 2);
    const mask = this.#keys.length - 1;
    for (const [i, key] of keys.entries()) {
      if (key === 0) continue;
      let slot = hash(key) & mask;
      while (this.#keys[slot] !== 0) slot = (slot + 1) & mask;
      this.#keys[slot] = key;
      this.#values[slot] = values[i]!;
    }
  }
}

/** Counts the n-grams of a text with the numbers of tokens and of n-grams, by their keys. */
function countNgrams(
  tokens: readonly string[],
  numberOf: { token(word: string): number; ngram(key: number): number },
): CountedText {
  const words = tokens.some((token) => /\s/.test(token))
    ? tokens.flatMap((token) => token.split(/\s+/).filter((word) => word !== ""))
    : tokens;
  const { length } = words;
  const numbers = words.map(numberOf.token);
  const ngrams = new Int32Array(orderStart(length, MAX_ORDER));
  const starts = Array.from({ length: MAX_ORDER + 1 }, (_, n) => orderStart(length, n));
  for (let at = 0; at < length; at++) {
    let prefix = 0;
    for (let n = 0; n < MAX_ORDER && at + n < length; n++) {
      prefix = numberOf.ngram(prefix * 2 ** 26 + numbers[at + n]!);
      ngrams[starts[n]! + at] = prefix;
    }
  }
  for (let n = 0; n < MAX_ORDER; n++) sortSmall(ngrams, starts[n]!, { end: starts[n + 1]! });
  return { length, ngrams };
}

/** Calls back with each different n-gram of `a`: its number, and how often it is in `a` and in `b`. */
export function visitCounts(
  [a, b]: readonly [CountedText, CountedText],
  n: number,
  visit: (ngram: number, inA: number, inB: number) => void,
): void {
  let i = orderStart(a.length, n);
  const endA = orderStart(a.length, n + 1);
  let j = orderStart(b.length, n);
  const endB = orderStart(b.length, n + 1);
  while (i < endA) {
    const ngram = a.ngrams[i]!;
    let [inA, inB] = [0, 0];
    while (i < endA && a.ngrams[i] === ngram) i++, inA++;
    while (j < endB && b.ngrams[j]! < ngram) j++;
    while (j < endB && b.ngrams[j] === ngram) j++, inB++;
    visit(ngram, inA, inB);
  }
}

function hash(key: number): number {
  const mixed = Math.imul(key | 0, 0x9e3779b1) ^ Math.imul((key / 2 ** 26) | 0, 0x85ebca6b);
  return mixed ^ (mixed >>> 15);
}

/** Sorts a stretch; short ones by insertion, which beats the call. */
function sortSmall(values: Int32Array, start: number, { end }: { end: number }): void {
  if (end - start > 24) {
    values.subarray(start, end).sort();
    return;
  }
  for (let i = start + 1; i < end; i++) {
    const value = values[i]!;
    let at = i;
    for (; at > start && values[at - 1]! > value; at--) values[at] = values[at - 1]!;
    values[at] = value;
  }
}
