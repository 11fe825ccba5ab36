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
    const words = folder.toLowerCase().split(/[-._ 0-9]+/);
    for (const split of SPLITS) {
      if (SPLIT_KEYWORDS[split].some((keyword) => words.includes(keyword))) return split;
    }
  }
  return undefined;
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
  const wanted = (share: number) => {
    const count = Math.round(ordered.length * share);
    return share > 0 && ordered.length >= 3 ? Math.max(1, count) : count;
  };
  const testCount = wanted(shares.test);
  const validationCount = wanted(shares.validation);
  return new Map(ordered.map(({ path }, place) => [
    path,
    place < testCount ? "test" : place < testCount + validationCount ? "validation" : "train",
  ]));
}
