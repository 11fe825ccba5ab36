/**
 * Addition of a table's rows to every sample: learned position embeddings.
 *
 * @module
 */

import code from "../../kernels/add_rows.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { addInto } from "./add.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("add_rows", code);
const WORKGROUP = 64;
const DTYPES = ["f32", "bf16", "f16"];

/** Options of {@linkcode addRows}. */
export interface AddRowsOptions {
  /** Table row that belongs to the first row of every sample (OPT begins at 2). @default {0} */
  firstRow?: number;
}

/**
 * Records y[b, s] = x[b, s] + table[firstRow + s] for `x` [B, S, D] and `table` [R, D], R >= firstRow + S, of f32, bf16 or f16.
 * Gradients of `x` and of an f32 `table` are recorded when asked for; rows of the table that are not used get none.
 *
 * Source: Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 1.
 *
 * @throws {TypeError} when `x` has not three dimensions, the table another width or type
 * @throws {RangeError} when the table has too few rows
 */
export function addRows(r: Recorder, x: Tensor, table: Tensor, options: AddRowsOptions = {}): Tensor {
  const { firstRow = 0 } = options;
  const [B = 0, S = 0, D = 0] = x.shape;
  const R = table.dim(0);
  const dtype = DTYPES.indexOf(table.dtype);
  if (x.shape.length !== 3 || table.shape.length !== 2 || table.dim(1) !== D || dtype < 0) {
    throw new TypeError(
      `Cannot add rows of "${table.label}" ${table.dtype} [${table.shape}] to "${x.label}" [${x.shape}]: ` +
        "expected f32, bf16 or f16 [rows, D] and [B, S, D]",
    );
  }
  if (!(Number.isInteger(firstRow) && firstRow >= 0 && firstRow + S <= R)) {
    throw new RangeError(
      `Cannot add rows of "${table.label}" [${table.shape}] to "${x.label}" [${x.shape}]: rows ${firstRow} to ` +
        `${firstRow + S - 1} are wanted, it has ${R}; use shorter inputs`,
    );
  }
  const params = { B, S, D, R, firstRow, dtype, add: false };
  const y = r.tensor(x.shape, "add_rows");
  r.dispatch(kernel, "forward", {
    bind: { x, table, y },
    params,
    workgroups: foldGrid(r.gpu, Math.ceil(x.size / 4 / WORKGROUP)),
  });
  r.onBackward(y, [x, table], (dy) => {
    r.accumulate(table, (dtable, add) => {
      r.dispatch(kernel, "backward_table", {
        bind: { dy, dtable },
        params: { ...params, add },
        workgroups: foldGrid(r.gpu, Math.ceil(table.size / WORKGROUP)),
      });
    });
    r.passGradient(y, x, (dy, dx) => addInto(r, dy, dx));
  });
  return y;
}
