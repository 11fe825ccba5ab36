/**
 * LayerNorm, forward and backward.
 *
 * @module
 */

import columnSumCode from "../../kernels/column_sum.wgsl" with { type: "text" };
import code from "../../kernels/layer_norm.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("layer_norm", code);
const columnSum = new Kernel("column_sum", columnSumCode);
const WORKGROUP = 32;
/** Rows that one thread of the weight's gradient walks through. */
const SLICE_ROWS = 256;

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
  const y = r.tensor(x.shape, "layer_norm");
  const statistics = r.tensor([N, 2], "statistics");
  const workgroups = foldGrid(r.gpu, N);
  r.dispatch(kernel, "forward", { bind: { x, weight, bias, y, statistics }, params, workgroups });
  r.onBackward(y, [x, weight, bias], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(kernel, "backward_x", {
        bind: { x, weight, statistics, dy, dx },
        params: { ...params, add },
        workgroups,
      });
    });
    r.accumulate(weight, (dWeight, add) => {
      const slices = Math.ceil(N / SLICE_ROWS);
      const groups = Math.ceil(C / WORKGROUP);
      // Few rows go straight to the gradient; many are summed by slices first, which run side by side.
      const sums = slices === 1 ? dWeight : r.tensor([slices, C], "slice sums");
      r.dispatch(kernel, "backward_weight", {
        bind: { x, statistics, dy, dweight: sums },
        params: { ...params, add: slices === 1 && add },
        workgroups: [groups, slices],
      });
      if (slices > 1) sumColumns(r, sums, dWeight, add);
    });
    r.accumulate(bias, (dBias, add) => sumColumns(r, dy, dBias, add));
  });
  return y;
}

function sumColumns(r: Recorder, x: Tensor, y: Tensor, add: boolean): void {
  const C = y.size;
  r.dispatch(columnSum, "main", {
    bind: { x, y },
    params: { N: x.size / C, C, add },
    workgroups: [Math.ceil(C / 32)],
  });
}
