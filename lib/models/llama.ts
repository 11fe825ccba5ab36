/**
 * The Llama decoder (SmolLM, TinyLlama, …): configuration, tensors and graph.
 *
 * Source: Touvron et al. 2023, arXiv:2302.13971; tensor names as in Hugging Face checkpoints.
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { decoderLayer, type DecoderLayerConfig, type DecoderLayerHooks } from "../nn/transformer.ts";
import type { LoadWeightsOptions, WeightSource, WeightSpec } from "../nn/weights.ts";
import type { Lora } from "../ops/linear.ts";
import { rmsNorm } from "../ops/rms_norm.ts";
import { readPositive, readSize } from "./config_sizes.ts";

/** Sizes and constants of a Llama decoder. */
export interface LlamaConfig extends DecoderLayerConfig {
  layers: number;
  vocabSize: number;
  maxPositions: number;
  ropeTheta: number;
  /** True when the output head is the embedding. */
  tied: boolean;
  bosId: number | undefined;
  eosIds: readonly number[];
  padId: number | undefined;
}

/**
 * Sizes from `config.json`.
 *
 * @throws {RangeError} for sizes that no model has, and what is not done: rope scaling, biases, another activation
 */
export function parseLlama(config: JsonConfig): LlamaConfig {
  config.choice("model_type", ["llama"]);
  const refuse = (what: string): never => {
    throw new RangeError(`Cannot build the decoder of "${config.name}": ${what} is not supported`);
  };
  const rope = readRope(config, refuse);
  for (const key of ["attention_bias", "mlp_bias"]) if (config.optionalBoolean(key)) refuse(key);
  if (config.has("quantization_config")) refuse("quantization_config");
  const activation = config.optionalString("hidden_act") ?? "silu";
  if (activation !== "silu") refuse(`hidden_act "${activation}"`);
  const hiddenSize = readSize(config, "hidden_size");
  const heads = readSize(config, "num_attention_heads");
  const kvHeads = readSize(config, "num_key_value_heads", heads);
  const headDim = config.optionalInteger("head_dim") ?? hiddenSize / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0 || headDim < 2 || headDim > 256) {
    refuse(`a head width of ${headDim} (wanted an even one up to 256)`);
  }
  if (heads % kvHeads !== 0) refuse(`${heads} heads over ${kvHeads} key/value heads`);
  return {
    hiddenSize,
    intermediateSize: readSize(config, "intermediate_size"),
    layers: readSize(config, "num_hidden_layers"),
    heads,
    kvHeads,
    headDim,
    vocabSize: readSize(config, "vocab_size"),
    maxPositions: readSize(config, "max_position_embeddings", 2048),
    ropeTheta: readPositive(rope, "rope_theta", 10000),
    eps: readPositive(config, "rms_norm_eps", 1e-6),
    tied: config.optionalBoolean("tie_word_embeddings") ?? false,
    bosId: config.optionalInteger("bos_token_id"),
    eosIds: eosIdsOf(config),
    padId: config.optionalInteger("pad_token_id"),
  };
}

/**
 * Where `rope_theta` stands: at the top, or in `rope_parameters` in files of newer versions of transformers. Any other than plain
 * rotation is refused.
 */
function readRope(config: JsonConfig, refuse: (what: string) => never): JsonConfig {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const settings = config.optionalObject(key);
    const type = settings?.optionalString("rope_type") ?? settings?.optionalString("type");
    if (settings !== undefined && type !== "default") {
      refuse(`${key}${type === undefined ? "" : ` "${type}"`}`);
    }
  }
  const rope = config.optionalObject("rope_parameters") ?? config;
  for (const settings of [config, rope]) {
    if ((settings.optionalNumber("partial_rotary_factor") ?? 1) !== 1) refuse("partial_rotary_factor");
  }
  return rope;
}

/** `eos_token_id` is a number or a list of them. */
function eosIdsOf(config: JsonConfig): number[] {
  const ids = Array.isArray(config.fields.eos_token_id)
    ? config.numbers("eos_token_id")
    : [config.optionalInteger("eos_token_id")].filter((id) => id !== undefined);
  const bad = ids.find((id) => !Number.isInteger(id) || id < 0);
  if (bad !== undefined) {
    throw new RangeError(`Cannot use "${config.name}": "eos_token_id" has ${bad}, expected token ids`);
  }
  return ids;
}

/** A linear module that LoRA may adapt. */
export interface LinearModule {
  /** Path in the Hugging Face model, such as `model.layers.0.self_attn.q_proj`. */
  path: string;
  inFeatures: number;
  outFeatures: number;
}

/** Every linear module of the blocks, in order. */
export function llamaLinears(config: LlamaConfig): LinearModule[] {
  const { hiddenSize: D, intermediateSize: F, headDim } = config;
  const [q, kv] = [config.heads * headDim, config.kvHeads * headDim];
  const modules: [name: string, inFeatures: number, outFeatures: number][] = [
    ["self_attn.q_proj", D, q],
    ["self_attn.k_proj", D, kv],
    ["self_attn.v_proj", D, kv],
    ["self_attn.o_proj", q, D],
    ["mlp.gate_proj", D, F],
    ["mlp.up_proj", D, F],
    ["mlp.down_proj", F, D],
  ];
  return Array.from(
    { length: config.layers },
    (_, layer) =>
      modules.map(([name, inFeatures, outFeatures]) => ({
        path: `model.layers.${layer}.${name}`,
        inFeatures,
        outFeatures,
      })),
  ).flat();
}

/** Every tensor of the decoder. */
export function llamaSpecs(config: LlamaConfig): WeightSpec[] {
  const { hiddenSize: D, vocabSize: V } = config;
  return [
    { name: "model.embed_tokens.weight", shape: [V, D] },
    ...llamaLinears(config).map(({ path, inFeatures, outFeatures }) => ({
      name: `${path}.weight`,
      shape: [outFeatures, inFeatures],
    })),
    ...Array.from(
      { length: config.layers },
      (_, layer) =>
        ["input_layernorm", "post_attention_layernorm"].map((name) => ({
          name: `model.layers.${layer}.${name}.weight`,
          shape: [D],
        })),
    ).flat(),
    { name: "model.norm.weight", shape: [D] },
    ...(config.tied ? [] : [{ name: "lm_head.weight", shape: [V, D] }]),
  ];
}

/** How decoder weights are met in files. */
export function llamaFiles(config: LlamaConfig): LoadWeightsOptions {
  return {
    ignore: [
      { pattern: /rotary_emb\.inv_freq$/, reason: "a buffer, computed from rope_theta" },
      ...(config.tied ? [{ pattern: /^lm_head\.weight$/, reason: "tied: the head is the embedding" }] : []),
    ],
  };
}

/** The output head [V, D]: its own tensor or the embedding. */
export function llamaHead(w: WeightSource, config: LlamaConfig): Tensor {
  return w.get(config.tied ? "model.embed_tokens.weight" : "lm_head.weight");
}

/** What a run through the decoder needs beside its weights. */
export interface LlamaRun {
  config: LlamaConfig;
  /** LoRA pair of a linear module, by path. */
  lora?: (module: string) => Lora | undefined;
  /** How queries meet keys in a layer: training, prefill and decoding differ here alone. */
  attend: (layer: number) => DecoderLayerHooks["attend"];
}

/** Records the blocks and the final norm on hiddenStates [..., D]. */
export function llama(r: Recorder, w: WeightSource, hiddenStates: Tensor, run: LlamaRun): Tensor {
  const { config, lora } = run;
  let x = hiddenStates;
  for (let layer = 0; layer < config.layers; layer++) {
    const hooks = {
      prefix: `model.layers.${layer}`,
      attend: run.attend(layer),
      ...(lora === undefined ? {} : { lora }),
    };
    x = decoderLayer(r, w, x, { ...config, ...hooks });
  }
  return rmsNorm(r, x, w.get("model.norm.weight"), { eps: config.eps });
}
