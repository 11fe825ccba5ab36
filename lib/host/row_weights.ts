/**
 * Weights of rows, as the quality report suggests them (`reweighting_probs.csv`).
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { type NamedRow, readRowValues } from "./row_values.ts";

/** Columns looked for, the first found counts. */
const PROBABILITY = ["probability", "reweight_norm", "reweight_raw", "weight"];

/** Weights by row. */
export interface RowWeights {
  /** SHA-256 of the file, hexadecimal. */
  readonly hash: string;
  /** How often each row is wanted in an epoch, on average; their sum is the number of rows. */
  weigh(rows: readonly NamedRow[]): Float64Array;
}

/**
 * Reads a CSV or parquet file of weights, rows named as {@linkcode readRowValues} says. Weights are `probability`, `reweight_norm`,
 * `reweight_raw` or `weight`, in any scale. Rows that the file does not name get the mean of those that it does.
 *
 * @param names Data sets of the run
 * @throws {UserError} If columns are missing, a weight is no number >= 0, or none of the rows is in the file
 */
export async function readRowWeights(path: string, names: readonly string[]): Promise<RowWeights> {
  const refuse = (why: string) => new UserError(`Cannot use the weights of "${path}": ${why}`);
  const { hash, find } = await readRowValues(path, {
    kind: "weights",
    columns: PROBABILITY,
    names,
    read(cell) {
      const weight = Number(cell);
      if (cell.trim() === "" || !(weight >= 0 && weight < Infinity)) {
        throw new RangeError(`the weight ${JSON.stringify(cell)}, expected a number >= 0`);
      }
      return weight;
    },
  });
  return {
    hash,
    weigh(rows) {
      const found = rows.map(find);
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
