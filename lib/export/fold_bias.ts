/**
 * A linear layer's bias moved into the shift of the norm before it: W (x + c) = W x + b for W c = b.
 *
 * @module
 */

/** A shift and how well it does. */
export interface FoldedBias {
  /** c, [in]. */
  shift: Float64Array<ArrayBuffer>;
  /** Largest |W c - b|, over the largest |b|; 0 where b is 0. */
  residual: number;
}

/**
 * The smallest c with W c = b, where W [out, in] has full row rank: c = Wᵗ (W Wᵗ)⁻¹ b, by Cholesky's factors in f64, refined once.
 * Where W has more rows than columns, or rows that depend on others, there may be none: the residual tells.
 */
export function foldBias(
  weight: ArrayLike<number>,
  bias: ArrayLike<number>,
  [out, inWidth]: readonly [number, number],
): FoldedBias {
  const gram = new Float64Array(out * out);
  for (let i = 0; i < out; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = 0; k < inWidth; k++) sum += weight[i * inWidth + k]! * weight[j * inWidth + k]!;
      gram[i * out + j] = sum;
    }
  }
  const rank = factorize(gram, out);
  const shift = new Float64Array(inWidth);
  const left = Float64Array.from({ length: out }, (_, i) => bias[i]!);
  for (let round = 0; round < 2 && rank; round++) {
    const z = solve(gram, left, out);
    for (let i = 0; i < out; i++) {
      for (let k = 0; k < inWidth; k++) shift[k]! += weight[i * inWidth + k]! * z[i]!;
    }
    // What is left after this round.
    for (let i = 0; i < out; i++) {
      let sum = bias[i]!;
      for (let k = 0; k < inWidth; k++) sum -= weight[i * inWidth + k]! * shift[k]!;
      left[i] = sum;
    }
  }
  const largest = (values: ArrayLike<number>): number =>
    Array.from(values).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const size = largest(bias);
  return { shift, residual: size === 0 ? 0 : largest(left) / size };
}

/** Cholesky's lower factor in place; false when the matrix has none. */
function factorize(a: Float64Array, n: number): boolean {
  for (let j = 0; j < n; j++) {
    for (let i = j; i < n; i++) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= a[i * n + k]! * a[j * n + k]!;
      if (i > j) a[i * n + j] = sum / a[j * n + j]!;
      else if (sum > 0) a[j * n + j] = Math.sqrt(sum);
      else return false;
    }
  }
  return true;
}

function solve(lower: Float64Array, b: Float64Array, n: number): Float64Array {
  const x = b.slice();
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= lower[i * n + k]! * x[k]!;
    x[i]! /= lower[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= lower[k * n + i]! * x[k]!;
    x[i]! /= lower[i * n + i]!;
  }
  return x;
}
