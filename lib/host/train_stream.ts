/**
 * Training data that is read while the run goes on: files from near or afar, a group of rows at a time.
 *
 * @module
 */

import { sha256Hex } from "../base/sha256.ts";
import { BadRows } from "../datasets/bad_rows.ts";
import type { ReadRow } from "../datasets/caption_set.ts";
import type { DataFiles } from "../datasets/data_files.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import { RowStream } from "../datasets/row_stream.ts";
import { captionForEpoch, type Split, SPLITS } from "../datasets/rows.ts";
import { StreamOrder } from "../datasets/stream_order.ts";
import { readExactly } from "../format/byte_source.ts";
import type { StreamedRows } from "../train/rows.ts";
import { groupsOf, openDataset, type RowGroup } from "./datasets.ts";
import type { RowWeights } from "./row_weights.ts";
import {
  checkSampleNames,
  type DataRow,
  type LoadTrainDataOptions,
  sampleOf,
  type TokenOptions,
  type TrainData,
} from "./train_data.ts";
import type { LoadedRows } from "./train_session.ts";

/** Rows of the other splits, which are evaluated again and again, and captions of which are in memory. */
const MAX_HELD_OUT = { validation: 1000, test: 200 };
/** So much of each end of a file tells it apart from others of its size. */
const END_BYTES = 64 * 1024;

/** The train split of all data sets, as it lies in its files. */
export interface TrainStream {
  /** Rows of it, bad ones included. */
  readonly rowCount: number;
  /** Its groups by data set. */
  readonly sets: readonly (readonly RowGroup[])[];
}

/**
 * Opens data sets to train on without reading them first. Of the other splits the first rows are taken, at most 1000 for validation
 * and 200 for the test.
 *
 * @throws {UserError} If a data set is unusable
 */
export async function openTrainStream(options: LoadTrainDataOptions): Promise<TrainData> {
  const badRows = new BadRows({ maxFraction: options.maxBadRows });
  const names = expandDatasetNames(options.datasets);
  checkSampleNames(options.sample, names);
  const sets: RowGroup[][] = [];
  const rows: Record<Split, DataRow[]> = { train: [], validation: [], test: [] };
  const hashes: unknown[] = [];
  let total = 0;
  for (const name of names) {
    const sample = sampleOf(options.sample, name);
    const dataset = await openDataset(name, { ...options, sample, badRows, streaming: true });
    total += dataset.total;
    const groups = (await groupsOf(
      dataset,
      (split, row) => split === "train" && (options.filter?.keep({ ...row, dataset: name }) ?? true),
    )).filter(({ split }) => split === "train");
    sets.push(groups);
    for (const split of ["validation", "test"] as const) {
      const limit = Math.ceil(MAX_HELD_OUT[split] / names.length);
      for (const row of await dataset.load(split, limit)) {
        options.signal?.throwIfAborted();
        try {
          const sha256 = await sha256Hex(await row.readImage());
          rows[split].push({ ...row, dataset: name, sha256 });
          hashes.push([split, row.image, sha256, row.captions]);
        } catch (error) {
          badRows.add(row.id, error instanceof Error ? error.message : String(error));
        }
        options.onProgress?.(rows.validation.length + rows.test.length, limit * names.length);
      }
    }
    for (const { count, numbers } of groups) hashes.push([name, count, numbers[0]]);
    const shards = SPLITS.flatMap((split) => dataset.set?.splits[split] ?? []).map(({ shard }) => shard.name);
    for (const path of new Set(shards)) hashes.push([path, await contentHash(dataset.files!, path)]);
  }
  options.filter?.check();
  const rowCount = sets.flat().reduce((sum, { count }) => sum + count, 0);
  const hash = await sha256Hex(new TextEncoder().encode(JSON.stringify(hashes)));
  return { rows, badRows, total, hash, stream: { rowCount, sets } };
}

/** What tells a file's content apart, wherever it lies: its checksum, else its size and its ends, which hold footers and headers. */
async function contentHash(files: DataFiles, path: string): Promise<string> {
  if (files.checksum) return files.checksum(path);
  const source = await files.open(path);
  const end = Math.min(END_BYTES, source.size);
  const bytes = new Uint8Array(2 * end);
  bytes.set(await readExactly(source, 0, end));
  bytes.set(await readExactly(source, source.size - end, source.size), end);
  return `${source.size} ${await sha256Hex(bytes)}`;
}

/** Options of {@linkcode streamedRows}. */
export interface StreamedRowsOptions extends TokenOptions {
  /** Of the order and the choice among several captions. */
  seed: number;
  /** Rows that wait while one is drawn. */
  shuffleBuffer: number;
  /** Data sets take turns. */
  interleave: boolean;
  /** How often rows are wanted. @default once an epoch each */
  weights?: RowWeights | undefined;
  /** Decodes images, and leaves out those that cannot be. */
  loadRows(rows: readonly DataRow[], onBad: (row: DataRow, reason: string) => void): Promise<LoadedRows>;
}

/** The rows of a stream as training reads them. Too many bad ones stop it. */
export function streamedRows(
  data: TrainData & { stream: TrainStream },
  options: StreamedRowsOptions,
): StreamedRows {
  const { tokenizer, seed } = options;
  const { sets, rowCount } = data.stream;
  let rows: RowStream<ReadRow & { source: string }> | undefined;
  const onBad = (id: string, reason: string) => {
    data.badRows.add(id, reason);
    data.badRows.check(data.total);
  };
  return {
    rowCount,
    createOrder({ batchSize, seed }) {
      const weights = options.weights?.weigh(
        sets.flat().flatMap(({ source, numbers }) =>
          Array.from(numbers, (number) => ({ dataset: source, number }))
        ),
      );
      const order = new StreamOrder({
        sets: sets.map((groups) => groups.map(({ count }) => count)),
        batchSize,
        seed,
        buffer: options.shuffleBuffer,
        interleave: options.interleave,
        ...(weights && { weights }),
      });
      const groups = sets.flat().map(({ count, source, read }) => ({
        count,
        read: async () => (await read()).map((row) => ({ ...row, source })),
      }));
      rows = new RowStream(groups, order, { discard: freeImage });
      return order;
    },
    async loadBatch(numbers, { epoch, length }) {
      const good: DataRow[] = [];
      using taken = await rows!.take(numbers);
      for (const read of taken.rows) {
        if (read.error !== undefined) {
          onBad(read.id, read.error);
          continue;
        }
        const { row, image } = read;
        const { path: _, ...rest } = row;
        good.push({
          ...rest,
          dataset: read.source,
          sha256: await sha256Hex(image),
          readImage: () => Promise.resolve(image),
        });
      }
      const loaded = await options.loadRows(good, (row, reason) => onBad(row.id, reason));
      if (loaded.rows.length === 0) {
        const none = new Int32Array(0);
        return { size: 0, ...loaded.inputs, inputIds: none, labels: none };
      }
      const ids = loaded.rows.map((row) =>
        tokenizer.encodeCaption(captionForEpoch(row, { seed, epoch }), options)
      );
      const tokens = tokenizer.padBatch(ids, { length });
      return { size: ids.length, ...loaded.inputs, ...tokens, rows: loaded.rows };
    },
  };
}

/** Frees the bytes of an image. Old buffers are collected late, and so many come that they would pile up. */
export function freeImage(row: ReadRow): void {
  if (row.error === undefined) row.image.buffer.transfer(0);
}
