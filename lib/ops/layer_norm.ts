/**
 * LayerNorm, forward and backward.
 *
 * @module
 */

import code from "../../kernels/layer_norm.wgsl" with { type: "text" };
import vec4Code from "../../kernels/layer_norm_vec4.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { rowKernels, SLICE_ROWS, sumColumns, sumSlices } from "./rows.ts";

const kernel = new Kernel("layer_norm", code);
const kernelFor = rowKernels(kernel, new Kernel("layer_norm_vec4", vec4Code));

/**
 * Records y = (x - mean) · rstd · weight + bias over the last dimension of `x` [..., C]. Gradients of `x`, `weight` [C] and
 * `bias` [C] are recorded when asked for. The variance is the biased one.
 *
 * Source: Ba et al. 2016, arXiv:1607.06450, section 3.1.
 *
 * @throws {TypeError} when weight or bias is not f32 of C elements
 */
export function layerNorm(
  r: Recorder,
  x: Tensor,
  weight: Tensor,
  bias: Tensor,
  options: { eps: number },
): Tensor {
  const C = x.dim(-1);
  const N = x.size / C;
  for (const tensor of [weight, bias]) {
    if (tensor.size !== C || tensor.dtype !== "f32") {
      throw new TypeError(
        `Cannot normalise "${x.label}" [${x.shape}] with "${tensor.label}": found ${tensor.dtype} [${tensor.shape}], ` +
          `expected f32 [${C}]`,
      );
    }
  }
  const params = { N, C, eps: options.eps, rows: SLICE_ROWS, add: false };
  const rowKernel = kernelFor(r.gpu, C);
  const y = r.tensor(x.shape, "layer_norm");
  const statistics = r.tensor([N, 2], "statistics");
  const workgroups = foldGrid(r.gpu, N);
  r.dispatch(rowKernel, "forward", { bind: { x, weight, bias, y, statistics }, params, workgroups });
  r.onBackward(y, [x, weight, bias], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(rowKernel, "backward_x", {
        bind: { x, weight, statistics, dy, dx },
        params: { ...params, add },
        workgroups,
      });
    });
    r.accumulate(weight, (dWeight, add) => {
      const record = (dweight: Tensor, add: boolean, workgroups: [number, number]): void =>
        r.dispatch(kernel, "backward_weight", {
          bind: { x, statistics, dy, dweight },
          params: { ...params, add },
          workgroups,
        });
      sumSlices(r, dWeight, { N, add, record });
    });
    r.accumulate(bias, (dBias, add) => sumColumns(r, dy, dBias, add));
  });
  return y;
}
