/**
 * What the training loop asks of whatever computes: the seam between scheduling (the trainer) and the GPU (the engine).
 *
 * @module
 */

import type { TrainableGroup } from "../models/captioner.ts";

/** An image of the data, for whoever judges what is written about it. */
export interface BatchRow {
  /** What messages call it. */
  readonly id: string;
  /** Of the image's bytes, hexadecimal. */
  readonly sha256: string;
  /** What counts as right; at least one. */
  readonly captions: readonly string[];
}

/** One micro-batch, B rows of at most the engine's T text tokens. */
export interface TrainBatch {
  /** Rows that count, at most the engine's batch size; the rest is padded and ignored. */
  size: number;
  /** Vision features [size, P, Dv], row-major, when they were computed before; else `pixelValues`. */
  features?: Float32Array;
  /** Normalised images [size, 3, I, I]. */
  pixelValues?: Float32Array;
  /** Token ids [size, T]. */
  inputIds: Int32Array;
  /** Token ids to predict [size, T], -100 where ignored. */
  labels: Int32Array;
  /** Whose the rows are, [size], where the data say. */
  rows?: readonly BatchRow[];
}

/** Captions that were sampled, with how much each token counts. */
export interface PolicyBatch extends Omit<TrainBatch, "rows"> {
  /** [size, T]: advantage of the token's caption by the tokens of the micro-batch; of any sign. */
  weights: Float32Array;
}

/** What one optimizer step did. */
export interface StepStats {
  /** Optimizer step, from 1. */
  step: number;
  /** Mean loss over the accumulated micro-batches. */
  loss: number;
  /** Norm of the gradients before clipping. */
  gradNorm: number;
  /** False when loss or norm was NaN or infinite: nothing was updated. */
  finite: boolean;
}

/** Values, moments and nothing else: with the step number all that training continues from. */
export interface EngineState {
  /** Trainable tensors by name. */
  values: Map<string, { shape: readonly number[]; data: Float32Array }>;
  /** First moments of AdamW. */
  m: Map<string, { shape: readonly number[]; data: Float32Array }>;
  /** Second moments. */
  v: Map<string, { shape: readonly number[]; data: Float32Array }>;
}

/** A captioner under training. Methods that return nothing only queue work. */
export interface TrainingEngine {
  /** Micro-batch size B. */
  readonly batchSize: number;
  /** Text tokens T of every batch. */
  readonly textLength: number;
  /** GPU memory of weights, activations and optimizer together. */
  readonly memoryBytes: number;
  /** Trainable scalars by group. */
  readonly trainableCounts: Readonly<Record<TrainableGroup, number>>;
  /** Adds the gradients of one micro-batch, scaled by 1 / accumulation. `seedStep` numbers the micro-batch for dropout. */
  microStep(batch: TrainBatch, options: { seedStep: number }): void;
  /**
   * Adds the policy gradient of sampled captions: that of weight · cross-entropy, summed over their tokens, scaled by the weight of the
   * policy gradient / accumulation, without dropout, as they were sampled.
   *
   * @throws {TypeError} if the engine was made without
   */
  policyStep(batch: PolicyBatch): void;
  /** Clips, updates, zeroes the gradients. */
  optimizerStep(options: { step: number; learningRates: Record<TrainableGroup, number> }): void;
  /** Statistics of the steps since the last call. Waits for the GPU, so call it every few steps. */
  readStats(): Promise<StepStats[]>;
  /** Mean loss and count of the predicted tokens of a batch, without dropout. */
  evaluateLoss(batch: TrainBatch): Promise<{ loss: number; tokens: number }>;
  /** The first trainable tensor with a NaN or infinite gradient. */
  findBadGradient(): Promise<string | undefined>;
  /** Reads everything that training continues from. */
  readState(): Promise<EngineState>;
  /** Puts it back, exactly. */
  writeState(state: EngineState): void;
  /** Frees the GPU memory. */
  destroy(): void;
}
