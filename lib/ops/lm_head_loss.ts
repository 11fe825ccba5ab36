/**
 * The output head of a language model: next-token loss without a matrix of all logits, and logits for generation.
 *
 * @module
 */

import code from "../../kernels/lm_head_loss.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { elementBytes, type Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { matmul } from "./matmul.ts";
import { type RowWindow, rowWindows } from "./windows.ts";

const kernel = new Kernel("lm_head_loss", code);
const NAN_BITS = 0x7fc00000;

/** Options of {@linkcode lmHeadLoss}. */
export interface LmHeadLossOptions {
  /** f32 [2]: the mean loss and the number of valid labels are written here. */
  lossOut: Tensor;
  /** f32 [1]: loss · gradScale is added here, so that micro-batches of one step sum to its mean. @default {nowhere} */
  lossSum?: Tensor | undefined;
  /** Factor of all gradients, not of the loss: 1 / micro-batches of a step. @default {1} */
  gradScale?: number;
  /**
   * f32 [N]: the loss is the sum over all labels of weight times cross-entropy instead of the mean. Weights may be negative; those of
   * rows without a label do not count. @default {one by the number of labels, each}
   */
  weights?: Tensor | undefined;
  /** Rows of the weight per chunk, a multiple of 128; fewer where a binding holds fewer. @default {8192} */
  chunkRows?: number;
}

/**
 * Records the mean over all labels that are not -100 of the cross-entropy of softmax(hidden · weightᵀ), for `hidden` [N, D],
 * `weight` [V, D] in f32, bf16 or f16, and `labels` i32 [N]. Gradients go to `hidden` and to a trainable (f32) weight.
 * With `weights` it is a weighted sum instead: sampled tokens weighted by an advantage give the policy gradient.
 *
 * The vocabulary is walked in chunks of rows; the backward pass computes their logits again, so memory is N·chunkRows
 * instead of N·V. Without a valid label the loss and all gradients are 0. A label that is neither -100 nor one of
 * 0 … V-1 makes the loss NaN.
 *
 * Source: Milakov & Gimelshein 2018, arXiv:1805.02867.
 *
 * @returns `lossOut`
 * @throws {TypeError} when shapes or types do not fit
 * @throws {RangeError} when `chunkRows` is not a positive multiple of 128
 */
export function lmHeadLoss(
  r: Recorder,
  hidden: Tensor,
  weight: Tensor,
  labels: Tensor,
  options: LmHeadLossOptions,
): Tensor {
  const { lossOut, gradScale = 1, chunkRows = 8192 } = options;
  const [N, V] = [labels.size, weight.dim(0)];
  check({ hidden, weight, labels, lossOut, chunkRows, weights: options.weights });
  const rows = hidden.reshape(N, weight.dim(1));
  const chunks = chunksOf(r, { weight, N, chunkRows });
  const logits = r.tensor([N * Math.max(...chunks.map(({ start, end }) => end - start))], "logits");
  const running = r.tensor([N, 2], "running");
  const targets = r.tensor([N], "targets");
  const lossSum = options.lossSum ?? r.tensor([1], "no loss sum");
  if (options.lossSum === undefined) r.clear(lossSum);
  const weights = options.weights ?? r.tensor([1], "no weights");
  if (options.weights === undefined) r.clear(weights);
  const weighted = options.weights !== undefined;
  const common = { N, V, grad_scale: gradScale, nan_bits: NAN_BITS, weighted };
  const chunkLogits = ({ start, end }: RowWindow): Tensor =>
    // A shorter last chunk uses the head of the memory.
    logits.rows(0, N * (end - start)).reshape(N, end - start);
  const computeLogits = (chunk: RowWindow): void =>
    matmul(r, "NT", rows, weight.rows(chunk.start, chunk.end), {
      out: chunkLogits(chunk),
      label: "lm_head.logits",
    });
  const overChunk = (entry: string, chunk: RowWindow, bind: Record<string, Tensor>): void => {
    const width = chunk.end - chunk.start;
    const fours = width % 4 === 0;
    r.dispatch(kernel, fours ? `${entry}_vec4` : entry, {
      bind: { ...bind, [fours ? "logits4" : "logits"]: chunkLogits(chunk) },
      params: { ...common, first_column: chunk.start, width },
      workgroups: foldGrid(r.gpu, N),
    });
  };

  for (const chunk of chunks) {
    computeLogits(chunk);
    overChunk("reduce", chunk, { labels, running, targets });
  }
  r.dispatch(kernel, "finish", {
    bind: { labels, running, targets, weights, loss_out: lossOut, loss_sum: lossSum },
    params: { ...common, first_column: 0, width: V },
    workgroups: [1],
  });

  // Stands for the loss on the list of gradients; it has no memory, since its gradient is 1 by definition.
  const loss = r.tensor([1], "loss");
  r.onBackward(loss, [hidden, weight], () => {
    const targetsOf = (tensor: Tensor): { into: Tensor; add: boolean } | undefined => {
      let found: { into: Tensor; add: boolean } | undefined;
      r.accumulate(tensor, (into, add) => found = { into, add });
      return found;
    };
    const dHidden = targetsOf(hidden);
    const dWeight = targetsOf(weight);
    // Last chunk first: its logits are still there.
    for (const [i, chunk] of chunks.toReversed().entries()) {
      if (i > 0) computeLogits(chunk);
      const dLogits = chunkLogits(chunk);
      overChunk("gradient", chunk, { labels, running, weights, loss_out: lossOut });
      if (dHidden !== undefined) {
        matmul(r, "NN", dLogits, weight.rows(chunk.start, chunk.end), {
          out: dHidden.into.reshape(N, weight.dim(1)),
          add: i > 0 || dHidden.add,
          label: "lm_head.dHidden",
        });
      }
      if (dWeight !== undefined) {
        matmul(r, "TN", dLogits, rows, {
          out: dWeight.into.rows(chunk.start, chunk.end),
          add: dWeight.add,
          label: "lm_head.dWeight",
        });
      }
    }
  });
  r.seedGradient(loss, loss);
  return lossOut;
}

/** Records logits [N, V] = hidden [N, D] · weight [V, D]ᵀ for generation; the weight may be larger than one binding. */
export function logits(r: Recorder, hidden: Tensor, weight: Tensor): Tensor {
  const N = hidden.size / hidden.dim(-1);
  const out = r.tensor([N, weight.dim(0)], "logits");
  matmul(r, "NT", hidden, weight, { out, label: "lm_head.logits" });
  return out;
}

/** Chunks of the vocabulary whose weight, weight gradient and logits each fit one binding. */
function chunksOf(
  r: Recorder,
  { weight, N, chunkRows }: { weight: Tensor; N: number; chunkRows: number },
): RowWindow[] {
  const bytes = Math.max(weight.dim(1) * (weight.requiresGrad ? 4 : elementBytes(weight.dtype)), N * 4);
  const most = Math.floor(r.gpu.maxBindingBytes / bytes / 128) * 128;
  return rowWindows(r.gpu, weight, { maxRows: Math.max(128, Math.min(chunkRows, most)) });
}

function check(
  { hidden, weight, labels, lossOut, chunkRows, weights }: {
    hidden: Tensor;
    weight: Tensor;
    labels: Tensor;
    lossOut: Tensor;
    chunkRows: number;
    weights: Tensor | undefined;
  },
): void {
  if (labels.dtype !== "i32" || hidden.dtype !== "f32" || hidden.size !== labels.size * weight.dim(1)) {
    throw new TypeError(
      `Cannot record the loss of "${weight.label}" [${weight.shape}]: hidden ${hidden.dtype} [${hidden.shape}], labels ` +
        `${labels.dtype} [${labels.shape}]; expected f32 [N, ${weight.dim(1)}] and i32 [N]`,
    );
  }
  if (lossOut.dtype !== "f32" || lossOut.size !== 2) {
    throw new TypeError(
      `Cannot record the loss: lossOut is ${lossOut.dtype} [${lossOut.shape}], expected f32 [2]`,
    );
  }
  if (weights !== undefined && (weights.dtype !== "f32" || weights.size !== labels.size)) {
    throw new TypeError(
      `Cannot record the loss: weights are ${weights.dtype} [${weights.shape}], expected f32 [${labels.size}]`,
    );
  }
  if (weight.requiresGrad && weight.dtype !== "f32") {
    throw new TypeError(`Cannot train "${weight.label}": its type is ${weight.dtype}, expected f32`);
  }
  if (!Number.isInteger(chunkRows) || chunkRows < 128 || chunkRows % 128 !== 0) {
    throw new RangeError(
      `Cannot record the loss: chunkRows is ${chunkRows}, expected a positive multiple of 128`,
    );
  }
}
