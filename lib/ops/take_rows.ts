/**
 * Some rows of every sample, as a tensor of their own.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { moveRows } from "./move_rows.ts";

/**
 * Records rows `start` to `start + count - 1` of every sample of `x` [B, S, D], as [B, count, D]. The gradient of `x` is recorded
 * when asked for; rows that were not taken get none.
 *
 * @throws {RangeError} when there are no such rows
 */
export function takeRows(
  r: Recorder,
  x: Tensor,
  { start, count }: { start: number; count: number },
): Tensor {
  const [B, S, D] = [x.dim(0), x.dim(1), x.dim(2)];
  if (
    !(Number.isInteger(start) && Number.isInteger(count) && start >= 0 && count >= 1 && start + count <= S)
  ) {
    throw new RangeError(
      `Cannot take ${count} rows from ${start} on of "${x.label}" [${x.shape}]: it has rows 0 to ${S - 1}`,
    );
  }
  const rows = r.tensor([B, count, D], "rows");
  moveRows(r, [x, rows], { rows: count, fromStart: start });
  r.onBackward(rows, [x], (dRows) => {
    r.accumulate(x, (dx, add) => {
      if (!add) r.clear(dx);
      moveRows(r, [dRows, dx], { rows: count, toStart: start, add });
    });
  });
  return rows;
}
