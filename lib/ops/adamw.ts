/**
 * One optimizer step over all trainable tensors: global norm, clipping, AdamW, gradients back to zero.
 *
 * @module
 */

import code from "../../kernels/adamw.wgsl" with { type: "text" };
import type { Gpu } from "../gpu/device.ts";
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { createTensor, Tensor, writeTensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("adamw", code);
const WORKGROUP = 64;
/** Vectors of four that one workgroup squares and sums. */
const BLOCK = 1024;
/** Floats of the state before those of the groups. */
const HEAD = 8;
/** An f32 that no norm exceeds, for "do not clip". */
const NO_CLIP = 3.4e38;

/** Trainable scalars laid out one after another, as the optimizer sees them. */
export interface FlatParameters {
  /** Values, f32 [size]. */
  readonly values: Tensor;
  /** Sums of gradients since the last step, f32 [size]. */
  readonly grads: Tensor;
  /** First moments, f32 [size]. */
  readonly m: Tensor;
  /** Second moments, f32 [size]. */
  readonly v: Tensor;
  /** Groups in order; each is the range [start, start + size) of the flat tensors, both multiples of 64. */
  readonly groups: readonly { name: string; weightDecay: number; start: number; size: number }[];
}

/** Options of {@linkcode recordOptimizerStep}. */
export interface OptimizerStepOptions {
  /** From {@linkcode createOptimizerState}, rewritten by {@linkcode writeOptimizerState} before every step. */
  state: Tensor;
  /** Ring f32 [ringLength, 4]: the step writes loss, norm before clipping, clip factor and flag to its slot. */
  stats: Tensor;
  /** f32 [1], moved into the ring and set to zero: the sum of losses since the last step. @default {0 is written} */
  loss?: Tensor;
  /** Largest norm of all gradients together; `Infinity` never clips. */
  maxGradNorm: number;
}

/** What the host decides for one step; see {@linkcode writeOptimizerState}. */
export interface OptimizerStepValues {
  /** The parameters that are stepped. */
  set: FlatParameters;
  /** 1 for the first step ever: the exponent of the bias corrections. */
  step: number;
  /** Row of the ring that the step writes. */
  slot: number;
  /** Learning rate of every group by name. */
  learningRates: Readonly<Record<string, number>>;
  /** Decay of the first moment. @default {0.9} */
  beta1?: number;
  /** Decay of the second moment. @default {0.999} */
  beta2?: number;
  /** Added to the root of the second moment. @default {1e-8} */
  eps?: number;
}

/** A tensor for the values of {@linkcode writeOptimizerState}. */
export function createOptimizerState(gpu: Gpu, set: FlatParameters): Tensor {
  return createTensor(gpu, [HEAD + 2 * set.groups.length], { label: "optimizer state" });
}

/**
 * Queues the factors of the next step: to be called before every run of a plan that holds {@linkcode recordOptimizerStep}.
 *
 * @throws {RangeError} when step, slot or a group's learning rate is missing or out of range
 */
export function writeOptimizerState(gpu: Gpu, state: Tensor, next: OptimizerStepValues): void {
  const { set, step, slot, learningRates, beta1 = 0.9, beta2 = 0.999, eps = 1e-8 } = next;
  if (!Number.isInteger(step) || step < 1 || !Number.isInteger(slot) || slot < 0) {
    throw new RangeError(
      `Cannot write the optimizer state: step ${step}, slot ${slot}; expected whole numbers from 1 and from 0`,
    );
  }
  const correction1 = 1 - beta1 ** step;
  const data = [slot, 1 - beta1, beta2, 1 - beta2, Math.sqrt(1 - beta2 ** step), eps, 0, 0];
  for (const { name, weightDecay } of set.groups) {
    const rate = learningRates[name];
    if (rate === undefined || !Number.isFinite(rate) || rate < 0) {
      throw new RangeError(
        `Cannot write the optimizer state: learning rate of group "${name}" is ${rate}, expected 0 or more`,
      );
    }
    data.push(rate / correction1, 1 - rate * weightDecay);
  }
  writeTensor(gpu, state, Float32Array.from(data));
}

/**
 * Records one step of AdamW with gradients clipped to a global norm, as `torch.nn.utils.clip_grad_norm_` and
 * `torch.optim.AdamW` do it, and gradients set to zero. If the norm or the loss is NaN or infinite nothing changes, the
 * gradients included, and the flag in the ring is 1: every later step then sees the same bad gradient and changes nothing
 * either, so the host may look at the ring many steps late.
 *
 * Source: Loshchilov & Hutter 2017, arXiv:1711.05101, algorithm 2.
 *
 * @throws {RangeError} when `maxGradNorm` is not above 0
 */
export function recordOptimizerStep(r: Recorder, set: FlatParameters, options: OptimizerStepOptions): void {
  const { state, stats, maxGradNorm } = options;
  if (!(maxGradNorm > 0)) {
    throw new RangeError(
      `Cannot record an optimizer step: maxGradNorm is ${maxGradNorm}, expected more than 0 (Infinity never clips)`,
    );
  }
  if (stats.dim(-1) !== 4 || stats.dtype !== "f32") {
    throw new TypeError(
      `Cannot record an optimizer step: stats are ${stats.dtype} [${stats.shape}], expected f32 [ring, 4]`,
    );
  }
  const max_norm = Math.min(maxGradNorm, NO_CLIP);
  const loss = options.loss ?? r.tensor([1], "no loss");
  if (options.loss === undefined) r.clear(loss);

  const all = windowsOf(r.gpu, { start: 0, size: set.values.size });
  const blocks = all.map(({ size }) => Math.ceil(size / 4 / BLOCK));
  const partial = r.tensor([blocks.reduce((sum, n) => sum + n, 0)], "squares");
  let first_partial = 0;
  for (const [i, window] of all.entries()) {
    r.dispatch(kernel, "square", {
      bind: { gradients: part(set.grads, window), partial },
      params: { count: window.size / 4, first_partial, group: 0, max_norm },
      workgroups: foldGrid(r.gpu, blocks[i]!),
    });
    first_partial += blocks[i]!;
  }
  r.dispatch(kernel, "finish", {
    bind: { partial, state, stats, loss },
    params: { count: partial.size, first_partial: 0, group: 0, max_norm },
    workgroups: [1],
  });
  for (const [group, range] of set.groups.entries()) {
    for (const window of windowsOf(r.gpu, range)) {
      const { values, grads, m, v } = set;
      const flat = Object.entries({ values, grads, m, v }).map(([name, t]) =>
        [name, part(t, window)] as const
      );
      r.dispatch(kernel, "update", {
        bind: { ...Object.fromEntries(flat), state, verdict: stats },
        params: { count: window.size / 4, first_partial: 0, group, max_norm },
        workgroups: foldGrid(r.gpu, Math.ceil(window.size / 4 / WORKGROUP)),
      });
    }
  }
}

interface Range {
  start: number;
  size: number;
}

/** Ranges that each fit one binding; starts stay multiples of 64 floats, as bindings need. */
function windowsOf(gpu: Gpu, { start, size }: Range): Range[] {
  const most = Math.floor(gpu.maxBindingBytes / 256) * 64;
  const windows: Range[] = [];
  for (let done = 0; done < size; done += most) {
    windows.push({ start: start + done, size: Math.min(most, size - done) });
  }
  return windows;
}

function part(flat: Tensor, { start, size }: Range): Tensor {
  return new Tensor(flat.storage, [size], "f32", flat.offsetBytes + start * 4);
}
