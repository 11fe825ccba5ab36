/**
 * Element-wise addition of two tensors of one shape: the residual connection.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import code from "../../kernels/add.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("add", code);
const WORKGROUP = 64;

/**
 * Records y = a + b, all of one shape. The gradient of `y` is handed on to both without a copy where possible.
 *
 * @throws {TypeError} when the shapes differ
 */
export function add(r: Recorder, a: Tensor, b: Tensor): Tensor {
  if (!sameShape(a.shape, b.shape)) {
    throw new TypeError(`Cannot add "${a.label}" [${a.shape}] and "${b.label}" [${b.shape}]: shapes differ`);
  }
  const y = r.tensor(a.shape, "add");
  const { count, workgroups } = gridOf(r, a);
  r.dispatch(kernel, "forward", { bind: { a, b, y }, params: { count }, workgroups });
  r.onBackward(y, [a, b], () => {
    for (const input of [a, b]) {
      r.passGradient(y, input, (dy, dInput) => addInto(r, dy, dInput));
    }
  });
  return y;
}

/** Records to += from, element by element; no gradient is recorded. What pads `to` to whole vectors is added to as well. */
export function addInto(r: Recorder, from: Tensor, to: Tensor): void {
  const { count, workgroups } = gridOf(r, to);
  r.dispatch(kernel, "accumulate", { bind: { a: from, y: to }, params: { count }, workgroups });
}

function gridOf(r: Recorder, tensor: Tensor): { count: number; workgroups: [number, number, number] } {
  const count = Math.ceil(tensor.size / 4);
  return { count, workgroups: foldGrid(r.gpu, Math.ceil(count / WORKGROUP)) };
}
