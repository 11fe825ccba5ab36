/**
 * Models of two towers, which put images and texts into one space: SigLIP and CLIP.
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { encoderMlp } from "../nn/encoder_block.ts";
import { dense, denseSpecs, norm, normSpecs } from "../nn/layers.ts";
import type { LoadWeightsOptions, WeightSource, WeightSpec } from "../nn/weights.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { linear } from "../ops/linear.ts";
import { assemblePrefix } from "../ops/prefix.ts";
import { splitColumns } from "../ops/split_columns.ts";
import { takeRows } from "../ops/take_rows.ts";
import { readSize } from "./config_sizes.ts";
import { IGNORED_EVERYWHERE, rootsOf, unsupported } from "./encoder.ts";
import {
  parseText,
  pooledText,
  type TextConfig,
  textHiddenStates,
  type TextInputs,
  textSpecs,
} from "./text.ts";
import { parseVision, repeatRow, type VisionConfig, visionSpecs } from "./vision.ts";

/** Names of the families. */
export type TwoTowerFamilyName = "siglip" | "clip";

/** Both towers and the space that they share. */
export interface TwoTowerConfig {
  family: TwoTowerFamilyName;
  vision: VisionConfig;
  text: TextConfig;
  /** Width E of the space. */
  embeddingSize: number;
}

/** What two towers have besides their encoders. */
interface TwoTowerFamily {
  /** How the states of an image become one vector: an attention that asks for it, or the norm of the class token. */
  imagePool: { attention: string } | { classNorm: string };
  /** Path of the linear layer from the pooled image into the space; without one it is there already. */
  imageProjection?: string;
  /** Path of the linear layer from the pooled text into the space. */
  textProjection: string;
  /** Whether the layer of texts has a bias. */
  textBias: boolean;
  /** Scalars of the comparison, with the shapes that files have. */
  logits: readonly WeightSpec[];
}

/** Every pair of towers. */
const TWO_TOWER_FAMILIES: Readonly<Record<TwoTowerFamilyName, TwoTowerFamily>> = {
  siglip: {
    imagePool: { attention: "vision_model.head" },
    textProjection: "text_model.head",
    textBias: true,
    logits: [{ name: "logit_scale", shape: [1] }, { name: "logit_bias", shape: [1] }],
  },
  clip: {
    imagePool: { classNorm: "vision_model.post_layernorm" },
    imageProjection: "visual_projection",
    textProjection: "text_projection",
    textBias: false,
    logits: [{ name: "logit_scale", shape: [] }],
  },
};

/**
 * Sizes from the `config.json` of a whole model.
 *
 * @throws {RangeError} As {@linkcode parseVision} and {@linkcode parseText}, and when the towers do not meet
 */
export function parseTwoTower(config: JsonConfig): TwoTowerConfig {
  const family = config.choice("model_type", ["siglip", "clip"]);
  const [vision, text] = [parseVision(config), parseText(config)];
  if (family === "clip") {
    return { family, vision, text, embeddingSize: readSize(config, "projection_dim", 512) };
  }
  if (config.object("vision_config").optionalBoolean("vision_use_head") === false) {
    throw unsupported(config, '"vision_use_head" false, a tower without its pooling head,');
  }
  const embeddingSize = readSize(config.object("text_config"), "projection_size", text.hiddenSize);
  if (embeddingSize !== vision.hiddenSize) {
    throw new RangeError(
      `Cannot use "${config.name}": texts are embedded in ${embeddingSize} numbers ("projection_size"), images in ` +
        `${vision.hiddenSize} ("hidden_size"), expected as many`,
    );
  }
  return { family, vision, text, embeddingSize };
}

/** Tensors of both towers and of what they have besides. */
export function twoTowerSpecs({ family, vision, text, embeddingSize: E }: TwoTowerConfig): WeightSpec[] {
  const { imagePool, imageProjection, textProjection, textBias, logits } = TWO_TOWER_FAMILIES[family];
  const { hiddenSize: D, intermediateSize: F } = vision;
  const pool = "classNorm" in imagePool
    ? normSpecs(imagePool.classNorm, D)
    : attentionPoolSpecs(imagePool.attention, D, F);
  return [
    ...visionSpecs(vision),
    ...pool,
    ...(imageProjection ? denseSpecs(imageProjection, [E, D], { bias: false }) : []),
    ...textSpecs(text),
    ...denseSpecs(textProjection, [E, text.hiddenSize], { bias: textBias }),
    ...logits,
  ];
}

function attentionPoolSpecs(path: string, D: number, F: number): WeightSpec[] {
  return [
    { name: `${path}.probe`, shape: [1, 1, D] },
    { name: `${path}.attention.in_proj_weight`, shape: [3 * D, D] },
    { name: `${path}.attention.in_proj_bias`, shape: [3 * D] },
    ...denseSpecs(`${path}.attention.out_proj`, [D, D]),
    ...normSpecs(`${path}.layernorm`, D),
    ...denseSpecs(`${path}.mlp.fc1`, [F, D]),
    ...denseSpecs(`${path}.mlp.fc2`, [D, F]),
  ];
}

/** How the tensors of whole models are met in published files. */
export const TWO_TOWER_FILES: LoadWeightsOptions = {
  roots: rootsOf({ prefixes: ["clip."] }),
  ignore: IGNORED_EVERYWHERE,
};

/** Records the embedding of every image, not normalised: states [B, P, Dv] of the vision encoder to [B, E]. */
export function imageEmbeddings(
  r: Recorder,
  w: WeightSource,
  states: Tensor,
  { family, vision }: TwoTowerConfig,
): Tensor {
  const { imagePool, imageProjection } = TWO_TOWER_FAMILIES[family];
  const pooled = "classNorm" in imagePool
    ? norm(r, w, firstState(r, states), { path: imagePool.classNorm, eps: vision.eps })
    : attentionPool(r, w, states, { path: imagePool.attention, vision });
  return imageProjection ? dense(r, w, pooled, { path: imageProjection, bias: false }) : pooled;
}

/** Records the embedding of every text, not normalised: [B, E]. */
export function textEmbeddings(
  r: Recorder,
  w: WeightSource,
  inputs: TextInputs,
  { family, text }: TwoTowerConfig,
): Tensor {
  const { textProjection, textBias } = TWO_TOWER_FAMILIES[family];
  const last = textHiddenStates(r, w, inputs, { config: text }).at(-1)!;
  const pooled = pooledText(r, w, last, { config: text, inputs });
  return dense(r, w, pooled, { path: textProjection, bias: textBias });
}

/** State of position 0: [B, S, D] to [B, D]. */
function firstState(r: Recorder, states: Tensor): Tensor {
  return takeRows(r, states, { start: 0, count: 1 }).reshape(states.dim(0), states.dim(2));
}

/**
 * Attention pooling: one learnt query, the probe, asks all states [B, P, D] of an image: [B, D].
 *
 * Source: Lee et al. 2018, arXiv:1810.00825, section 3.2; Zhai et al. 2021, arXiv:2106.04560.
 */
function attentionPool(
  r: Recorder,
  w: WeightSource,
  states: Tensor,
  { path, vision }: { path: string; vision: VisionConfig },
): Tensor {
  const { hiddenSize: D, heads, eps } = vision;
  const [B, P] = [states.dim(0), states.dim(1)];
  const [weight, bias] = ["weight", "bias"].map((name) => w.get(`${path}.attention.in_proj_${name}`));
  // The three projections lie in one tensor.
  const project = (x: Tensor): Tensor[] =>
    splitColumns(r, linear(r, x, weight!, { bias: bias!, label: "linear" }), [D, D, D]);
  // Looked up as a row of one, which makes f32 of the checkpoint's bf16 or f16.
  const [query] = project(repeatRow(r, w.get(`${path}.probe`).reshape(1, D), 1));
  const [, keys, values] = project(states);
  // The same query for every image. Attention takes as many queries as keys: the others are zeros whose outputs nobody reads.
  let queries = repeatRow(r, query!, B).reshape(B, 1, D);
  if (P > 1) {
    const rest = r.tensor([B, P - 1, D], "no queries");
    r.clear(rest);
    queries = assemblePrefix(r, queries, rest);
  }
  const options = { heads, kvHeads: heads, headDim: D / heads, causal: false };
  const mixed = firstState(r, attention(r, queries, keys!, values!, options));
  const pooled = dense(r, w, mixed, { path: `${path}.attention.out_proj` });
  const normed = norm(r, w, pooled, { path: `${path}.layernorm`, eps });
  const mlp = { input: `${path}.mlp.fc1`, output: `${path}.mlp.fc2`, gelu: vision.gelu };
  return add(r, pooled, encoderMlp(r, w, normed, mlp));
}

/** How embeddings become scores. */
export interface LogitOptions {
  /** E. */
  width: number;
  /** Logarithm of the temperature: `logit_scale` as stored. */
  logScale: number;
  /** Added to every score. @default {0} */
  bias?: number;
}

/**
 * Scores of every image with every text, [images, texts] row by row: exp(logScale) · cosine + bias.
 *
 * @param embeddings image and text embeddings, [images, E] and [texts, E], of length 1
 */
export function logitsPerImage(
  [images, texts]: readonly [ArrayLike<number>, ArrayLike<number>],
  { width, logScale, bias = 0 }: LogitOptions,
): Float64Array {
  const [rows, columns] = [images.length / width, texts.length / width];
  return Float64Array.from({ length: rows * columns }, (_, n) => {
    const [image, text] = [Math.floor(n / columns) * width, (n % columns) * width];
    let cosine = 0;
    for (let c = 0; c < width; c++) cosine += images[image + c]! * texts[text + c]!;
    return Math.exp(logScale) * cosine + bias;
  });
}
