/**
 * Rows of a stream with their images: groups are read when their first row comes, and their other rows wait in memory until they do.
 *
 * @module
 */

import type { StreamOrder } from "./stream_order.ts";

/** A group of rows that is read at once. */
export interface StreamGroup<Row> {
  /** How many rows it has. */
  readonly count: number;
  /** Reads all of them, in their order. */
  read(): Promise<readonly Row[]>;
}

/** Rows of a batch. They are the stream's again when it is disposed of. */
export interface TakenRows<Row> extends Disposable {
  /** In the order they were asked for. */
  readonly rows: readonly Row[];
}

/** Options of {@linkcode RowStream}. */
export interface RowStreamOptions<Row> {
  /** Told of rows that nobody has any more, to free at once what a collector would find late. */
  readonly discard?: (row: Row) => void;
}

/** Gives rows by number. Memory holds the rows that wait in the buffer of the order, and the group being read. */
export class RowStream<Row> {
  readonly #discard: ((row: Row) => void) | undefined;
  readonly #groups: readonly StreamGroup<Row>[];
  readonly #order: StreamOrder;
  readonly #starts: readonly number[];
  /** Rows that batches asked for and have not yet: how many batches each. */
  readonly #asked = new Map<number, number>();
  #lastRead: Promise<unknown> = Promise.resolve();
  /** Rows in memory by group. */
  readonly #held = new Map<number, Promise<Map<number, Row>>>();

  /**
   * @param groups In the order of the numbers of their rows
   * @param order Asked which rows of a group still come; rows are taken in its order
   */
  constructor(groups: readonly StreamGroup<Row>[], order: StreamOrder, options: RowStreamOptions<Row> = {}) {
    this.#discard = options.discard;
    this.#groups = groups;
    this.#order = order;
    let start = 0;
    this.#starts = groups.map(({ count }) => {
      const first = start;
      start += count;
      return first;
    });
  }

  /** Groups of which rows are in memory. */
  get heldGroups(): number {
    return this.#held.size;
  }

  /**
   * Rows of a batch. To be called at once after the order gave their numbers: what waits then is what stays in memory. Rows may be
   * taken again, which reads their group again.
   *
   * @throws What reading a group throws
   */
  async take(numbers: readonly number[]): Promise<TakenRows<Row>> {
    const byGroup = new Map<number, number[]>();
    for (const number of numbers) {
      const group = this.#order.groupOf(number);
      byGroup.set(group, [...byGroup.get(group) ?? [], number]);
      this.#asked.set(number, (this.#asked.get(number) ?? 0) + 1);
    }
    const found = new Map<number, Row>();
    try {
      await Promise.all(Array.from(byGroup, async ([group, wanted]) => {
        for (const [number, row] of await this.#rowsOf(group, wanted)) found.set(number, row);
      }));
    } catch (error) {
      this.#release(numbers);
      throw error;
    }
    const rows = numbers.map((number) => found.get(number)!);
    return { rows, [Symbol.dispose]: () => this.#release(numbers) };
  }

  async #rowsOf(group: number, wanted: readonly number[]): Promise<[number, Row][]> {
    const held = this.#held.get(group);
    let rows = held && await held;
    if (rows === undefined || !wanted.every((number) => rows!.has(number))) {
      rows = await this.#read(group, wanted);
    }
    return wanted.map((number) => [number, rows.get(number)!]);
  }

  #release(numbers: readonly number[]): void {
    for (const number of numbers) this.#releaseRow(number);
  }

  /** Lets a row go that neither waits in the buffer nor was asked for by another batch. */
  async #releaseRow(number: number): Promise<void> {
    const left = this.#asked.get(number)! - 1;
    if (left > 0) this.#asked.set(number, left);
    else this.#asked.delete(number);
    if (left > 0 || this.#order.isWaiting(number)) return;
    const group = this.#order.groupOf(number);
    const held = this.#held.get(group);
    const rows = await held?.catch(() => undefined);
    const row = rows?.get(number);
    if (row === undefined) return;
    rows!.delete(number);
    this.#discard?.(row);
    if (rows!.size === 0 && this.#held.get(group) === held) this.#held.delete(group);
  }

  #read(group: number, wanted: readonly number[]): Promise<Map<number, Row>> {
    const start = this.#starts[group]!;
    const kept = new Set([...this.#order.waitingIn(group), ...wanted]);
    // One group after the other: a buffer that fills asks for many at once, and each is large.
    const turn = this.#lastRead.then(() => this.#groups[group]!.read());
    this.#lastRead = turn.catch(() => {}); // reported below
    const reading = turn.then((rows) => {
      const held = new Map<number, Row>();
      for (const [i, row] of rows.entries()) {
        if (kept.has(start + i)) held.set(start + i, row);
        else this.#discard?.(row);
      }
      return held;
    });
    this.#held.set(group, reading);
    reading.catch(() => this.#held.delete(group)); // reported to the caller
    return reading;
  }
}
