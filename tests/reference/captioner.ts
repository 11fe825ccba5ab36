/** Vision encoder, projection and loss in plain f64 loops: one image at a time. */

import { type CaptionerConfig, VISION_PREFIX } from "../../lib/models/captioner.ts";
import { referenceVision } from "./encoders.ts";
import { geluErf, linear, type ReferenceWeights, type Rows, weightOf as get } from "./layers.ts";

/** Features [P][Dv] of one image, pixels [3, I, I]. */
export function referenceFeatures(
  w: ReferenceWeights,
  pixels: ArrayLike<number>,
  config: CaptionerConfig["vision"],
): Rows {
  return referenceVision((name) => w.get(VISION_PREFIX + name) ?? get(w, name), pixels, config);
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
