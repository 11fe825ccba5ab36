/** Layers in plain f64 loops, over rows. */

/** A matrix by rows. */
export type Rows = Float64Array<ArrayBufferLike>[];

/** Weights by name: the vision tower's, the decoder's, and the trainable ones, which go before the tower's. */
export type ReferenceWeights = ReadonlyMap<string, Float64Array>;

/** The weight called `name`. */
export function weightOf(w: ReferenceWeights, name: string): Float64Array {
  const values = w.get(name);
  if (values === undefined) throw new RangeError(`there is no "${name}"`);
  return values;
}

/** y = x · wᵗ + b, w [N, K] row-major. */
export function linear(x: Rows, w: Float64Array, b?: Float64Array): Rows {
  return x.map((row) => {
    const K = row.length;
    return Float64Array.from({ length: w.length / K }, (_, n) => {
      let sum = b?.[n] ?? 0;
      for (let k = 0; k < K; k++) sum += row[k]! * w[n * K + k]!;
      return sum;
    });
  });
}

/** Element by element. */
export const add = (a: Rows, b: Rows): Rows => a.map((row, i) => row.map((value, c) => value + b[i]![c]!));

/** Rows of mean 0 and variance 1, scaled and shifted. */
export function layerNorm(x: Rows, w: Float64Array, b: Float64Array, eps: number): Rows {
  return x.map((row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
    return row.map((value, c) => (value - mean) / Math.sqrt(variance + eps) * w[c]! + b[c]!);
  });
}

/** Rows of mean square 1, scaled. */
export function rmsNorm(x: Rows, w: Float64Array, eps: number): Rows {
  return x.map((row) => {
    const square = row.reduce((sum, value) => sum + value * value, 0) / row.length;
    return row.map((value, c) => value / Math.sqrt(square + eps) * w[c]!);
  });
}

/** erf by its Taylor series, which converges everywhere, and 1 far out. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * sum;
}

/** GELU by tanh. */
export const geluTanh = (x: number): number =>
  x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
/** GELU. */
export const geluErf = (x: number): number => x / 2 * (1 + erf(x / Math.SQRT2));

/** x times the logistic function of 1.702 x. */
export const geluQuick = (x: number): number => x / (1 + Math.exp(-1.702 * x));

interface Heads {
  heads: number;
  kvHeads: number;
  headDim: number;
  causal: boolean;
  /** Keys that may be attended, 1 or 0. @default all */
  mask?: readonly number[];
}

/** softmax(q kᵗ / sqrt Dh) v by heads. */
export function attention(q: Rows, k: Rows, v: Rows, { heads, kvHeads, headDim, causal, mask }: Heads): Rows {
  return q.map((query, i) => {
    const y = new Float64Array(heads * headDim);
    for (let h = 0; h < heads; h++) {
      const from = Math.floor(h * kvHeads / heads) * headDim;
      const last = causal ? i : k.length - 1;
      const scores = Float64Array.from({ length: last + 1 }, (_, j) => {
        if (mask?.[j] === 0) return -Infinity;
        let sum = 0;
        for (let c = 0; c < headDim; c++) sum += query[h * headDim + c]! * k[j]![from + c]!;
        return sum / Math.sqrt(headDim);
      });
      const max = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => Math.exp(score - max));
      const total = weights.reduce((a, b) => a + b);
      for (const [j, weight] of weights.entries()) {
        for (let c = 0; c < headDim; c++) y[h * headDim + c]! += weight / total * v[j]![from + c]!;
      }
    }
    return y;
  });
}
