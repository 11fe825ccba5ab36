/**
 * RMSNorm, forward and backward.
 *
 * @module
 */

import code from "../../kernels/rms_norm.wgsl" with { type: "text" };
import vec4Code from "../../kernels/rms_norm_vec4.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { rowKernels, SLICE_ROWS, sumSlices } from "./rows.ts";

const kernel = new Kernel("rms_norm", code);
const kernelFor = rowKernels(kernel, new Kernel("rms_norm_vec4", vec4Code));

/**
 * Records y = x · rstd · weight over the last dimension of `x` [..., C]. Gradients of `x` and `weight` [C] are recorded when
 * asked for.
 *
 * Source: Zhang & Sennrich 2019, arXiv:1910.07467, eq. 4.
 *
 * @throws {TypeError} when the weight is not f32 of C elements
 */
export function rmsNorm(r: Recorder, x: Tensor, weight: Tensor, options: { eps: number }): Tensor {
  const C = x.dim(-1);
  const N = x.size / C;
  if (weight.size !== C || weight.dtype !== "f32") {
    throw new TypeError(
      `Cannot normalise "${x.label}" [${x.shape}] with "${weight.label}": found ${weight.dtype} [${weight.shape}], ` +
        `expected f32 [${C}]`,
    );
  }
  const params = { N, C, eps: options.eps, rows: SLICE_ROWS, add: false };
  const rowKernel = kernelFor(r.gpu, C);
  const y = r.tensor(x.shape, "rms_norm");
  const rstd = r.tensor([N], "rstd");
  const workgroups = foldGrid(r.gpu, N);
  r.dispatch(rowKernel, "forward", { bind: { x, weight, y, rstd }, params, workgroups });
  r.onBackward(y, [x, weight], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(rowKernel, "backward_x", {
        bind: { x, weight, rstd, dy, dx },
        params: { ...params, add },
        workgroups,
      });
    });
    r.accumulate(weight, (dWeight, add) => {
      const record = (dweight: Tensor, add: boolean, workgroups: [number, number]): void =>
        r.dispatch(kernel, "backward_weight", {
          bind: { x, rstd, dy, dweight },
          params: { ...params, add },
          workgroups,
        });
      sumSlices(r, dWeight, { N, add, record });
    });
  });
  return y;
}
