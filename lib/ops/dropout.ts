/**
 * Dropout whose mask is a function of counters and is never stored.
 *
 * @module
 */

import code from "../../kernels/dropout.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("dropout", code);
const WORKGROUP = 64;

/** One place where elements are dropped. */
export interface DropoutSite {
  /** Share of elements that become zero, from 0 to below 1. */
  rate: number;
  /** Persistent u32 [2]: seed and step. Whoever runs the plan writes the next step before every run. */
  seed: Tensor;
  /** Number that no other place of the model has, below 2^32. */
  site: number;
}

/**
 * Records y = x with a share of `rate` elements set to zero and the rest scaled by 1 / (1 - rate). Returns `x` itself when
 * the rate is 0 or the recorder is not training.
 *
 * Which elements are dropped depends on seed, step, site and position alone, and is the same on every adapter.
 *
 * Source: Srivastava et al. 2014, JMLR 15; Philox4x32-10 of Salmon et al. 2011.
 *
 * @throws {RangeError} when the rate is not in [0, 1) or the site is not a u32
 * @throws {TypeError} when the seed is not u32 [2]
 */
export function dropout(r: Recorder, x: Tensor, site: DropoutSite): Tensor {
  const { rate, seed } = site;
  if (!(rate >= 0 && rate < 1)) {
    throw new RangeError(
      `Cannot drop elements of "${x.label}": rate ${rate}, expected 0 or more and below 1`,
    );
  }
  if (site.site !== site.site >>> 0) {
    throw new RangeError(`Cannot drop elements of "${x.label}": site ${site.site}, expected a 32-bit number`);
  }
  if (seed.dtype !== "u32" || seed.size !== 2) {
    throw new TypeError(
      `Cannot drop elements of "${x.label}": seed is ${seed.dtype} [${seed.shape}], expected u32 [2] (seed, step)`,
    );
  }
  // Below 2^-33 no 32-bit number is under the threshold.
  const threshold = Math.round(rate * 2 ** 32);
  if (!r.training || threshold === 0) return x;
  const y = r.tensor(x.shape, "dropout");
  const count = Math.ceil(x.size / 4);
  const workgroups = foldGrid(r.gpu, Math.ceil(count / WORKGROUP));
  const params = {
    count,
    threshold: Math.min(threshold, 2 ** 32 - 1),
    scale: 1 / (1 - rate),
    site: site.site,
  };
  r.dispatch(kernel, "forward", { bind: { seed, x, y }, params: { ...params, add: false }, workgroups });
  r.onBackward(y, [x], (dy) => {
    r.accumulate(x, (dx, add) => {
      r.dispatch(kernel, "backward", {
        bind: { seed, x: dy, y: dx },
        params: { ...params, add },
        workgroups,
      });
    });
  });
  return y;
}
