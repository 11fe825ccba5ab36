/**
 * Pairs of binary codes that differ in few bits, among millions, and the groups that they form.
 *
 * Two codes that differ in at most d bits agree entirely in one of d + 1 bands: only codes that share a band are compared. With more bands
 * than that, or fewer differing bits than expected, most are found.
 *
 * Sources: Manku, Jain, Das Sarma, "Detecting Near-Duplicates for Web Crawling", 2007 (bands); Charikar, "Similarity Estimation Techniques
 * from Rounding Algorithms", 2002 (signs of random projections).
 *
 * @module
 */

import { Rng } from "../base/rng.ts";

/** Options of {@linkcode findNearPairs}. */
export interface NearPairsOptions {
  /** Words of 32 bits of one code. */
  readonly wordsPerCode: number;
  /** First bit and length of each band, at most 20 bits long. */
  readonly bands: readonly (readonly [start: number, bits: number])[];
  /** Most bits that may differ. */
  readonly maxDistance: number;
  /** What else must hold of a pair. @default nothing */
  verify?(a: number, b: number): boolean;
  /** Codes of a band's value that are all compared; of more, each with so many that follow it. @default 1000 */
  readonly maxBucket?: number;
}

/** Calls `onPair` for pairs of codes that are near each other; a pair may come several times. */
export function findNearPairs(
  codes: Uint32Array,
  options: NearPairsOptions & { onPair(a: number, b: number): void },
): void {
  const { wordsPerCode, bands, maxDistance, verify, onPair, maxBucket = 1000 } = options;
  const count = codes.length / wordsPerCode;
  const keys = new Float64Array(count);
  for (const [start, bits] of bands) {
    for (let i = 0; i < count; i++) {
      keys[i] = bandOf(codes, i * wordsPerCode, start, bits) * 2 ** 32 + i;
    }
    keys.sort();
    for (let from = 0; from < count;) {
      const value = Math.floor(keys[from]! / 2 ** 32);
      let to = from + 1;
      while (to < count && Math.floor(keys[to]! / 2 ** 32) === value) to++;
      for (let i = from; i < to; i++) {
        const a = keys[i]! % 2 ** 32;
        for (let j = i + 1; j < Math.min(to, i + 1 + maxBucket); j++) {
          const b = keys[j]! % 2 ** 32;
          if (distance(codes, a * wordsPerCode, b * wordsPerCode, wordsPerCode) > maxDistance) continue;
          if (verify === undefined || verify(a, b)) onPair(a, b);
        }
      }
      from = to;
    }
  }
}

function bandOf(codes: Uint32Array, at: number, start: number, bits: number): number {
  let value = 0;
  for (let bit = start; bit < start + bits; bit++) {
    value = value << 1 | (codes[at + (bit >> 5)]! >>> (bit & 31) & 1);
  }
  return value;
}

/** Bits in which two codes differ. */
export function distance(codes: Uint32Array, a: number, b: number, words: number): number {
  let sum = 0;
  for (let i = 0; i < words; i++) {
    let x = codes[a + i]! ^ codes[b + i]!;
    x -= x >>> 1 & 0x55555555;
    x = (x & 0x33333333) + (x >>> 2 & 0x33333333);
    sum += Math.imul(x + (x >>> 4) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return sum;
}

/** Groups of things that are pairwise or over others connected. */
export class Groups {
  readonly #parent: Uint32Array;

  /** Starts with `count` things, each alone. */
  constructor(count: number) {
    this.#parent = Uint32Array.from({ length: count }, (_, i) => i);
  }

  /** Puts two into one group. */
  join(a: number, b: number): void {
    const [x, y] = [this.#root(a), this.#root(b)];
    this.#parent[Math.max(x, y)] = Math.min(x, y);
  }

  /** Groups of at least two, members ascending, the largest group first. */
  list(): number[][] {
    const groups = new Map<number, number[]>();
    for (let i = 0; i < this.#parent.length; i++) {
      const root = this.#root(i);
      if (root === i) continue;
      const group = groups.get(root);
      if (group === undefined) groups.set(root, [root, i]);
      else group.push(i);
    }
    return [...groups.values()].sort((a, b) => b.length - a.length || a[0]! - b[0]!);
  }

  #root(i: number): number {
    while (this.#parent[i] !== i) {
      this.#parent[i] = this.#parent[this.#parent[i]!]!;
      i = this.#parent[i]!;
    }
    return i;
  }
}

/** Signs of random projections of vectors: codes whose differing bits tell the angle. */
export class SignCodes {
  /** Words of 32 bits of one code. */
  static readonly WORDS = 12;
  readonly #planes: Float32Array;
  readonly #width: number;

  /** Draws the planes for vectors of a width. */
  constructor(width: number) {
    const rng = new Rng(17);
    this.#width = width;
    this.#planes = Float32Array.from({ length: SignCodes.WORDS * 32 * width }, () => rng.next() - 0.5);
  }

  /** Writes the code of a vector, from which a centre is taken away, to `codes` at `at`. */
  write(vector: ArrayLike<number>, centre: ArrayLike<number>, codes: Uint32Array, at: number): void {
    const width = this.#width;
    const moved = Float32Array.from({ length: width }, (_, c) => vector[c]! - centre[c]!);
    for (let word = 0; word < SignCodes.WORDS; word++) {
      let bits = 0;
      for (let bit = 0; bit < 32; bit++) {
        const plane = (word * 32 + bit) * width;
        let sum = 0;
        for (let c = 0; c < width; c++) sum += moved[c]! * this.#planes[plane + c]!;
        if (sum > 0) bits |= 1 << bit;
      }
      codes[at + word] = bits;
    }
  }

  /** Bands for so many vectors: narrow ones find nearly all pairs of cosine 0.9 and above, wide ones keep millions apart. */
  static bands(count: number): [number, number][] {
    const bits = count <= 200_000 ? 12 : 16;
    return Array.from({ length: Math.floor(SignCodes.WORDS * 32 / bits) }, (_, i) => [i * bits, bits]);
  }
}
