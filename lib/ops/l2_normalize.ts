/**
 * Rows scaled to length 1, forward and backward.
 *
 * @module
 */

import code from "../../kernels/l2_normalize.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("l2_normalize", code);

/**
 * Records y = x / max(|x|, eps) over the last dimension of `x` [..., C], and its gradient.
 *
 * Source: `torch.nn.functional.normalize`.
 *
 * @param options.eps smallest length divided by. @default {1e-12}
 */
export function l2Normalize(r: Recorder, x: Tensor, options: { eps?: number } = {}): Tensor {
  const { eps = 1e-12 } = options;
  const C = x.dim(-1);
  const N = x.size / C;
  const y = r.tensor(x.shape, "l2_normalize");
  const rnorm = r.tensor([N], "rnorm");
  const workgroups = foldGrid(r.gpu, N);
  r.dispatch(kernel, "forward", { bind: { x, y, rnorm }, params: { N, C, eps, add: 0 }, workgroups });
  r.onBackward(y, [x], (dy) => {
    r.accumulate(x, (dx, add) => {
      const bind = { normalized: y, inverse: rnorm, dy, dx };
      r.dispatch(kernel, "backward", { bind, params: { N, C, eps, add }, workgroups });
    });
  });
  return y;
}
