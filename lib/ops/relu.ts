/**
 * The rectified linear unit, forward and backward.
 *
 * @module
 */

import code from "../../kernels/relu.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("relu", code);
const WORKGROUP = 64;

/**
 * Records y = max(x, 0), element by element, and the gradient of `x` [any shape] when asked for.
 *
 * Source: Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".
 */
export function relu(r: Recorder, x: Tensor): Tensor {
  const y = r.tensor(x.shape, "relu");
  const count = Math.ceil(x.size / 4);
  const workgroups = foldGrid(r.gpu, Math.ceil(count / WORKGROUP));
  r.dispatch(kernel, "forward", { bind: { x, y }, params: { count, add: false }, workgroups });
  r.onBackward(y, [x], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(kernel, "backward", { bind: { x, dy, dx }, params: { count, add }, workgroups });
    });
  });
  return y;
}
