/**
 * Image folders in the Hugging Face convention: images beside a `metadata.jsonl` or `metadata.csv` with a `file_name` column.
 *
 * @module
 */

import { describeError, describeNames, UserError } from "../base/errors.ts";
import { parseCsv } from "../format/csv.ts";
import { BadRows } from "./bad_rows.ts";
import { CAPTION_COLUMNS, chooseColumn, readCaptions, readObjects } from "./captions.ts";
import { type FileSource, resolveInside } from "./file_source.ts";
import { type CaptionRow, type Split, splitBySeed, splitOfFolders, SPLITS } from "./rows.ts";

/** Options of {@linkcode loadImageFolder}. */
export interface LoadImageFolderOptions {
  /** Column of captions, strings or lists of strings. @default the first of {@linkcode CAPTION_COLUMNS} that the data set has */
  readonly captionColumn?: string;
  /** Collects rows that cannot be used. @default a new collection that allows 5 % */
  readonly badRows?: BadRows;
  /** Seed of splits that no folder names. @default 42 */
  readonly seed?: number;
}

/** A loaded image folder; images are not read yet. */
export interface ImageFolder {
  /** Usable rows of each split, in the order of the data set. */
  readonly rows: Readonly<Record<Split, readonly CaptionRow[]>>;
  /** The column that the captions came from. */
  readonly captionColumn: string;
  /** Rows that were skipped; images that fail to decode later are added by whoever decodes them. */
  readonly badRows: BadRows;
  /** Rows in all, good and bad. */
  readonly total: number;
}

/** What the column `source` says of pictures that an image model made. */
export const SYNTHETIC = "synthetic";

const METADATA_NAMES = ["metadata.jsonl", "metadata.csv"];
const MAX_METADATA_BYTES = 512 * 2 ** 20;
const MAX_DEPTH = 4;
const MAX_FOLDERS = 10_000;
const FILE_NAME = "file_name";

/**
 * Reads the rows of an image folder and their splits.
 *
 * A metadata file describes the images below its folder; folders under one are not searched. Splits come from folder names
 * (`train`, `validation`, `test` and their synonyms). Where the folders name no split, or only train, images are split 80/10/10 by seed;
 * where they name train and test alone, a tenth of train becomes validation. Rows whose `source` is {@linkcode SYNTHETIC} are always
 * trained on: nothing is validated or tested with them.
 *
 * @throws {UserError} If there is no metadata, no row, no caption column, or more bad rows than allowed
 */
export async function loadImageFolder(
  files: FileSource,
  options: LoadImageFolderOptions = {},
): Promise<ImageFolder> {
  const badRows = options.badRows ?? new BadRows();
  const records: RawRow[] = [];
  const metadata = await findMetadata(files);
  if (metadata.length === 0) {
    throw new UserError(
      `Cannot use "${files.name}": no metadata.jsonl or metadata.csv in it; write one with the columns file_name and caption`,
    );
  }
  for (const path of metadata) {
    records.push(...parseMetadata(path, await readText(files, path), badRows));
  }
  const total = records.length + badRows.count;
  if (total === 0) throw new UserError(`Cannot use "${files.name}": its metadata has no rows`);
  badRows.check(total);

  const present = new Set(records.flatMap(({ columns }) => Object.keys(columns)));
  const captionColumn = chooseColumn([...present], {
    kind: "caption",
    source: files.name,
    wanted: options.captionColumn,
    usual: CAPTION_COLUMNS,
  });
  const rows: CaptionRow[] = [];
  for (const { id, folder, columns } of records) {
    try {
      rows.push(readRow(folder, columns, captionColumn));
    } catch (error) {
      badRows.add(id, describeError(error));
    }
  }
  const split = assignSplits(rows, badRows, options.seed ?? 42);
  badRows.check(total);
  return { rows: split, captionColumn, badRows, total };
}

/** A row before it is understood. */
interface RawRow {
  /** Metadata file and line. */
  readonly id: string;
  /** Folder of the metadata file. */
  readonly folder: string;
  readonly columns: Record<string, unknown>;
}

/**
 * Metadata files of an image folder, at most four folders down; none if it is no image folder.
 *
 * @throws {UserError} If a folder has two, or there are too many folders
 */
export async function findMetadata(files: FileSource): Promise<string[]> {
  const found: string[] = [];
  const queue: { folder: string; depth: number }[] = [{ folder: "", depth: 0 }];
  for (const { folder, depth } of queue) {
    const candidates = METADATA_NAMES.map((name) => folder === "" ? name : `${folder}/${name}`);
    const present: string[] = [];
    for (const path of candidates) if (await files.exists(path)) present.push(path);
    if (present.length > 1) {
      throw new UserError(`Cannot use "${files.name}": both ${describeNames(present)} are there; keep one`);
    }
    if (present[0] !== undefined) {
      found.push(present[0]);
      continue;
    }
    if (depth === MAX_DEPTH) continue;
    for (const entry of await files.list(folder)) {
      if (!entry.isFolder || entry.name.startsWith(".")) continue;
      queue.push({ folder: folder === "" ? entry.name : `${folder}/${entry.name}`, depth: depth + 1 });
    }
    if (queue.length > MAX_FOLDERS) {
      throw new UserError(
        `Cannot use "${files.name}": more than ${MAX_FOLDERS} folders and no metadata among them`,
      );
    }
  }
  return found;
}

async function readText(files: FileSource, path: string): Promise<string> {
  const bytes = await files.read(path, { maxBytes: MAX_METADATA_BYTES });
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new UserError(`Cannot read "${files.name}/${path}": it is not UTF-8 text; save it as UTF-8`, {
      cause,
    });
  }
}

function parseMetadata(path: string, text: string, badRows: BadRows): RawRow[] {
  const folder = path.split("/").slice(0, -1).join("/");
  return path.endsWith(".csv")
    ? parseCsvRows(path, folder, text, badRows)
    : parseJsonlRows(path, folder, text, badRows);
}

function parseJsonlRows(path: string, folder: string, text: string, badRows: BadRows): RawRow[] {
  const rows: RawRow[] = [];
  text.split("\n").forEach((line, i) => {
    if (line.trim() === "") return;
    const id = `${path}:${i + 1}`;
    try {
      const columns: unknown = JSON.parse(line);
      if (typeof columns !== "object" || columns === null || Array.isArray(columns)) {
        throw new SyntaxError("expected a JSON object");
      }
      rows.push({ id, folder, columns: columns as Record<string, unknown> });
    } catch (error) {
      badRows.add(id, `not a JSON object: ${describeError(error)}`);
    }
  });
  return rows;
}

function parseCsvRows(path: string, folder: string, text: string, badRows: BadRows): RawRow[] {
  const rows: RawRow[] = [];
  let header: readonly string[] | undefined;
  for (const { line, fields } of parseCsv(text)) {
    if (!header) {
      header = fields;
      continue;
    }
    const id = `${path}:${line}`;
    if (fields.length !== header.length) {
      badRows.add(id, `${fields.length} fields, expected ${header.length}`);
      continue;
    }
    rows.push({ id, folder, columns: Object.fromEntries(header.map((name, i) => [name, fields[i]])) });
  }
  return rows;
}

function readRow(folder: string, columns: Record<string, unknown>, captionColumn: string): CaptionRow {
  const fileName = columns[FILE_NAME];
  if (typeof fileName !== "string") {
    throw new TypeError(`${FILE_NAME} is ${JSON.stringify(fileName) ?? "missing"}`);
  }
  const image = resolveInside(folder, fileName);
  const captions = readCaptions(columns[captionColumn], captionColumn);
  const objects = readObjects(columns.objects);
  return { image, captions, ...(objects && { objects }), columns };
}

function assignSplits(
  rows: readonly CaptionRow[],
  badRows: BadRows,
  seed: number,
): Record<Split, CaptionRow[]> {
  const real = rows.filter((row) => !isSynthetic(row));
  const named = new Set(real.map(({ image }) => splitOfFolders(image)));
  const rest = [...named].filter((split) => split !== undefined && split !== "train");
  let splitOf: (row: CaptionRow) => Split | undefined = ({ image }) => splitOfFolders(image);
  if (rest.length === 0) {
    const bySeed = splitBySeed(real.map(({ image }) => image), { seed });
    splitOf = ({ image }) => bySeed.get(image);
  } else if (named.has("train") && !named.has("validation")) {
    const train = real.map(({ image }) => image).filter((image) => splitOfFolders(image) === "train");
    const bySeed = splitBySeed(train, { seed, shares: { validation: 0.1, test: 0 } });
    splitOf = ({ image }) => bySeed.get(image) ?? splitOfFolders(image);
  }
  const splits: Record<Split, CaptionRow[]> = { train: [], validation: [], test: [] };
  for (const row of rows) {
    const split = isSynthetic(row) ? "train" : splitOf(row);
    if (split) splits[split].push(row);
    else badRows.add(row.image, `its folders name none of the splits ${SPLITS.join(", ")}, others do`);
  }
  return splits;
}

function isSynthetic({ columns }: CaptionRow): boolean {
  return columns.source === SYNTHETIC;
}
