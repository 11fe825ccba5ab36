/**
 * Which rows are good enough to train on: those with a score of at least so much, in a file or a column of the data set.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { type NamedRow, readRowValues } from "./row_values.ts";

/** Score that is looked at where none is named. */
export const DEFAULT_SCORE = "clip_score";

/** What the flags come to. */
export interface RowFilterOptions {
  /** Rows with less are left out. @default {none is} */
  minScore?: number;
  /** CSV or parquet file of scores. @default {a column of the data set} */
  scores?: string;
  /** Column of scores. @default {"clip_score"} */
  scoreColumn?: string;
}

/** A row that may have a column of scores. */
export type ScoredRow = NamedRow & { readonly columns?: Readonly<Record<string, unknown>> };

/** Rows that were left out so far. */
export interface FilterCounts {
  kept: number;
  below: number;
  unscored: number;
}

/** Decides about rows. */
export interface RowFilter {
  /** Column that the data set must be read with; `undefined` where a file has the scores. */
  readonly column: string | undefined;
  /** What tells this filter from others. */
  readonly identity: readonly unknown[];
  /** How it went. */
  readonly counts: Readonly<FilterCounts>;
  /** Whether a row is trained on. */
  keep(row: ScoredRow): boolean;
  /** @throws {UserError} If no row was kept; the message says why */
  check(): void;
}

/**
 * Opens a filter; `undefined` where none is wanted.
 *
 * @param names Data sets of the run
 * @throws {UserError} If the file cannot be used
 */
export async function openRowFilter(
  { minScore, scores, scoreColumn }: RowFilterOptions,
  names: readonly string[],
): Promise<RowFilter | undefined> {
  if (minScore === undefined) return undefined;
  const column = scoreColumn ?? DEFAULT_SCORE;
  const values = scores === undefined ? undefined : await readRowValues(scores, {
    kind: "scores",
    columns: [column],
    names,
    read: scoreOf,
    choose: Math.min,
  });
  const counts: FilterCounts = { kept: 0, below: 0, unscored: 0 };
  const where = scores === undefined ? `the column "${column}"` : `"${column}" of "${scores}"`;
  return {
    column: values === undefined ? column : undefined,
    identity: [minScore, column, values?.hash ?? null],
    counts,
    keep(row) {
      const score = values === undefined ? scoreOf(row.columns?.[column]) : values.find(row);
      const verdict = score === undefined ? "unscored" : score < minScore ? "below" : "kept";
      counts[verdict]++;
      return verdict === "kept";
    },
    check() {
      if (counts.kept > 0 || counts.below + counts.unscored === 0) return;
      throw new UserError(
        `Cannot train with --min-score ${minScore}: no row has as much in ${where}; ${
          describeFilter({ counts })
        }` +
          (counts.below === 0
            ? "; write scores with deno task quality-report --split all --write-back, or name a file with --scores"
            : ""),
      );
    },
  };
}

/** A number of a cell; text and numbers that are none count as absent. */
function scoreOf(cell: unknown): number | undefined {
  if (typeof cell === "string" && cell.trim() === "") return undefined;
  const score = typeof cell === "number" || typeof cell === "string" ? Number(cell) : NaN;
  return Number.isFinite(score) ? score : undefined;
}

/** How it went, as text. */
export function describeFilter({ counts: { kept, below, unscored } }: Pick<RowFilter, "counts">): string {
  return `${kept} of ${kept + below + unscored} rows kept, ${below} below, ${unscored} without a score`;
}
