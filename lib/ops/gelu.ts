/**
 * GELU, forward and backward, in the forms that checkpoints ask for.
 *
 * @module
 */

import code from "../../kernels/gelu.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("gelu", code);
const WORKGROUP = 64;

/** Which GELU: `"erf"` is Hugging Face's `gelu`, `"tanh"` its `gelu_new` and `gelu_pytorch_tanh`, `"quick"` its `quick_gelu`. */
export type GeluForm = "erf" | "tanh" | "quick";

/**
 * Records y = GELU(x), element by element, and the gradient of `x` [any shape] when asked for.
 *
 * Source: Hendrycks & Gimpel 2016, arXiv:1606.08415, section 2.
 */
export function gelu(r: Recorder, x: Tensor, form: GeluForm): Tensor {
  const y = r.tensor(x.shape, "gelu");
  const count = Math.ceil(x.size / 4);
  const workgroups = foldGrid(r.gpu, Math.ceil(count / WORKGROUP));
  r.dispatch(kernel, `forward_${form}`, { bind: { x, y }, params: { count, add: false }, workgroups });
  r.onBackward(y, [x], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(kernel, `backward_${form}`, { bind: { x, dy, dx }, params: { count, add }, workgroups });
    });
  });
  return y;
}
