/**
 * What a search needs of whatever runs the model: kernels on WebGPU, or onnxruntime.
 *
 * @module
 */

import type { Candidates } from "./beam_search.ts";

/** What a run says of the next tokens, a row each. What is not asked for is not read back. */
export interface Scores {
  /** The likeliest tokens of every row, as many as {@linkcode BeamSearch.step} takes. */
  candidates(): Promise<Candidates[]>;
  /** Logits of every row, [V] each, for the caller to change. */
  logits(): Promise<Float32Array<ArrayBuffer>[]>;
}

/** What to run next, for every row: B images by K beams. */
export interface StepRows {
  /** The token that continues a row. */
  tokens: Uint32Array;
  /** The row whose sequence it continues; a beam of the same image. */
  parents: Uint32Array;
  /** For every image begun, whether its caption goes on: nobody looks at the scores of the others. */
  live: readonly boolean[];
}

/** Runs a captioner's decoder, keeping what the rows have in common: their past. */
export interface Stepper {
  /** B. */
  readonly batchSize: number;
  /** K. */
  readonly numBeams: number;
  /** Most tokens of a caption. */
  readonly maxNewTokens: number;
  /** Begins captions of `count` images: vision features or pixelValues, one image after the other. Scores have one row an image. */
  prefill(images: Float32Array, count: number): Promise<Scores>;
  /** Continues every row by a token. Scores have a row for each. */
  step(rows: StepRows): Promise<Scores>;
}
