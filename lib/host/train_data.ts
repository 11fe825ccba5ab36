/**
 * The data of a training run: rows of all data sets, hashed, tokenized, and loaded by workers ahead of the GPU.
 *
 * @module
 */

import { describeError, describeNames, suggest, UserError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";
import { BadRows } from "../datasets/bad_rows.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import { captionForEpoch, type CaptionRow, type ImageRow, type Split, SPLITS } from "../datasets/rows.ts";
import type { CaptionTokenizer } from "../text/tokenizer.ts";
import { StreamOrder } from "../datasets/stream_order.ts";
import type { BatchInputs, OrderOptions, ValidationRows } from "../train/rows.ts";
import { resolveCacheDir } from "./cache.ts";
import { openDataset } from "./datasets.ts";
import { HashIndex } from "./hash_index.ts";
import type { RowFilter } from "./row_filter.ts";
import type { RowWeights } from "./row_weights.ts";
import type { TrainStream } from "./train_stream.ts";

/** Images that are read before their turn comes: from afar each takes its time. */
const HASHED_AHEAD = 8;

/** A row whose image was found. */
export interface DataRow extends ImageRow {
  /** Name of its data set. */
  readonly dataset: string;
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
  /** The train split, if it is read while the run goes on; `rows.train` is empty then. */
  readonly stream?: TrainStream;
}

/** Rows of each split. */
export function countSplits({ rows, stream }: Pick<TrainData, "rows" | "stream">): Record<Split, number> {
  return {
    train: stream?.rowCount ?? rows.train.length,
    validation: rows.validation.length,
    test: rows.test.length,
  };
}

/** Options of {@linkcode loadTrainData}. */
export interface LoadTrainDataOptions {
  /** Names of the registry, ids of the Hub, folders or files. */
  datasets: readonly string[];
  /** Column of captions. @default the first usual name that a data set has */
  captionColumn?: string;
  /** Column of images. @default the first usual name that a data set has */
  imageColumn?: string;
  /** The split of the data sets that is used, and then divided. @default all */
  split?: string;
  /** At most so many rows: of every data set, or by its name. */
  sample?: SampleSizes;
  /** What becomes of several captions: one is drawn every epoch, or each is a row to train on. @default "one" */
  captions?: "one" | "all";
  /** Which rows of the train split are trained on. @default all */
  filter?: RowFilter | undefined;
  /** Share of rows that may be bad. */
  maxBadRows: number;
  /** Of splits that no folder names. */
  seed: number;
  /** Folder of cached files. @default {below the user's caches} */
  cacheDir?: string;
  /** Told how many images were read, and of how many. */
  onProgress?(done: number, total: number): void;
  /** Ends downloads and the reading. */
  signal?: AbortSignal;
  /** Shows no progress of downloads. @default {false} */
  quiet?: boolean;
}

/** Rows wanted of every data set, or of some by name. */
export type SampleSizes = number | Readonly<Record<string, number>>;

/** Rows wanted of a data set. */
export function sampleOf(sample: SampleSizes | undefined, name: string): number | undefined {
  return typeof sample === "object" ? sample[name] : sample;
}

/**
 * Finds the rows of all data sets and hashes their images.
 *
 * @throws {UserError} If a data set is unusable, or more rows are bad than allowed
 */
export async function loadTrainData(options: LoadTrainDataOptions): Promise<TrainData> {
  const { signal, captions = "one", filter } = options;
  const badRows = new BadRows({ maxFraction: options.maxBadRows });
  const found: { split: Split; dataset: string; row: ImageRow; index: HashIndex }[] = [];
  const indexes: HashIndex[] = [];
  let total = 0;
  const names = expandDatasetNames(options.datasets);
  checkSampleNames(options.sample, names);
  for (const name of names) {
    const dataset = await openDataset(name, {
      ...options,
      sample: sampleOf(options.sample, name),
      badRows,
      columns: filter?.column === undefined ? [] : [filter.column],
    });
    total += dataset.total;
    const index = new HashIndex(`${resolveCacheDir(options.cacheDir)}/hashes`, dataset.files);
    indexes.push(index);
    for (const split of SPLITS) {
      for (const row of await dataset.load(split)) {
        if (split === "train" && filter?.keep({ ...row, dataset: name }) === false) continue;
        found.push({ split, dataset: name, row, index });
      }
    }
  }
  filter?.check();
  const rows: Record<Split, DataRow[]> = { train: [], validation: [], test: [] };
  const lines: string[] = [];
  const ahead: Promise<string>[] = [];
  try {
    for (const [done, { split, dataset, row }] of found.entries()) {
      signal?.throwIfAborted();
      while (ahead.length < HASHED_AHEAD && done + ahead.length < found.length) {
        const next = found[done + ahead.length]!;
        const hash = next.index.hash(next.row);
        hash.catch(() => {}); // reported when its turn comes
        ahead.push(hash);
      }
      const hash = ahead.shift()!;
      try {
        const sha256 = await hash;
        // The path is what the choice of captions is drawn from, so it counts as content.
        lines.push(JSON.stringify([split, row.image, sha256, row.captions]));
        const isSpread = captions === "all" && split === "train";
        const spread = isSpread ? row.captions.map((caption) => ({ ...row, captions: [caption] })) : [row];
        rows[split].push(...spread.map((one) => ({ ...one, dataset, sha256 })));
      } catch (error) {
        badRows.add(row.id, describeError(error));
      }
      options.onProgress?.(done + 1, found.length);
    }
  } finally {
    for (const index of indexes) await index.save();
  }
  badRows.check(total);
  return { rows, badRows, total, hash: await sha256Hex(new TextEncoder().encode(lines.join("\n"))) };
}

/** Refuses sizes for names that are not among the data sets: a misspelled one would mean the whole. @throws {UserError} */
export function checkSampleNames(sample: SampleSizes | undefined, names: readonly string[]): void {
  if (typeof sample !== "object") return;
  for (const name of Object.keys(sample)) {
    if (names.includes(name)) continue;
    const near = suggest(name, names);
    throw new UserError(
      `Cannot sample "${name}": it is none of the data sets ${describeNames(names)}` +
        (near === undefined ? "" : `. Did you mean "${near}"?`),
    );
  }
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

/** Rows of each data set; those of one follow each other. */
function datasetSizes(rows: readonly DataRow[]): number[] {
  const sizes = new Map<string, number>();
  for (const { dataset } of rows) sizes.set(dataset, (sizes.get(dataset) ?? 0) + 1);
  return [...sizes.values()];
}

/** Options of {@linkcode trainingRows}. */
export interface TrainingRowsOptions extends TokenOptions {
  /** Of the choice among several captions. */
  seed: number;
  /** Data sets take turns. @default {false} */
  interleave?: boolean | undefined;
  /** How often rows are wanted. @default once an epoch each */
  weights?: RowWeights | undefined;
  /** Images of rows. */
  loadInputs(rows: readonly DataRow[]): Promise<BatchInputs>;
}

/** Rows as training and evaluation read them. */
export function trainingRows(rows: readonly DataRow[], options: TrainingRowsOptions): ValidationRows {
  const { tokenizer, seed } = options;
  return {
    rowCount: rows.length,
    ...((options.interleave || options.weights) && {
      createOrder: ({ batchSize, seed }: OrderOptions) =>
        new StreamOrder({
          sets: datasetSizes(rows).map((count) => [count]),
          batchSize,
          seed,
          buffer: "all",
          interleave: options.interleave ?? false,
          ...(options.weights && { weights: options.weights.weigh(rows) }),
        }),
    }),
    loadInputs: (indices) => options.loadInputs(indices.map((index) => rows[index]!)),
    tokens(indices, { epoch, length }) {
      const ids = indices.map((index) =>
        tokenizer.encodeCaption(captionForEpoch(rows[index]!, { seed, epoch }), options)
      );
      return tokenizer.padBatch(ids, { length });
    },
    describe: (indices) => indices.map((index) => rows[index]!),
    references: (index) => rows[index]!.captions,
    objects: (index) => rows[index]!.objects,
  };
}
