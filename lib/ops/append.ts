/**
 * A ring of small rows on the GPU, to which every replay of a plan appends one.
 *
 * @module
 */

import code from "../../kernels/append.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";

const kernel = new Kernel("append", code);

/** Records ring[counter % length] = values [W], counter += 1; `ring` [length, W] f32 and `counter` [1] u32 are persistent. */
export function append(r: Recorder, values: Tensor, options: { ring: Tensor; counter: Tensor }): void {
  const { ring, counter } = options;
  const [length, width] = [ring.dim(0), ring.dim(1)];
  if (values.size !== width) {
    throw new TypeError(`Cannot append "${values.label}" [${values.shape}] to rows of ${width} elements`);
  }
  r.dispatch(kernel, "forward", {
    bind: { values, ring, counter },
    params: { width, length },
    workgroups: [1],
  });
}
