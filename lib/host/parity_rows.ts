/**
 * Rows of a parity table: how far one figure is from its reference.
 *
 * @module
 */

/** One comparison. */
export interface ParityRow {
  /** What was compared. */
  what: string;
  /** Largest absolute difference. */
  absolute: number;
  /** The same, over the reference's largest value. */
  relative: number;
  /** Largest relative difference allowed. */
  tolerance: number;
  passed: boolean;
}

/** Tolerance of forward results, relative to the largest value. */
export const FORWARD = 1e-4;
/** Tolerance of gradients. */
export const GRADIENT = 1e-3;
/** Tolerance of losses. */
export const LOSS = 1e-4;

/** Below this an f32 sum of values of order 1 is nothing but rounding: gradients that are 0 on paper (a key's bias). */
const ROUNDING = 1e-7;

/** Compares two arrays; anything that is not a number fails. */
export function compare(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number,
): ParityRow {
  let absolute = got.length === want.length ? 0 : Infinity;
  let scale = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i]! - want[i]!);
    // NaN compares false with everything, so it is looked for.
    absolute = Number.isNaN(difference) ? Infinity : Math.max(absolute, difference);
    scale = Math.max(scale, Math.abs(want[i]!));
  }
  const relative = absolute === 0 ? 0 : absolute / scale;
  return { what, absolute, relative, tolerance, passed: relative <= tolerance || absolute <= ROUNDING };
}
