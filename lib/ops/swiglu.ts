/**
 * The gated activation of Llama's MLP, forward and backward.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import code from "../../kernels/swiglu.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("swiglu", code);
const WORKGROUP = 64;

/**
 * Records y = silu(gate) · up, element by element, and the gradients of both when asked for.
 *
 * Source: Shazeer 2020, arXiv:2002.05202, eq. 5.
 *
 * @throws {TypeError} when the shapes differ
 */
export function swiglu(r: Recorder, gate: Tensor, up: Tensor): Tensor {
  if (!sameShape(gate.shape, up.shape)) {
    throw new TypeError(
      `Cannot gate "${up.label}" [${up.shape}] with "${gate.label}" [${gate.shape}]: shapes differ`,
    );
  }
  const y = r.tensor(gate.shape, "swiglu");
  const count = Math.ceil(gate.size / 4);
  const workgroups = foldGrid(r.gpu, Math.ceil(count / WORKGROUP));
  r.dispatch(kernel, "forward", { bind: { gate, up, y }, params: { count, add: false }, workgroups });
  r.onBackward(y, [gate, up], (dy) => {
    r.accumulate(gate, (dx, add) => {
      r.dispatch(kernel, "backward_gate", {
        bind: { gate, up, dy, dx },
        params: { count, add },
        workgroups,
      });
    });
    r.accumulate(up, (dx, add) => {
      r.dispatch(kernel, "backward_up", { bind: { gate, dy, dx }, params: { count, add }, workgroups });
    });
  });
  return y;
}
