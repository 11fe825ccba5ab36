/**
 * Tells photographs from drawings, for models that know only the latter.
 *
 * @module
 */

import type { RgbImage } from "./decode.ts";

/** Difference of two channel values that compression alone may cause. */
const SAME_LEVELS = 4;
/** Share of like neighbours above which a picture counts as drawn: flat areas with edges. */
const FLAT_SHARE = 0.8;

/** Share of horizontally neighbouring pixels whose channels all differ by at most 4 of 255 levels, 0 to 1. */
export function flatShare({ width, height, data }: RgbImage): number {
  let same = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 1; x < width; x++) {
      const i = (y * width + x) * 3;
      const differs = (c: number): boolean => Math.abs(data[i + c]! - data[i + c - 3]!) > SAME_LEVELS;
      if (!differs(0) && !differs(1) && !differs(2)) same++;
    }
  }
  return width < 2 ? 1 : same / (height * (width - 1));
}

/** Whether a picture has the texture of a photograph rather than the flat areas of a drawing or document. */
export function looksPhotographic(image: RgbImage): boolean {
  return flatShare(image) < FLAT_SHARE;
}
