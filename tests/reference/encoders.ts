/** Vision and text encoders in plain f64 loops, one image or text at a time; tensor names are written out here once more. */

import type { TextConfig } from "../../lib/models/text.ts";
import type { VisionConfig } from "../../lib/models/vision.ts";
import { add, attention, geluErf, geluQuick, geluTanh, layerNorm, linear, type Rows } from "./layers.ts";

/** Finds a weight. */
export type Get = (name: string) => Float64Array;

const ACTIVATIONS = { erf: geluErf, tanh: geluTanh, quick: geluQuick };

interface Layer {
  heads: number;
  eps: number;
  gelu: keyof typeof ACTIVATIONS;
  qkvBias: boolean;
}

const dense = (get: Get, name: string, x: Rows, bias = true): Rows =>
  linear(x, get(`${name}.weight`), bias ? get(`${name}.bias`) : undefined);
const norm = (get: Get, name: string, x: Rows, eps: number): Rows =>
  layerNorm(x, get(`${name}.weight`), get(`${name}.bias`), eps);

/** Attention between the three projections and the one after the heads. */
function mix(
  get: Get,
  x: Rows,
  { heads, qkvBias, names: [q, k, v, out], causal, mask }: Layer & {
    names: readonly [string, string, string, string];
    causal: boolean;
    mask?: readonly number[];
  },
): Rows {
  const parts = [q, k, v].map((name) => dense(get, name, x, qkvBias));
  const headDim = x[0]!.length / heads;
  const shape = { heads, kvHeads: heads, headDim, causal, ...(mask && { mask }) };
  return dense(get, out, attention(parts[0]!, parts[1]!, parts[2]!, shape));
}

function mlp(get: Get, x: Rows, [first, second]: readonly [string, string], gelu: Layer["gelu"]): Rows {
  return dense(get, second, dense(get, first, x).map((row) => row.map(ACTIVATIONS[gelu])));
}

/** A block of SigLIP and CLIP. */
function towerBlock(
  get: Get,
  x: Rows,
  options: Layer & { path: string; causal: boolean; mask?: readonly number[] },
): Rows {
  const { path, eps, gelu } = options;
  const names = ["q_proj", "k_proj", "v_proj", "out_proj"].map((name) => `${path}.self_attn.${name}`);
  const attended = add(
    x,
    mix(get, norm(get, `${path}.layer_norm1`, x, eps), {
      ...options,
      names: names as [string, string, string, string],
    }),
  );
  const normed = norm(get, `${path}.layer_norm2`, attended, eps);
  return add(attended, mlp(get, normed, [`${path}.mlp.fc1`, `${path}.mlp.fc2`], gelu));
}

function vitBlock(get: Get, x: Rows, options: Layer & { path: string }): Rows {
  const { path, eps, gelu } = options;
  const attention = `${path}.attention`;
  const normed = norm(get, `${path}.layernorm_before`, x, eps);
  const attended = add(
    x,
    mix(get, normed, {
      ...options,
      names: [
        `${attention}.attention.query`,
        `${attention}.attention.key`,
        `${attention}.attention.value`,
        `${attention}.output.dense`,
      ],
      causal: false,
    }),
  );
  const after = norm(get, `${path}.layernorm_after`, attended, eps);
  return add(attended, mlp(get, after, [`${path}.intermediate.dense`, `${path}.output.dense`], gelu));
}

function bertBlock(get: Get, x: Rows, options: Layer & { path: string; mask: readonly number[] }): Rows {
  const { path, eps, gelu } = options;
  const attention = `${path}.attention`;
  const mixed = mix(get, x, {
    ...options,
    names: [
      `${attention}.self.query`,
      `${attention}.self.key`,
      `${attention}.self.value`,
      `${attention}.output.dense`,
    ],
    causal: false,
  });
  const attended = norm(get, `${attention}.output.LayerNorm`, add(x, mixed), eps);
  const changed = mlp(get, attended, [`${path}.intermediate.dense`, `${path}.output.dense`], gelu);
  return norm(get, `${path}.output.LayerNorm`, add(attended, changed), eps);
}

/** Features [P][Dv] of one image, pixels [C, I, I]. */
export function referenceVision(get: Get, pixels: ArrayLike<number>, config: VisionConfig): Rows {
  const { family, imageSize: I, patchSize: p, channels, hiddenSize: D, layers, eps } = config;
  const side = Math.floor(I / p);
  const patches = Array.from({ length: side * side }, (_, n) => {
    const [top, left] = [Math.floor(n / side) * p, (n % side) * p];
    return Float64Array.from({ length: channels * p * p }, (_, i) => {
      const [c, y, x] = [Math.floor(i / (p * p)), Math.floor(i / p) % p, i % p];
      return pixels[(c * I + top + y) * I + left + x]!;
    });
  });
  const embeddings = family === "vit" ? "embeddings" : "vision_model.embeddings";
  const patch = family === "vit" ? "patch_embeddings.projection" : "patch_embedding";
  let x = dense(get, `${embeddings}.${patch}`, patches, family !== "clip");
  if (family === "vit") x = [get("embeddings.cls_token"), ...x];
  if (family === "clip") x = [get("vision_model.embeddings.class_embedding"), ...x];
  const table = get(
    `${embeddings}.${family === "vit" ? "position_embeddings" : "position_embedding.weight"}`,
  );
  x = x.map((row, n) => row.map((value, c) => value + table[n * D + c]!));
  if (family === "clip") x = norm(get, "vision_model.pre_layrnorm", x, eps);
  for (let layer = 0; layer < layers; layer++) {
    x = family === "vit"
      ? vitBlock(get, x, { ...config, path: `encoder.layer.${layer}` })
      : towerBlock(get, x, { ...config, path: `vision_model.encoder.layers.${layer}`, causal: false });
  }
  if (family === "clip") return x;
  return norm(get, family === "vit" ? "layernorm" : "vision_model.post_layernorm", x, eps);
}

/** A text as the reference reads it: tokens and their types, padding included, and which of them are text. */
export interface ReferenceText {
  ids: readonly number[];
  types: readonly number[];
  mask: readonly number[];
}

/** Hidden states 0 to L of one text, each [T][D]. */
export function referenceText(get: Get, { ids, types, mask }: ReferenceText, config: TextConfig): Rows[] {
  const { family, hiddenSize: D, layers, eps, padId } = config;
  const row = (table: Float64Array, i: number): Float64Array => table.slice(i * D, (i + 1) * D);
  const isTower = family === "siglip" || family === "clip";
  const [tokens, positions] = isTower
    ? ["text_model.embeddings.token_embedding.weight", "text_model.embeddings.position_embedding.weight"]
    : ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"];
  // RoBERTa counts what is no padding, from the position after the padding's.
  let counted = padId;
  const places = ids.map((id, t) => family === "roberta" ? (id === padId ? padId : ++counted) : t);
  let x: Rows = add(
    ids.map((id) => row(get(tokens!), id)),
    places.map((place) => row(get(positions!), place)),
  );
  if (!isTower) {
    x = add(x, types.map((type) => row(get("embeddings.token_type_embeddings.weight"), type)));
    x = norm(get, "embeddings.LayerNorm", x, eps);
  }
  const states = [x];
  for (let layer = 0; layer < layers; layer++) {
    x = isTower
      ? towerBlock(get, x, {
        ...config,
        path: `text_model.encoder.layers.${layer}`,
        causal: family === "clip",
        ...(family === "clip" && { mask }),
      })
      : bertBlock(get, x, { ...config, path: `encoder.layer.${layer}`, mask });
    states.push(x);
  }
  return states;
}

/** The vector of an image's states in the space of SigLIP or CLIP. */
export function referenceImageEmbedding(get: Get, states: Rows, config: VisionConfig): Float64Array {
  const { family, hiddenSize: D, heads, eps, gelu } = config;
  if (family === "clip") {
    const pooled = norm(get, "vision_model.post_layernorm", [states[0]!], eps);
    return dense(get, "visual_projection", pooled, false)[0]!;
  }
  const head = "vision_model.head";
  const project = (i: number, x: Rows): Rows =>
    linear(
      x,
      get(`${head}.attention.in_proj_weight`).slice(i * D * D, (i + 1) * D * D),
      get(`${head}.attention.in_proj_bias`).slice(i * D, (i + 1) * D),
    );
  const shape = { heads, kvHeads: heads, headDim: D / heads, causal: false };
  const query = project(0, [get(`${head}.probe`)]);
  const mixed = attention(query, project(1, states), project(2, states), shape);
  const pooled = dense(get, `${head}.attention.out_proj`, mixed);
  const normed = norm(get, `${head}.layernorm`, pooled, eps);
  return add(pooled, mlp(get, normed, [`${head}.mlp.fc1`, `${head}.mlp.fc2`], gelu))[0]!;
}

/** The vector of a text in the space of SigLIP or CLIP, from its last hidden state and the position that counts. */
export function referenceTextEmbedding(
  get: Get,
  { last, position }: { last: Rows; position: number },
  config: TextConfig,
): Float64Array {
  const pooled = norm(get, "text_model.final_layer_norm", [last[position]!], config.eps);
  return config.family === "clip"
    ? dense(get, "text_projection", pooled, false)[0]!
    : dense(get, "text_model.head", pooled)[0]!;
}
