/**
 * SigLIP: the vision tower that every captioner starts with, and the text tower that with it makes the contrastive model.
 *
 * Source: Zhai et al. 2023, arXiv:2303.15343; tensor names as in Hugging Face checkpoints.
 *
 * @module
 */

import { JsonConfig } from "../format/json_config.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { createTensor, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import {
  biasedLinear,
  encoderLayer,
  type EncoderLayerConfig,
  encoderMlp,
  type GeluKind,
  namedLayerNorm,
} from "../nn/transformer.ts";
import type { LoadWeightsOptions, WeightSource, WeightSpec } from "../nn/weights.ts";
import { add } from "../ops/add.ts";
import { addRows } from "../ops/add_rows.ts";
import { attention } from "../ops/attention.ts";
import { embedding } from "../ops/embedding.ts";
import { linear } from "../ops/linear.ts";
import { patchify } from "../ops/patchify.ts";
import { assemblePrefix } from "../ops/prefix.ts";
import { readPositive, readSize } from "./config_sizes.ts";

/** Sizes of the vision tower. */
export interface SiglipVisionConfig extends EncoderLayerConfig {
  layers: number;
  /** Side of the square input in pixels. */
  imageSize: number;
  /** Side of a patch in pixels. */
  patchSize: number;
  channels: number;
}

/** Sizes of the text tower. */
export interface SiglipTextConfig extends EncoderLayerConfig {
  layers: number;
  vocabSize: number;
  /** Tokens of a text, padded to exactly this many. */
  maxPositions: number;
  /** Width of the joint space. */
  projectionSize: number;
}

const VISION_TYPES = ["siglip_vision_model", "siglip", "siglip2_vision_model", "siglip2"];

function parseGelu(config: JsonConfig): GeluKind {
  const name = config.optionalChoice("hidden_act", ["gelu_pytorch_tanh", "gelu"]) ?? "gelu_pytorch_tanh";
  return name === "gelu" ? "erf" : "tanh";
}

function checkHeads(hiddenSize: number, heads: number, what: string): void {
  if (hiddenSize % heads !== 0 || hiddenSize / heads > 256) {
    throw new RangeError(
      `Cannot build ${what}: ${heads} heads over width ${hiddenSize}, wanted a head width up to 256`,
    );
  }
}

/**
 * Sizes from a `config.json` of the vision tower or of the whole model. Keys left out of published files take the values
 * that Hugging Face's `SiglipVisionConfig` documents.
 */
export function parseSiglipVision(config: JsonConfig): SiglipVisionConfig {
  config.optionalChoice("model_type", VISION_TYPES);
  const vision = config.optionalObject("vision_config") ?? config;
  const hiddenSize = readSize(vision, "hidden_size", 768);
  const heads = readSize(vision, "num_attention_heads", 12);
  checkHeads(hiddenSize, heads, "a SigLIP vision tower");
  const [imageSize, patchSize] = [readSize(vision, "image_size", 224), readSize(vision, "patch_size", 16)];
  if (patchSize > imageSize) {
    throw new RangeError(
      `Cannot use "${config.name}": "patch_size" is ${patchSize}, expected at most "image_size", ${imageSize}`,
    );
  }
  return {
    hiddenSize,
    intermediateSize: readSize(vision, "intermediate_size", 3072),
    layers: readSize(vision, "num_hidden_layers", 12),
    heads,
    imageSize,
    patchSize,
    channels: readSize(vision, "num_channels", 3),
    eps: readPositive(vision, "layer_norm_eps", 1e-6),
    gelu: parseGelu(vision),
  };
}

/** Sizes of the text tower from the `config.json` of the whole model. */
export function parseSiglipText(config: JsonConfig): SiglipTextConfig {
  const text = config.optionalObject("text_config") ?? config;
  const hiddenSize = readSize(text, "hidden_size", 768);
  const heads = readSize(text, "num_attention_heads", 12);
  checkHeads(hiddenSize, heads, "a SigLIP text tower");
  return {
    hiddenSize,
    intermediateSize: readSize(text, "intermediate_size", 3072),
    layers: readSize(text, "num_hidden_layers", 12),
    heads,
    vocabSize: readSize(text, "vocab_size", 32000),
    maxPositions: readSize(text, "max_position_embeddings", 64),
    projectionSize: readSize(text, "projection_size", hiddenSize),
    eps: readPositive(text, "layer_norm_eps", 1e-6),
    gelu: parseGelu(text),
  };
}

/** Patches of an image: P. */
export function patchCount(config: SiglipVisionConfig): number {
  return Math.floor(config.imageSize / config.patchSize) ** 2;
}

function norm(name: string, width: number): WeightSpec[] {
  return [{ name: `${name}.weight`, shape: [width] }, { name: `${name}.bias`, shape: [width] }];
}

function dense(name: string, width: number, inWidth: number): WeightSpec[] {
  return [{ name: `${name}.weight`, shape: [width, inWidth] }, { name: `${name}.bias`, shape: [width] }];
}

function layerSpecs(prefix: string, config: EncoderLayerConfig): WeightSpec[] {
  const { hiddenSize: D, intermediateSize: F } = config;
  return [
    ...norm(`${prefix}.layer_norm1`, D),
    ...["q_proj", "k_proj", "v_proj", "out_proj"].flatMap((name) =>
      dense(`${prefix}.self_attn.${name}`, D, D)
    ),
    ...norm(`${prefix}.layer_norm2`, D),
    ...dense(`${prefix}.mlp.fc1`, F, D),
    ...dense(`${prefix}.mlp.fc2`, D, F),
  ];
}

/** Path of a vision layer's tensors. */
export function visionLayerPrefix(layer: number): string {
  return `vision_model.encoder.layers.${layer}`;
}

/** Tensors of the vision tower up to its final norm. */
export function siglipVisionSpecs(config: SiglipVisionConfig): WeightSpec[] {
  const { hiddenSize: D, patchSize, channels } = config;
  const embeddings = "vision_model.embeddings";
  return [
    { name: `${embeddings}.patch_embedding.weight`, shape: [D, channels, patchSize, patchSize] },
    { name: `${embeddings}.patch_embedding.bias`, shape: [D] },
    { name: `${embeddings}.position_embedding.weight`, shape: [patchCount(config), D] },
    ...Array.from({ length: config.layers }, (_, i) => layerSpecs(visionLayerPrefix(i), config)).flat(),
    ...norm("vision_model.post_layernorm", D),
  ];
}

/** Tensors of one vision layer, for those that are unfrozen. */
export function visionLayerSpecs(config: SiglipVisionConfig, layer: number): WeightSpec[] {
  return layerSpecs(visionLayerPrefix(layer), config);
}

/** Tensors of the attention pooling head of the vision tower. */
export function siglipHeadSpecs({ hiddenSize: D, intermediateSize: F }: SiglipVisionConfig): WeightSpec[] {
  const head = "vision_model.head";
  return [
    { name: `${head}.probe`, shape: [1, 1, D] },
    { name: `${head}.attention.in_proj_weight`, shape: [3 * D, D] },
    { name: `${head}.attention.in_proj_bias`, shape: [3 * D] },
    ...dense(`${head}.attention.out_proj`, D, D),
    ...norm(`${head}.layernorm`, D),
    ...dense(`${head}.mlp.fc1`, F, D),
    ...dense(`${head}.mlp.fc2`, D, F),
  ];
}

/** Tensors of the text tower. */
export function siglipTextSpecs(config: SiglipTextConfig): WeightSpec[] {
  const { hiddenSize: D } = config;
  return [
    { name: "text_model.embeddings.token_embedding.weight", shape: [config.vocabSize, D] },
    { name: "text_model.embeddings.position_embedding.weight", shape: [config.maxPositions, D] },
    ...Array.from({ length: config.layers }, (_, i) => layerSpecs(`text_model.encoder.layers.${i}`, config))
      .flat(),
    ...norm("text_model.final_layer_norm", D),
    ...dense("text_model.head", config.projectionSize, D),
  ];
}

/** Temperature and bias of the contrastive loss, the temperature as its logarithm. */
export const SIGLIP_LOGIT_SPECS: readonly WeightSpec[] = [
  { name: "logit_scale", shape: [1] },
  { name: "logit_bias", shape: [1] },
];

/** How vision weights are met in files: whole two-tower checkpoints, and the captioners of the Python project. */
export const SIGLIP_VISION_FILES: LoadWeightsOptions = {
  roots: [{ from: "", to: "module.vision_encoder." }, { from: "", to: "vision_encoder." }],
  ignore: [
    { pattern: /(^|\.)text_model\./, reason: "the other tower" },
    { pattern: /^logit_(scale|bias)$/, reason: "belong to the contrastive loss" },
    { pattern: /vision_model\.head\./, reason: "the pooling head; the prefix is made of all patches" },
    { pattern: /position_ids$/, reason: "a buffer, 0 to P - 1" },
    { pattern: /^(module\.)?(projection|language_model)\./, reason: "the other parts of a captioner" },
  ],
};

/** Records the vision tower: pixelValues [B, 3, I, I] to all patch states after the final norm, [B, P, Dv]. */
export function siglipVision(
  r: Recorder,
  w: WeightSource,
  pixelValues: Tensor,
  config: SiglipVisionConfig,
): Tensor {
  const { hiddenSize, eps } = config;
  const B = pixelValues.dim(0);
  const patches = patchify(r, pixelValues, { patch: config.patchSize });
  const kernel = w.get("vision_model.embeddings.patch_embedding.weight").reshape(hiddenSize, patches.dim(-1));
  const bias = w.get("vision_model.embeddings.patch_embedding.bias");
  const embedded = linear(r, patches, kernel, { bias, label: "linear" });
  const positions = w.get("vision_model.embeddings.position_embedding.weight");
  let x = addRows(r, embedded.reshape(B, patchCount(config), hiddenSize), positions);
  for (let i = 0; i < config.layers; i++) {
    x = encoderLayer(r, w, x, { ...config, prefix: visionLayerPrefix(i) });
  }
  return namedLayerNorm(r, w, "vision_model.post_layernorm", x, eps);
}

/** Records the attention pooling head: hiddenStates [B, P, Dv] to one embedding an image [B, Dv], not normalised. */
export function siglipPool(
  r: Recorder,
  w: WeightSource,
  hiddenStates: Tensor,
  config: SiglipVisionConfig,
): Tensor {
  const { hiddenSize: D, heads, eps } = config;
  const B = hiddenStates.dim(0);
  const head = "vision_model.head";
  // The three projections lie in one tensor. A window of it may start where no binding may (a bias of odd width), so each is
  // looked up as one row of three.
  const part = (i: number, x: Tensor): Tensor => {
    const [weight, bias] = ["in_proj_weight", "in_proj_bias"].map((name) => {
      const tensor = w.get(`${head}.attention.${name}`);
      return embedding(r, rowNumbers(r.gpu, 1, 0, i), tensor.reshape(3, tensor.size / 3));
    });
    return linear(r, x, weight!.reshape(D, D), { bias: bias!.reshape(D), label: "linear" });
  };
  const P = hiddenStates.dim(1);
  const probe = w.get(`${head}.probe`).reshape(1, D);
  // The same query for every image: looking row 0 up B times also sums the probe's gradient over the batch. Attention
  // takes as many queries as keys, so the others are zeros whose outputs nobody reads.
  const query = embedding(r, rowNumbers(r.gpu, B, 0), part(0, probe)).reshape(B, 1, D);
  const queries = P === 1
    ? query
    : assemblePrefix(r, query, createTensor(r.gpu, [B, P - 1, D], { label: "zeros" }));
  const options = { heads, kvHeads: heads, headDim: D / heads, causal: false };
  const mixed = attention(r, queries, part(1, hiddenStates), part(2, hiddenStates), options);
  const first = embedding(r, rowNumbers(r.gpu, B, P), mixed.reshape(B * P, D));
  const pooled = biasedLinear(r, w, `${head}.attention.out_proj`, first);
  const normed = namedLayerNorm(r, w, `${head}.layernorm`, pooled, eps);
  return add(r, pooled, encoderMlp(r, w, `${head}.mlp`, normed, config.gelu));
}

/** Records the text tower: inputIds [B, T], T = maxPositions, to embeddings [B, E], not normalised. */
export function siglipText(r: Recorder, w: WeightSource, inputIds: Tensor, config: SiglipTextConfig): Tensor {
  const [B, T] = [inputIds.dim(0), inputIds.dim(1)];
  const embedded = embedding(r, inputIds, w.get("text_model.embeddings.token_embedding.weight"));
  const positions = w.get("text_model.embeddings.position_embedding.weight").rows(0, T);
  let x = addRows(r, embedded, positions);
  for (let i = 0; i < config.layers; i++) {
    x = encoderLayer(r, w, x, { ...config, prefix: `text_model.encoder.layers.${i}` });
  }
  const normed = namedLayerNorm(r, w, "text_model.final_layer_norm", x, config.eps);
  // SigLIP pads to full length and takes the last position, padding or not.
  const last = rowNumbers(r.gpu, B, T, T - 1);
  const pooled = embedding(r, last, normed.reshape(B * T, config.hiddenSize));
  return biasedLinear(r, w, "text_model.head", pooled);
}

/** Row numbers offset + b * stride for b in 0 to B - 1, u32 [B]. */
function rowNumbers(gpu: Gpu, count: number, stride: number, offset = 0): Tensor {
  const rows = Uint32Array.from({ length: count }, (_, b) => offset + b * stride);
  return tensorFrom(gpu, rows, { label: "row numbers" });
}
