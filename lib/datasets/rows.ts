/**
 * Rows of a captioning data set, and which split they belong to.
 *
 * @module
 */

import { hashText } from "../base/rng.ts";

/** Parts of a data set. */
export type Split = "train" | "validation" | "test";

/** All splits, in the order they are listed. */
export const SPLITS: readonly Split[] = ["train", "validation", "test"];

/** One image with its captions. */
export interface CaptionRow {
  /** Path of the image in its data set; unique unless the data set lists an image twice. */
  readonly image: string;
  /** Normalised, never empty; at least one. */
  readonly captions: readonly string[];
  /** Nouns (singular) of what the image shows, if the data set says. */
  readonly objects?: readonly string[];
  /** The row as the data set has it, for other columns. */
  readonly columns: Readonly<Record<string, unknown>>;
}

/** A row whose image can be read, wherever it lies. */
export interface ImageRow extends CaptionRow {
  /** What messages call it: the path of the image on disk, or the file of its row and the row's number. */
  readonly id: string;
  /** Path of the image on disk, if it is a file of its own: workers read it themselves. */
  readonly path?: string;
  /** Number among all rows that are used of its data set, from 0. */
  readonly number: number;
  /** The file of a table and the row in it, from 0, if the image came from there. */
  readonly place?: { readonly shard: string; readonly row: number };
  /** Bytes of the image file. Rejects if it cannot be read or is too large. */
  readImage(): Promise<Uint8Array<ArrayBuffer>>;
}

/** Options of {@linkcode captionForEpoch}. */
export interface CaptionChoiceOptions {
  /** Of the choice; any integer. */
  readonly seed: number;
  /** From 0. */
  readonly epoch: number;
}

/** The caption of a row that an epoch trains on: its only one, or one drawn by seed, epoch and image. */
export function captionForEpoch(row: CaptionRow, { seed, epoch }: CaptionChoiceOptions): string {
  const choice = row.captions.length === 1
    ? 0
    : hashText(`${seed}|${epoch}|${row.image}`) % row.captions.length;
  const caption = row.captions[choice];
  if (caption === undefined) throw new RangeError(`Cannot choose a caption of "${row.image}": it has none`);
  return caption;
}

const SPLIT_KEYWORDS: Readonly<Record<Split, readonly string[]>> = {
  train: ["train", "training"],
  validation: ["validation", "valid", "dev", "val"],
  test: ["test", "testing", "eval", "evaluation"],
};

/**
 * Split named by the folders of a path, as the Hugging Face hub recognises them: a keyword alone or set off by one of `-._ ` or a digit
 * ("train", "my-train-2", "val_images"). The innermost folder that names one decides. `undefined` if none does.
 */
export function splitOfFolders(path: string): Split | undefined {
  for (const folder of path.split("/").slice(0, -1).reverse()) {
    const split = splitOfName(folder);
    if (split) return split;
  }
  return undefined;
}

/** Split named by a file's own name, else by its folders: `data/train-00000-of-00002.parquet`, `val/0000.parquet`. */
export function splitOfFile(path: string): Split | undefined {
  return splitOfName(path.split("/").at(-1)!) ?? splitOfFolders(path);
}

function splitOfName(name: string): Split | undefined {
  const words = name.toLowerCase().split(/[-._ 0-9]+/);
  return SPLITS.find((split) => SPLIT_KEYWORDS[split].some((keyword) => words.includes(keyword)));
}

/** Options of {@linkcode splitBySeed}. */
export interface SplitBySeedOptions {
  /** Of the split; any integer. @default 42 */
  readonly seed?: number;
  /** Share of each split after the first named ones; what remains is train. @default { validation: 0.1, test: 0.1 } */
  readonly shares?: { readonly validation: number; readonly test: number };
}

/**
 * Splits images by a seeded hash of their paths, so that adding images moves few of the others. Exact shares, and at least one image
 * for each wanted split once there are three.
 *
 * @returns Split of each distinct path
 */
export function splitBySeed(paths: Iterable<string>, options: SplitBySeedOptions = {}): Map<string, Split> {
  const { seed = 42, shares = { validation: 0.1, test: 0.1 } } = options;
  const ordered = [...new Set(paths)]
    .map((path) => ({ path, rank: hashText(`${seed}|${path}`) }))
    .sort((a, b) => a.rank - b.rank || (a.path < b.path ? -1 : 1));
  const testCount = shareOf(ordered.length, shares.test);
  const validationCount = shareOf(ordered.length, shares.validation);
  return new Map(ordered.map(({ path }, place) => [
    path,
    place < testCount ? "test" : place < testCount + validationCount ? "validation" : "train",
  ]));
}

/**
 * Splits rows by a seeded hash of their numbers, with exact shares: what a table's rows get, which have no paths. Takes 8 bytes a
 * row.
 *
 * @returns Places in {@linkcode SPLITS}, one a row
 */
export function splitRowsBySeed(rowCount: number, options: SplitBySeedOptions = {}): Uint8Array {
  const { seed = 42, shares = { validation: 0.1, test: 0.1 } } = options;
  const ranks = Uint32Array.from({ length: rowCount }, (_, row) => hashText(`${seed}|${row}`));
  const sorted = ranks.toSorted();
  const testCount = shareOf(rowCount, shares.test);
  const codes = new Uint8Array(rowCount);
  for (
    const [code, count] of [[2, testCount], [1, testCount + shareOf(rowCount, shares.validation)]] as const
  ) {
    // Rows with the rank of the last one that still belongs are taken in their order until the count is reached.
    const limit = count === 0 ? 0 : sorted[count - 1]!;
    let below = count - codes.reduce((sum, taken) => sum + (taken === 0 ? 0 : 1), 0);
    for (const equal of [false, true]) {
      for (let row = 0; row < rowCount && below > 0; row++) {
        if (codes[row] !== 0 || (equal ? ranks[row] !== limit : ranks[row]! >= limit)) continue;
        codes[row] = code;
        below--;
      }
    }
  }
  return codes;
}

/** Rows of a share: at least one of each wanted split once there are three. */
function shareOf(rowCount: number, share: number): number {
  const count = Math.round(rowCount * share);
  return share > 0 && rowCount >= 3 ? Math.max(1, count) : count;
}
