/**
 * A captioning data set made of tables: which files it has, which rows belong to which split, and their captions and images, one
 * group of rows at a time.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import type { BadRows } from "./bad_rows.ts";
import {
  CAPTION_COLUMNS,
  chooseColumn,
  IMAGE_COLUMNS,
  readCaptions,
  readImageCell,
  readObjects,
} from "./captions.ts";
import { type DataFiles, readFile } from "./data_files.ts";
import { resolveInside } from "./file_source.ts";
import { GroupCache } from "./group_cache.ts";
import {
  type CaptionSetRules,
  chooseRows,
  countRows,
  divideFiles,
  type GroupRows,
  scanRows,
} from "./group_rows.ts";
import { type ImageRow, type Split, splitRowsBySeed, SPLITS } from "./rows.ts";
import { ROW_ERROR, type TableRow, type TableShard } from "./table.ts";
import { findTables } from "./table_files.ts";

/** Larger image files are not read. */
export const MAX_IMAGE_BYTES = 256 * 2 ** 20;

/** Columns beside captions and images that rows keep: nouns, and what curated data sets say of a caption. */
const KEPT_COLUMNS = ["objects", "original_alt_text", "curation"];

/** Options of {@linkcode openCaptionSet}. */
export interface OpenCaptionSetOptions {
  /** What is particular about it. */
  readonly rules?: CaptionSetRules;
  /** At most so many rows: of all if the splits are made here, else of every split. */
  readonly sample?: number;
  /** Of the splits. @default 42 */
  readonly seed?: number;
  /** Collects rows that cannot be used. */
  readonly badRows: BadRows;
  /** Gets an image from an address. @default addresses are refused */
  readonly fetchImage?: (url: string) => Promise<Uint8Array<ArrayBuffer>>;
  /** Whether a set without a column of images is refused. @default {true} */
  readonly requireImages?: boolean;
  /** Columns that rows are given with, where they are there. @default {none} */
  readonly columns?: readonly string[];
}

/** What became of a row of a group: usable, or why not. */
export type ReadRow =
  | { readonly row: ImageRow; readonly image: Uint8Array<ArrayBuffer>; readonly error?: undefined }
  | { readonly id: string; readonly error: string };

/** An opened data set. */
export interface CaptionSet {
  /** What messages call it. */
  readonly name: string;
  /** The rows of each split, in the order of the data set; a copy may be in several. */
  readonly splits: Readonly<Record<Split, readonly GroupRows[]>>;
  /** Rows of all splits together. */
  readonly total: number;
  /** The column that captions come from; `undefined` if there is one caption for all. */
  readonly captionColumn: string | undefined;
  /** Captions of a split, or of its first good rows; images are read when asked for. Bad rows are noted and left out. */
  load(split: Split, limit?: number): Promise<ImageRow[]>;
  /** Reads rows of one group with their images, which then belong to the caller. */
  readGroup(rows: GroupRows): Promise<ReadRow[]>;
  /**
   * Reads rows of one group as they lie in their file: captions, images (unless `images` is false) and what else is asked for. Rows that
   * cannot be used say why.
   */
  readCells(
    rows: GroupRows,
    options: { columns: readonly string[]; images: boolean },
  ): Promise<ReadCells[]>;
}

/** A row as it lies in its file. */
export interface ReadCells {
  /** What messages call it. */
  readonly id: string;
  /** Cells of the columns that were asked for and are there. */
  readonly cells: TableRow;
  /** Captions, normalised; absent where there are none. */
  readonly captions?: readonly string[];
  /** Why there are none. */
  readonly error?: string;
  /** Bytes of the image; absent where none was asked for or its column is missing. Rejects if it cannot be had. */
  readImage?(): Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Opens a data set of parquet, Arrow, JSON lines, CSV or tar files and finds the rows of its splits; no image is read.
 *
 * @throws {UserError} If it has no such files, split or column, or no rows
 * @throws {SyntaxError | RangeError} If a file is damaged, or claims more than is believed
 */
export async function openCaptionSet(files: DataFiles, options: OpenCaptionSetOptions): Promise<CaptionSet> {
  const { rules = {}, seed = 42, sample = Infinity } = options;
  const parts = divideFiles(files, await findTables(files), rules.sourceSplits);
  await files.fetch?.([...parts.values()].flat());
  const splits: Record<Split, GroupRows[]> = { train: [], validation: [], test: [] };
  const scan = (paths: readonly string[], firstNumber = 0) =>
    scanRows(files, paths, { rules, limit: sample, firstNumber });
  const named = [...parts.keys()].filter((split) => split !== undefined);
  if (rules.division === "copies") {
    const rows = await scan([...parts.values()].flat());
    const tenth = Math.max(1, Math.floor(countRows(rows) / 10));
    splits.train = rows;
    splits.validation = chooseRows(rows, (index) => index < tenth);
    splits.test = chooseRows(rows, (index) => index >= tenth && index < 2 * tenth);
  } else if (!named.some((split) => split !== "train")) {
    const rows = await scan([...parts.values()].flat());
    const codes = splitRowsBySeed(countRows(rows), { seed });
    for (const [code, split] of SPLITS.entries()) {
      splits[split] = chooseRows(rows, (index) => codes[index] === code);
    }
  } else {
    let count = 0;
    for (const split of SPLITS.filter((split) => named.includes(split))) {
      splits[split] = await scan(parts.get(split)!, count);
      count += countRows(splits[split]);
    }
    if (!named.includes("validation")) {
      const { train } = splits;
      const codes = splitRowsBySeed(countRows(train), { seed, shares: { validation: 0.1, test: 0 } });
      splits.train = chooseRows(train, (index) => codes[index] === 0);
      splits.validation = chooseRows(train, (index) => codes[index] === 1);
    }
  }
  const first = SPLITS.flatMap((split) => splits[split])[0];
  if (first === undefined) throw new UserError(`Cannot use "${files.name}": it has no rows`);
  return new TableSet(files, { ...options, rules, splits });
}

interface ShardColumns {
  caption: string | undefined;
  /** Absent where images are not required. */
  image: string | undefined;
}

class TableSet implements CaptionSet {
  readonly name: string;
  readonly splits: Readonly<Record<Split, readonly GroupRows[]>>;
  readonly total: number;
  readonly captionColumn: string | undefined;
  readonly #files: DataFiles;
  readonly #options: OpenCaptionSetOptions & { rules: CaptionSetRules };
  readonly #columns = new Map<TableShard, ShardColumns>();
  readonly #images: GroupCache;

  constructor(
    files: DataFiles,
    options: OpenCaptionSetOptions & { rules: CaptionSetRules; splits: Record<Split, GroupRows[]> },
  ) {
    this.name = files.name;
    this.splits = options.splits;
    this.total = SPLITS.reduce((sum, split) => sum + countRows(options.splits[split]), 0);
    this.#files = files;
    this.#options = options;
    this.#images = new GroupCache();
    // Every file must have the columns: a wrong one is seen now, not hours later.
    for (const { shard } of Object.values(options.splits).flat()) this.#columnsOf(shard);
    this.captionColumn = [...this.#columns.values()][0]!.caption;
  }

  async load(split: Split, limit = Infinity): Promise<ImageRow[]> {
    const found: ImageRow[] = [];
    for (const { shard, group, start, rows, numbers } of this.splits[split]) {
      if (found.length >= limit) break;
      const { caption } = this.#columnsOf(shard);
      const wanted = new Set([...(caption === undefined ? [] : [caption]), ...KEPT_COLUMNS, ...this.#extra]);
      const cells = await shard.read(group, [...wanted].filter((name) => shard.columns.includes(name)));
      for (const [i, row] of rows.entries()) {
        if (found.length >= limit) break;
        const place = { shard, group, row: start + row, number: numbers[i]! };
        try {
          found.push(this.#row(cells[row]!, place, () => this.#readImage(place, row)));
        } catch (error) {
          this.#options.badRows.add(rowId(place), describeError(error));
        }
      }
    }
    return found;
  }

  async readGroup({ shard, group, start, rows, numbers }: GroupRows): Promise<ReadRow[]> {
    const wanted = [...this.#wanted(shard), ...KEPT_COLUMNS];
    const cells = await shard.read(group, wanted.filter((name) => shard.columns.includes(name)), rows);
    return await Promise.all(Array.from(rows, async (at, i): Promise<ReadRow> => {
      const place = { shard, group, row: start + at, number: numbers[i]! };
      try {
        const bytes = await this.#imageOf(shard, cells[at]!);
        return { image: bytes, row: this.#row(cells[at]!, place, () => Promise.resolve(bytes)) };
      } catch (error) {
        return { id: rowId(place), error: describeError(error) };
      }
    }));
  }

  async readCells(
    { shard, group, start, rows }: GroupRows,
    { columns, images }: { columns: readonly string[]; images: boolean },
  ): Promise<ReadCells[]> {
    const { caption, image } = this.#columnsOf(shard);
    const own = this.#wanted(shard).filter((name) => images || name !== image);
    const wanted = new Set([...own, ...columns]);
    const cells = await shard.read(group, [...wanted].filter((name) => shard.columns.includes(name)), rows);
    return Array.from(rows, (at): ReadCells => {
      const row = cells[at]!;
      const id = rowId({ shard, row: start + at });
      const hasImage = images && image !== undefined;
      const read = { id, cells: row, ...(hasImage && { readImage: () => this.#imageOf(shard, row) }) };
      try {
        if (row[ROW_ERROR] !== undefined) throw new SyntaxError(String(row[ROW_ERROR]));
        const { caption: fixed } = this.#options.rules;
        return { ...read, captions: caption === undefined ? [fixed!] : readCaptions(row[caption], caption) };
      } catch (error) {
        return { ...read, error: describeError(error) };
      }
    });
  }

  /** Columns that rows are given with. */
  get #extra(): readonly string[] {
    return this.#options.columns ?? [];
  }

  /** Columns of captions and images. */
  #wanted(shard: TableShard): string[] {
    const { caption, image } = this.#columnsOf(shard);
    return [image, caption].filter((name) => name !== undefined);
  }

  #row(
    cells: TableRow,
    place: { shard: TableShard; row: number; number: number },
    readImage: ImageRow["readImage"],
  ): ImageRow {
    const { caption } = this.#columnsOf(place.shard);
    const { caption: fixed } = this.#options.rules;
    if (cells[ROW_ERROR] !== undefined) throw new SyntaxError(String(cells[ROW_ERROR]));
    const captions = caption === undefined ? [fixed!] : readCaptions(cells[caption], caption);
    const objects = readObjects(cells.objects);
    const id = rowId(place);
    return {
      id,
      image: id,
      captions,
      ...(objects && { objects }),
      columns: Object.fromEntries(
        [...KEPT_COLUMNS, ...this.#extra].flatMap((name) =>
          cells[name] === undefined ? [] : [[name, cells[name]]]
        ),
      ),
      place: { shard: place.shard.name, row: place.row },
      number: place.number,
      readImage,
    };
  }

  async #readImage({ shard, group }: { shard: TableShard; group: number }, row: number) {
    const cells = await this.#images.get(shard, group, this.#imageColumn(shard));
    return await this.#imageOf(shard, cells[row]!);
  }

  async #imageOf(shard: TableShard, cells: TableRow): Promise<Uint8Array<ArrayBuffer>> {
    if (cells[ROW_ERROR] !== undefined) throw new SyntaxError(String(cells[ROW_ERROR]));
    const image = this.#imageColumn(shard);
    const { bytes, path, url } = readImageCell(cells[image], image);
    if (bytes !== undefined) {
      if (bytes.length <= MAX_IMAGE_BYTES) return bytes;
      throw new RangeError(`${image} has ${bytes.length} bytes, expected at most ${MAX_IMAGE_BYTES}`);
    }
    if (path !== undefined) {
      const folder = shard.name.split("/").slice(0, -1).join("/");
      return await readFile(this.#files, resolveInside(folder, path), MAX_IMAGE_BYTES);
    }
    const { fetchImage } = this.#options;
    if (fetchImage === undefined) throw new TypeError(`${image} is an address, and none may be asked`);
    return await fetchImage(url!);
  }

  #imageColumn(shard: TableShard): string {
    const { image } = this.#columnsOf(shard);
    if (image === undefined) throw new UserError(`Cannot use "${this.name}/${shard.name}": it has no images`);
    return image;
  }

  #columnsOf(shard: TableShard): ShardColumns {
    let found = this.#columns.get(shard);
    if (found === undefined) {
      const { rules, requireImages = true } = this.#options;
      const source = `${this.name}/${shard.name}`;
      const caption = rules.caption === undefined
        ? chooseColumn(shard.columns, {
          kind: "caption",
          source,
          wanted: rules.captionColumn,
          usual: CAPTION_COLUMNS,
        })
        : undefined;
      const hasImage = requireImages || rules.imageColumn !== undefined ||
        IMAGE_COLUMNS.some((name) => shard.columns.includes(name));
      const image = hasImage
        ? chooseColumn(shard.columns, {
          kind: "image",
          source,
          wanted: rules.imageColumn,
          usual: IMAGE_COLUMNS,
        })
        : undefined;
      found = { caption, image };
      this.#columns.set(shard, found);
    }
    return found;
  }
}

function rowId({ shard, row }: { shard: TableShard; row: number }): string {
  return `${shard.name}#${row}`;
}
