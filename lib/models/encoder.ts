/**
 * The one architecture that every vision and text encoder is a case of: embeddings, perhaps a norm, equal blocks, perhaps a
 * norm. A family is a description of it: where its tensors stand, and a handful of switches. The descriptions are in
 * `vision_families.ts` and `text_families.ts`.
 *
 * @module
 */

import { quote } from "../base/errors.ts";
import { showJson } from "../format/json.ts";
import type { JsonConfig } from "../format/json_config.ts";
import {
  encoderBlock,
  type EncoderBlockConfig,
  type EncoderBlockForm,
  encoderBlockSpecs,
} from "../nn/encoder_block.ts";
import { normSpecs } from "../nn/layers.ts";
import type {
  IgnoredTensors,
  LoadWeightsOptions,
  NameRoot,
  WeightSource,
  WeightSpec,
} from "../nn/weights.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import type { GeluForm } from "../ops/gelu.ts";
import { readPositive, readSize } from "./config_sizes.ts";

/** Sizes of a stack of blocks. */
export interface EncoderConfig extends EncoderBlockConfig {
  /** L. */
  layers: number;
}

/** What a family is, apart from its embeddings. */
export interface EncoderFamily extends EncoderBlockForm {
  /** What errors call it. */
  title: string;
  /** `model_type` of a `config.json` that describes this encoder alone. */
  modelType: string;
  /** `model_type` of a `config.json` that describes a whole model, and the key under which this encoder is. */
  whole?: { modelType: string; section: string };
  /** Path of the blocks: block i is at `blocks.i`. */
  blocks: string;
  /** Path of a norm between embeddings and blocks. */
  embeddingNorm?: string;
  /** Path of a norm after the blocks. */
  finalNorm?: string;
  /** What the keys that published configurations leave out mean, as Hugging Face's class of the family documents it. */
  defaults: Readonly<Record<string, number>> & { readonly layer_norm_eps: number };
  /** `hidden_act` where the configuration names none. */
  defaultActivation: string;
  /** Whether `qkv_bias` decides if query, key and value have biases. @default {false}, they have */
  asksForQkvBias?: boolean;
  /** Settings that change the numbers, with the one value that is supported; absent counts as that value. */
  only?: Readonly<Record<string, string | boolean>>;
  /** How the family's tensors are met in published files. */
  files: LoadWeightsOptions;
}

/** `hidden_act` of a configuration and the GELU that it is. */
const GELUS: Readonly<Record<string, GeluForm>> = {
  gelu: "erf",
  gelu_new: "tanh",
  gelu_pytorch_tanh: "tanh",
  quick_gelu: "quick",
};

/** Widest head that attention takes. */
const MAX_HEAD_DIM = 256;

/** A refusal by name. */
export function unsupported(config: JsonConfig, what: string): RangeError {
  return new RangeError(`Cannot use "${config.name}": ${what} is not supported`);
}

/**
 * The family that a `config.json` is of, and the part of the file that describes it.
 *
 * @throws {RangeError} naming the `model_type` found and those that would do
 */
export function findFamily<K extends string>(
  config: JsonConfig,
  families: Readonly<Record<K, EncoderFamily>>,
): { name: K; section: JsonConfig } {
  const entries = Object.entries(families) as [K, EncoderFamily][];
  if (config.has("quantization_config")) throw unsupported(config, '"quantization_config"');
  if (config.optionalString("model_type")?.startsWith("siglip2")) {
    throw unsupported(
      config,
      `"model_type" ${
        quote(config.string("model_type"))
      } (NaFlex: images of any shape; fixed-resolution checkpoints of SigLIP 2 ` +
        `say "siglip")`,
    );
  }
  const types = entries.flatMap(([, { modelType, whole }]) =>
    whole ? [whole.modelType, modelType] : [modelType]
  );
  const modelType = config.choice("model_type", types);
  const [name, family] = entries.find(([, { modelType: alone, whole }]) =>
    modelType === alone || modelType === whole?.modelType
  )!;
  if (family.whole === undefined || modelType === family.modelType) return { name, section: config };
  // Old CLIP files hold the section twice; where they do, Hugging Face goes by the second.
  const key = family.whole.section;
  const section = config.optionalObject(`${key}_dict`) ?? config.object(key);
  section.optionalChoice("model_type", [family.modelType]);
  return { name, section };
}

/**
 * The sizes that every encoder has.
 *
 * @throws {RangeError} naming what the configuration asks for and is not supported, or what is out of bounds
 */
export function readEncoderConfig(config: JsonConfig, family: EncoderFamily): EncoderConfig {
  for (const [key, wanted] of Object.entries(family.only ?? {})) {
    const found = typeof wanted === "boolean" ? config.optionalBoolean(key) : config.optionalString(key);
    if (found !== undefined && found !== wanted) {
      throw unsupported(config, `"${key}" ${typeof found === "string" ? quote(found) : showJson(found)}`);
    }
  }
  const pruned = config.optionalObject("pruned_heads");
  if (pruned !== undefined && Object.keys(pruned.fields).length > 0) {
    throw unsupported(config, '"pruned_heads"');
  }
  const { defaults } = family;
  const size = (key: string): number => readSize(config, key, defaults[key]);
  const [hiddenSize, heads] = [size("hidden_size"), size("num_attention_heads")];
  if (hiddenSize % heads !== 0 || hiddenSize / heads > MAX_HEAD_DIM) {
    throw new RangeError(
      `Cannot use "${config.name}": ${heads} heads over width ${hiddenSize} of ${family.title}, ` +
        `expected a whole head width up to ${MAX_HEAD_DIM}`,
    );
  }
  const activation = config.optionalChoice("hidden_act", Object.keys(GELUS)) ?? family.defaultActivation;
  return {
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: size("num_hidden_layers"),
    heads,
    eps: readPositive(config, "layer_norm_eps", defaults.layer_norm_eps),
    gelu: GELUS[activation]!,
    qkvBias: !family.asksForQkvBias || (config.optionalBoolean("qkv_bias") ?? true),
  };
}

/** Path of block `layer`. */
function blockPath(family: EncoderFamily, layer: number): string {
  return `${family.blocks}.${layer}`;
}

/** Tensors of block `layer`. */
export function layerSpecs(config: EncoderConfig, family: EncoderFamily, layer: number): WeightSpec[] {
  return encoderBlockSpecs({ config, form: family, path: blockPath(family, layer) });
}

/** Tensors of the norms and blocks. */
export function encoderSpecs(config: EncoderConfig, family: EncoderFamily): WeightSpec[] {
  const norm = (path: string | undefined): WeightSpec[] =>
    path === undefined ? [] : normSpecs(path, config.hiddenSize);
  return [
    ...norm(family.embeddingNorm),
    ...Array.from({ length: config.layers }, (_, layer) => layerSpecs(config, family, layer)).flat(),
    ...norm(family.finalNorm),
  ];
}

/** Records the first `layers` blocks on hiddenStates [B, S, D]: the states before them and after each, 0 to `layers`. */
export function encoderLayers(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  options: { config: EncoderConfig; family: EncoderFamily; layers?: number; keyMask?: Tensor | undefined },
): Tensor[] {
  const { config, family, layers = config.layers, keyMask } = options;
  const states = [x];
  for (let layer = 0; layer < layers; layer++) {
    states.push(
      encoderBlock(r, w, states[layer]!, { config, form: family, path: blockPath(family, layer), keyMask }),
    );
  }
  return states;
}

/** Beginnings under which wrappers save the model they hold: the Python project's captioners, PyTorch's data parallelism, heads. */
const WRAPPERS = ["module.vision_encoder.", "vision_encoder.", "module.", "model."];

/** Roots of names: the wrappers', the family's own `prefixes`, and files of what is inside `inner` alone. */
export function rootsOf(
  { prefixes = [], inner }: { prefixes?: readonly string[]; inner?: string },
): NameRoot[] {
  const wrappers = [...WRAPPERS, ...prefixes];
  return [
    ...wrappers.map((to) => ({ from: "", to })),
    ...(inner === undefined ? [] : ["", ...wrappers].map((to) => ({ from: inner, to }))),
  ];
}

/** What files of every family may hold besides an encoder. */
export const IGNORED_EVERYWHERE: readonly IgnoredTensors[] = [
  { pattern: /(^|\.)(position_ids|token_type_ids)$/, reason: "buffers that count positions, or are zero" },
  { pattern: /(^|\.)classifier\./, reason: "a head for classes" },
  { pattern: /^(module\.)?(projection|language_model)\./, reason: "the other parts of a captioner" },
];
