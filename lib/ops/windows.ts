/**
 * Tensors larger than one binding, seen through windows of their rows.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import { elementBytes, type Tensor } from "../gpu/tensor.ts";

/** Rows `[start, end)` of a tensor's first dimension. */
export interface RowWindow {
  /** First row. */
  start: number;
  /** Past the last row. */
  end: number;
}

/**
 * Splits the rows of `tensor` into the fewest windows of which each fits one binding and starts where a binding may start.
 *
 * @param options.maxRows upper bound of a window, rounded down to what alignment allows
 * @param options.multiple a power of two that every window but the last has a multiple of rows of
 * @throws {RangeError} when the smallest aligned window is larger than a binding
 */
export function rowWindows(
  gpu: Gpu,
  tensor: Tensor,
  options: { maxRows?: number; elementBytes?: number; multiple?: number } = {},
): RowWindow[] {
  const rows = tensor.dim(0);
  const rowBytes = tensor.size / rows * (options.elementBytes ?? elementBytes(tensor.dtype));
  const limit = Math.min(Math.floor(gpu.maxBindingBytes / rowBytes), options.maxRows ?? Infinity);
  if (limit >= rows) return [{ start: 0, end: rows }];
  // The fewest rows whose bytes are a whole number of alignment steps; 16-bit rows of odd length need twice as many.
  const aligned = gpu.bindingAlignment / greatestCommonDivisor(gpu.bindingAlignment, rowBytes);
  const step = Math.max(aligned, options.multiple ?? 1); // both powers of two
  const perWindow = Math.floor(limit / step) * step;
  if (perWindow < 1) {
    throw new RangeError(
      `Cannot split "${tensor.label}" [${tensor.shape}] into windows: ${step} rows of ${rowBytes} bytes are needed, ` +
        `at most ${limit} fit; the adapter binds ${gpu.maxBindingBytes} bytes`,
    );
  }
  const windows: RowWindow[] = [];
  for (let start = 0; start < rows; start += perWindow) {
    windows.push({ start, end: Math.min(start + perWindow, rows) });
  }
  return windows;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
