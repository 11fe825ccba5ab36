/**
 * A small seeded generator of random numbers whose state can be saved and restored.
 *
 * Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators" (xoshiro128**), state filled
 * by SplitMix32-style mixing of the seed. Not for cryptography.
 *
 * @module
 */

const STATE_WORDS = 4;

/** Seeded random numbers: the same seed gives the same sequence on every machine. */
export class Rng {
  readonly #words: Uint32Array<ArrayBuffer>; // [4]

  /**
   * Starts the sequence of a seed.
   *
   * @param seed Any safe integer >= 0
   * @throws {RangeError} If the seed is not a safe integer >= 0
   */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) {
      throw new RangeError(`Cannot seed random numbers with ${seed}: expected an integer >= 0`);
    }
    // Both halves of the seed enter the mix, so that seeds beyond 2^32 differ too.
    let mix = (seed >>> 0) ^ Math.imul(Math.floor(seed / 2 ** 32), 0x85ebca6b);
    this.#words = Uint32Array.from({ length: STATE_WORDS }, () => {
      mix = (mix + 0x9e3779b9) | 0;
      return mixBits(mix);
    });
  }

  /**
   * Continues from a saved state.
   *
   * @param state What {@linkcode Rng.state} returned
   * @throws {TypeError} If the state is not four unsigned 32-bit integers, not all zero
   */
  static fromState(state: readonly number[]): Rng {
    const valid = state.length === STATE_WORDS && state.some((word) => word !== 0) &&
      state.every((word) => Number.isInteger(word) && word >= 0 && word < 2 ** 32);
    if (!valid) {
      throw new TypeError(
        `Cannot restore random numbers: expected ${STATE_WORDS} unsigned 32-bit integers, not all zero, found [${state}]`,
      );
    }
    const rng = new Rng(0);
    rng.#words.set(state);
    return rng;
  }

  /** Four unsigned 32-bit integers from which {@linkcode Rng.fromState} continues this sequence. */
  state(): number[] {
    return [...this.#words];
  }

  /** Next 32 random bits, as an integer in [0, 2^32). */
  bits(): number {
    const words = this.#words;
    const [s0, s1, s2, s3] = words as unknown as [number, number, number, number];
    const scrambled = Math.imul(rotateLeft(Math.imul(s1, 5), 7), 9) >>> 0;
    const t2 = s2 ^ s0;
    const t3 = s3 ^ s1;
    words[0] = s0 ^ t3;
    words[1] = s1 ^ t2;
    words[2] = t2 ^ (s1 << 9);
    words[3] = rotateLeft(t3, 11);
    return scrambled;
  }

  /** Uniform number in [0, 1), in steps of 2^-32. */
  next(): number {
    return this.bits() / 2 ** 32;
  }

  /**
   * Uniform integer in [0, n).
   *
   * @throws {RangeError} If n is not an integer in [1, 2^32]
   */
  int(n: number): number {
    if (!Number.isInteger(n) || n < 1 || n > 2 ** 32) {
      throw new RangeError(`Cannot draw an integer below ${n}: expected an integer in [1, 2^32]`);
    }
    // Draws at or above the largest multiple of n would favour small results: draw again.
    const limit = 2 ** 32 - (2 ** 32 % n);
    let draw = this.bits();
    while (draw >= limit) draw = this.bits();
    return draw % n;
  }

  /** Standard normal number (mean 0, deviation 1), by Box and Muller; uses two draws, keeps nothing. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(1 - this.next()));
    return radius * Math.cos(2 * Math.PI * this.next());
  }

  /**
   * One element, uniformly.
   *
   * @throws {RangeError} If the array is empty
   */
  pick<T>(array: readonly T[]): T {
    if (array.length === 0) throw new RangeError("Cannot pick from an empty array");
    return array[this.int(array.length)] as T;
  }

  /** Shuffles the array in place (Fisher and Yates) and returns it. */
  shuffle<T>(array: T[]): T[] {
    for (let i = array.length - 1; i > 0; i--) {
      const j = this.int(i + 1);
      [array[i], array[j]] = [array[j] as T, array[i] as T];
    }
    return array;
  }
}

/**
 * 32-bit hash of a text (FNV-1a over UTF-8, then mixed): stable across machines and versions, for splits and seeds.
 *
 * @returns An unsigned 32-bit integer
 */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return mixBits(hash);
}

/** Spreads every input bit over the word (the finaliser of MurmurHash3). */
function mixBits(value: number): number {
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}

function rotateLeft(value: number, count: number): number {
  return (value << count) | (value >>> (32 - count));
}
