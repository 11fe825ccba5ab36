/**
 * Layers that find their weights by path, and the specs of those weights.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import type { WeightSource, WeightSpec } from "./weights.ts";

/** Options of {@linkcode dense} and {@linkcode denseSpecs}. */
export interface DenseOptions {
  /** Whether there is a `path.bias`. @default {true} */
  bias?: boolean;
}

/** A linear layer: `path.weight` [N, K] and `path.bias` [N] on x [..., K]. */
export function dense(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  { path, bias = true }: DenseOptions & { path: string },
): Tensor {
  return linear(r, x, w.get(`${path}.weight`), {
    ...(bias && { bias: w.get(`${path}.bias`) }),
    label: "linear",
  });
}

/** Tensors of {@linkcode dense}: `width` N from `inWidth` K. */
export function denseSpecs(
  path: string,
  [width, inWidth]: readonly [number, number],
  { bias = true }: DenseOptions = {},
): WeightSpec[] {
  const weight = { name: `${path}.weight`, shape: [width, inWidth] };
  return bias ? [weight, { name: `${path}.bias`, shape: [width] }] : [weight];
}

/** A layer norm: `path.weight` and `path.bias` [C] on x [..., C]. */
export function norm(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  { path, eps }: { path: string; eps: number },
): Tensor {
  return layerNorm(r, x, w.get(`${path}.weight`), w.get(`${path}.bias`), { eps });
}

/** Tensors of {@linkcode norm}. */
export function normSpecs(path: string, width: number): WeightSpec[] {
  return [{ name: `${path}.weight`, shape: [width] }, { name: `${path}.bias`, shape: [width] }];
}
