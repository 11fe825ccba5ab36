/**
 * What every file format comes down to: rows in groups, of which one at a time is read.
 *
 * @module
 */

/** A row as a file has it: text, numbers, bytes of its own memory, lists, structures. Absent values are `null`. */
export type TableRow = Readonly<Record<string, unknown>>;

/** Under this key a row that could not be read says why. */
export const ROW_ERROR = "\0error";

/** One file of rows. */
export interface TableShard {
  /** Path of the file in its data set. */
  readonly name: string;
  /** Columns, in the order of the file. Files without a schema list those that were seen when they were opened. */
  readonly columns: readonly string[];
  /** Rows of each group: of a row group, a record batch, or a stretch of lines or members. */
  readonly groups: readonly number[];
  /**
   * Reads all rows of a group.
   *
   * @param columns Columns that are wanted; a format that can read them alone does, and others may give more
   * @param rows Rows of the group that are wanted, ascending; the others may come without values. @default all
   * @throws {SyntaxError} If the file is damaged
   * @throws {RangeError} If the group is larger than what is believed
   */
  read(group: number, columns: readonly string[], rows?: Uint32Array): Promise<TableRow[]>;
}

/** Largest group that is read, in bytes of its wanted columns before and after decompression: 2 GiB. */
export const MAX_GROUP_BYTES = 2 ** 31;
/** Most rows of one group. */
export const MAX_GROUP_ROWS = 20_000_000;
/** Most groups of one file. */
export const MAX_GROUPS = 1_000_000;

/** A value as rows hold it: 64-bit integers as numbers where they fit, bytes copied out of the file's buffers. */
export function plainValue(value: unknown): unknown {
  if (value === undefined || value === null) return null;
  if (typeof value === "bigint") {
    const number = Number(value);
    return Number.isSafeInteger(number) ? number : String(value);
  }
  // A view would keep the whole page or batch that it lies in.
  if (value instanceof Uint8Array) return value.slice();
  if (Array.isArray(value)) return value.map(plainValue);
  if (ArrayBuffer.isView(value)) return Array.from(value as unknown as Iterable<unknown>, plainValue);
  if (typeof value === "object" && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([name, entry]) => [name, plainValue(entry)]));
  }
  return value;
}
