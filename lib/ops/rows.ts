/**
 * What the ops that reduce over rows or columns share.
 *
 * @module
 */

import columnSumCode from "../../kernels/column_sum.wgsl" with { type: "text" };
import type { Gpu } from "../gpu/device.ts";
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";

const columnSum = new Kernel("column_sum", columnSumCode);
const COLUMNS = 32;

/**
 * Rows that one thread walks through when a column is summed. A kernel that sums by slices gives every slice its own row of
 * sums, so that slices run side by side and no atomics are needed.
 */
export const SLICE_ROWS = 64;

/**
 * Picks between variants of a kernel that gives every row a workgroup. A software adapter runs 8 lanes in step, and a
 * barrier among more is dear (forward of 904 rows of 576: 0.95 ms with 8 lanes, 1.50 ms with 32); a GPU wants whole warps.
 *
 * @param plain takes any number of channels
 * @param vec4 takes multiples of four
 */
export function rowKernels(plain: Kernel, vec4: Kernel = plain): (gpu: Gpu, channels: number) => Kernel {
  const variants = [plain, vec4].map((kernel) => ({
    software: kernel.with({ WORKGROUP: 8 }),
    hardware: kernel.with({ WORKGROUP: 64 }),
  }));
  return (gpu, channels) => variants[channels % 4 === 0 ? 1 : 0]![gpu.software ? "software" : "hardware"];
}

/** Records y[c] = the sum of column c of `x` [N, C], or adds it; no gradient is recorded. */
export function sumColumns(r: Recorder, x: Tensor, y: Tensor, add: boolean): void {
  const C = y.size;
  r.dispatch(columnSum, "main", {
    bind: { x, y },
    params: { N: x.size / C, C, add },
    workgroups: [Math.ceil(C / COLUMNS)],
  });
}

/**
 * Records sums over `N` rows into `y` [C] in two stages when the rows are many, else in one.
 *
 * @param record records a kernel that writes or adds one row of sums for every slice of {@linkcode SLICE_ROWS} rows, with
 * 32 channels a workgroup in x and a slice in y
 */
export function sumSlices(
  r: Recorder,
  y: Tensor,
  options: {
    N: number;
    add: boolean;
    record: (sums: Tensor, add: boolean, workgroups: [number, number]) => void;
  },
): void {
  const { N, add, record } = options;
  const slices = Math.ceil(N / SLICE_ROWS);
  const groups = Math.ceil(y.size / COLUMNS);
  if (slices === 1) return record(y, add, [groups, 1]);
  const sums = r.tensor([slices, y.size], "slice sums");
  record(sums, false, [groups, slices]);
  sumColumns(r, sums, y, add);
}
