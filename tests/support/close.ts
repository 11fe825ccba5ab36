/** Comparison with tolerance, and derivatives by central differences of an f64 reference. */
import assert from "node:assert/strict";

/** Asserts |got - want| <= relative * max|want| + absolute, everywhere, and that everything is finite. */
export function assertClose(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  options: { relative?: number; absolute?: number; label?: string } = {},
): void {
  const { relative = 1e-5, absolute = 1e-6, label = "values" } = options;
  assert.equal(got.length, want.length, `${label}: length`);
  let scale = 0;
  for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i]!));
  let worst = 0;
  let at = -1;
  for (let i = 0; i < got.length; i++) {
    assert.ok(Number.isFinite(got[i]), `${label}[${i}] is ${got[i]}`);
    const difference = Math.abs(got[i]! - want[i]!);
    if (difference > worst) [worst, at] = [difference, i];
  }
  const allowed = relative * scale + absolute;
  assert.ok(
    worst <= allowed,
    `${label}[${at}]: got ${got[at]}, want ${want[at]}, off by ${worst}, allowed ${allowed}`,
  );
}

/**
 * d(sum(f(x) * dOutput))/dx by central differences, for every element of `x` or those at `indices`.
 * `f` is an f64 reference; step 1e-5.
 */
export function numericalGradient(
  f: (x: Float64Array) => ArrayLike<number>,
  x: ArrayLike<number>,
  dOutput: ArrayLike<number>,
  indices: readonly number[] = Array.from({ length: x.length }, (_, i) => i),
): Float64Array {
  const step = 1e-5;
  const point = Float64Array.from(x);
  const loss = (): number => {
    const y = f(point);
    let sum = 0;
    for (let i = 0; i < y.length; i++) sum += y[i]! * dOutput[i]!;
    return sum;
  };
  return Float64Array.from(indices, (i) => {
    const value = point[i]!;
    point[i] = value + step;
    const above = loss();
    point[i] = value - step;
    const below = loss();
    point[i] = value;
    return (above - below) / (2 * step);
  });
}
