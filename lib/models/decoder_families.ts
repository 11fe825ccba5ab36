/**
 * The families of decoders: how each one's `config.json` is read, what its tensors are called, and what it is made of.
 *
 * To add one: give it a line in `FAMILIES` with its names and a function that reads its sizes, and a case that
 * PyTorch computed in `tests/golden/parity`. `docs/architecture.md` walks through it.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import type { JsonConfig } from "../format/json_config.ts";
import type { Activation, DecoderBlockNames } from "../nn/decoder_block.ts";
import { readPositive, readSize } from "./config_sizes.ts";
import type { DecoderConfig, DecoderFamilyName, DecoderNames } from "./decoder.ts";

interface Family {
  names: DecoderNames & DecoderBlockNames;
  /** Modules that LoRA adapts unless told. */
  loraTargets: readonly string[];
  /** Sizes and switches from `config.json`. */
  read(config: JsonConfig): Omit<DecoderConfig, "family" | "names" | "bosId" | "eosIds" | "padId">;
}

const LLAMA_NAMES: DecoderNames & DecoderBlockNames = {
  embed: "model.embed_tokens",
  blocks: "model.layers",
  finalNorm: "model.norm",
  norm1: "input_layernorm",
  norm2: "post_attention_layernorm",
  qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  out: "self_attn.o_proj",
  up: { gate: "mlp.gate_proj", up: "mlp.up_proj" },
  down: "mlp.down_proj",
};

const GPT2_NAMES: DecoderNames & DecoderBlockNames = {
  embed: "transformer.wte",
  positions: "transformer.wpe",
  blocks: "transformer.h",
  finalNorm: "transformer.ln_f",
  norm1: "ln_1",
  norm2: "ln_2",
  qkv: ["attn.c_attn"],
  out: "attn.c_proj",
  up: { plain: "mlp.c_fc" },
  down: "mlp.c_proj",
};

const OPT_NAMES: DecoderNames & DecoderBlockNames = {
  embed: "model.decoder.embed_tokens",
  positions: "model.decoder.embed_positions",
  blocks: "model.decoder.layers",
  finalNorm: "model.decoder.final_layer_norm",
  norm1: "self_attn_layer_norm",
  norm2: "final_layer_norm",
  qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
  out: "self_attn.out_proj",
  up: { plain: "fc1" },
  down: "fc2",
};

const ALL_ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"];
const NO_BIAS = { qkv: false, out: false, mlp: false };
const ALL_BIASES = { qkv: true, out: true, mlp: true };

const FAMILIES: Record<DecoderFamilyName, Family> = {
  llama: {
    names: LLAMA_NAMES,
    loraTargets: ALL_ATTENTION,
    read: (config) => {
      const attention = config.optionalBoolean("attention_bias") ?? false;
      const mlp = config.optionalBoolean("mlp_bias") ?? false;
      return readRotary(config, { eps: 1e-6, biases: { qkv: attention, out: attention, mlp } });
    },
  },
  mistral: {
    names: LLAMA_NAMES,
    loraTargets: ALL_ATTENTION,
    // Absent, the window is Hugging Face's default; `null` means none.
    read: (config) => ({
      ...readRotary(config, { eps: 1e-6, biases: NO_BIAS }),
      slidingWindow: "sliding_window" in config.fields ? config.optionalInteger("sliding_window") : 4096,
    }),
  },
  qwen2: {
    names: LLAMA_NAMES,
    loraTargets: ["q_proj", "v_proj"],
    read: (config) => ({
      ...readRotary(config, { eps: 1e-6, biases: { qkv: true, out: false, mlp: false } }),
      slidingWindow: switchedWindow(config),
    }),
  },
  qwen3: {
    names: { ...LLAMA_NAMES, headNorms: ["self_attn.q_norm", "self_attn.k_norm"] },
    loraTargets: ["q_proj", "v_proj"],
    read: (config) => {
      const attention = config.optionalBoolean("attention_bias") ?? false;
      return {
        ...readRotary(config, {
          eps: 1e-6,
          biases: { qkv: attention, out: attention, mlp: false },
          headDim: 128,
        }),
        slidingWindow: switchedWindow(config),
      };
    },
  },
  phi3: {
    names: { ...LLAMA_NAMES, qkv: ["self_attn.qkv_proj"], up: { fused: "mlp.gate_up_proj" } },
    loraTargets: ["qkv_proj", "o_proj"],
    read: (config) => ({
      ...readRotary(config, { eps: 1e-5, biases: NO_BIAS }),
      slidingWindow: config.optionalInteger("sliding_window"),
    }),
  },
  gpt2: { names: GPT2_NAMES, loraTargets: ["c_attn", "c_proj"], read: readGpt2 },
  opt: { names: OPT_NAMES, loraTargets: ["q_proj", "v_proj"], read: readOpt },
};

/** Families by name. */
export const DECODER_FAMILIES = Object.keys(FAMILIES) as DecoderFamilyName[];

/** Modules that LoRA adapts in a family unless told: what PEFT and the Python project take. */
export function defaultLoraTargets(family: DecoderFamilyName): readonly string[] {
  return FAMILIES[family].loraTargets;
}

/** What some decoders do and none here, by the key that asks for it. A value that is false, 0 or empty does not ask. */
const REFUSED = [
  "quantization_config",
  "num_local_experts",
  "num_experts",
  "alibi",
  "use_alibi",
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "use_mrope",
  "no_rope_layers",
  "add_cross_attention",
  "scale_attn_by_inverse_layer_idx",
  "reorder_and_upcast_attn",
  "_remove_final_layer_norm",
];

/**
 * Reads a decoder's `config.json`.
 *
 * @throws {RangeError} for an unknown family, sizes that no model has, and everything that would be computed differently:
 * rope scaling, partial rotation, experts, quantised weights, another activation; the message names the key
 */
export function parseDecoder(config: JsonConfig): DecoderConfig {
  const family = config.choice("model_type", DECODER_FAMILIES);
  for (const key of REFUSED) {
    const value = config.fields[key];
    const asks = Array.isArray(value) ? value.length > 0 : Boolean(value);
    if (asks) refuse(config, key);
  }
  const { names, read } = FAMILIES[family];
  return {
    ...read(config),
    family,
    names,
    bosId: config.optionalInteger("bos_token_id"),
    eosIds: readEosIds(config),
    padId: config.optionalInteger("pad_token_id"),
  };
}

function refuse(config: JsonConfig, what: string): never {
  throw new RangeError(`Cannot build the decoder of "${config.name}": ${what} is not supported`);
}

type Sizes = ReturnType<Family["read"]>;

function readHeads(
  config: JsonConfig,
  sizes: { hiddenSize: number; heads: number; kvHeads: number; headDim: number; isRotary: boolean },
): Pick<Sizes, "hiddenSize" | "heads" | "kvHeads" | "headDim"> {
  const { isRotary, ...kept } = sizes;
  const { headDim, heads, kvHeads } = kept;
  if (!Number.isInteger(headDim) || headDim < 1 || headDim > 256 || (isRotary && headDim % 2 !== 0)) {
    refuse(
      config,
      `a head width of ${headDim} (wanted ${isRotary ? "an even one" : "a whole one"} up to 256)`,
    );
  }
  if (heads % kvHeads !== 0) refuse(config, `${heads} heads over ${kvHeads} key/value heads`);
  return kept;
}

/** Llama and what descends from it: RMSNorm, rotation, a gated MLP with SiLU. */
function readRotary(
  config: JsonConfig,
  family: { eps: number; biases: Sizes["biases"]; headDim?: number },
): Sizes {
  const rope = readRope(config);
  const activation = config.optionalString("hidden_act") ?? "silu";
  if (activation !== "silu") refuse(config, `hidden_act ${quote(activation)}`);
  const hiddenSize = readSize(config, "hidden_size");
  const heads = readSize(config, "num_attention_heads");
  const headDim = config.optionalInteger("head_dim") ?? family.headDim ?? hiddenSize / heads;
  return {
    ...readHeads(config, {
      hiddenSize,
      heads,
      kvHeads: readSize(config, "num_key_value_heads", heads),
      headDim,
      isRotary: true,
    }),
    intermediateSize: readSize(config, "intermediate_size"),
    layers: readSize(config, "num_hidden_layers"),
    vocabSize: readSize(config, "vocab_size"),
    maxPositions: readSize(config, "max_position_embeddings", 2048),
    positions: { type: "rotary", theta: readPositive(rope, "rope_theta", 10000) },
    slidingWindow: undefined,
    eps: readPositive(config, "rms_norm_eps", family.eps),
    norm: "rms",
    biases: family.biases,
    conv1d: false,
    tied: config.optionalBoolean("tie_word_embeddings") ?? false,
  };
}

/**
 * Where `rope_theta` stands: at the top, or in `rope_parameters` in files of newer versions of transformers. Any other than plain
 * rotation is refused.
 */
function readRope(config: JsonConfig): JsonConfig {
  for (const key of ["rope_scaling", "rope_parameters"]) {
    const settings = config.optionalObject(key);
    const type = settings?.optionalString("rope_type") ?? settings?.optionalString("type");
    if (settings !== undefined && type !== "default") {
      refuse(config, `${key}${type === undefined ? "" : ` ${quote(type)}`}`);
    }
  }
  const rope = config.optionalObject("rope_parameters") ?? config;
  for (const settings of [config, rope]) {
    if ((settings.optionalNumber("partial_rotary_factor") ?? 1) !== 1) {
      refuse(config, "partial_rotary_factor");
    }
  }
  return rope;
}

/** Qwen's window counts only where it is switched on, by a flag or by the list of layers. */
function switchedWindow(config: JsonConfig): number | undefined {
  const types = config.optionalStrings("layer_types") ?? [];
  const unknown = types.find((type) => type !== "full_attention" && type !== "sliding_attention");
  if (unknown !== undefined) refuse(config, `layer_types ${quote(unknown)}`);
  const isOn = (config.optionalBoolean("use_sliding_window") ?? false) || types.includes("sliding_attention");
  return isOn ? config.optionalInteger("sliding_window") ?? 4096 : undefined;
}

/** Source: Radford et al. 2019, "Language models are unsupervised multitask learners". */
function readGpt2(config: JsonConfig): Sizes {
  if (config.optionalBoolean("scale_attn_weights") === false) refuse(config, "scale_attn_weights false");
  const hiddenSize = readSize(config, "n_embd");
  const heads = readSize(config, "n_head");
  return {
    ...readHeads(config, { hiddenSize, heads, kvHeads: heads, headDim: hiddenSize / heads, isRotary: false }),
    intermediateSize: readSize(config, "n_inner", 4 * hiddenSize),
    layers: readSize(config, "n_layer"),
    vocabSize: readSize(config, "vocab_size"),
    maxPositions: readSize(config, "n_positions", 1024),
    positions: { type: "learned", offset: 0 },
    slidingWindow: undefined,
    eps: readPositive(config, "layer_norm_epsilon", 1e-5),
    norm: "layer",
    activation: readActivation(config, "gelu_new"),
    biases: ALL_BIASES,
    conv1d: true,
    tied: config.optionalBoolean("tie_word_embeddings") ?? true,
  };
}

/** Source: Zhang et al. 2022, arXiv:2205.01068; the two rows before position 0 are Hugging Face's. */
function readOpt(config: JsonConfig): Sizes {
  if (config.optionalBoolean("do_layer_norm_before") === false) refuse(config, "do_layer_norm_before false");
  if (config.optionalBoolean("layer_norm_elementwise_affine") === false) {
    refuse(config, "layer_norm_elementwise_affine false");
  }
  const hiddenSize = readSize(config, "hidden_size");
  const embedSize = readSize(config, "word_embed_proj_dim", hiddenSize);
  if (embedSize !== hiddenSize) {
    refuse(config, `word_embed_proj_dim ${embedSize} beside hidden_size ${hiddenSize}`);
  }
  const heads = readSize(config, "num_attention_heads");
  const hasBias = config.optionalBoolean("enable_bias") ?? true;
  return {
    ...readHeads(config, { hiddenSize, heads, kvHeads: heads, headDim: hiddenSize / heads, isRotary: false }),
    intermediateSize: readSize(config, "ffn_dim"),
    layers: readSize(config, "num_hidden_layers"),
    vocabSize: readSize(config, "vocab_size"),
    maxPositions: readSize(config, "max_position_embeddings", 2048),
    positions: { type: "learned", offset: 2 },
    slidingWindow: undefined,
    // torch.nn.LayerNorm's own; OPT's configuration has no key for it.
    eps: 1e-5,
    norm: "layer",
    activation: readActivation(config, "relu"),
    biases: hasBias ? ALL_BIASES : NO_BIAS,
    conv1d: false,
    tied: config.optionalBoolean("tie_word_embeddings") ?? true,
  };
}

const ACTIVATIONS: ReadonlyMap<string, Activation> = new Map([
  ["gelu", "erf"],
  ["gelu_new", "tanh"],
  ["gelu_pytorch_tanh", "tanh"],
  ["quick_gelu", "quick"],
  ["relu", "relu"],
]);

function readActivation(config: JsonConfig, fallback: string): Activation {
  const name = config.optionalString("activation_function") ?? fallback;
  return ACTIVATIONS.get(name) ?? refuse(config, `activation_function ${quote(name)}`);
}

/** `eos_token_id` is a number or a list of them. */
function readEosIds(config: JsonConfig): number[] {
  const ids = Array.isArray(config.fields.eos_token_id)
    ? config.numbers("eos_token_id")
    : [config.optionalInteger("eos_token_id")].filter((id) => id !== undefined);
  const bad = ids.find((id) => !Number.isInteger(id) || id < 0);
  if (bad !== undefined) {
    throw new RangeError(`Cannot use "${config.name}": "eos_token_id" has ${bad}, expected token ids`);
  }
  return ids;
}
