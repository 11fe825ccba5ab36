/**
 * Embedding lookup and the gradient of its table.
 *
 * @module
 */

import code from "../../kernels/embedding.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { DType, Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { rowWindows } from "./windows.ts";

const kernel = new Kernel("embedding", code);
const WORKGROUP = 64;
const DTYPES: Partial<Record<DType, number>> = { f32: 0, bf16: 1, f16: 2 };
const NAN_BITS = 0x7fc00000;

/**
 * Records y[..., :] = table[ids[...], :] for `ids` u32 [...] and `table` [V, D] in f32, bf16 or f16; y is f32 [..., D].
 * A table larger than one binding is read through windows of its rows. An id of V or more gives a row of NaN.
 *
 * The gradient of a trainable table costs time only for rows that occur, and is the same to the bit every time.
 *
 * @throws {TypeError} when `ids` are not u32, the table is not [V, D], or a trainable table is not f32
 */
export function embedding(r: Recorder, ids: Tensor, table: Tensor): Tensor {
  const dtype = DTYPES[table.dtype];
  if (ids.dtype !== "u32" || dtype === undefined || table.shape.length !== 2) {
    throw new TypeError(
      `Cannot look up "${ids.label}" ${ids.dtype} in "${table.label}" ${table.dtype} [${table.shape}]: ` +
        "expected u32 ids and an f32, bf16 or f16 table [V, D]",
    );
  }
  if (table.requiresGrad && table.dtype !== "f32") {
    throw new TypeError(`Cannot train "${table.label}": its type is ${table.dtype}, expected f32`);
  }
  const [V, D] = [table.dim(0), table.dim(1)];
  const N = ids.size;
  const y = r.tensor([...ids.shape, D], "embedding");
  const common = { N, D, V, dtype, nan_bits: NAN_BITS };
  for (const { start, end } of rowWindows(r.gpu, table)) {
    r.dispatch(kernel, "forward", {
      bind: { ids, table: table.rows(start, end), y },
      params: { ...common, first_row: start, rows: end - start },
      workgroups: foldGrid(r.gpu, Math.ceil(N * D / WORKGROUP)),
    });
  }
  r.onBackward(y, [table], (dy) => {
    const links = r.tensor([N], "links", "u32");
    r.dispatch(kernel, "link", {
      bind: { ids, links },
      params: { ...common, first_row: 0, rows: V },
      workgroups: foldGrid(r.gpu, Math.ceil(N / WORKGROUP)),
    });
    r.accumulate(table, (dTable, add) => {
      if (!add) r.clear(dTable);
      for (const { start, end } of rowWindows(r.gpu, dTable)) {
        r.dispatch(kernel, "backward", {
          bind: { ids, chain: links, dy, dtable: dTable.rows(start, end) },
          params: { ...common, first_row: start, rows: end - start },
          workgroups: foldGrid(r.gpu, N),
        });
      }
    });
  });
  return y;
}
