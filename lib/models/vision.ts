/**
 * Vision encoders: images to one state a position, of which a captioner's prefix is made.
 *
 * The prefix is `last_hidden_state` of the Hugging Face model, which is what the Python project feeds: all patches and, where
 * the family has one, the class token before them. For SigLIP and ViT that is after the final norm. CLIP has no norm there:
 * its `post_layernorm` is applied to the pooled class token alone, so the prefix is what the last block gives.
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { norm } from "../nn/layers.ts";
import type { LoadWeightsOptions, WeightSource, WeightSpec } from "../nn/weights.ts";
import { addRows } from "../ops/add_rows.ts";
import { embedding } from "../ops/embedding.ts";
import { linear } from "../ops/linear.ts";
import { patchify } from "../ops/patchify.ts";
import { assemblePrefix } from "../ops/prefix.ts";
import { readSize } from "./config_sizes.ts";
import {
  type EncoderConfig,
  encoderLayers,
  encoderSpecs,
  findFamily,
  layerSpecs,
  readEncoderConfig,
  unsupported,
} from "./encoder.ts";
import { type StoredTensor, VISION_FAMILIES, type VisionFamilyName } from "./vision_families.ts";

/** Sizes of a vision encoder. */
export interface VisionConfig extends EncoderConfig {
  family: VisionFamilyName;
  /** Side of the square input in pixels. */
  imageSize: number;
  /** Side of a patch in pixels. */
  patchSize: number;
  channels: number;
  /** Largest dropout that the configuration asks for in training; none is applied. */
  dropout: number;
}

/** Rates of dropout in configurations of vision encoders. */
const DROPOUTS = ["attention_dropout", "attention_probs_dropout_prob", "hidden_dropout_prob", "dropout"];

/**
 * Sizes from a `config.json` of a vision encoder or of a whole model that holds one. Keys that published files leave out take
 * the values that Hugging Face documents for the family.
 *
 * @throws {RangeError} naming the key, when the model is another's, its sizes do not fit or it asks for what is not supported
 */
export function parseVision(config: JsonConfig): VisionConfig {
  const { name, section } = findFamily(config, VISION_FAMILIES);
  const family = VISION_FAMILIES[name];
  const size = (key: string): number => readSize(section, key, family.defaults[key]);
  const sizes = readEncoderConfig(section, family);
  const channels = size("num_channels");
  // Pictures come as red, green and blue.
  if (channels !== 3) throw unsupported(config, `"num_channels" ${channels}`);
  const [imageSize, patchSize] = [size("image_size"), size("patch_size")];
  if (patchSize > imageSize) {
    throw new RangeError(
      `Cannot use "${config.name}": "patch_size" is ${patchSize}, expected at most "image_size", ${imageSize}`,
    );
  }
  return {
    family: name,
    ...sizes,
    imageSize,
    patchSize,
    channels,
    dropout: Math.max(0, ...DROPOUTS.map((key) => section.optionalNumber(key) ?? 0)),
  };
}

/** Positions of an image, the class token included: P. */
export function visionTokens(config: VisionConfig): number {
  const { classToken } = VISION_FAMILIES[config.family];
  return patchCount(config) + (classToken === undefined ? 0 : 1);
}

function patchCount({ imageSize, patchSize }: VisionConfig): number {
  return Math.floor(imageSize / patchSize) ** 2;
}

/** Tensors of the encoder, as far as the states that form the prefix. */
export function visionSpecs(config: VisionConfig): WeightSpec[] {
  const family = VISION_FAMILIES[config.family];
  const { hiddenSize: D, patchSize, channels } = config;
  const stored = ({ name, rank }: StoredTensor, shape: readonly number[]): WeightSpec => ({
    name,
    shape: [...Array<number>(rank - shape.length).fill(1), ...shape],
  });
  return [
    ...(family.classToken ? [stored(family.classToken, [D])] : []),
    { name: `${family.patches}.weight`, shape: [D, channels, patchSize, patchSize] },
    ...(family.patchBias ? [{ name: `${family.patches}.bias`, shape: [D] }] : []),
    stored(family.positions, [visionTokens(config), D]),
    ...encoderSpecs(config, family),
  ];
}

/** Tensors of one layer, for those that are unfrozen. */
export function visionLayerSpecs(config: VisionConfig, layer: number): WeightSpec[] {
  return layerSpecs(config, VISION_FAMILIES[config.family], layer);
}

/** How the encoder's tensors are met in published files. */
export function visionFiles(config: VisionConfig): LoadWeightsOptions {
  return VISION_FAMILIES[config.family].files;
}

/** Records the encoder: pixelValues [B, C, I, I] to `last_hidden_state` [B, P, Dv]. */
export function visionEncoder(
  r: Recorder,
  w: WeightSource,
  pixelValues: Tensor,
  config: VisionConfig,
): Tensor {
  const family = VISION_FAMILIES[config.family];
  const { hiddenSize: D, eps } = config;
  const B = pixelValues.dim(0);
  const pixels = patchify(r, pixelValues, { patch: config.patchSize });
  const kernel = w.get(`${family.patches}.weight`).reshape(D, pixels.dim(-1));
  const bias = family.patchBias ? { bias: w.get(`${family.patches}.bias`) } : {};
  let x = linear(r, pixels, kernel, { ...bias, label: "linear" });
  if (family.classToken) {
    const token = w.get(family.classToken.name).reshape(1, D);
    x = assemblePrefix(r, repeatRow(r, token, B).reshape(B, 1, D), x);
  }
  x = addRows(r, x, w.get(family.positions.name).reshape(visionTokens(config), D));
  if (family.embeddingNorm) x = norm(r, w, x, { path: family.embeddingNorm, eps });
  const last = encoderLayers(r, w, x, { config, family }).at(-1)!;
  return family.finalNorm ? norm(r, w, last, { path: family.finalNorm, eps }) : last;
}

/** Records `row` [1, D] `count` times, [count, D]; its gradient is the sum over them. */
export function repeatRow(r: Recorder, row: Tensor, count: number): Tensor {
  const zeros = r.tensor([count], "row numbers", "u32");
  r.clear(zeros);
  return embedding(r, zeros, row);
}
