/**
 * The pairwise sigmoid loss of SigLIP, forward and backward.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import code from "../../kernels/sigmoid_contrastive_loss.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { l2Normalize } from "./l2_normalize.ts";
import { matmul } from "./matmul.ts";

const kernel = new Kernel("sigmoid_contrastive_loss", code);

/** Inputs and outputs of {@linkcode sigmoidContrastiveLoss}. */
export interface SigmoidContrastiveLossOptions {
  /** f32 [1], the logarithm of the factor of all similarities. */
  logitScale: Tensor;
  /** f32 [1], added to all logits. */
  logitBias: Tensor;
  /** f32 [1]: the loss is written here. */
  lossOut: Tensor;
  /** f32 [1]: loss · gradScale is added here. @default {nowhere} */
  lossSum?: Tensor | undefined;
  /** Factor of all gradients, not of the loss. @default {1} */
  gradScale?: number;
}

/**
 * Records loss = -1/B · Σ log σ(z · (exp(logitScale) · x·y + logitBias)) over all pairs of `imageEmbeds` x and `textEmbeds`
 * y, both [B, E] as the towers give them and scaled to length 1 here; z is 1 where image and text belong together (same
 * row), else -1. Gradients go to both embeddings, `logitScale` and `logitBias`.
 *
 * Source: Zhai et al. 2023, arXiv:2303.15343, algorithm 1.
 *
 * @returns `lossOut`
 * @throws {TypeError} when the embeddings differ in shape, or a scalar is not f32 [1]
 */
export function sigmoidContrastiveLoss(
  r: Recorder,
  imageEmbeds: Tensor,
  textEmbeds: Tensor,
  options: SigmoidContrastiveLossOptions,
): Tensor {
  const { logitScale, logitBias, lossOut, lossSum, gradScale = 1 } = options;
  const [B, E] = [imageEmbeds.dim(0), imageEmbeds.dim(1)];
  if (imageEmbeds.shape.length !== 2 || !sameShape(imageEmbeds.shape, textEmbeds.shape)) {
    throw new TypeError(
      `Cannot contrast images [${imageEmbeds.shape}] with texts [${textEmbeds.shape}]: expected the same [B, E]`,
    );
  }
  for (const [name, tensor] of Object.entries({ logitScale, logitBias, lossOut, lossSum })) {
    if (tensor !== undefined && (tensor.dtype !== "f32" || tensor.size !== 1)) {
      throw new TypeError(
        `Cannot record the contrastive loss: ${name} is ${tensor.dtype} [${tensor.shape}], expected f32 [1]`,
      );
    }
  }
  const images = l2Normalize(r, imageEmbeds);
  const texts = l2Normalize(r, textEmbeds);
  // Similarities; from "pairs" on their gradients.
  const sim = r.tensor([B, B], "similarities");
  const sums = r.tensor([B, 4], "pair sums");
  matmul(r, "NT", images, texts, { out: sim, label: "contrastive.similarities" });
  const common = { B, column: 0, factor: 0, grad_scale: gradScale, add: 0 };
  r.dispatch(kernel, "pairs", {
    bind: { sim, logit_scale: logitScale, logit_bias: logitBias, sums },
    params: common,
    workgroups: foldGrid(r.gpu, B),
  });
  const total = (result: Tensor, params: { column: number; factor: number; add: boolean }): void =>
    r.dispatch(kernel, "total", {
      bind: { sums, result },
      params: { ...common, ...params },
      workgroups: [1],
    });
  total(lossOut, { column: 0, factor: 1 / B, add: false });
  if (lossSum !== undefined) total(lossSum, { column: 0, factor: gradScale / B, add: true });

  // Stands for the loss on the list of gradients; it has no memory, since its gradient is 1 by definition.
  const loss = r.tensor([1], "loss");
  r.onBackward(loss, [images, texts, logitScale, logitBias], () => {
    r.accumulate(images, (dImages, add) => {
      matmul(r, "NN", sim, texts, { out: dImages.reshape(B, E), add, label: "contrastive.dImages" });
    });
    r.accumulate(texts, (dTexts, add) => {
      matmul(r, "TN", sim, images, { out: dTexts.reshape(B, E), add, label: "contrastive.dTexts" });
    });
    r.accumulate(logitScale, (dScale, add) => total(dScale, { column: 1, factor: 1, add }));
    r.accumulate(logitBias, (dBias, add) => total(dBias, { column: 2, factor: 1, add }));
  });
  r.seedGradient(loss, loss);
  return lossOut;
}
