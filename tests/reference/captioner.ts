/** SigLIP vision tower, projection and loss in plain f64 loops: one image at a time. */

import { type CaptionerConfig, VISION_PREFIX } from "../../lib/models/captioner.ts";
import {
  add,
  attention,
  geluErf,
  geluTanh,
  layerNorm,
  linear,
  type ReferenceWeights,
  type Rows,
  weightOf as get,
} from "./layers.ts";

/** Features [P][Dv] of one image, pixels [3, I, I]. */
export function referenceFeatures(
  w: ReferenceWeights,
  pixels: ArrayLike<number>,
  config: CaptionerConfig["vision"],
): Rows {
  const { imageSize: I, patchSize: p, channels, hiddenSize: D, heads, eps } = config;
  const own = (name: string): Float64Array => w.get(VISION_PREFIX + name) ?? get(w, name);
  const side = Math.floor(I / p);
  const patches = Array.from({ length: side * side }, (_, n) => {
    const [top, left] = [Math.floor(n / side) * p, (n % side) * p];
    return Float64Array.from({ length: channels * p * p }, (_, i) => {
      const [c, y, x] = [Math.floor(i / (p * p)), Math.floor(i / p) % p, i % p];
      return pixels[(c * I + top + y) * I + left + x]!;
    });
  });
  const dense = (name: string, x: Rows): Rows => linear(x, own(`${name}.weight`), own(`${name}.bias`));
  const norm = (name: string, x: Rows): Rows => layerNorm(x, own(`${name}.weight`), own(`${name}.bias`), eps);
  const positions = own("vision_model.embeddings.position_embedding.weight");
  let x: Rows = dense("vision_model.embeddings.patch_embedding", patches)
    .map((row, n) => row.map((value, c) => value + positions[n * D + c]!));
  const act = config.gelu === "tanh" ? geluTanh : geluErf;
  for (let layer = 0; layer < config.layers; layer++) {
    const path = `vision_model.encoder.layers.${layer}`;
    const normed = norm(`${path}.layer_norm1`, x);
    const [q, k, v] = ["q", "k", "v"].map((name) => dense(`${path}.self_attn.${name}_proj`, normed));
    const mixed = attention(q!, k!, v!, { heads, kvHeads: heads, headDim: D / heads, causal: false });
    x = add(x, dense(`${path}.self_attn.out_proj`, mixed));
    const hidden = dense(`${path}.mlp.fc1`, norm(`${path}.layer_norm2`, x)).map((row) => row.map(act));
    x = add(x, dense(`${path}.mlp.fc2`, hidden));
  }
  return norm("vision_model.post_layernorm", x);
}

/** Prefix embeddings [P][D] of one image's features. */
export function referencePrefix(w: ReferenceWeights, features: Rows, config: CaptionerConfig): Rows {
  const dense = (name: string, x: Rows): Rows => linear(x, get(w, `${name}.weight`), get(w, `${name}.bias`));
  if (config.projection.type === "linear") return dense("projection.projection", features);
  const hidden = dense("projection.projection.0", features).map((row) => row.map(geluErf));
  return dense("projection.projection.3", hidden);
}

/** Mean cross-entropy of a batch's labels (-100: none), each predicted from the position before it. */
export function referenceLoss(
  logits: readonly Rows[],
  labels: readonly (readonly number[])[],
): number {
  let [sum, count] = [0, 0];
  for (const [b, row] of labels.entries()) {
    const P = logits[b]!.length - row.length;
    for (const [t, label] of row.entries()) {
      if (label === -100) continue;
      const scores = logits[b]![P + t - 1]!;
      const max = scores.reduce((a, c) => Math.max(a, c));
      sum += Math.log(scores.reduce((total, score) => total + Math.exp(score - max), 0)) + max -
        scores[label]!;
      count++;
    }
  }
  return sum / count;
}
