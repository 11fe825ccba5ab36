/**
 * The decoder block of every language model here: pre-norm attention and MLP, each added to what came in. What families differ
 * in is described by a few switches and the names of tensors.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import { gelu, type GeluForm } from "../ops/gelu.ts";
import { layerNorm } from "../ops/layer_norm.ts";
import { linear, type Lora } from "../ops/linear.ts";
import { relu } from "../ops/relu.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import { splitColumns } from "../ops/split_columns.ts";
import { swiglu } from "../ops/swiglu.ts";
import type { WeightSource } from "./weights.ts";

/** Activation between the two linears of an MLP without a gate. */
export type Activation = GeluForm | "relu";

/** Where a block's tensors stand, below the block's path. A linear or norm has `.weight`, and `.bias` where there is one. */
export interface DecoderBlockNames {
  /** Norm before attention. */
  norm1: string;
  /** Norm before the MLP. */
  norm2: string;
  /** Query, key and value projections: three modules, or one whose rows are q, k and v one after another. */
  qkv: readonly [string] | readonly [q: string, k: string, v: string];
  /** Output projection of attention. */
  out: string;
  /** RMSNorm of every query and key head before rotation, each with a weight [Dh]. */
  headNorms?: readonly [q: string, k: string];
  /** First linear of the MLP: one without a gate; gate and up; or one module whose rows are the gate and then up. */
  up: { plain: string } | { gate: string; up: string } | { fused: string };
  /** Second linear of the MLP. */
  down: string;
}

/** What a block is made of. */
export interface DecoderBlockConfig {
  /** D. */
  hiddenSize: number;
  /** F. */
  intermediateSize: number;
  /** Query heads H. */
  heads: number;
  /** Key and value heads K. */
  kvHeads: number;
  /** Dh. */
  headDim: number;
  /** Added to the variance in norms. */
  eps: number;
  /** RMSNorm with a weight, or LayerNorm with weight and bias. */
  norm: "rms" | "layer";
  /** Of an MLP without a gate; gates are SiLU. */
  activation?: Activation;
  /** Names of the block's tensors. */
  names: DecoderBlockNames;
}

/** What varies between training, prefill and decoding: how queries meet keys, and which linears carry LoRA. */
export interface DecoderBlockHooks {
  /** Path of the block's tensors, such as `model.layers.0`. */
  prefix: string;
  /** The LoRA pair of a linear module, by its path. */
  lora?: (module: string) => Lora | undefined;
  /** Rotates q [..., H*Dh] and k [..., K*Dh] where positions are rotary, attends, and gives [..., H*Dh]. */
  attend: (q: Tensor, k: Tensor, v: Tensor) => Tensor;
}

/** A norm of hiddenStates [..., D] as the family has it, with its tensors at `path`. */
export function decoderNorm(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  { path, norm, eps }: { path: string; norm: DecoderBlockConfig["norm"]; eps: number },
): Tensor {
  const weight = w.get(`${path}.weight`);
  return norm === "rms"
    ? rmsNorm(r, x, weight, { eps })
    : layerNorm(r, x, weight, w.get(`${path}.bias`), { eps });
}

/**
 * One block on hiddenStates [..., D].
 *
 * Sources: Touvron et al. 2023, arXiv:2302.13971, section 2.2 (gated, RMSNorm); Radford et al. 2019, "Language models are
 * unsupervised multitask learners", section 2.3 (LayerNorm, no gate); Ainslie et al. 2023, arXiv:2305.13245 (grouped heads).
 */
export function decoderBlock(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  options: { config: DecoderBlockConfig } & DecoderBlockHooks,
): Tensor {
  const { config, prefix, lora } = options;
  const { names, norm, eps, heads, kvHeads, headDim } = config;
  const project = (module: string, input: Tensor): Tensor => {
    const path = `${prefix}.${module}`;
    return linear(r, input, w.get(`${path}.weight`), {
      // A model's list of tensors says which linears have a bias, and loading is strict.
      bias: w.has(`${path}.bias`) ? w.get(`${path}.bias`) : undefined,
      lora: lora?.(path),
      label: "linear",
    });
  };
  const normed = decoderNorm(r, w, x, { path: `${prefix}.${names.norm1}`, norm, eps });
  const [q, k, v] = names.qkv.length === 1
    ? splitColumns(r, project(names.qkv[0], normed), [heads * headDim, kvHeads * headDim, kvHeads * headDim])
    : names.qkv.map((name) => project(name, normed));
  const headNorm = (of: 0 | 1, states: Tensor): Tensor => {
    const name = names.headNorms?.[of];
    if (name === undefined) return states;
    const rows = states.reshape(states.size / headDim, headDim);
    return decoderNorm(r, w, rows, { path: `${prefix}.${name}`, norm: "rms", eps }).reshape(...states.shape);
  };
  const mixed = options.attend(headNorm(0, q!), headNorm(1, k!), v!);
  const attended = add(r, x, project(names.out, mixed));
  const normed2 = decoderNorm(r, w, attended, { path: `${prefix}.${names.norm2}`, norm, eps });
  return add(r, attended, project(names.down, expand(r, config, (name) => project(name, normed2))));
}

/** The MLP up to its second linear: [..., F]. */
function expand(r: Recorder, config: DecoderBlockConfig, project: (module: string) => Tensor): Tensor {
  const { up } = config.names;
  if ("gate" in up) return swiglu(r, project(up.gate), project(up.up));
  if ("fused" in up) {
    const F = config.intermediateSize;
    const [gate, value] = splitColumns(r, project(up.fused), [F, F]);
    return swiglu(r, gate!, value!);
  }
  const hidden = project(up.plain);
  if (config.activation === undefined) {
    throw new TypeError("Cannot record an MLP without a gate: it has no activation");
  }
  return config.activation === "relu" ? relu(r, hidden) : gelu(r, hidden, config.activation);
}
