/**
 * What training reads of its data, and micro-batches of it prepared ahead of the GPU.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { BatchOrder, type BatchPosition, type RowOrder } from "../datasets/batches.ts";
import type { BatchRow, TrainBatch } from "./engine_types.ts";

/** What an engine is given of images: vision features [size, P, Dv], or normalised pixels [size, 3, I, I]. */
export type BatchInputs =
  | { features: Float32Array; pixelValues?: undefined }
  | { pixelValues: Float32Array; features?: undefined };

/** Token ids of captions, padded: both [size, T] row-major. */
export interface BatchTokens {
  /** Token ids. */
  inputIds: Int32Array;
  /** -100 on padding. */
  labels: Int32Array;
}

/** Options of {@linkcode TrainingRows.createOrder}. */
export interface OrderOptions {
  /** Rows of a batch. */
  batchSize: number;
  /** Of the order. */
  seed: number;
}

/** How the rows of a batch become one. */
export interface BatchOptions {
  /** Of the choice among several captions, from 0. */
  epoch: number;
  /** Text tokens T of the batch. */
  length: number;
}

/** Rows that come as whole batches, in an order that is theirs. */
export interface StreamedRows {
  /** How many there are. */
  readonly rowCount: number;
  /** Their order. Called once, before batches are loaded. */
  createOrder(options: OrderOptions): RowOrder;
  /**
   * Loads a batch; called at once after the order gave its rows, possibly several times at once. Rows that turn out to be bad are left
   * out, even all of them.
   */
  loadBatch(rows: readonly number[], options: BatchOptions): Promise<TrainBatch>;
}

/** Images with captions, by index. */
export interface IndexedRows {
  /** How many there are. */
  readonly rowCount: number;
  /** Their order. @default a new shuffle of all every epoch */
  createOrder?(options: OrderOptions): RowOrder;
  /** Images of rows. Called ahead of use, possibly several times at once: decoding happens meanwhile. */
  loadInputs(rows: readonly number[]): Promise<BatchInputs>;
  /** Captions of rows, each padded to `length` tokens; rows with several captions have one chosen by the epoch. */
  tokens(rows: readonly number[], options: BatchOptions): BatchTokens;
  /** Whose rows are. @default nobody asks */
  describe?(rows: readonly number[]): readonly BatchRow[];
}

/** What a training reads. */
export type TrainingRows = IndexedRows | StreamedRows;

/** The order of rows. */
export function orderOf(data: TrainingRows, options: OrderOptions): RowOrder {
  return data.createOrder?.(options) ?? new BatchOrder({ rowCount: data.rowCount, ...options });
}

/** Rows that a captioner is judged by. */
export interface ValidationRows extends IndexedRows {
  /** Captions that count as right, at least one. */
  references(row: number): readonly string[];
  /** Nouns of what the image shows, where the data set says. */
  objects(row: number): readonly string[] | undefined;
}

/** Puts rows into a batch for the engine. */
export async function loadBatch(
  data: TrainingRows,
  rows: readonly number[],
  options: BatchOptions,
): Promise<TrainBatch> {
  if ("loadBatch" in data) return await data.loadBatch(rows, options);
  const inputs = await data.loadInputs(rows);
  const described = data.describe && { rows: data.describe(rows) };
  return { size: rows.length, ...inputs, ...data.tokens(rows, options), ...described };
}

/** More batches without a good row are no accident. */
const MAX_EMPTY_BATCHES = 100;
/** Micro-batches that this many ahead are being prepared while the GPU works. */
const AHEAD = 4;

/** The endless micro-batches of a training, some prepared ahead. Numbered from 0 through all epochs. */
export class MicroBatches {
  readonly #data: TrainingRows;
  readonly #order: RowOrder;
  readonly #length: number;
  readonly #queue: Promise<TrainBatch>[] = [];
  #next = 0;

  /** Prepares from the first on. @param options.length text tokens T of every batch */
  constructor(data: TrainingRows, options: { order: RowOrder; length: number }) {
    this.#data = data;
    this.#order = options.order;
    this.#length = options.length;
  }

  /** Where micro-batch `number` lies in the data. */
  positionOf(number: number): BatchPosition {
    const { batchesPerEpoch } = this.#order;
    return { epoch: Math.floor(number / batchesPerEpoch), batch: number % batchesPerEpoch };
  }

  /** Continues with micro-batch `number`. */
  seek(number: number): void {
    this.#queue.length = 0;
    this.#next = number;
  }

  /** The next micro-batch. @throws What `loadInputs` throws for it */
  next(): Promise<TrainBatch> {
    while (this.#queue.length <= AHEAD) {
      const batch = this.at(this.#next + this.#queue.length);
      batch.catch(() => {}); // reported when its turn comes
      this.#queue.push(batch);
    }
    this.#next++;
    return this.#queue.shift()!;
  }

  /**
   * Micro-batch `number`, whether or not it is the next. Where all its rows are bad, the next that has a good one.
   *
   * @throws {UserError} If there is none for long
   */
  async at(number: number): Promise<TrainBatch> {
    for (let tries = 0; tries < MAX_EMPTY_BATCHES; tries++) {
      const position = this.positionOf(number + tries);
      const batch = await loadBatch(this.#data, this.#order.indicesAt(position), {
        epoch: position.epoch,
        length: this.#length,
      });
      if (batch.size > 0) return batch;
    }
    throw new UserError(`Cannot train on: all rows of ${MAX_EMPTY_BATCHES} batches in a row are bad`);
  }
}
