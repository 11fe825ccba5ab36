/**
 * Blocks of rows moved between tensors.
 *
 * @module
 */

import code from "../../kernels/move_rows.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("move_rows", code);
const WORKGROUP = 64;

/** Where {@linkcode moveRows} reads and writes. */
export interface MoveRowsOptions {
  /** Rows of every sample to move. */
  rows: number;
  /** First row read. @default {0} */
  fromStart?: number;
  /** First row written. @default {0} */
  toStart?: number;
  /** Adds to what is there instead of writing. @default {false} */
  add?: boolean;
}

/** Records to[b, toStart + i, c] = (or +=) from[b, fromStart + i, c] for tensors [B, rows, C]. No gradient. */
export function moveRows(r: Recorder, [from, to]: readonly [Tensor, Tensor], options: MoveRowsOptions): void {
  const { rows, fromStart = 0, toStart = 0, add = false } = options;
  const [B, C] = [to.dim(0), to.dim(2)];
  r.dispatch(kernel, "move_rows", {
    bind: { from_values: from, to_values: to },
    params: {
      B,
      C,
      rows,
      from_rows: from.dim(1),
      from_start: fromStart,
      to_rows: to.dim(1),
      to_start: toStart,
      add,
    },
    workgroups: foldGrid(r.gpu, Math.ceil(B * rows * C / WORKGROUP)),
  });
}
