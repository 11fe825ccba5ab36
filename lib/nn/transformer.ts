/**
 * The two transformer blocks of the project: the pre-norm encoder block of SigLIP and the Llama decoder block.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { gelu } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear, type Lora } from "../ops/linear.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import { swiglu } from "../ops/swiglu.ts";
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

/** Sizes of a decoder block. */
export interface DecoderLayerConfig {
  hiddenSize: number;
  intermediateSize: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  eps: number;
}

/** What varies between training, prefill and decoding: how queries meet keys, and which linears carry LoRA. */
export interface DecoderLayerHooks {
  /** Path of the block's tensors, such as `model.layers.0`. */
  prefix: string;
  /** The LoRA pair of a linear module, by its path. */
  lora?: (module: string) => Lora | undefined;
  /** Rotates q [..., H*Dh] and k [..., K*Dh], attends, and gives [..., H*Dh]. */
  attend: (q: Tensor, k: Tensor, v: Tensor) => Tensor;
}

/**
 * One Llama block on hiddenStates [..., D].
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971, section 2.2; grouped heads: Ainslie et al. 2023, arXiv:2305.13245.
 */
export function decoderLayer(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  options: DecoderLayerConfig & DecoderLayerHooks,
): Tensor {
  const { prefix, eps, lora } = options;
  const project = (module: string, input: Tensor): Tensor => {
    const path = `${prefix}.${module}`;
    const pair = lora?.(path);
    return linear(r, input, w.get(`${path}.weight`), {
      ...(pair === undefined ? {} : { lora: pair }),
      label: "linear",
    });
  };
  const normed = rmsNorm(r, x, w.get(`${prefix}.input_layernorm.weight`), { eps });
  const [q, k, v] = ["q", "k", "v"].map((name) => project(`self_attn.${name}_proj`, normed));
  const attended = add(r, x, project("self_attn.o_proj", options.attend(q!, k!, v!)));
  const normed2 = rmsNorm(r, attended, w.get(`${prefix}.post_attention_layernorm.weight`), { eps });
  const gated = swiglu(r, project("mlp.gate_proj", normed2), project("mlp.up_proj", normed2));
  return add(r, attended, project("mlp.down_proj", gated));
}
