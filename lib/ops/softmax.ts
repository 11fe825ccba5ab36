/**
 * Softmax over the last dimension, forward and backward.
 *
 * @module
 */

import code from "../../kernels/softmax.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { rowKernels } from "./rows.ts";

const kernelFor = rowKernels(new Kernel("softmax", code));

/**
 * Records y = softmax(x) over the last dimension of `x` [..., C], and the gradient of `x` when asked for.
 *
 * Source: Goodfellow et al. 2016, "Deep Learning", section 4.1.
 */
export function softmax(r: Recorder, x: Tensor): Tensor {
  const C = x.dim(-1);
  const N = x.size / C;
  const kernel = kernelFor(r.gpu, C);
  const y = r.tensor(x.shape, "softmax");
  const workgroups = foldGrid(r.gpu, N);
  r.dispatch(kernel, "forward", { bind: { x, y }, params: { N, C, add: false }, workgroups });
  r.onBackward(y, [x], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(kernel, "backward", {
        bind: { saved: y, dy, dx },
        params: { N, C, add },
        workgroups,
      });
    });
  });
  return y;
}
