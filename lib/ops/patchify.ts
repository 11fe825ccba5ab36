/**
 * Images cut into rows of pixels, so that a patch embedding is a plain matmul.
 *
 * @module
 */

import code from "../../kernels/patchify.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";

const kernel = new Kernel("patchify", code);
const WORKGROUP = 64;

/**
 * Cuts `pixelValues` [B, C, H, W] into patches [B, Hp·Wp, C·patch·patch], row by row; a column lies where a convolution
 * weight [Dv, C, patch, patch] has it when flattened. Pixels past the last whole patch are ignored, as the convolution
 * with stride = patch does.
 *
 * Source: Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.1.
 *
 * @throws {TypeError} when `pixelValues` has not four dimensions
 * @throws {RangeError} when an image is smaller than one patch
 */
export function patchify(r: Recorder, pixelValues: Tensor, options: { patch: number }): Tensor {
  const { patch } = options;
  if (pixelValues.shape.length !== 4) {
    throw new TypeError(
      `Cannot cut "${pixelValues.label}" into patches: its shape is [${pixelValues.shape}], expected [B, C, H, W]`,
    );
  }
  const [B, C, H, W] = pixelValues.shape as [number, number, number, number];
  const [rows, columns] = [Math.floor(H / patch), Math.floor(W / patch)];
  if (!Number.isInteger(patch) || patch < 1 || rows < 1 || columns < 1) {
    throw new RangeError(
      `Cannot cut "${pixelValues.label}" into patches: images are ${W} x ${H} pixels, a patch ${patch} x ${patch}`,
    );
  }
  const patches = r.tensor([B, rows * columns, C * patch * patch], "patches");
  const params = { B, C, H, W, patch_size: patch };
  r.dispatch(kernel, "forward", {
    bind: { pixels: pixelValues, patches },
    params: { ...params, add: 0 },
    workgroups: foldGrid(r.gpu, Math.ceil(patches.size / WORKGROUP)),
  });
  r.onBackward(patches, [pixelValues], (dpatches) => {
    r.accumulate(pixelValues, (dpixels, add) => {
      r.dispatch(kernel, "backward", {
        bind: { dpatches, dpixels },
        params: { ...params, add },
        workgroups: foldGrid(r.gpu, Math.ceil(pixelValues.size / WORKGROUP)),
      });
    });
  });
  return patches;
}
