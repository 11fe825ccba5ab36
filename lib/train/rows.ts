/**
 * What training reads of its data, and micro-batches of it prepared ahead of the GPU.
 *
 * @module
 */

import { type BatchOrder, type BatchPosition } from "../datasets/batches.ts";
import type { TrainBatch } from "./engine_types.ts";

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

/** Images with captions, by index. */
export interface TrainingRows {
  /** How many there are. */
  readonly rowCount: number;
  /** Images of rows. Called ahead of use, possibly several times at once: decoding happens meanwhile. */
  loadInputs(rows: readonly number[]): Promise<BatchInputs>;
  /** Captions of rows, each padded to `length` tokens; rows with several captions have one chosen by the epoch. */
  tokens(rows: readonly number[], options: { epoch: number; length: number }): BatchTokens;
}

/** Rows that a captioner is judged by. */
export interface ValidationRows extends TrainingRows {
  /** Captions that count as right, at least one. */
  references(row: number): readonly string[];
  /** Nouns of what the image shows, where the data set says. */
  objects(row: number): readonly string[] | undefined;
}

/** Puts rows into a batch for the engine. */
export async function loadBatch(
  data: TrainingRows,
  rows: readonly number[],
  options: { epoch: number; length: number },
): Promise<TrainBatch> {
  const inputs = await data.loadInputs(rows);
  return { size: rows.length, ...inputs, ...data.tokens(rows, options) };
}

/** Micro-batches that this many ahead are being prepared while the GPU works. */
const AHEAD = 4;

/** The endless micro-batches of a training, some prepared ahead. Numbered from 0 through all epochs. */
export class MicroBatches {
  readonly #data: TrainingRows;
  readonly #order: BatchOrder;
  readonly #length: number;
  readonly #queue: Promise<TrainBatch>[] = [];
  #next = 0;

  /** Prepares from the first on. @param options.length text tokens T of every batch */
  constructor(data: TrainingRows, options: { order: BatchOrder; length: number }) {
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

  /** Micro-batch `number`, whether or not it is the next. */
  at(number: number): Promise<TrainBatch> {
    const position = this.positionOf(number);
    return loadBatch(this.#data, this.#order.indicesAt(position), {
      epoch: position.epoch,
      length: this.#length,
    });
  }
}
