import { Rng } from "../../lib/base/rng.ts";

/** A number in [0, 1) from two integers. */
export function mixedNoise(a: number, b: number): number {
  return new Rng(a * 65_537 + b).next();
}
