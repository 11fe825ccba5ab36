/**
 * The order in which a training run visits rows: a function of the seed alone, with a position that can be saved.
 *
 * @module
 */

import { hashText, Rng } from "../base/rng.ts";

/** Options of {@linkcode BatchOrder}. */
export interface BatchOrderOptions {
  /** Rows of the data set; at least 1. */
  readonly rowCount: number;
  /** Rows of a batch; at least 1. */
  readonly batchSize: number;
  /** Of the order; any integer. */
  readonly seed: number;
  /** A new order every epoch, else the order of the data set. @default true */
  readonly shuffle?: boolean;
  /** What becomes of the rows that do not fill a batch at the end of an epoch: a shorter batch, or left out of this epoch. @default "short" */
  readonly lastBatch?: "short" | "drop";
}

/** Where a run stands in its data. */
export interface BatchPosition {
  /** From 0. */
  readonly epoch: number;
  /** Batch of the epoch that comes next, from 0. */
  readonly batch: number;
}

/** One batch. */
export interface Batch extends BatchPosition {
  /** Rows of the data set, from 0. */
  readonly indices: readonly number[];
}

/** An order of rows in which any position can be found again. */
export interface RowOrder {
  /** Batches of an epoch. */
  readonly batchesPerEpoch: number;
  /** Rows of the batch at a position, which needs not be the next one. @throws {RangeError} If no batch is there */
  indicesAt(position: BatchPosition): number[];
}

/** Endless batches, epoch after epoch; each row once an epoch. */
export class BatchOrder implements RowOrder {
  /** Batches that visit every row once. */
  readonly batchesPerEpoch: number;
  readonly #options: Required<BatchOrderOptions>;
  #position: BatchPosition = { epoch: 0, batch: 0 };
  #epochOrder: { epoch: number; order: Uint32Array } | undefined;

  /** Starts at the first batch of the first epoch. @throws {RangeError} If a count is not an integer >= 1, or not even one batch can be filled and short ones are dropped */
  constructor(options: BatchOrderOptions) {
    this.#options = { shuffle: true, lastBatch: "short", ...options };
    const { rowCount, batchSize, lastBatch } = this.#options;
    for (const [name, value] of [["rowCount", rowCount], ["batchSize", batchSize]] as const) {
      if (!Number.isInteger(value) || value < 1) {
        throw new RangeError(`Cannot batch rows: ${name} is ${value}, expected an integer >= 1`);
      }
    }
    const batches = rowCount / batchSize;
    this.batchesPerEpoch = lastBatch === "drop" ? Math.floor(batches) : Math.ceil(batches);
    if (this.batchesPerEpoch === 0) {
      throw new RangeError(`Cannot batch rows: ${rowCount} rows do not fill one batch of ${batchSize}`);
    }
  }

  /** Where the next batch is; give it to {@linkcode BatchOrder.seek} to continue from here. */
  get position(): BatchPosition {
    return this.#position;
  }

  /** Continues from a saved position. @throws {RangeError} If no batch is there */
  seek(position: BatchPosition): void {
    this.#check(position);
    this.#position = { epoch: position.epoch, batch: position.batch };
  }

  /** The next batch; moves on. */
  next(): Batch {
    const { epoch, batch } = this.#position;
    const indices = this.indicesAt(this.#position);
    const last = batch + 1 === this.batchesPerEpoch;
    this.#position = last ? { epoch: epoch + 1, batch: 0 } : { epoch, batch: batch + 1 };
    return { epoch, batch, indices };
  }

  /** Rows of the batch at a position, which needs not be the next one. @throws {RangeError} If no batch is there */
  indicesAt(position: BatchPosition): number[] {
    this.#check(position);
    const { batchSize } = this.#options;
    const start = position.batch * batchSize;
    return Array.from(this.#orderOf(position.epoch).subarray(start, start + batchSize));
  }

  #orderOf(epoch: number): Uint32Array {
    if (this.#epochOrder?.epoch !== epoch) {
      const { rowCount, seed, shuffle } = this.#options;
      const order = Array.from({ length: rowCount }, (_, row) => row);
      // Every epoch has its own generator: a position needs no state of the one before it.
      if (shuffle) new Rng(hashText(`order|${seed}|${epoch}`)).shuffle(order);
      this.#epochOrder = { epoch, order: Uint32Array.from(order) };
    }
    return this.#epochOrder.order;
  }

  #check({ epoch, batch }: BatchPosition): void {
    if (
      Number.isInteger(epoch) && epoch >= 0 && Number.isInteger(batch) && batch >= 0 &&
      batch < this.batchesPerEpoch
    ) {
      return;
    }
    throw new RangeError(
      `Cannot find batch ${batch} of epoch ${epoch}: expected an epoch >= 0 and a batch in [0, ${this.batchesPerEpoch})`,
    );
  }
}
