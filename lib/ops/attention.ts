/**
 * Attention over whole sequences, forward and backward, without a matrix of scores in memory.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import forwardCode from "../../kernels/attention.wgsl" with { type: "text" };
import backwardCode from "../../kernels/attention_backward.wgsl" with { type: "text" };
import subgroupCode from "../../kernels/attention_subgroup.wgsl" with { type: "text" };
import subgroupBackwardCode from "../../kernels/attention_subgroup_backward.wgsl" with { type: "text" };
import type { Gpu } from "../gpu/device.ts";
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

/** Options of {@linkcode attention}. */
export interface AttentionOptions {
  /** Number of query heads H. */
  heads: number;
  /** Number of key and value heads K; divides H, and H / K query heads share each. */
  kvHeads: number;
  /** Width of a head Dh, 1 to 256. */
  headDim: number;
  /** Whether query i sees keys 0 to i only. */
  causal: boolean;
  /** u32 [B, S], 1 = the key may be attended. @default every key may */
  keyMask?: Tensor | undefined;
  /** Factor of the scores. @default {1 / Math.sqrt(headDim)} */
  scale?: number | undefined;
}

const TILE = 32; // queries, and keys, of a workgroup
const forwardKernel = new Kernel("attention", forwardCode);
const backwardKernel = new Kernel("attention_backward", backwardCode);
const subgroupKernel = new Kernel("attention_subgroup", subgroupCode);
const subgroupBackwardKernel = new Kernel("attention_subgroup_backward", subgroupBackwardCode);

/**
 * Records softmax(scale · q·kᵀ)·v per head: `q` [B, S, H·Dh], `k` and `v` [B, S, K·Dh] to [B, S, H·Dh]. Query head h reads
 * key/value head floor(h / (H / K)). A query that may attend no key gives zeros and gets no gradient. Gradients of `q`,
 * `k` and `v` are recorded when asked for; of the scores only the logarithm of each row's sum is kept for them.
 *
 * Source: Dao 2023, arXiv:2307.08691.
 *
 * @throws {TypeError} when a shape does not fit the options
 * @throws {RangeError} when the heads cannot be grouped or are wider than 256
 */
export function attention(
  r: Recorder,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): Tensor {
  checkShapes(q, k, v, options);
  const { heads: H, kvHeads: K, headDim, causal, keyMask, scale = 1 / Math.sqrt(headDim) } = options;
  const B = q.dim(0);
  const S = q.dim(1);
  const y = r.tensor(q.shape, "attention");
  const stats = r.tensor([2, B, H, S], "attention lse, delta");
  const tiles = Math.ceil(S / TILE);
  // What an entry names must be bound; without a mask it is never read.
  const key_mask = keyMask ?? q;
  const sizes = { S, H, K, causal, masked: keyMask !== undefined, scale };
  const flops = 2 * B * H * headDim * (causal ? S * (S + 1) / 2 : S * S); // of one product over all pairs
  const subgroup = usesSubgroups(r.gpu, headDim);
  // A subgroup takes three blocks of eight queries from the heads that share a key head.
  const queryTiles = subgroup
    ? [Math.ceil(H / K * Math.ceil(S / 8) / 3), B * K] as const
    : [tiles, B * H] as const;
  r.dispatch((subgroup ? subgroupKernel : forwardKernel).with({ DH: headDim }), "forward", {
    bind: { q, k, v, key_mask, y, stats },
    params: sizes,
    workgroups: queryTiles,
    flops: 2 * flops,
  });
  r.onBackward(y, [q, k, v], (dy) => {
    const kernel = (subgroup ? subgroupBackwardKernel : backwardKernel).with({ DH: headDim });
    r.dispatch(kernel, "backward_delta", {
      bind: { y, dy, delta: stats },
      params: { ...sizes, B, add: 0, add_v: 0 },
      workgroups: foldGrid(r.gpu, Math.ceil(B * H * S / 64)),
    });
    r.accumulate(q, (dq, add) => {
      r.dispatch(kernel, "backward_q", {
        bind: { q, k, v, key_mask, dy, stats, dq },
        params: { ...sizes, B, add, add_v: 0 },
        workgroups: queryTiles,
        flops: 3 * flops,
      });
    });
    if (!k.requiresGrad && !v.requiresGrad) return;
    const { dk, dv, add, add_v } = keyValueGradients(r, k, v);
    r.dispatch(kernel, "backward_kv", {
      bind: { q, k, v, key_mask, dy, stats, dk, dv },
      params: { ...sizes, B, add, add_v },
      workgroups: [Math.ceil(S / (subgroup ? 24 : TILE)), B * K],
      flops: 4 * flops,
    });
  });
  return y;
}

/** Whether the kernels for software adapters fit: eight lanes, whole vec4, at most three of them in a lane. */
export function usesSubgroups(gpu: Gpu, headDim: number): boolean {
  return gpu.software && gpu.subgroupSize === 8 && headDim % 4 === 0 && headDim <= 96;
}

/** Where the gradients of keys and values go; one that nobody asks for goes to a tensor that nobody reads. */
function keyValueGradients(
  r: Recorder,
  k: Tensor,
  v: Tensor,
): { dk: Tensor; dv: Tensor; add: boolean; add_v: boolean } {
  const target = (input: Tensor): { tensor: Tensor; add: boolean } => {
    let found: { tensor: Tensor; add: boolean } | undefined;
    r.accumulate(input, (tensor, add) => found = { tensor, add });
    return found ?? { tensor: r.tensor(input.shape, `d ${input.label}, unread`), add: false };
  };
  const [forKeys, forValues] = [target(k), target(v)];
  return { dk: forKeys.tensor, dv: forValues.tensor, add: forKeys.add, add_v: forValues.add };
}

function checkShapes(q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions): void {
  const { heads, kvHeads, headDim, keyMask } = options;
  if (!(heads >= 1 && kvHeads >= 1 && heads % kvHeads === 0)) {
    throw new RangeError(
      `Cannot record attention: ${heads} heads do not share ${kvHeads} key/value heads evenly, expected a multiple`,
    );
  }
  if (!(Number.isInteger(headDim) && headDim >= 1 && headDim <= 256)) {
    throw new RangeError(`Cannot record attention: head width ${headDim}, expected an integer from 1 to 256`);
  }
  const [B, S] = q.shape;
  const wanted: [string, Tensor, number[]][] = [
    ["queries", q, [B!, S!, heads * headDim]],
    ["keys", k, [B!, S!, kvHeads * headDim]],
    ["values", v, [B!, S!, kvHeads * headDim]],
  ];
  if (keyMask !== undefined) wanted.push(["key mask", keyMask, [B!, S!]]);
  for (const [name, tensor, shape] of wanted) {
    if (!sameShape(tensor.shape, shape)) {
      throw new TypeError(
        `Cannot record attention: ${name} "${tensor.label}" are [${tensor.shape}], expected [${shape}]`,
      );
    }
    const dtype = tensor === keyMask ? "u32" : "f32";
    if (tensor.dtype !== dtype) {
      throw new TypeError(
        `Cannot record attention: ${name} "${tensor.label}" are ${tensor.dtype}, expected ${dtype}`,
      );
    }
  }
  // One dispatch writes both gradients, and a buffer can be written through one binding only.
  if (k.storage === v.storage && k.requiresGrad) {
    throw new TypeError(
      `Cannot record attention: keys and values are the same tensor "${k.label}", expected two when it is trained`,
    );
  }
}
