/**
 * Shapes, and the letters every comment of this project uses for their dimensions:
 *
 * | letter | dimension | letter | dimension |
 * |---|---|---|---|
 * | B | batch | K | key/value heads |
 * | P | prefix (image) tokens | Dh | width of a head |
 * | T | text tokens | F | width of the MLP |
 * | S | P + T | V | vocabulary |
 * | D | model width | L | layers |
 * | Dv | vision width | R | LoRA rank |
 * | H | heads | N, C | rows and channels, where an op does not care |
 *
 * Arrays are row-major: the last dimension is contiguous.
 *
 * @module
 */

/** Sizes of a tensor's dimensions, outermost first. `[]` is a scalar. */
export type Shape = readonly number[];

/**
 * Number of elements of a tensor: the product of its sizes, 1 for a scalar.
 *
 * @throws {RangeError} If a size is not a whole number of at least 0, or the product exceeds 2^53.
 */
export function elementCount(shape: Shape): number {
  let count = 1;
  for (const size of shape) {
    if (!Number.isSafeInteger(size) || size < 0) {
      throw new RangeError(
        `Cannot count the elements of shape [${
          shape.join(", ")
        }]: ${size} is not a whole number of at least 0`,
      );
    }
    count *= size;
  }
  if (!Number.isSafeInteger(count)) {
    throw new RangeError(`Cannot count the elements of shape [${shape.join(", ")}]: more than 2^53`);
  }
  return count;
}

/** Whether two shapes have the same rank and sizes. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, i) => size === b[i]);
}
