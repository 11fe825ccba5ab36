/**
 * Weights of rows, as the quality report suggests them (`reweighting_probs.csv`).
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";
import { parseCsv } from "../format/csv.ts";
import { normalizeCaption } from "../text/normalize.ts";
import { readBounded } from "./file_source.ts";

const MAX_BYTES = 1e9;
/** Columns looked for, the first found counts. */
const PROBABILITY = ["probability", "reweight_norm", "reweight_raw", "weight"];
const SOURCE_ID = ["source_id"];
const NUMBER = ["idx", "index", "row"];
const CAPTION = ["caption", "alt_text"];

/** What is asked of a row to know its weight. */
export interface WeighedRow {
  /** Name of its data set. */
  readonly dataset: string;
  /** Its number in it. */
  readonly number: number;
  /** Its captions; absent where they are not known before the row is read. */
  readonly captions?: readonly string[];
}

/** Weights by row. */
export interface RowWeights {
  /** SHA-256 of the file, hexadecimal. */
  readonly hash: string;
  /** How often each row is wanted in an epoch, on average; their sum is the number of rows. */
  weigh(rows: readonly WeighedRow[]): Float64Array;
}

/**
 * Reads a CSV file of weights. Rows are named by `source_id` (`NAME-NUMBER`, as merged data sets have it), by number (`idx`, `index` or
 * `row`) where there is one data set, or by `caption` (or `alt_text`). Weights are `probability`, `reweight_norm`, `reweight_raw` or
 * `weight`, in any scale. Rows that the file does not name get the mean of those that it does.
 *
 * @param names Data sets of the run
 * @throws {UserError} If columns are missing, a weight is no number >= 0, or none of the rows is in the file
 */
export async function readRowWeights(path: string, names: readonly string[]): Promise<RowWeights> {
  const refuse = (why: string) => new UserError(`Cannot use the weights of "${path}": ${why}`);
  const bytes = await readBounded(path, MAX_BYTES);
  const records = parseCsv(new TextDecoder().decode(bytes));
  const header = [...records.next().value?.fields ?? []];
  const find = (usual: readonly string[]) =>
    header.indexOf(usual.find((name) => header.includes(name)) ?? "");
  const value = find(PROBABILITY);
  const keys = {
    sourceId: find(SOURCE_ID),
    number: names.length === 1 ? find(NUMBER) : -1,
    caption: find(CAPTION),
  };
  const kind = (["sourceId", "number", "caption"] as const).find((kind) => keys[kind] >= 0);
  if (value < 0) {
    throw refuse(`it has none of the columns ${describeNames(PROBABILITY)}, but ${describeNames(header)}`);
  }
  if (kind === undefined) {
    const only = names.length > 1 && find(NUMBER) >= 0
      ? "; rows can be named by number alone where there is one data set"
      : "";
    throw refuse(
      `no column tells which row is meant: expected ${
        describeNames([...SOURCE_ID, ...NUMBER, ...CAPTION])
      }, found ${describeNames(header)}${only}`,
    );
  }
  const weights = new Map<string, number>();
  for (const { line, fields } of records) {
    const weight = Number(fields[value]);
    if (fields[value]?.trim() === "" || !(weight >= 0 && weight < Infinity)) {
      throw refuse(
        `line ${line} has the weight ${JSON.stringify(fields[value] ?? "")}, expected a number >= 0`,
      );
    }
    const key = fields[keys[kind]] ?? "";
    weights.set(kind === "caption" ? normalizeCaption(key) : key, weight);
  }
  const weightOf = ({ dataset, number, captions }: WeighedRow): number | undefined => {
    if (kind === "sourceId") return weights.get(`${dataset}-${number}`);
    if (kind === "number") return weights.get(String(number));
    if (captions === undefined) {
      throw refuse(
        `it names rows by caption, which a stream does not know before it reads them; name them by number`,
      );
    }
    return captions.map((caption) => weights.get(caption)).find((weight) => weight !== undefined);
  };
  return {
    hash: await sha256Hex(bytes),
    weigh(rows) {
      const found = rows.map(weightOf);
      const known = found.filter((weight) => weight !== undefined);
      const sum = known.reduce((total, weight) => total + weight, 0);
      if (known.length === 0) throw refuse("none of the rows to train on is in it");
      if (sum === 0) throw refuse("every row to train on has the weight 0");
      const mean = sum / known.length;
      const total = found.reduce<number>((all, weight) => all + (weight ?? mean), 0);
      return Float64Array.from(found, (weight) => (weight ?? mean) / total * rows.length);
    },
  };
}
