/**
 * The matrix products of a training step, for whoever measures or tunes them.
 *
 * @module
 */

import type { MatmulShape } from "../ops/matmul_tune.ts";
import { type CaptionerConfig, prefixTokens } from "./captioner.ts";
import { decoderLinears } from "./decoder.ts";

/** Size of a step. */
export interface StepSize {
  /** Images B. */
  batchSize: number;
  /** Text tokens T. */
  textLength: number;
  /** Type of the decoder's frozen weights. @default {"f32"} */
  weights?: "f32" | "bf16" | "f16";
}

/** Distinct products of the decoder's linears (forward and input gradient) and of the projection (with its weight gradient). */
export function stepMatmuls(config: CaptionerConfig, size: StepSize): MatmulShape[] {
  const { decoder, vision } = config;
  const { batchSize: B, textLength: T, weights = "f32" } = size;
  const P = prefixTokens(config);
  const M = B * (P + T);
  const shapes = new Map<string, MatmulShape>();
  const add = (shape: MatmulShape): void => {
    shapes.set(JSON.stringify(shape), shape);
  };
  for (const { inFeatures: K, outFeatures: N } of decoderLinears(decoder)) {
    add({ layout: "NT", M, N, K, bType: weights });
    add({ layout: "NN", M, N: K, K: N, bType: weights });
  }
  const [D, Dv] = [decoder.hiddenSize, vision.hiddenSize];
  add({ layout: "NT", M: B * P, N: D, K: Dv });
  add({ layout: "TN", M: D, N: Dv, K: B * P });
  return [...shapes.values()];
}
