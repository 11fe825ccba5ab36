/**
 * RMSNorm, forward and backward.
 *
 * @module
 */

import code from "../../kernels/rms_norm.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("rms_norm", code);
const WORKGROUP = 32;

/**
 * Records y = x · rstd · weight over the last dimension of `x` [..., C]. Gradients of `x` and `weight` [C] are recorded when
 * asked for.
 *
 * Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
 */
export function rmsNorm(r: Recorder, x: Tensor, weight: Tensor, options: { eps: number }): Tensor {
  const C = x.dim(-1);
  const N = x.size / C;
  const { eps } = options;
  const y = r.tensor(x.shape, "rms_norm");
  const rstd = r.tensor([N], "rstd");
  const workgroups = foldGrid(r.gpu, N);
  r.dispatch(kernel, "forward", { bind: { x, weight, y, rstd }, params: { N, C, eps, add: 0 }, workgroups });
  r.onBackward(y, [x, weight], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(kernel, "backward_x", {
        bind: { x, weight, rstd, dy, dx },
        params: { N, C, eps, add },
        workgroups,
      });
    });
    r.accumulate(weight, (dweight, add) => {
      const groups = foldGrid(r.gpu, Math.ceil(C / WORKGROUP));
      r.dispatch(kernel, "backward_weight", {
        bind: { x, rstd, dy, dweight },
        params: { N, C, eps, add },
        workgroups: groups,
      });
    });
  });
  return y;
}
