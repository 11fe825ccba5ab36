/**
 * The pre-norm encoder block of SigLIP.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { gelu } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear } from "../ops/linear.ts";
import type { WeightSource } from "./weights.ts";

/** The GELU of an MLP: the tanh approximation or the exact one. */
export type GeluKind = "tanh" | "erf";

/** A linear layer with bias, `prefix.weight` [N, K] and `prefix.bias` [N], on x [..., K]. */
export function biasedLinear(r: Recorder, w: WeightSource, prefix: string, x: Tensor): Tensor {
  return linear(r, x, w.get(`${prefix}.weight`), { bias: w.get(`${prefix}.bias`), label: "linear" });
}

/** A layer norm with weight and bias [C]. */
export function namedLayerNorm(r: Recorder, w: WeightSource, prefix: string, x: Tensor, eps: number): Tensor {
  return layerNorm(r, x, w.get(`${prefix}.weight`), w.get(`${prefix}.bias`), { eps });
}

/** Sizes of an encoder block. */
export interface EncoderLayerConfig {
  hiddenSize: number;
  intermediateSize: number;
  heads: number;
  eps: number;
  gelu: GeluKind;
}

/** fc1, GELU, fc2 below `prefix`. */
export function encoderMlp(r: Recorder, w: WeightSource, prefix: string, x: Tensor, kind: GeluKind): Tensor {
  return biasedLinear(r, w, `${prefix}.fc2`, gelu(r, biasedLinear(r, w, `${prefix}.fc1`, x), kind));
}

/**
 * One encoder block on hiddenStates [B, S, D]: x + attention(norm(x)), then x + mlp(norm(x)), attention in both directions.
 *
 * Source: Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 2 and 3.
 */
export function encoderLayer(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  options: EncoderLayerConfig & { prefix: string },
): Tensor {
  const { prefix, heads, eps } = options;
  const headDim = options.hiddenSize / heads;
  const normed = namedLayerNorm(r, w, `${prefix}.layer_norm1`, x, eps);
  const [q, k, v] = ["q", "k", "v"].map((name) =>
    biasedLinear(r, w, `${prefix}.self_attn.${name}_proj`, normed)
  );
  const mixed = attention(r, q!, k!, v!, { heads, kvHeads: heads, headDim, causal: false });
  const attended = add(r, x, biasedLinear(r, w, `${prefix}.self_attn.out_proj`, mixed));
  const normed2 = namedLayerNorm(r, w, `${prefix}.layer_norm2`, attended, eps);
  return add(r, attended, encoderMlp(r, w, `${prefix}.mlp`, normed2, options.gelu));
}
