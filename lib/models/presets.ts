/**
 * Pairs of base models that are known to go together, with what their published configurations say: for tasks that train them, and
 * for random checkpoints of their exact shapes.
 *
 * Sources: the `config.json` and `preprocessor_config.json` of each model on the Hugging Face Hub.
 *
 * @module
 */

import type { JsonObject } from "../format/json.ts";

/** Default encoder of the embedded pipeline, made for drawn scenes. */
export const EMBEDDED_ENCODER = "embedded:siglip";

/** A published model. */
export interface KnownModel {
  /** On the Hub. */
  id: string;
  /** Numbers, in millions, of the part that captions. */
  millions: number;
  /** In a word or two. */
  remark: string;
  /** Its configuration, as far as it decides shapes and numbers. */
  config: JsonObject;
  /** Of the image processor, for encoders. */
  processor?: JsonObject;
}

const HALF = [0.5, 0.5, 0.5];

function processor(type: string, size: number, resample: number): JsonObject {
  return {
    image_processor_type: type,
    do_resize: true,
    size: { height: size, width: size },
    resample,
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: HALF,
    image_std: HALF,
  };
}

function siglip(
  id: string,
  millions: number,
  remark: string,
  sizes: JsonObject,
  image: JsonObject,
): KnownModel {
  const activation = { hidden_act: "gelu_pytorch_tanh", layer_norm_eps: 1e-6 };
  return {
    id,
    millions,
    remark,
    config: {
      architectures: ["SiglipModel"],
      model_type: "siglip",
      vision_config: {
        model_type: "siglip_vision_model",
        ...sizes,
        ...image,
        ...activation,
        num_channels: 3,
      },
      text_config: {
        model_type: "siglip_text_model",
        ...sizes,
        ...activation,
        vocab_size: 32000,
        max_position_embeddings: 64,
      },
    },
    processor: processor("SiglipImageProcessor", image["image_size"] as number, 3),
  };
}

/** Encoders, the usual one first. */
export const ENCODERS: readonly KnownModel[] = [
  siglip("google/siglip-base-patch16-224", 86, "the usual one", {
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
  }, { image_size: 224, patch_size: 16 }),
  siglip("google/siglip-so400m-patch14-384", 413, "sees more, 729 image tokens", {
    hidden_size: 1152,
    intermediate_size: 4304,
    num_hidden_layers: 27,
    num_attention_heads: 16,
  }, { image_size: 384, patch_size: 14 }),
  {
    id: "google/vit-base-patch16-224",
    millions: 86,
    remark: "of the first captioners",
    config: {
      architectures: ["ViTForImageClassification"],
      model_type: "vit",
      hidden_size: 768,
      intermediate_size: 3072,
      num_hidden_layers: 12,
      num_attention_heads: 12,
      hidden_act: "gelu",
      layer_norm_eps: 1e-12,
      image_size: 224,
      patch_size: 16,
      num_channels: 3,
      qkv_bias: true,
    },
    processor: processor("ViTImageProcessor", 224, 2),
  },
];

function llama(id: string, millions: number, remark: string, sizes: JsonObject): KnownModel {
  return {
    id,
    millions,
    remark,
    config: {
      architectures: ["LlamaForCausalLM"],
      model_type: "llama",
      ...sizes,
      vocab_size: 49152,
      max_position_embeddings: 2048,
      hidden_act: "silu",
      rms_norm_eps: 1e-5,
      rope_theta: 10000,
      attention_bias: false,
      mlp_bias: false,
      tie_word_embeddings: true,
      bos_token_id: 0,
      eos_token_id: 0,
    },
  };
}

/** Decoders, the usual one first. */
export const DECODERS: readonly KnownModel[] = [
  llama("HuggingFaceTB/SmolLM-135M", 135, "the usual one", {
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
  }),
  llama("HuggingFaceTB/SmolLM-360M", 362, "writes better", {
    hidden_size: 960,
    intermediate_size: 2560,
    num_hidden_layers: 32,
    num_attention_heads: 15,
    num_key_value_heads: 5,
  }),
  llama("HuggingFaceTB/SmolLM-1.7B", 1711, "writes best of the three", {
    hidden_size: 2048,
    intermediate_size: 8192,
    num_hidden_layers: 24,
    num_attention_heads: 32,
    num_key_value_heads: 32,
  }),
  {
    id: "distilbert/distilgpt2",
    millions: 82,
    remark: "of the first captioners",
    config: {
      architectures: ["GPT2LMHeadModel"],
      model_type: "gpt2",
      n_embd: 768,
      n_layer: 6,
      n_head: 12,
      n_positions: 1024,
      vocab_size: 50257,
      activation_function: "gelu_new",
      layer_norm_epsilon: 1e-5,
      bos_token_id: 50256,
      eos_token_id: 50256,
    },
  },
];

/** A pair of models and the longest caption. */
export interface Preset {
  encoder: string;
  decoder: string;
  maxLength: number;
}

/** Pairs by name. */
export const PRESETS = {
  default: { encoder: ENCODERS[0]!.id, decoder: DECODERS[0]!.id, maxLength: 30 },
  modern: { encoder: ENCODERS[0]!.id, decoder: DECODERS[1]!.id, maxLength: 30 },
  large: { encoder: ENCODERS[1]!.id, decoder: DECODERS[2]!.id, maxLength: 30 },
  legacy: { encoder: ENCODERS[2]!.id, decoder: DECODERS[3]!.id, maxLength: 128 },
} as const satisfies Record<string, Preset>;

/** Name of a pair. */
export type PresetName = keyof typeof PRESETS;

/** Names of the pairs. */
export const PRESET_NAMES = Object.keys(PRESETS) as PresetName[];

/** A model of the lists. @throws {RangeError} when it is in neither */
export function knownModel(id: string): KnownModel {
  const found = [...ENCODERS, ...DECODERS].find((model) => model.id === id);
  if (found === undefined) throw new RangeError(`Cannot find "${id}" among the known models`);
  return found;
}
