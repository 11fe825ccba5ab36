/**
 * Next-token candidates, chosen on the GPU so that a step of generation reads back a few numbers per row.
 *
 * @module
 */

import code from "../../kernels/top_k.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("top_k", code);
const WORKGROUP = 128;
const NAN_BITS = 0x7fc00000;

/** A penalty on tokens that a row has already. */
export interface RepetitionPenalty {
  /** u32 [rows, length]: tokens of every row; entries of the vocabulary's size or more (0xffffffff) are none. */
  history: Tensor;
  /** Factor above 1: negative scores are multiplied by it, others divided. */
  factor: number;
  /** Applied before or after the log-softmax: sampling and greedy search penalise logits, beam search log-probabilities. */
  on: "logits" | "logProbabilities";
}

/** Options of {@linkcode logSoftmaxTopK}. */
export interface TopKOptions {
  /** Candidates per row. */
  k: number;
  /** Penalty on repeated tokens. @default {none} */
  penalty?: RepetitionPenalty | undefined;
}

/**
 * Records the log-softmax of `logits` [rows, V] (which stay as they are) and the `k` highest of every row: `values` f32 [rows, k]
 * (log-probabilities) and `ids` u32 [rows, k], highest first, of equal ones the lower id first. NaN is never a candidate:
 * where a row runs out of numbers, as when its logits are NaN, `values` is NaN.
 *
 * @throws {RangeError} when `k` is not 1 to V, or the penalty is not above 0
 * @throws {TypeError} when the history is not u32 [rows, length]
 */
export function logSoftmaxTopK(
  r: Recorder,
  logits: Tensor,
  options: TopKOptions,
): { values: Tensor; ids: Tensor } {
  const { k, penalty } = options;
  const V = logits.dim(-1);
  const N = logits.size / V;
  if (!Number.isInteger(k) || k < 1 || k > V) {
    throw new RangeError(
      `Cannot choose ${k} candidates of "${logits.label}" [${logits.shape}]: expected 1 to ${V}`,
    );
  }
  if (penalty !== undefined && !(penalty.factor > 0 && Number.isFinite(penalty.factor))) {
    throw new RangeError(`Cannot penalise repetition by ${penalty.factor}: expected a number above 0`);
  }
  const history = penalty?.history;
  if (
    history !== undefined && (history.dtype !== "u32" || history.dim(0) !== N || history.shape.length !== 2)
  ) {
    throw new TypeError(
      `Cannot penalise repetition: the history is ${history.dtype} [${history.shape}], expected u32 [${N}, length]`,
    );
  }
  const L = history?.dim(1) ?? 0;
  const params = { N, V, k, L, penalty: penalty?.factor ?? 1, nan_bits: NAN_BITS };
  const workgroups = foldGrid(r.gpu, N);
  const scores = r.tensor([N, V], "scores");
  r.copy(logits, scores);
  const penalize = (when: RepetitionPenalty["on"]): void => {
    if (history === undefined || penalty?.on !== when) return;
    r.dispatch(kernel, "penalize", {
      bind: { scores, history },
      params,
      workgroups: foldGrid(r.gpu, Math.ceil(N * L / WORKGROUP)),
    });
  };
  penalize("logits");
  r.dispatch(kernel, "log_softmax", { bind: { scores }, params, workgroups });
  penalize("logProbabilities");
  const values = r.tensor([N, k], "top values");
  const ids = r.tensor([N, k], "top ids", "u32");
  r.dispatch(kernel, "top_k", { bind: { candidates: scores, values, ids }, params, workgroups });
  return { values, ids };
}
