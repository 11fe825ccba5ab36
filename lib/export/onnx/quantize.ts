/**
 * Weights in fewer bits: rows of eight, blocks of four.
 *
 * Sources: Jacob et al. 2018, arXiv:1712.05877, section 2 (affine integers); ONNX `MatMulInteger`; Microsoft's `MatMulNBits`.
 *
 * @module
 */

/** A matrix in whole numbers from -127 to 127: row n is `values` · `scales[n]`. */
export interface Rows8 {
  /** [N, K]. */
  values: Int8Array<ArrayBuffer>;
  /** [N]. */
  scales: Float32Array<ArrayBuffer>;
}

/** Rounds every row of `weight` [N, K] to 255 steps, symmetric around 0. */
export function quantizeRows8(weight: Float32Array, [N, K]: readonly [number, number]): Rows8 {
  const values = new Int8Array(N * K);
  const scales = new Float32Array(N);
  for (let n = 0; n < N; n++) {
    let most = 0;
    for (let k = n * K; k < (n + 1) * K; k++) most = Math.max(most, Math.abs(weight[k]!));
    // A row of zeros keeps a scale that nothing is divided by in vain.
    scales[n] = most === 0 ? 1 : most / 127;
    const inverse = 1 / scales[n]!;
    for (let k = n * K; k < (n + 1) * K; k++) {
      const steps = weight[k]! * inverse;
      values[k] = steps < 0 ? steps - 0.5 : steps + 0.5; // stored without its fraction: the nearest
    }
  }
  return { values, scales };
}

/** Numbers that share a scale, in the direction of K. */
export const BLOCK = 32;

/** A matrix in four bits: element k of row n is (q - zero) · scale of its block. */
export interface Blocks4 {
  /** [N, blocks, BLOCK / 2], two numbers a byte, the earlier one in the lower half; K is filled up with zeros. */
  values: Uint8Array<ArrayBuffer>;
  /** [N, blocks]. */
  scales: Float32Array<ArrayBuffer>;
  /** [N, ceil(blocks / 2)], two numbers a byte. */
  zeros: Uint8Array<ArrayBuffer>;
}

/**
 * Rounds blocks of 32 numbers of every row of `weight` [N, K] to 16 steps between their least and their greatest, 0 among them. Of a few
 * narrower ranges the one with the least squared error is taken.
 */
export function quantizeBlocks4(weight: Float32Array, [N, K]: readonly [number, number]): Blocks4 {
  const blocks = Math.ceil(K / BLOCK);
  const values = new Uint8Array(N * blocks * BLOCK / 2);
  const scales = new Float32Array(N * blocks);
  const zeroWidth = Math.ceil(blocks / 2);
  const zeros = new Uint8Array(N * zeroWidth);
  const block = new Float32Array(BLOCK);
  for (let n = 0; n < N; n++) {
    for (let b = 0; b < blocks; b++) {
      block.fill(0);
      block.set(weight.subarray(n * K + b * BLOCK, n * K + Math.min(K, (b + 1) * BLOCK)));
      const { scale, zero } = fitBlock(block);
      const at = n * blocks + b;
      scales[at] = scale;
      zeros[n * zeroWidth + (b >> 1)]! |= zero << (b & 1) * 4;
      for (let i = 0; i < BLOCK; i++) {
        values[(at * BLOCK + i) >> 1]! |= toStep(block[i]!, 1 / scale, zero) << (i & 1) * 4;
      }
    }
  }
  return { values, scales, zeros };
}

/** Shares of the full range that are tried. */
const SHARES = [1, 0.95, 0.9, 0.85, 0.8];

function fitBlock(block: Float32Array): { scale: number; zero: number } {
  let [low, high] = [0, 0];
  for (let i = 0; i < BLOCK; i++) {
    const value = block[i]!;
    if (value < low) low = value;
    else if (value > high) high = value;
  }
  if (low === high) return { scale: 1, zero: 8 };
  let best = { scale: 1, zero: 8 };
  let least = Infinity;
  for (const share of SHARES) {
    const scale = Math.fround((high - low) * share / 15);
    const zero = toStep(-low * share, 1 / scale, 0);
    let error = 0;
    for (let i = 0; i < BLOCK; i++) {
      const value = block[i]!;
      error += (value - (toStep(value, 1 / scale, zero) - zero) * scale) ** 2;
    }
    if (error < least) [least, best] = [error, { scale, zero }];
  }
  return best;
}

/** The nearest of the 16 steps. */
function toStep(value: number, inverse: number, zero: number): number {
  const step = value * inverse + zero;
  return step <= 0 ? 0 : step >= 15 ? 15 : (step + 0.5) | 0;
}

/** [K, N] from [N, K]. */
export function transposeInts(values: Int8Array, [N, K]: readonly [number, number]): Int8Array<ArrayBuffer> {
  const result = new Int8Array(values.length);
  for (let n = 0; n < N; n++) {
    for (let k = 0; k < K; k++) result[k * N + n] = values[n * K + k]!;
  }
  return result;
}
