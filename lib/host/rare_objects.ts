/**
 * Objects that a data set has few of, as the quality report writes them (`objects_below_50.csv`).
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import { parseCsv } from "../format/csv.ts";
import type { RareObject } from "../quality/prompts.ts";
import { readBounded } from "./file_source.ts";

const MAX_BYTES = 64e6;
const OBJECT_COLUMNS = ["object", "objects", "name", "label", "class", "category"];
const COUNT_COLUMNS = ["count", "counts", "frequency", "n"];

/**
 * Reads a CSV with a column of names and one of counts.
 *
 * @throws {UserError} If a column is missing, a count is none, or there is no row
 */
export async function readRareObjects(path: string): Promise<RareObject[]> {
  const refuse = (why: string) => new UserError(`Cannot read the rare objects of "${path}": ${why}`);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await readBounded(path, MAX_BYTES));
  } catch (error) {
    if (error instanceof TypeError) throw refuse("it is not UTF-8 text; save it as UTF-8");
    throw error;
  }
  const found: RareObject[] = [];
  let header: readonly string[] | undefined;
  let [object, count] = [-1, -1];
  for (const { line, fields } of parseCsv(text)) {
    if (header === undefined) {
      header = fields.map((name) => name.trim().toLowerCase());
      const find = (usual: readonly string[]) =>
        header!.indexOf(usual.find((name) => header!.includes(name)) ?? "");
      [object, count] = [find(OBJECT_COLUMNS), find(COUNT_COLUMNS)];
      if (object < 0 || count < 0) {
        throw refuse(`it has the columns ${describeNames(fields)}, expected "object" and "count"`);
      }
      continue;
    }
    const [name, number] = [fields[object]?.trim(), fields[count]?.trim()];
    if (name === undefined || name === "") continue;
    // Written by a spreadsheet's rules a formula got an apostrophe; counts of pandas may be floats.
    if (number === undefined || !/^\d+(\.0*)?$/.test(number)) {
      throw refuse(`line ${line} has the count "${number ?? ""}", expected a whole number`);
    }
    found.push({ object: name, count: Number(number) });
  }
  if (found.length === 0) throw refuse("it has no objects");
  return found;
}
