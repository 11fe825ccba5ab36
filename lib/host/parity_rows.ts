/**
 * Rows of a parity table: how far one figure is from its reference.
 *
 * @module
 */

import type { SafetensorsFile } from "../format/safetensors.ts";
import type { ParameterSet } from "../nn/parameters.ts";

/** One comparison. */
export interface ParityRow {
  /** What was compared. */
  what: string;
  /** Largest absolute difference; Infinity where the figures cannot be compared. */
  absolute: number;
  /** The same, over the reference's largest value. */
  relative: number;
  /** Largest relative difference allowed. */
  tolerance: number;
  passed: boolean;
  /** Why the figures could not be compared, or what else is to be said. */
  note?: string;
}

/** Tolerance of forward results, relative to the largest value. */
export const FORWARD = 1e-4;
/** Tolerance of gradients. */
export const GRADIENT = 1e-3;
/** Tolerance of losses. */
export const LOSS = 1e-4;

/**
 * A gradient below this share of the model's largest is nothing but f32 rounding (8 units in the last place): those that are 0 on
 * paper (a key's bias) have no correct digit to compare.
 */
const ROUNDING = 1e-6;

/** How {@linkcode compare} judges. */
export interface CompareOptions {
  /** Largest difference allowed, relative to the reference's largest value. */
  tolerance: number;
  /** Absolute difference that is nothing but rounding. @default {0} */
  rounding?: number;
}

/** Compares two arrays; anything that is not a number fails. */
export function compare(
  what: string,
  [got, want]: readonly [ArrayLike<number>, ArrayLike<number>],
  { tolerance, rounding = 0 }: CompareOptions,
): ParityRow {
  const failed = (note: string): ParityRow => ({
    what,
    absolute: Infinity,
    relative: Infinity,
    tolerance,
    passed: false,
    note,
  });
  if (got.length !== want.length) return failed(`${got.length} numbers, expected ${want.length}`);
  const scale = largest(want);
  let absolute = 0;
  for (let i = 0; i < want.length; i++) {
    const difference = Math.abs(got[i]! - want[i]!);
    // NaN compares false with everything, so it is looked for.
    if (!Number.isFinite(difference)) return failed(`${got[i]} at ${i}, expected ${want[i]}`);
    absolute = Math.max(absolute, difference);
  }
  const relative = absolute === 0 ? 0 : absolute / scale;
  const row = { what, absolute, relative, tolerance, passed: true };
  if (relative <= tolerance) return row;
  if (absolute <= rounding) return { ...row, note: "nothing but rounding" };
  return { ...row, passed: false };
}

/** Compares token ids, which have to be equal. */
export function compareIds(what: string, got: readonly number[], want: ArrayLike<number>): ParityRow {
  const length = Math.max(got.length, want.length);
  let different = 0;
  for (let i = 0; i < length; i++) if (got[i] !== want[i]) different++;
  const note = different === 0 ? "equal" : `${different} of ${length} differ`;
  return {
    what,
    absolute: different,
    relative: different / length,
    tolerance: 0,
    passed: different === 0,
    note,
  };
}

/** Compares sets of names: every one has to be on both sides. */
export function compareNames(what: string, got: Iterable<string>, want: Iterable<string>): ParityRow {
  const [ours, theirs] = [new Set(got), new Set(want)];
  const odd = [...ours.symmetricDifference(theirs)];
  const note = odd.length === 0
    ? `${ours.size}, the same`
    : `${odd.length} on one side only, such as "${odd[0]}"`;
  return {
    what,
    absolute: odd.length,
    relative: odd.length / Math.max(1, theirs.size),
    tolerance: 0,
    passed: odd.length === 0,
    note,
  };
}

/** Largest magnitude in an array. */
function largest(values: ArrayLike<number>): number {
  let size = 0;
  for (let i = 0; i < values.length; i++) size = Math.max(size, Math.abs(values[i]!));
  return size;
}

/** Our name of a tensor of the reference, whose LoRA pairs carry the adapter's name. */
export const ourName = (name: string): string => name.replace(/\.default\.weight$/, ".weight");

/** Compares gradients of all trainable tensors with those called `grad.NAME`. */
export async function compareGradients(set: ParameterSet, expected: SafetensorsFile): Promise<ParityRow[]> {
  const stored = [...expected.tensors.keys()].filter((name) => name.startsWith("grad."));
  const wanted = new Map<string, Float32Array>();
  for (const name of stored) wanted.set(ourName(name.slice("grad.".length)), await expected.readF32(name));
  const rounding = ROUNDING * Math.max(...[...wanted.values()].map(largest));
  const gradients = await set.readGradients();
  const rows = [compareNames("names of gradients", gradients.keys(), wanted.keys())];
  for (const [name, want] of wanted) {
    const pair = [gradients.get(name) ?? [], want] as const;
    rows.push(compare(`grad.${name}`, pair, { tolerance: GRADIENT, rounding }));
  }
  return rows;
}
