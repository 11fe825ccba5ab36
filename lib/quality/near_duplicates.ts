/**
 * Images that are nearly the same as others, by perceptual hash and by embedding, and which of them lie in different splits.
 *
 * @module
 */

import { findNearPairs, Groups, SignCodes } from "./near_pairs.ts";

/** Most bits of 64 that the hashes of one picture differ in after scaling, recompression or a slight change of light. */
export const MAX_HASH_DISTANCE = 4;
/** Mean difference of the tiny pictures' values, of 255: hashes know no colour. */
export const MAX_THUMB_DIFFERENCE = 6;
const THUMB_BYTES = 48;
/** Five bands: hashes that differ in four bits agree in one. */
const HASH_BANDS = [[0, 13], [13, 13], [26, 13], [39, 13], [52, 12]] as const;

/** Hashes and tiny pictures of images, in few bytes each. */
export class ImagePrints {
  #hashes = new Uint32Array(2 * 1024);
  #thumbs = new Uint8Array(THUMB_BYTES * 1024);
  #size = 0;

  /** Images so far. */
  get size(): number {
    return this.#size;
  }

  /** Adds an image. @param hash 16 hexadecimal digits @param thumb 96 of them */
  add(hash: string, thumb: string): void {
    if ((this.#size + 1) * 2 > this.#hashes.length) {
      this.#hashes = grow(this.#hashes, new Uint32Array(this.#hashes.length * 2));
      this.#thumbs = grow(this.#thumbs, new Uint8Array(this.#thumbs.length * 2));
    }
    this.#hashes[2 * this.#size] = parseInt(hash.slice(0, 8), 16);
    this.#hashes[2 * this.#size + 1] = parseInt(hash.slice(8), 16);
    this.#thumbs.set(Uint8Array.fromHex(thumb), THUMB_BYTES * this.#size);
    this.#size++;
  }

  /** Groups of images whose hashes and colours are nearly equal. */
  groups(): number[][] {
    const groups = new Groups(this.#size);
    findNearPairs(this.#hashes.subarray(0, 2 * this.#size), {
      wordsPerCode: 2,
      bands: HASH_BANDS,
      maxDistance: MAX_HASH_DISTANCE,
      verify: (a, b) => this.#thumbDifference(a, b) <= MAX_THUMB_DIFFERENCE,
      onPair: (a, b) => groups.join(a, b),
    });
    return groups.list();
  }

  #thumbDifference(a: number, b: number): number {
    let sum = 0;
    for (let i = 0; i < THUMB_BYTES; i++) {
      sum += Math.abs(this.#thumbs[a * THUMB_BYTES + i]! - this.#thumbs[b * THUMB_BYTES + i]!);
    }
    return sum / THUMB_BYTES;
  }
}

function grow<T extends Uint8Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** Options of {@linkcode embeddingGroups}. */
export interface EmbeddingGroupsOptions {
  /** Embeddings, each of length 1. */
  readonly count: number;
  /** Numbers of one. */
  readonly width: number;
  /** Least cosine of near duplicates. */
  readonly minCosine: number;
  /** Gives an embedding; what it gives may be overwritten by the next call. */
  read(index: number): ArrayLike<number>;
}

/** Groups of images whose embeddings are nearly equal. */
export function embeddingGroups(options: EmbeddingGroupsOptions): number[][] {
  const { count, width, minCosine, read } = options;
  const groups = new Groups(count);
  if (count < 2) return [];
  const centre = new Float64Array(width);
  for (let i = 0; i < count; i++) {
    const vector = read(i);
    for (let c = 0; c < width; c++) centre[c]! += vector[c]! / count;
  }
  const signs = new SignCodes(width);
  const codes = new Uint32Array(count * SignCodes.WORDS);
  for (let i = 0; i < count; i++) signs.write(read(i), centre, codes, i * SignCodes.WORDS);
  const first = new Float32Array(width);
  findNearPairs(codes, {
    wordsPerCode: SignCodes.WORDS,
    bands: SignCodes.bands(count),
    // Centred vectors lie further apart: a quarter of the bits is an angle of 45 degrees.
    maxDistance: SignCodes.WORDS * 32 / 4,
    verify(a, b) {
      first.set(read(a));
      const second = read(b);
      let dot = 0;
      for (let c = 0; c < width; c++) dot += first[c]! * second[c]!;
      return dot >= minCosine;
    },
    onPair: (a, b) => groups.join(a, b),
  });
  return groups.list();
}

/** Near duplicates as a report counts them. */
export interface DuplicateCounts {
  /** Groups of near duplicates. */
  readonly groups: number;
  /** Images that could be left out: all but one of each group. */
  readonly surplus: number;
  /** Groups with images of different splits. */
  readonly leakedGroups: number;
  /** Images of the train split that have a near duplicate in another. */
  readonly leakedTrainImages: number;
}

/** Counts groups and what of them leaks from the train split into others. */
export function countDuplicates(
  groups: readonly (readonly number[])[],
  splitOf: (index: number) => string,
): DuplicateCounts {
  let [surplus, leakedGroups, leakedTrainImages] = [0, 0, 0];
  for (const group of groups) {
    surplus += group.length - 1;
    if (new Set(group.map(splitOf)).size < 2) continue;
    leakedGroups++;
    leakedTrainImages += group.filter((index) => splitOf(index) === "train").length;
  }
  return { groups: groups.length, surplus, leakedGroups, leakedTrainImages };
}
