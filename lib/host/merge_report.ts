/**
 * What a merge met twice: rows that several sources have, and images that are in the train split and in another.
 *
 * @module
 */

import type { Split } from "../datasets/rows.ts";

/** Counts of a merge. */
export interface MergeCounts {
  /** Rows of each split and source that were taken: `train` → `coco` → 80. */
  taken: Record<string, Record<string, number>>;
  /** Rows left out, for another source has the same image with the same captions in the same split: `coco = flickr` → 3. */
  duplicates: Record<string, number>;
  /** Images of the train split that are in another, too: `coco train, flickr test` → 2. They stay. */
  leaks: Record<string, number>;
}

/** Follows the rows of a merge. Takes about 200 bytes of memory a row. */
export class SeenRows {
  readonly counts: MergeCounts;
  /** By split, image and captions: the source that had it first. */
  readonly #rows = new Map<string, string>();
  /** By image: the first source of each split. */
  readonly #images = new Map<string, Partial<Record<Split, string>>>();

  /** @param duplicates Those counted before a break */
  constructor(duplicates: Readonly<Record<string, number>> = {}) {
    this.counts = { taken: {}, duplicates: { ...duplicates }, leaks: {} };
  }

  /** Whether a row is to be taken; `false` for one that another source has brought. */
  add(split: Split, row: { sha256: string; captions: readonly string[]; source: string }): boolean {
    const { sha256, captions, source } = row;
    const key = `${split} ${sha256} ${JSON.stringify(captions)}`;
    const first = this.#rows.get(key);
    if (first !== undefined && first !== source) {
      increment(this.counts.duplicates, `${first} = ${source}`);
      return false;
    }
    this.#rows.set(key, source);
    increment(this.counts.taken[split] ??= {}, source);
    const splits = this.#images.get(sha256) ?? {};
    if (splits[split] === undefined) {
      splits[split] = source;
      this.#images.set(sha256, splits);
      const others = split === "train" ? ["validation", "test"] as const : [split];
      for (const other of others) {
        const [train, held] = [splits.train, splits[other]];
        if (train !== undefined && held !== undefined) {
          increment(this.counts.leaks, `${train} train, ${held} ${other}`);
        }
      }
    }
    return true;
  }
}

function increment(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

/** Sum of counts. */
export function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
