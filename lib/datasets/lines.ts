/**
 * JSON lines, CSV and TSV read in stretches: the file is looked through once for the ends of its records, and then read by range.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import { type ByteSource, readExactly } from "../format/byte_source.ts";
import { parseCsv } from "../format/csv.ts";
import { ROW_ERROR, type TableRow, type TableShard } from "./table.ts";

/** A stretch ends after so many rows or bytes, whichever comes first. */
const GROUP_ROWS = 1000;
const GROUP_BYTES = 8 * 2 ** 20;
/** Longest record. */
const MAX_RECORD_BYTES = 64 * 2 ** 20;
const READ_BYTES = 4 * 2 ** 20;
const [NEWLINE, RETURN, QUOTE, SPACE, TAB] = [10, 13, 34, 32, 9];

/** A stretch of whole records. */
interface Stretch {
  start: number;
  end: number;
  rows: number;
}

/** Opens JSON lines: an object a line. @throws {RangeError} If a line is longer than 64 MiB */
export async function openJsonLines(source: ByteSource): Promise<TableShard> {
  const stretches = await findStretches(source, { quotes: false, header: 0 });
  const read = async (group: number) => parseJsonLines(await readStretch(source, stretches.groups[group]!));
  const seen = stretches.groups.length === 0 ? [] : await read(0);
  const columns = new Set(seen.flatMap((row) => ROW_ERROR in row ? [] : Object.keys(row)));
  return {
    name: source.name,
    columns: [...columns],
    groups: stretches.groups.map(({ rows }) => rows),
    read,
  };
}

/**
 * Opens CSV with a header, or TSV with `"\t"` as its delimiter.
 *
 * @throws {SyntaxError} If there is no header
 * @throws {RangeError} If a record is longer than 64 MiB
 */
export async function openCsv(source: ByteSource, options: { delimiter?: string } = {}): Promise<TableShard> {
  const { delimiter = "," } = options;
  const stretches = await findStretches(source, { quotes: true, header: 1 });
  const head = stretches.header && await readStretch(source, stretches.header);
  const [header] = head === undefined ? [] : parseCsv(head, { delimiter });
  if (header === undefined) throw new SyntaxError(`Cannot read "${source.name}": it has no header`);
  const columns = header.fields;
  return {
    name: source.name,
    columns,
    groups: stretches.groups.map(({ rows }) => rows),
    async read(group) {
      const text = await readStretch(source, stretches.groups[group]!);
      const rows: TableRow[] = [];
      try {
        for (const { fields } of parseCsv(text, { delimiter })) {
          rows.push(
            fields.length === columns.length
              ? Object.fromEntries(columns.map((name, i) => [name, fields[i]]))
              : { [ROW_ERROR]: `${fields.length} fields, expected ${columns.length}` },
          );
        }
      } catch (error) {
        throw new SyntaxError(`Cannot read "${source.name}": ${describeError(error)}`, { cause: error });
      }
      return rows;
    },
  };
}

function parseJsonLines(text: string): TableRow[] {
  return text.split("\n").filter((line) => line.trim() !== "").map((line): TableRow => {
    try {
      const row: unknown = JSON.parse(line);
      if (typeof row !== "object" || row === null || Array.isArray(row)) throw new SyntaxError("no object");
      return row as TableRow;
    } catch (error) {
      return { [ROW_ERROR]: `not a JSON object: ${describeError(error)}` };
    }
  });
}

/** Finds the ends of records; line ends inside quotes end none, and empty lines are none. */
async function findStretches(
  source: ByteSource,
  { quotes, header }: { quotes: boolean; header: 0 | 1 },
): Promise<{ header: Stretch | undefined; groups: Stretch[] }> {
  const groups: Stretch[] = [];
  let headerStretch: Stretch | undefined;
  let [start, rows, recordStart] = [0, 0, 0];
  let [isQuoted, isEmpty] = [false, true];
  const endRecord = (end: number): void => {
    if (end - recordStart > MAX_RECORD_BYTES) {
      throw new RangeError(
        `Cannot read "${source.name}": a record of ${
          end - recordStart
        } bytes, expected at most ${MAX_RECORD_BYTES}`,
      );
    }
    recordStart = end;
    if (!isEmpty) rows++;
    isEmpty = true;
    if (header === 1 && headerStretch === undefined) {
      if (rows === 0) return;
      headerStretch = { start, end, rows };
      [start, rows] = [end, 0];
    } else if (rows >= GROUP_ROWS || end - start >= GROUP_BYTES) endStretch(end);
  };
  const endStretch = (end: number): void => {
    if (rows > 0) groups.push({ start, end, rows });
    [start, rows] = [end, 0];
  };
  for (let at = 0; at < source.size; at += READ_BYTES) {
    const bytes = await readExactly(source, at, Math.min(at + READ_BYTES, source.size));
    for (let i = 0; i < bytes.length; i++) {
      const byte = bytes[i]!;
      if (quotes && byte === QUOTE) isQuoted = !isQuoted;
      if (byte === NEWLINE && !isQuoted) endRecord(at + i + 1);
      else if (isEmpty && byte !== RETURN && byte !== SPACE && byte !== TAB && byte !== NEWLINE) {
        isEmpty = false;
      }
    }
    if (at + bytes.length - recordStart > MAX_RECORD_BYTES) endRecord(at + bytes.length);
  }
  if (recordStart < source.size) endRecord(source.size);
  endStretch(source.size);
  return { header: headerStretch, groups };
}

async function readStretch(source: ByteSource, { start, end }: Stretch): Promise<string> {
  const bytes = await readExactly(source, start, end);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SyntaxError(
      `Cannot read "${source.name}": bytes ${start} to ${end} are not UTF-8 text; save it as UTF-8`,
      {
        cause,
      },
    );
  }
}
