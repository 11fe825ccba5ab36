/**
 * Rows of a data set that cannot be used: skipped, counted, listed at the end; too many of them stop a run.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";

/** A skipped row. */
export interface BadRow {
  /** Where it is: file and line, or path of the image. */
  readonly id: string;
  /** Why it was skipped. */
  readonly reason: string;
}

/** Options of {@linkcode BadRows}. */
export interface BadRowsOptions {
  /** Largest share of all rows that may be bad, in [0, 1]. @default 0.05 */
  readonly maxFraction?: number;
}

const LISTED_IN_ERROR = 5;

/** Collects bad rows; a row that is found bad twice counts once. */
export class BadRows {
  /** Largest share of all rows that may be bad. */
  readonly maxFraction: number;
  readonly #reasons = new Map<string, string>();

  /** Starts without bad rows. @throws {RangeError} If the fraction is outside [0, 1] */
  constructor({ maxFraction = 0.05 }: BadRowsOptions = {}) {
    if (!(maxFraction >= 0 && maxFraction <= 1)) {
      throw new RangeError(`Cannot allow a fraction of ${maxFraction} bad rows: expected a number in [0, 1]`);
    }
    this.maxFraction = maxFraction;
  }

  /** Skipped rows, first found first. */
  get rows(): BadRow[] {
    return [...this.#reasons].map(([id, reason]) => ({ id, reason }));
  }

  /** Number of skipped rows. */
  get count(): number {
    return this.#reasons.size;
  }

  /** Notes a row as bad; the first reason stays. */
  add(id: string, reason: string): void {
    if (!this.#reasons.has(id)) this.#reasons.set(id, reason);
  }

  /** Whether a row was noted as bad. */
  has(id: string): boolean {
    return this.#reasons.has(id);
  }

  /**
   * Stops when too many rows are bad.
   *
   * @param total Rows in all, good and bad
   * @throws {UserError} If more than the allowed share of them is bad
   */
  check(total: number): void {
    if (this.count <= this.maxFraction * total) return;
    const percent = (share: number) => `${+(share * 100).toFixed(1)} %`;
    throw new UserError(
      `Cannot use the data set: ${this.count} of ${total} rows are bad (${percent(this.count / total)}), ` +
        `at most ${percent(this.maxFraction)} may be (--max-bad-rows): ${this.describe(LISTED_IN_ERROR)}`,
    );
  }

  /** The first `limit` rows with their reasons, and how many more there are. */
  describe(limit: number): string {
    const listed = this.rows.slice(0, limit).map(({ id, reason }) => `${id}: ${reason}`);
    const more = this.count - listed.length;
    return [...listed, ...(more > 0 ? [`${more} more`] : [])].join("; ");
  }
}
