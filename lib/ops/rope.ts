/**
 * Rotary position embedding, forward and backward, and its table of cosines and sines.
 *
 * @module
 */

import code from "../../kernels/rope.wgsl" with { type: "text" };
import { decodeBf16, encodeBf16 } from "../base/half.ts";
import type { Gpu } from "../gpu/device.ts";
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { type Tensor, tensorFrom } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("rope", code);
const WORKGROUP = 64;

/** Options of {@linkcode ropeTable}. */
export interface RopeTableOptions {
  /** Channels of a head; even. */
  headDim: number;
  /** Base of the frequencies, `rope_theta` in a configuration. */
  theta: number;
  /** Positions 0 to maxPositions - 1 get a row. */
  maxPositions: number;
  /**
   * Precision of the frequencies. A PyTorch model converted to bfloat16 as a whole rounds its buffer of frequencies, too, and
   * keeps them rounded when it is widened again. @default {"f64"}
   */
  frequencies?: "f64" | "bf16";
}

/** Options of {@linkcode rope}. */
export interface RopeOptions {
  /** Heads in a row of `x`. */
  heads: number;
  /** Channels of a head; even. */
  headDim: number;
  /** u32 [B·S]: position of every row, each below the table's rows. @default {row % S} */
  positions?: Tensor | undefined;
}

/**
 * A persistent tensor [maxPositions, headDim]: row p holds cos(p · f) and then sin(p · f) for the headDim / 2 frequencies
 * f = theta^(-2i / headDim), computed in f64.
 *
 * Source: Su et al. 2021, arXiv:2104.09864, eq. 15.
 *
 * @throws {RangeError} when headDim is odd or a size is not positive
 */
export function ropeTable(gpu: Gpu, options: RopeTableOptions): Tensor {
  const { headDim, maxPositions } = options;
  return tensorFrom(gpu, ropeValues(options), { shape: [maxPositions, headDim], label: "rope table" });
}

/** The numbers of {@linkcode ropeTable}. @throws {RangeError} when headDim is odd or a size is not positive */
export function ropeValues(options: RopeTableOptions): Float32Array<ArrayBuffer> {
  const { headDim, theta, maxPositions } = options;
  if (
    !(headDim > 0 && headDim % 2 === 0 && theta > 0 && Number.isInteger(maxPositions) && maxPositions > 0)
  ) {
    throw new RangeError(
      `Cannot make a table of rotations: headDim ${headDim}, theta ${theta}, maxPositions ${maxPositions}, ` +
        "expected an even headDim, a positive theta and at least one position",
    );
  }
  const half = headDim / 2;
  const values = new Float32Array(maxPositions * headDim);
  for (let i = 0; i < half; i++) {
    const exact = theta ** (-2 * i / headDim);
    const frequency = options.frequencies === "bf16"
      ? decodeBf16(encodeBf16(Float32Array.of(exact)))[0]!
      : exact;
    for (let p = 0; p < maxPositions; p++) {
      values[p * headDim + i] = Math.cos(p * frequency);
      values[p * headDim + half + i] = Math.sin(p * frequency);
    }
  }
  return values;
}

/**
 * Records the rotation of every head of `x` [B, S, heads · headDim] by its row's position, channel i paired with channel
 * i + headDim / 2. The gradient of `x` is recorded when asked for.
 *
 * Source: Su et al. 2021, arXiv:2104.09864, eq. 34; the pairing of Hugging Face's Llama.
 *
 * @param table of {@linkcode ropeTable}, [maxPositions, headDim]
 * @throws {TypeError} when `x`, the table or the positions have another shape
 * @throws {RangeError} when S positions are more than the table holds
 */
export function rope(r: Recorder, x: Tensor, table: Tensor, options: RopeOptions): Tensor {
  const { heads, headDim, positions } = options;
  const S = x.dim(-2);
  const P = table.dim(0);
  const N = x.size / x.dim(-1);
  if (x.dim(-1) !== heads * headDim || table.dim(1) !== headDim || headDim % 2 !== 0) {
    throw new TypeError(
      `Cannot rotate "${x.label}" [${x.shape}] by "${table.label}" [${table.shape}]: expected rows of ` +
        `${heads} heads of ${headDim} channels (an even number)`,
    );
  }
  if (positions !== undefined && (positions.size !== N || positions.dtype !== "u32")) {
    throw new TypeError(
      `Cannot rotate "${x.label}" [${x.shape}]: positions are ${positions.dtype} [${positions.shape}], expected u32 [${N}]`,
    );
  }
  if (positions === undefined && S > P) {
    throw new RangeError(
      `Cannot rotate "${x.label}" [${x.shape}]: ${S} positions, "${table.label}" holds ${P}; use shorter captions`,
    );
  }
  const wide = headDim % 8 === 0;
  const half = headDim / (wide ? 8 : 2);
  const count = N * heads * half;
  const workgroups = foldGrid(r.gpu, Math.ceil(count / WORKGROUP));
  const rotate = (from: Tensor, to: Tensor, direction: number, add: boolean): void => {
    const bind: Record<string, Tensor> = wide
      ? { table_vec4: table, x_vec4: from, y_vec4: to, positions: positions ?? table }
      : { table, x: from, y: to, positions: positions ?? table };
    r.dispatch(kernel, wide ? "rotate_vec4" : "rotate", {
      bind,
      params: { count, heads, half, S, P, given: positions !== undefined, direction, add },
      workgroups,
    });
  };
  const y = r.tensor(x.shape, "rope");
  rotate(x, y, 1, false);
  r.onBackward(y, [x], (dy) => r.accumulate(x, (dx, add) => rotate(dy, dx, -1, add)));
  return y;
}
