/**
 * Text encoders: token ids to the states of any layer, and to the state that stands for a text.
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { norm } from "../nn/layers.ts";
import type { LoadWeightsOptions, WeightSource, WeightSpec } from "../nn/weights.ts";
import { add } from "../ops/add.ts";
import { addRows } from "../ops/add_rows.ts";
import { embedding } from "../ops/embedding.ts";
import { takeRows } from "../ops/take_rows.ts";
import { readSize } from "./config_sizes.ts";
import {
  type EncoderConfig,
  encoderLayers,
  encoderSpecs,
  findFamily,
  readEncoderConfig,
  unsupported,
} from "./encoder.ts";
import { TEXT_FAMILIES, type TextFamilyName } from "./text_families.ts";

/** Sizes of a text encoder. */
export interface TextConfig extends EncoderConfig {
  family: TextFamilyName;
  /** V. */
  vocabSize: number;
  /** Rows of the table of positions; see {@linkcode maxTextTokens}. */
  maxPositions: number;
  /** Rows of the table of token types, 0 where there is none. */
  typeVocabSize: number;
  /** Token that fills texts up. */
  padId: number;
  /** Token that ends a text, where its state stands for the text. */
  endId?: number;
}

/**
 * Sizes from a `config.json` of a text encoder or of a whole model that holds one. Keys that published files leave out take
 * the values that Hugging Face documents for the family.
 *
 * @throws {RangeError} naming the key, when the model is another's, its sizes do not fit or it asks for what is not supported
 */
export function parseText(config: JsonConfig): TextConfig {
  const { name, section } = findFamily(config, TEXT_FAMILIES);
  const family = TEXT_FAMILIES[name];
  const { defaults } = family;
  const size = (key: string): number => readSize(section, key, defaults[key]);
  const sizes = { ...readEncoderConfig(section, family), vocabSize: size("vocab_size") };
  const token = (key: string): number => {
    const id = section.optionalInteger(key) ?? defaults[key]!;
    if (id >= 0 && id < sizes.vocabSize) return id;
    throw new RangeError(
      `Cannot use "${config.name}": "${key}" is ${id}, expected a token id below ${sizes.vocabSize}`,
    );
  };
  const parsed: TextConfig = {
    family: name,
    ...sizes,
    maxPositions: size("max_position_embeddings"),
    typeVocabSize: family.tokenTypes === undefined ? 0 : size("type_vocab_size"),
    padId: token("pad_token_id"),
    ...(family.pooled === "end" && { endId: token("eos_token_id") }),
  };
  if (maxTextTokens(parsed) < 1) {
    throw unsupported(
      config,
      `"max_position_embeddings" ${parsed.maxPositions} after "pad_token_id" ${parsed.padId}`,
    );
  }
  return parsed;
}

/** Most tokens of a text. */
export function maxTextTokens(config: TextConfig): number {
  return config.maxPositions - firstPosition(config);
}

/** Row of the table of positions that a text's first token gets. */
export function firstPosition({ family, padId }: TextConfig): number {
  return TEXT_FAMILIES[family].positionsAfterPadding ? padId + 1 : 0;
}

/** Tensors of the encoder, its final norm included. */
export function textSpecs(config: TextConfig): WeightSpec[] {
  const family = TEXT_FAMILIES[config.family];
  const { hiddenSize: D, vocabSize, maxPositions, typeVocabSize } = config;
  return [
    { name: `${family.tokens}.weight`, shape: [vocabSize, D] },
    { name: `${family.positions}.weight`, shape: [maxPositions, D] },
    ...(family.tokenTypes ? [{ name: `${family.tokenTypes}.weight`, shape: [typeVocabSize, D] }] : []),
    ...encoderSpecs(config, family),
  ];
}

/** How the encoder's tensors are met in published files. */
export function textFiles(config: TextConfig): LoadWeightsOptions {
  return TEXT_FAMILIES[config.family].files;
}

/** A batch of texts on the GPU; `text_batch.ts` makes it. */
export interface TextInputs {
  /** u32 [B, T]. */
  inputIds: Tensor;
  /** u32 [B, T], 1 = a token, 0 = padding. @default no padding */
  keyMask?: Tensor | undefined;
  /** u32 [B, T], rows of the table of positions; needed where they depend on the padding. */
  positionIds?: Tensor | undefined;
  /** u32 [B, T]. @default zeros */
  tokenTypeIds?: Tensor | undefined;
  /** u32 [B], b * T + t of the token that stands for text b; needed where that is the end token. */
  pooledRows?: Tensor | undefined;
}

/**
 * Records the encoder: hidden states 0 (the embeddings, after their norm) to `layers`, each [B, T, D]. The family's final norm
 * is not in them. States of padding are of no meaning.
 *
 * @param options.layers how many layers to run. @default all
 * @throws {RangeError} when texts are longer than the encoder takes, or it has fewer layers
 * @throws {TypeError} when an input that the family needs is missing
 */
export function textHiddenStates(
  r: Recorder,
  w: WeightSource,
  inputs: TextInputs,
  options: { config: TextConfig; layers?: number },
): Tensor[] {
  const { config, layers = config.layers } = options;
  const family = TEXT_FAMILIES[config.family];
  const { inputIds, positionIds } = inputs;
  const T = inputIds.dim(1);
  if (T > maxTextTokens(config)) {
    throw new RangeError(
      `Cannot encode texts of ${T} tokens: ${family.title} takes ${maxTextTokens(config)}`,
    );
  }
  if (!(Number.isInteger(layers) && layers >= 0 && layers <= config.layers)) {
    throw new RangeError(
      `Cannot give hidden states up to layer ${layers}: ${family.title} has ${config.layers}`,
    );
  }
  let x = embedding(r, inputIds, w.get(`${family.tokens}.weight`));
  const positions = w.get(`${family.positions}.weight`);
  if (family.positionsAfterPadding) {
    if (positionIds === undefined) throw missing("positionIds", family.title);
    x = add(r, x, embedding(r, positionIds, positions));
  } else x = addRows(r, x, positions);
  if (family.tokenTypes) {
    x = add(
      r,
      x,
      embedding(r, inputs.tokenTypeIds ?? zeros(r, inputIds), w.get(`${family.tokenTypes}.weight`)),
    );
  }
  if (family.embeddingNorm) x = norm(r, w, x, { path: family.embeddingNorm, eps: config.eps });
  const keyMask = family.masksPadding ? inputs.keyMask : undefined;
  return encoderLayers(r, w, x, { config, family, layers, keyMask });
}

/**
 * Records the state that stands for each text, after the final norm: [B, D] from the last of {@linkcode textHiddenStates}.
 * That of the last position for SigLIP, padding or not, and that of the end token for CLIP.
 *
 * @throws {TypeError} when `pooledRows` is needed and missing, or the family has no such state
 */
export function pooledText(
  r: Recorder,
  w: WeightSource,
  lastState: Tensor,
  options: { config: TextConfig; inputs: TextInputs },
): Tensor {
  const { config, inputs } = options;
  const { pooled, finalNorm, title } = TEXT_FAMILIES[config.family];
  const [B, T, D] = [lastState.dim(0), lastState.dim(1), lastState.dim(2)];
  if (pooled === undefined || finalNorm === undefined) {
    throw new TypeError(`Cannot pool a text: ${title} has no pooled state`);
  }
  const normed = norm(r, w, lastState, { path: finalNorm, eps: config.eps });
  if (pooled === "last") return takeRows(r, normed, { start: T - 1, count: 1 }).reshape(B, D);
  if (inputs.pooledRows === undefined) throw missing("pooledRows", title);
  return embedding(r, inputs.pooledRows, normed.reshape(B * T, D));
}

function missing(input: string, title: string): TypeError {
  return new TypeError(`Cannot encode texts: ${title} needs "${input}"`);
}

function zeros(r: Recorder, like: Tensor): Tensor {
  const tensor = r.tensor(like.shape, "token types 0", "u32");
  r.clear(tensor);
  return tensor;
}
