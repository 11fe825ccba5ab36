/**
 * Attention of generation: keys and values of earlier positions come from a cache that rows share through a table.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import cacheCode from "../../kernels/attention_cache.wgsl" with { type: "text" };
import decodeCode from "../../kernels/attention_decode.wgsl" with { type: "text" };
import subgroupCode from "../../kernels/attention_decode_subgroup.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { usesSubgroups } from "./attention.ts";
import { foldGrid } from "./grid.ts";

/** Options of {@linkcode attentionDecode}. */
export interface AttentionDecodeOptions {
  /** Number of query heads H. */
  heads: number;
  /** Number of key and value heads K; divides H. */
  kvHeads: number;
  /** Width of a head Dh, 1 to 256. */
  headDim: number;
  /**
   * u32 [rows, maxLength]: the slot in which each position of each row lies. Rows may share slots, so beams share an
   * image's prefix, and beams are reordered by moving entries.
   */
  table: Tensor;
  /** u32 [rows]: number of valid positions, the new one included, at most maxLength. */
  lengths: Tensor;
  /** Factor of the scores. @default {1 / Math.sqrt(headDim)} */
  scale?: number | undefined;
}

/** Options of {@linkcode writeCache}. */
export interface WriteCacheOptions {
  /** u32 [rows]: the slot each row writes to. */
  slots: Tensor;
  /** u32 [rows]: the position of each row's first new entry. */
  positions: Tensor;
}

const decodeKernel = new Kernel("attention_decode", decodeCode);
const subgroupKernel = new Kernel("attention_decode_subgroup", subgroupCode);
const cacheKernel = new Kernel("attention_cache", cacheCode);

/**
 * Records attention of one new token for each row: `q` [rows, H·Dh] over the valid positions of `kCache` and `vCache`
 * [slots, maxLength, K·Dh] f32, to [rows, H·Dh]. The new token's own key and value must be in the cache already
 * ({@linkcode writeCache}). A row of length 0 gives zeros. No gradient.
 *
 * Source: the table is that of Kwon et al. 2023, arXiv:2309.06180, with blocks of one position.
 *
 * @throws {TypeError} when a shape does not fit the options
 * @throws {RangeError} when the heads cannot be grouped or are wider than 256
 */
export function attentionDecode(
  r: Recorder,
  q: Tensor,
  kCache: Tensor,
  vCache: Tensor,
  options: AttentionDecodeOptions,
): Tensor {
  const { heads: H, kvHeads: K, headDim, table, lengths, scale = 1 / Math.sqrt(headDim) } = options;
  if (!(H >= 1 && K >= 1 && H % K === 0)) {
    throw new RangeError(
      `Cannot record decoding: ${H} heads do not share ${K} key/value heads evenly, expected a multiple`,
    );
  }
  if (!(Number.isInteger(headDim) && headDim >= 1 && headDim <= 256)) {
    throw new RangeError(`Cannot record decoding: head width ${headDim}, expected an integer from 1 to 256`);
  }
  const rows = q.dim(0);
  const [slots, M] = [kCache.dim(0), kCache.dim(1)];
  expectTensor("queries", q, [rows, H * headDim], "f32");
  expectTensor("key cache", kCache, [slots, M, K * headDim], "f32");
  expectTensor("value cache", vCache, [slots, M, K * headDim], "f32");
  expectTensor("table", table, [rows, M], "u32");
  expectTensor("lengths", lengths, [rows], "u32");
  const y = r.tensor(q.shape, "attention_decode");
  const kernel = usesSubgroups(r.gpu, headDim) ? subgroupKernel : decodeKernel;
  r.dispatch(kernel.with({ DH: headDim }), "decode", {
    bind: { q, k_cache: kCache, v_cache: vCache, table, lengths, y },
    params: { H, K, M, scale },
    // Heads first: a row's heads lie in the same memory pages.
    workgroups: [K * Math.ceil(H / K / 4), rows],
  });
  return y;
}

/**
 * Records writing `x` [rows, n, K·Dh], the keys or values of n consecutive new positions of each row, into `cache`
 * [slots, maxLength, K·Dh]. A place outside the cache is left out. Two rows must not write to one place.
 *
 * @throws {TypeError} when a shape does not fit
 */
export function writeCache(r: Recorder, x: Tensor, cache: Tensor, options: WriteCacheOptions): void {
  const { slots, positions } = options;
  const [rows, n, C] = [x.dim(0), x.dim(1), x.dim(2)];
  const [count, M] = [cache.dim(0), cache.dim(1)];
  expectTensor("entries", x, [rows, n, C], "f32");
  expectTensor("cache", cache, [count, M, C], "f32");
  expectTensor("slots", slots, [rows], "u32");
  expectTensor("positions", positions, [rows], "u32");
  r.dispatch(cacheKernel, "write", {
    bind: { x, slots, positions, cache },
    params: { R: rows, N: n, C, M, SLOTS: count },
    workgroups: foldGrid(r.gpu, Math.ceil(x.size / 64)),
  });
}

function expectTensor(name: string, tensor: Tensor, shape: number[], dtype: Tensor["dtype"]): void {
  if (!sameShape(tensor.shape, shape) || tensor.dtype !== dtype) {
    throw new TypeError(
      `Cannot record decoding: ${name} "${tensor.label}" ${tensor.dtype} [${tensor.shape}], ` +
        `expected ${dtype} [${shape}]`,
    );
  }
}
