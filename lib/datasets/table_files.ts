/**
 * Which files of a data set are tables, and how each is opened.
 *
 * @module
 */

import { describeError, describeNames, UserError } from "../base/errors.ts";
import { readText } from "../format/byte_source.ts";
import { type JsonObject, parseJsonObject } from "../format/json.ts";
import { openArrow } from "./arrow.ts";
import type { DataFiles } from "./data_files.ts";
import { resolveInside } from "./file_source.ts";
import { openCsv, openJsonLines } from "./lines.ts";
import { openParquet } from "./parquet.ts";
import type { TableShard } from "./table.ts";
import { openTar } from "./tar.ts";

/** Formats by extension. Where a data set has several, the first of this list that it has is meant. */
const OPENERS: Readonly<
  Record<string, (files: DataFiles, path: string) => Promise<TableShard>>
> = {
  parquet: async (files, path) => await openParquet(await files.open(path)),
  arrow: async (files, path) => await openArrow(await files.open(path)),
  tar: async (files, path) => await openTar(await files.open(path)),
  jsonl: async (files, path) => await openJsonLines(await files.open(path)),
  ndjson: async (files, path) => await openJsonLines(await files.open(path)),
  csv: async (files, path) => await openCsv(await files.open(path)),
  tsv: async (files, path) => await openCsv(await files.open(path), { delimiter: "\t" }),
};

/** What `save_to_disk` writes beside its files: which there are, in their order; and which folders are splits. */
const STATE = "state.json";
const SPLIT_LIST = "dataset_dict.json";
const MAX_STATE_BYTES = 64e6;

/** Extensions that are read. */
export const TABLE_EXTENSIONS: readonly string[] = Object.keys(OPENERS);

/**
 * Files of rows, in the order that the data set gives them.
 *
 * @throws {UserError} If there are none
 */
export async function findTables(files: DataFiles): Promise<string[]> {
  const saved = await findSaved(files);
  if (saved.length > 0) return saved;
  const visible = files.paths.filter((path) => !path.split("/").some((part) => /^[._]/.test(part)));
  for (const extension of TABLE_EXTENSIONS) {
    const found = visible.filter((path) => extensionOf(path) === extension);
    if (found.length > 0) return found;
  }
  const zip = visible.find((path) => extensionOf(path) === "zip");
  throw new UserError(
    `Cannot use "${files.name}": it has no file ending in ${
      TABLE_EXTENSIONS.join(", ")
    }, and no metadata.jsonl or ` +
      `metadata.csv beside images; it has ${visible.length === 0 ? "no files" : describeNames(visible)}` +
      (zip === undefined ? "" : `; unpack "${zip}" first`),
  );
}

/** Files of `save_to_disk`, in the order that their state gives. Others beside them are its caches. */
async function findSaved(files: DataFiles): Promise<string[]> {
  const states = files.paths.filter((path) => path.split("/").at(-1) === STATE);
  if (states.length === 0) return [];
  const folderOf = (path: string) => path.split("/").slice(0, -1).join("/");
  let folders = states.map(folderOf);
  if (files.paths.includes(SPLIT_LIST)) {
    const { splits } = await readJson(files, SPLIT_LIST);
    if (!Array.isArray(splits) || !splits.every((split) => typeof split === "string")) {
      throw new UserError(`Cannot use "${files.name}/${SPLIT_LIST}": it has no list of splits`);
    }
    folders = splits.map((split) => resolveInside("", split));
  }
  const found: string[] = [];
  for (const folder of folders) {
    const path = folder === "" ? STATE : `${folder}/${STATE}`;
    const { _data_files: list } = await readJson(files, path);
    const names = Array.isArray(list) ? list.map((entry) => (entry as { filename?: unknown })?.filename) : [];
    if (names.length === 0 || !names.every((name) => typeof name === "string")) {
      throw new UserError(`Cannot use "${files.name}/${path}": it lists no files`);
    }
    for (const name of names) {
      const file = resolveInside(folder, name);
      if (!files.paths.includes(file)) {
        throw new UserError(`Cannot use "${files.name}": "${path}" lists "${file}", which is not there`);
      }
      found.push(file);
    }
  }
  return found;
}

async function readJson(files: DataFiles, path: string): Promise<JsonObject> {
  if (!files.paths.includes(path)) throw new UserError(`Cannot use "${files.name}": "${path}" is not there`);
  return parseJsonObject(await readText(await files.open(path), MAX_STATE_BYTES), path);
}

/** Opens a file of rows under its path. @throws {SyntaxError | RangeError} If it is damaged, or claims too much */
export async function openTable(files: DataFiles, path: string): Promise<TableShard> {
  const opener = OPENERS[extensionOf(path)];
  if (opener === undefined) throw new UserError(`Cannot use "${path}": its kind of file is not read`);
  try {
    return { ...await opener(files, path), name: path };
  } catch (cause) {
    if (!(cause instanceof SyntaxError || cause instanceof RangeError)) throw cause;
    throw new UserError(`Cannot use "${files.name}": ${describeError(cause)}`, { cause });
  }
}

function extensionOf(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1).toLowerCase();
}
