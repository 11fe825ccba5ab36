/**
 * The data of a training run: image folders on disk, hashed, tokenized, and loaded by workers ahead of the GPU.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { BadRows } from "../datasets/bad_rows.ts";
import { loadImageFolder } from "../datasets/image_folder.ts";
import { captionForEpoch, type CaptionRow, type Split, SPLITS } from "../datasets/rows.ts";
import type { CaptionTokenizer } from "../text/tokenizer.ts";
import type { BatchInputs, ValidationRows } from "../train/rows.ts";
import { stat } from "./files.ts";
import { openFolder, readBounded } from "./file_source.ts";
import { projectPath } from "./model_folders.ts";

/** The data set that comes with the project. */
export const EMBEDDED_DATASET = "sample";
/** Larger image files are not read. */
const MAX_IMAGE_BYTES = 256 * 2 ** 20;

/** A row whose image was found. */
export interface DataRow extends CaptionRow {
  /** Path of the image on disk. */
  readonly path: string;
  /** Of the image's bytes, hexadecimal. */
  readonly sha256: string;
}

/** Rows of all data sets of a run. */
export interface TrainData {
  /** Usable rows by split. */
  readonly rows: Readonly<Record<Split, readonly DataRow[]>>;
  /** Rows that were skipped so far. */
  readonly badRows: BadRows;
  /** Rows in all, good and bad. */
  readonly total: number;
  /** SHA-256 of images, captions and splits, hexadecimal. */
  readonly hash: string;
}

/** Options of {@linkcode loadTrainData}. */
export interface LoadTrainDataOptions {
  /** Folders, or `sample`. */
  datasets: readonly string[];
  /** Column of captions. @default the first usual name that a data set has */
  captionColumn?: string;
  /** At most so many rows of every split. */
  sample?: number;
  /** Share of rows that may be bad. */
  maxBadRows: number;
  /** Of splits that no folder names. */
  seed: number;
  /** Told how many images were read, and of how many. */
  onProgress?(done: number, total: number): void;
}

/** Folder of a data set. @throws {UserError} If there is none of that name */
export async function resolveDataset(name: string): Promise<string> {
  if (name === EMBEDDED_DATASET) return projectPath("data/sample");
  if ((await stat(name))?.isDirectory) return name;
  throw new UserError(
    `Cannot find the data set "${name}": there is no such folder; give "${EMBEDDED_DATASET}" (the embedded pictures) or folders of ` +
      `images with a metadata.jsonl or metadata.csv; data sets of the Hugging Face hub such as flickr or coco cannot be named yet`,
  );
}

/**
 * Finds the rows of all data sets and hashes their images.
 *
 * @throws {UserError} If a data set is unusable, or more rows are bad than allowed
 */
export async function loadTrainData(options: LoadTrainDataOptions): Promise<TrainData> {
  const badRows = new BadRows({ maxFraction: options.maxBadRows });
  const found: { split: Split; root: string; row: CaptionRow }[] = [];
  let total = 0;
  for (const name of options.datasets) {
    const root = await resolveDataset(name);
    const loaded = await loadImageFolder(openFolder(root), {
      badRows,
      seed: options.seed,
      ...(options.captionColumn === undefined ? {} : { captionColumn: options.captionColumn }),
    });
    total += loaded.total;
    for (const split of SPLITS) {
      const rows = loaded.rows[split].slice(0, options.sample);
      found.push(...rows.map((row) => ({ split, root, row })));
    }
  }
  const rows: Record<Split, DataRow[]> = { train: [], validation: [], test: [] };
  const lines: string[] = [];
  for (const [done, { split, root, row }] of found.entries()) {
    const path = `${root}/${row.image}`;
    try {
      const sha256 = await sha256Hex(await readBounded(path, MAX_IMAGE_BYTES));
      // The path is what the choice of captions is drawn from, so it counts as content.
      lines.push(JSON.stringify([split, row.image, sha256, row.captions]));
      rows[split].push({ ...row, path, sha256 });
    } catch (error) {
      badRows.add(path, describeError(error));
    }
    options.onProgress?.(done + 1, found.length);
  }
  badRows.check(total);
  return { rows, badRows, total, hash: await sha256Hex(new TextEncoder().encode(lines.join("\n"))) };
}

/** SHA-256 of bytes, hexadecimal. */
export async function sha256Hex(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** How captions become tokens. */
export interface TokenOptions {
  /** The decoder's. */
  tokenizer: CaptionTokenizer;
  /** Most tokens of a caption, its end token included. */
  maxLength: number;
  /** Whether captions end with the end token. */
  appendEos: boolean;
}

/** Tokens of the longest caption, at most `maxLength`: no batch needs to be longer. */
export function longestCaption(rows: readonly CaptionRow[], options: TokenOptions): number {
  let longest = 1;
  for (const { captions } of rows) {
    for (const caption of captions) {
      longest = Math.max(longest, options.tokenizer.encodeCaption(caption, options).length);
    }
  }
  return longest;
}

/** Rows as training and evaluation read them. */
export function trainingRows(
  rows: readonly DataRow[],
  options: TokenOptions & {
    /** Of the choice among several captions. */
    seed: number;
    loadInputs(rows: readonly DataRow[]): Promise<BatchInputs>;
  },
): ValidationRows {
  const { tokenizer, seed } = options;
  return {
    rowCount: rows.length,
    loadInputs: (indices) => options.loadInputs(indices.map((index) => rows[index]!)),
    tokens(indices, { epoch, length }) {
      const ids = indices.map((index) =>
        tokenizer.encodeCaption(captionForEpoch(rows[index]!, { seed, epoch }), options)
      );
      return tokenizer.padBatch(ids, { length });
    },
    references: (index) => rows[index]!.captions,
    objects: (index) => rows[index]!.objects,
  };
}
