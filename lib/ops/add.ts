/**
 * Element-wise addition of two tensors of one shape: the residual connection.
 *
 * @module
 */

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
  if (a.shape.join() !== b.shape.join()) {
    throw new TypeError(`Cannot add "${a.label}" [${a.shape}] and "${b.label}" [${b.shape}]: shapes differ`);
  }
  const y = r.tensor(a.shape, "add");
  const count = Math.ceil(a.size / 4);
  const workgroups = foldGrid(r.gpu, Math.ceil(count / WORKGROUP));
  r.dispatch(kernel, "forward", { bind: { a, b, y }, params: { count }, workgroups });
  r.onBackward(y, [a, b], () => {
    for (const input of [a, b]) {
      r.passGradient(y, input, (dy, dInput) => {
        r.dispatch(kernel, "accumulate", { bind: { a: dy, y: dInput }, params: { count }, workgroups });
      });
    }
  });
  return y;
}
