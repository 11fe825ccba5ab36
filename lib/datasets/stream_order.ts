/**
 * Orders for rows that are read group by group, for several data sets that take turns, and for rows that are drawn by weight. All are
 * functions of the sizes and the seed alone, so that a position needs no more than its number.
 *
 * @module
 */

import { hashText, Rng } from "../base/rng.ts";
import type { BatchPosition, RowOrder } from "./batches.ts";

/** Options of {@linkcode StreamOrder}. */
export interface StreamOrderOptions {
  /** Rows of each group of each data set; a row's number counts through all of them. */
  readonly sets: readonly (readonly number[])[];
  /** Rows of a batch; at least 1. */
  readonly batchSize: number;
  /** Of the order; any integer. */
  readonly seed: number;
  /**
   * Rows that wait while one of them is drawn to come next. Groups come in shuffled order, the rows of one in theirs, so the larger the
   * buffer the better the shuffle. `"all"` shuffles completely, for rows that need not be read in groups.
   */
  readonly buffer: number | "all";
  /** Data sets take turns, each spread evenly over the epoch. @default {false} their groups come in one shuffled order */
  readonly interleave?: boolean;
  /**
   * How often each row is wanted in an epoch, on average; their sum is the number of rows. A row comes the whole number of times below
   * its weight, or once more. @default once each
   */
  readonly weights?: Float64Array;
}

/** A group whose rows come next: numbers from `start` on. */
interface Group {
  readonly start: number;
  readonly count: number;
}

/** Batches of an endless stream; each epoch has as many rows as there are, and each once unless weights say otherwise. */
export class StreamOrder implements RowOrder {
  readonly batchesPerEpoch: number;
  readonly rowCount: number;
  readonly #options: StreamOrderOptions;
  readonly #sets: readonly (readonly Group[])[];
  /** First number of each group, ascending. */
  readonly #starts: Float64Array;
  #walk: { epoch: number; batch: number; rows: Iterator<number> } | undefined;
  /** Rows that were read from their group, as far as the walk is, and did not come yet: how often each still comes. */
  readonly #waiting = new Map<number, Map<number, number>>();

  /** @throws {RangeError} If there are no rows, a count is no integer >= 1, or there are not as many weights as rows */
  constructor(options: StreamOrderOptions) {
    this.#options = options;
    let rowCount = 0;
    this.#sets = options.sets.map((sizes) =>
      sizes.map((count) => {
        const start = rowCount;
        rowCount += count;
        return { start, count };
      })
    );
    const { batchSize, buffer, weights } = options;
    const counts = { rowCount, batchSize, ...(buffer === "all" ? {} : { buffer }) };
    for (const [name, value] of Object.entries(counts)) {
      if (Number.isInteger(value) && value >= 1) continue;
      throw new RangeError(`Cannot order rows: ${name} is ${value}, expected an integer >= 1`);
    }
    if (weights !== undefined && weights.length !== rowCount) {
      throw new RangeError(`Cannot order ${rowCount} rows: there are ${weights.length} weights`);
    }
    this.rowCount = rowCount;
    this.batchesPerEpoch = Math.ceil(rowCount / batchSize);
    this.#starts = Float64Array.from(this.#sets.flat(), ({ start }) => start);
  }

  /** Number of the group that a row belongs to, counted through all data sets. */
  groupOf(row: number): number {
    let [low, high] = [0, this.#starts.length - 1];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.#starts[middle]! <= row) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** Rows of a group that wait in the buffer after the batch asked for last. */
  waitingIn(group: number): Iterable<number> {
    return this.#waiting.get(group)?.keys() ?? [];
  }

  /** Whether a row waits in the buffer after the batch asked for last. */
  isWaiting(row: number): boolean {
    return this.#waiting.get(this.groupOf(row))?.has(row) ?? false;
  }

  /** Rows of the batch at a position. The next position is found at once, any other by counting from the start of its epoch. */
  indicesAt({ epoch, batch }: BatchPosition): number[] {
    if (
      !(Number.isInteger(epoch) && epoch >= 0 && Number.isInteger(batch) && batch >= 0 &&
        batch < this.batchesPerEpoch)
    ) {
      throw new RangeError(
        `Cannot find batch ${batch} of epoch ${epoch}: expected an epoch >= 0 and a batch in [0, ${this.batchesPerEpoch})`,
      );
    }
    if (this.#walk?.epoch !== epoch || this.#walk.batch > batch) {
      this.#waiting.clear();
      this.#walk = { epoch, batch: 0, rows: this.#rowsOf(epoch) };
    }
    let rows: number[] = [];
    for (; this.#walk.batch <= batch; this.#walk.batch++) rows = this.#take(this.#walk.rows);
    return rows;
  }

  #take(rows: Iterator<number>): number[] {
    const taken: number[] = [];
    while (taken.length < this.#options.batchSize) {
      const { value, done } = rows.next();
      if (done) break;
      taken.push(value);
    }
    return taken;
  }

  *#rowsOf(epoch: number): Generator<number> {
    const { seed, buffer, interleave = false } = this.#options;
    const random = (purpose: string) => new Rng(hashText(`stream|${seed}|${epoch}|${purpose}`));
    const times = this.#timesIn(epoch);
    const parts = interleave ? this.#sets : [this.#sets.flat()];
    const lengths = parts.map((groups) =>
      groups.reduce((sum, { start, count }) => sum + times.until(start + count) - times.until(start), 0)
    );
    const sequences = parts.map((groups, part) => {
      const rng = random(`groups ${part}`);
      if (buffer !== "all") return repeated(rng.shuffle([...groups]), times.of, this.#enter);
      return rng.shuffle([...repeated(groups, times.of, () => {})]).values();
    });
    const mixed = takeTurns(sequences, lengths);
    if (buffer === "all") yield* mixed;
    else for (const row of throughBuffer(mixed, buffer, random("buffer"))) yield this.#leave(row);
  }

  /** Notes that a group is read: its rows wait. */
  #enter = ({ start }: Group, rows: Map<number, number>): void => {
    if (rows.size > 0) this.#waiting.set(this.groupOf(start), rows);
  };

  #leave(row: number): number {
    const group = this.groupOf(row);
    const rows = this.#waiting.get(group)!;
    const left = rows.get(row)! - 1;
    if (left > 0) rows.set(row, left);
    else rows.delete(row);
    if (rows.size === 0) this.#waiting.delete(group);
    return row;
  }

  /**
   * How often rows come in an epoch. Systematic resampling: a comb of teeth at distance 1, shifted by chance, over the weights laid end
   * to end; every weight gets the teeth above it.
   */
  #timesIn(epoch: number): { of(row: number): number; until(row: number): number } {
    const { seed, weights } = this.#options;
    if (weights === undefined) return { of: () => 1, until: (row) => row };
    const shift = new Rng(hashText(`weights|${seed}|${epoch}`)).next();
    const teeth = new Float64Array(weights.length + 1);
    let end = 0;
    for (const [row, weight] of weights.entries()) {
      end += weight;
      // The last one ends at the count exactly, whatever the sum was rounded to.
      const isLast = row === weights.length - 1;
      teeth[row + 1] = isLast ? weights.length : Math.min(weights.length, Math.floor(end + shift));
    }
    return { of: (row) => teeth[row + 1]! - teeth[row]!, until: (row) => teeth[row]! };
  }
}

/** Rows of groups in their order, each as often as it comes. */
function* repeated(
  groups: readonly Group[],
  timesOf: (row: number) => number,
  onGroup: (group: Group, rows: Map<number, number>) => void,
): Generator<number> {
  for (const group of groups) {
    const rows = new Map<number, number>();
    for (let row = group.start; row < group.start + group.count; row++) {
      const times = timesOf(row);
      if (times > 0) rows.set(row, times);
    }
    const order = [...rows];
    onGroup(group, rows);
    for (const [row, times] of order) for (let time = 0; time < times; time++) yield row;
  }
}

/** Sequences mixed so that each is spread evenly: next comes the one that is furthest behind its share. In whole numbers. */
function* takeTurns(sequences: readonly Iterator<number>[], lengths: readonly number[]): Generator<number> {
  const total = lengths.reduce((sum, length) => sum + length, 0);
  const taken = lengths.map(() => 0);
  for (let turn = 1; turn <= total; turn++) {
    let next = 0;
    let most = -Infinity;
    for (const [i, length] of lengths.entries()) {
      const behind = turn * length - taken[i]! * total;
      if (taken[i]! < length && behind > most) [next, most] = [i, behind];
    }
    taken[next]!++;
    yield sequences[next]!.next().value!;
  }
}

/** Draws each next row from those that wait; the last ones come in shuffled order. */
function* throughBuffer(rows: Iterable<number>, size: number, rng: Rng): Generator<number> {
  const waiting: number[] = [];
  for (const row of rows) {
    if (waiting.length < size) {
      waiting.push(row);
      continue;
    }
    const drawn = rng.int(size);
    yield waiting[drawn]!;
    waiting[drawn] = row;
  }
  yield* rng.shuffle(waiting);
}
