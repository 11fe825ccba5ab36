/**
 * The parts of a fused projection's rows, each a tensor of its own.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { moveRows } from "./move_rows.ts";

/**
 * Records the columns of `x` [..., W] as tensors [..., widths[i]], in order, and the gradient of `x` when asked for.
 *
 * @throws {TypeError} when the widths do not add up to W
 */
export function splitColumns(r: Recorder, x: Tensor, widths: readonly number[]): Tensor[] {
  const W = x.dim(-1);
  if (widths.reduce((sum, width) => sum + width, 0) !== W) {
    throw new TypeError(
      `Cannot split "${x.label}" [${x.shape}] into columns of ${widths}: they are not ${W} together`,
    );
  }
  const N = x.size / W;
  // A row of one-element rows: columns are moved as rows are.
  const asRows = (tensor: Tensor): Tensor => tensor.reshape(N, tensor.dim(-1), 1);
  let start = 0;
  return widths.map((width) => {
    const fromStart = start;
    start += width;
    const part = r.tensor([...x.shape.slice(0, -1), width], `${x.label} columns`);
    moveRows(r, [asRows(x), asRows(part)], { rows: width, fromStart });
    r.onBackward(part, [x], (dPart) => {
      r.accumulate(x, (dx, add) => {
        // The first part to come back finds nothing there; the others write into their own columns.
        if (!add) r.clear(dx);
        moveRows(r, [asRows(dPart), asRows(dx)], { rows: width, toStart: fromStart, add });
      });
    });
    return part;
  });
}
