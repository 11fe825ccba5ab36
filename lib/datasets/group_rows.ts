/**
 * Which rows of a data set's files belong to which split.
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import type { DataFiles } from "./data_files.ts";
import { type Split, splitOfFile } from "./rows.ts";
import type { TableRow, TableShard } from "./table.ts";
import { openTable } from "./table_files.ts";

/** Files opened at once: from afar each costs a round trip. */
const OPENED_AT_ONCE = 8;

/** What a data set wants beyond its files; see `registry.ts`. */
export interface CaptionSetRules {
  /** Column of captions. @default the first of `CAPTION_COLUMNS` that it has */
  readonly captionColumn?: string;
  /** The caption of every row, instead of a column. */
  readonly caption?: string;
  /** Column of images. @default the first of `IMAGE_COLUMNS` that it has */
  readonly imageColumn?: string;
  /** Only files of these splits, by the names they have there. @default all files */
  readonly sourceSplits?: readonly string[];
  /** Only rows that pass; seen before splits are made. */
  readonly keep?: { readonly columns: readonly string[]; readonly test: (row: TableRow) => boolean };
  /** Only so many of the first rows are looked at, before any is sorted out. */
  readonly head?: number;
  /**
   * How splits are made where the files name none: 80/10/10 by seed, or everything to train and copies of the first and the second
   * tenth to validation and test. @default "shares"
   */
  readonly division?: "shares" | "copies";
}

/** Rows of one group that belong together. */
export interface GroupRows {
  /** File of the group. */
  readonly shard: TableShard;
  /** Number of the group in its file. */
  readonly group: number;
  /** Number of the group's first row in the file. */
  readonly start: number;
  /** Rows of the group, from 0, ascending. */
  readonly rows: Uint32Array;
  /** Number of each of these rows among all that the data set has here, from 0. */
  readonly numbers: Uint32Array;
}

/** Files by the split that their names tell, or all under `undefined` where splits have to be made. */
export function divideFiles(
  files: DataFiles,
  paths: readonly string[],
  sourceSplits: readonly string[] | undefined,
): Map<Split | undefined, string[]> {
  const parts = new Map<Split | undefined, string[]>();
  if (sourceSplits?.length === 1) {
    const [wanted] = sourceSplits;
    const kind = splitOfFile(wanted!);
    const chosen = paths.filter((path) =>
      nameWords(path).includes(wanted!) || (kind !== undefined && splitOfFile(path) === kind)
    );
    if (chosen.length > 0) return parts.set(undefined, chosen);
    const known = [...new Set(paths.map((path) => splitOfFile(path) ?? path))];
    throw new UserError(
      `Cannot use "${files.name}": it has no split "${wanted}"; it has ${describeNames(known)}`,
    );
  }
  for (const path of paths) {
    const split = splitOfFile(path);
    if (sourceSplits !== undefined && (split === undefined || !sourceSplits.includes(split))) continue;
    parts.set(split, [...parts.get(split) ?? [], path]);
  }
  const unnamed = parts.get(undefined);
  if (unnamed !== undefined && parts.size > 1) {
    throw new UserError(
      `Cannot use "${files.name}": ${
        describeNames(unnamed)
      } belong to no split, others do; choose one with --split`,
    );
  }
  return parts;
}

function nameWords(path: string): string[] {
  return path.split("/").flatMap((part) => [part, ...part.split(/[-.]/)]);
}

/** The rows of files that pass the rules, a few files opened ahead. */
export async function scanRows(
  files: DataFiles,
  paths: readonly string[],
  { rules, limit, firstNumber }: { rules: CaptionSetRules; limit: number; firstNumber: number },
): Promise<GroupRows[]> {
  const found: GroupRows[] = [];
  const opened: Promise<TableShard>[] = [];
  let [looked, taken, number] = [0, 0, firstNumber];
  const open = async (path: string) => await openTable(files, path);
  for (const [at] of paths.entries()) {
    // A few ahead; where a handful of rows is wanted, none that is not needed.
    const ahead = Number.isFinite(limit) || rules.head !== undefined ? 1 : OPENED_AT_ONCE;
    while (opened.length < ahead && at + opened.length < paths.length) {
      const next = open(paths[at + opened.length]!);
      next.catch(() => {}); // reported when its turn comes
      opened.push(next);
    }
    const shard = await opened.shift()!;
    checkColumns(files.name, shard, rules);
    let start = 0;
    for (const [group, count] of shard.groups.entries()) {
      let rows = Uint32Array.from(
        { length: Math.min(count, (rules.head ?? Infinity) - looked) },
        (_, row) => row,
      );
      looked += rows.length;
      if (rules.keep && rows.length > 0) {
        const { columns, test } = rules.keep;
        const cells = await shard.read(group, columns);
        rows = rows.filter((row) => test(cells[row]!));
      }
      if (rows.length > limit - taken) rows = rows.slice(0, limit - taken);
      taken += rows.length;
      const numbers = Uint32Array.from(rows, () => number++);
      if (rows.length > 0) found.push({ shard, group, start, rows, numbers });
      start += count;
      if (taken >= limit || looked >= (rules.head ?? Infinity)) return found;
    }
  }
  return found;
}

function checkColumns(source: string, shard: TableShard, rules: CaptionSetRules): void {
  const missing = rules.keep?.columns.filter((name) => !shard.columns.includes(name)) ?? [];
  if (missing.length === 0) return;
  throw new UserError(
    `Cannot use "${source}": "${shard.name}" has no column ${describeNames(missing)}; it has ${
      describeNames(shard.columns)
    }`,
  );
}

/** Rows in all. */
export function countRows(groups: readonly GroupRows[]): number {
  return groups.reduce((sum, { rows }) => sum + rows.length, 0);
}

/** The rows whose index among all of them passes. */
export function chooseRows(groups: readonly GroupRows[], test: (index: number) => boolean): GroupRows[] {
  let index = 0;
  return groups.map((group) => {
    const chosen = Uint8Array.from(group.rows, () => test(index++) ? 1 : 0);
    const pick = (values: Uint32Array) => values.filter((_, i) => chosen[i] === 1);
    return { ...group, rows: pick(group.rows), numbers: pick(group.numbers) };
  }).filter(({ rows }) => rows.length > 0);
}
