/**
 * Numbers of rows from files beside the data set: weights and scores, as the quality report writes them.
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";
import { openParquet } from "../datasets/parquet.ts";
import { parseCsv } from "../format/csv.ts";
import { normalizeCaption } from "../text/normalize.ts";
import { readBounded } from "./file_source.ts";
import { memorySource } from "../format/byte_source.ts";

const MAX_BYTES = 1e9;
/** Columns that tell which row is meant, the first found counts. */
const SOURCE_ID = ["source_id"];
const NUMBER = ["idx", "index", "row"];
const CAPTION = ["caption", "alt_text"];

/** What is asked of a row to know its number. */
export interface NamedRow {
  /** Name of its data set. */
  readonly dataset: string;
  /** Its number in it. */
  readonly number: number;
  /** Its captions; absent where they are not known before the row is read. */
  readonly captions?: readonly string[];
}

/** Numbers by row. */
export interface RowValues {
  /** SHA-256 of the file, hexadecimal. */
  readonly hash: string;
  /** The number of a row; `undefined` where the file does not name it. @throws {UserError} If rows are named by captions that are unknown */
  find(row: NamedRow): number | undefined;
}

/** Options of {@linkcode readRowValues}. */
export interface RowValuesOptions {
  /** What messages call the numbers: `weights`. */
  readonly kind: string;
  /** Columns of numbers, the first found counts. */
  readonly columns: readonly string[];
  /** Data sets of the run. */
  readonly names: readonly string[];
  /** Reads a cell; `undefined` where it has no number. @throws {RangeError} If it has a wrong one; the message names it and what was expected */
  read(cell: string): number | undefined;
  /** Which of two numbers of one row counts. @default the later */
  choose?(a: number, b: number): number;
}

/**
 * Reads a CSV or parquet file. Rows are named by `source_id` (`NAME-NUMBER`, as merged data sets have it), by number (`idx`, `index` or
 * `row`) where there is one data set, or by `caption` (or `alt_text`).
 *
 * @throws {UserError} If columns are missing, or a cell is wrong
 */
export async function readRowValues(path: string, options: RowValuesOptions): Promise<RowValues> {
  const { kind, columns, names, read, choose } = options;
  const refuse = (why: string) => new UserError(`Cannot use the ${kind} of "${path}": ${why}`);
  const bytes = await readBounded(path, MAX_BYTES);
  const { header, records } = /\.parquet$/i.test(path)
    ? await parquetRecords(path, bytes)
    : csvRecords(bytes);
  const find = (usual: readonly string[]) =>
    header.indexOf(usual.find((name) => header.includes(name)) ?? "");
  const value = find(columns);
  const keys = {
    sourceId: find(SOURCE_ID),
    number: names.length === 1 ? find(NUMBER) : -1,
    caption: find(CAPTION),
  };
  const by = (["sourceId", "number", "caption"] as const).find((name) => keys[name] >= 0);
  if (value < 0) {
    throw refuse(`it has none of the columns ${describeNames(columns)}, but ${describeNames(header)}`);
  }
  if (by === undefined) {
    const only = names.length > 1 && find(NUMBER) >= 0
      ? "; rows can be named by number alone where there is one data set"
      : "";
    throw refuse(
      `no column tells which row is meant: expected ${
        describeNames([...SOURCE_ID, ...NUMBER, ...CAPTION])
      }, found ${describeNames(header)}${only}`,
    );
  }
  const values = new Map<string, number>();
  for await (const { line, fields } of records) {
    let number: number | undefined;
    try {
      number = read(fields[value] ?? "");
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw refuse(`line ${line} has ${error.message}`);
    }
    if (number === undefined) continue;
    const cell = fields[keys[by]] ?? "";
    const key = by === "caption" ? normalizeCaption(cell) : cell;
    const known = values.get(key);
    values.set(key, known === undefined || choose === undefined ? number : choose(known, number));
  }
  return {
    hash: await sha256Hex(bytes),
    find({ dataset, number, captions }) {
      if (by === "sourceId") return values.get(`${dataset}-${number}`);
      if (by === "number") return values.get(String(number));
      if (captions === undefined) {
        throw refuse(
          `it names rows by caption, which a stream does not know before it reads them; name them by number`,
        );
      }
      return captions.map((caption) => values.get(caption)).find((found) => found !== undefined);
    },
  };
}

interface Records {
  header: readonly string[];
  records: Iterable<CellRecord> | AsyncIterable<CellRecord>;
}

interface CellRecord {
  readonly line: number;
  readonly fields: readonly string[];
}

function csvRecords(bytes: Uint8Array): Records {
  const records = parseCsv(new TextDecoder().decode(bytes));
  return { header: [...records.next().value?.fields ?? []], records };
}

async function parquetRecords(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<Records> {
  const shard = await openParquet(memorySource(path, bytes));
  const records = async function* (): AsyncGenerator<CellRecord> {
    let line = 1;
    for (const group of shard.groups.keys()) {
      for (const row of await shard.read(group, shard.columns)) {
        yield { line: line++, fields: shard.columns.map((name) => String(row[name] ?? "")) };
      }
    }
  };
  return { header: shard.columns, records: records() };
}
