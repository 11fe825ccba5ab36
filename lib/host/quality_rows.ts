/**
 * Rows of data sets as the quality report reads them: captions, originals, objects, and images where there are any.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { BadRows } from "../datasets/bad_rows.ts";
import { IMAGE_COLUMNS } from "../datasets/captions.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import { type Split, SPLITS } from "../datasets/rows.ts";
import { normalizeCaption } from "../text/normalize.ts";
import type { QualityRow } from "../quality/example.ts";
import { readObjectNames } from "../quality/words.ts";
import { openDataset, type OpenedDataset } from "./datasets.ts";
import { hashOf } from "./hashes.ts";

/** Columns of original captions and of objects, the first that a row has counts: the Python report's. */
export const ORIGINAL_COLUMNS = ["original_alt_text", "original_caption", "original_text"] as const;
/** Columns of objects. */
export const OBJECT_COLUMNS = ["objects", "object_tags", "tags"] as const;

/** Which split is looked at. */
export type SplitChoice = Split | "all";

/** Options of {@linkcode openQualityRows}. */
export interface QualityRowsOptions {
  /** Names of the registry, ids of the Hub, folders or files. */
  datasets: readonly string[];
  /** Which part of them. */
  split: SplitChoice;
  /** At most so many rows of every split and data set. */
  maxSamples?: number;
  /** Column of captions. @default the first usual name that a data set has */
  captionColumn?: string;
  /** Column of original captions. @default the first of {@linkcode ORIGINAL_COLUMNS} */
  originalColumn?: string;
  /** Column of objects. @default the first of {@linkcode OBJECT_COLUMNS} */
  objectsColumn?: string;
  /** Column of images. @default the first usual name that a data set has */
  imageColumn?: string;
  /** Of several captions look at the first, or at each. */
  captions: "first" | "all";
  /** Whether images are read. */
  images: boolean;
  /** Read from afar by range, and never the whole. @default {false} */
  streaming?: boolean;
  /** Of splits that no file names. */
  seed: number;
  /** Ends downloads. */
  signal?: AbortSignal;
  /** Shows no progress of downloads. @default {false} */
  quiet?: boolean;
}

/** A row that was read: examples of it and its image, or why there are none. */
export type ReadQualityRow =
  | {
    readonly examples: readonly QualityRow[];
    /** Path of the image on disk, which workers read themselves, or its bytes, or `undefined` where there is none to look at. */
    readImage?(): Promise<string | Uint8Array>;
    readonly error?: undefined;
  }
  | { readonly id: string; readonly error: string };

/** Rows that are read at once. */
export interface QualityGroup {
  /** How many. */
  readonly count: number;
  /** Reads them, or those at some places, ascending. */
  read(places?: readonly number[]): Promise<ReadQualityRow[]>;
}

/** Opened data sets. */
export interface OpenedQualityRows {
  /** In the order that they are looked at. */
  readonly groups: readonly QualityGroup[];
  /** Rows of all groups. */
  readonly total: number;
  /** Columns that there are, as far as is known before rows are read. */
  readonly has: { readonly images: boolean; readonly originals: boolean };
  /** What tells these rows from others: names, options and files. */
  readonly identity: readonly unknown[];
  /** Rows that were found unusable already when the data set was opened. */
  readonly badRows: BadRows;
}

/** Rows of an image folder that are read at once. */
const FOLDER_ROWS = 256;

/** Opens data sets; no row of a table is read. @throws {UserError} If one cannot be used, or the split is empty */
export async function openQualityRows(options: QualityRowsOptions): Promise<OpenedQualityRows> {
  // The report is about bad rows: however many there are, they are listed and do not end it.
  const badRows = new BadRows({ maxFraction: 1 });
  const names = expandDatasetNames(options.datasets);
  const splits = options.split === "all" ? SPLITS : [options.split];
  const groups: QualityGroup[] = [];
  const identity: unknown[] = [];
  const has = { images: false, originals: false };
  for (const name of names) {
    const dataset = await openDataset(name, {
      captionColumn: options.captionColumn,
      imageColumn: options.imageColumn,
      seed: options.seed,
      badRows,
      requireImages: false,
      // Few rows of a large set are read by range. A sample would number the rows otherwise than training does.
      streaming: options.streaming === true || options.maxSamples !== undefined,
      quiet: options.quiet ?? false,
      ...(options.signal && { signal: options.signal }),
    });
    for (const split of splits) groups.push(...await groupsOfSplit(dataset, split, options));
    identity.push(...await identityOf(dataset, splits));
    const present = await columnsPresent(dataset, splits);
    const hasAny = (columns: readonly string[]) => columns.some((column) => present.has(column));
    has.images ||= dataset.set === undefined || hasAny(columnsOf(options.imageColumn, IMAGE_COLUMNS));
    has.originals ||= hasAny(columnsOf(options.originalColumn, ORIGINAL_COLUMNS));
  }
  const total = groups.reduce((sum, group) => sum + group.count, 0);
  if (total === 0) {
    throw new UserError(
      `Cannot report on ${names.join(", ")}: there are no usable rows in the split "${options.split}"` +
        (badRows.count > 0 ? `; unusable are ${badRows.describe(3)}` : "; choose another with --split"),
    );
  }
  return { groups, total, has, identity, badRows };
}

async function groupsOfSplit(
  dataset: OpenedDataset,
  split: Split,
  options: QualityRowsOptions,
): Promise<QualityGroup[]> {
  const { name, set } = dataset;
  let left = options.maxSamples ?? Infinity;
  const groups: QualityGroup[] = [];
  if (set !== undefined) {
    const columns = [...columnsOf(options.originalColumn, ORIGINAL_COLUMNS), ...objectColumns(options)];
    for (const all of set.splits[split]) {
      if (left <= 0) break;
      const rows = { ...all, rows: all.rows.slice(0, left), numbers: all.numbers.slice(0, left) };
      left -= rows.rows.length;
      const read = async (places?: readonly number[]) => {
        const chosen = places === undefined ? rows : {
          ...rows,
          rows: Uint32Array.from(places, (place) => rows.rows[place]!),
          numbers: Uint32Array.from(places, (place) => rows.numbers[place]!),
        };
        const found = await set.readCells(chosen, { columns, images: options.images });
        return found.map(({ id, cells, captions, error, readImage }, i): ReadQualityRow => {
          if (captions === undefined) return { id, error: error! };
          const place = { idx: chosen.numbers[i]!, source: name, split, id };
          return { examples: examplesOf(captions, cells, place, options), ...(readImage && { readImage }) };
        });
      };
      groups.push({ count: rows.rows.length, read });
    }
    return groups;
  }
  const all = await dataset.load(split, options.maxSamples);
  for (let at = 0; at < all.length; at += FOLDER_ROWS) {
    const some = all.slice(at, at + FOLDER_ROWS);
    groups.push({
      count: some.length,
      read: (places) =>
        Promise.resolve((places?.map((place) => some[place]!) ?? some).map((row): ReadQualityRow => {
          const place = { idx: row.number, source: name, split, id: row.id };
          return {
            examples: examplesOf(row.captions, row.columns, place, options),
            ...(options.images && { readImage: async () => row.path ?? await row.readImage() }),
          };
        })),
    });
  }
  return groups;
}

function columnsOf(wanted: string | undefined, usual: readonly string[]): readonly string[] {
  return wanted === undefined ? usual : [wanted];
}

const objectColumns = (options: QualityRowsOptions) => columnsOf(options.objectsColumn, OBJECT_COLUMNS);

function examplesOf(
  captions: readonly string[],
  cells: Readonly<Record<string, unknown>>,
  place: Pick<QualityRow, "idx" | "source" | "split" | "id">,
  options: QualityRowsOptions,
): QualityRow[] {
  const originals = textsOf(firstCell(cells, columnsOf(options.originalColumn, ORIGINAL_COLUMNS)));
  const objects = objectColumns(options).map((name) => readObjectNames(cells[name]))
    .find((names) => names !== undefined && names.length > 0);
  const shown = options.captions === "all" ? captions : captions.slice(0, 1);
  return shown.map((caption, i) => ({
    ...place,
    caption,
    original: originals[i] ?? originals[0] ?? "",
    ...(objects && { objects }),
  }));
}

function firstCell(cells: Readonly<Record<string, unknown>>, columns: readonly string[]): unknown {
  return columns.map((name) => cells[name]).find((cell) =>
    cell !== undefined && cell !== null && cell !== ""
  );
}

/** Text of a cell, or the texts of a list; anything else is none. */
function textsOf(cell: unknown): string[] {
  return (Array.isArray(cell) ? cell : [cell]).filter((part): part is string => typeof part === "string")
    .map(normalizeCaption).filter((text) => text !== "");
}

/** Columns of all files of some splits, or of all rows of an image folder. */
async function columnsPresent(
  { set, load }: OpenedDataset,
  splits: readonly Split[],
): Promise<ReadonlySet<string>> {
  if (set !== undefined) {
    return new Set(splits.flatMap((split) => set.splits[split]).flatMap(({ shard }) => shard.columns));
  }
  const present = new Set<string>();
  for (const split of splits) {
    for (const { columns } of await load(split)) for (const name of Object.keys(columns)) present.add(name);
  }
  return present;
}

/** What changes when the rows do: identities of tables, and of image folders what their metadata says. */
async function identityOf(
  { name, files, set, total, load }: OpenedDataset,
  splits: readonly Split[],
): Promise<unknown[]> {
  const shards = new Set(SPLITS.flatMap((split) => set?.splits[split] ?? []).map(({ shard }) => shard.name));
  const identity: unknown[] = [name, total];
  for (const split of set === undefined ? splits : []) {
    identity.push(await hashOf((await load(split)).flatMap(({ image, captions }) => [image, ...captions])));
  }
  for (const path of shards) {
    try {
      identity.push([path, await files?.identity?.(path)]);
    } catch (error) {
      identity.push([path, describeError(error)]);
    }
  }
  return identity;
}
