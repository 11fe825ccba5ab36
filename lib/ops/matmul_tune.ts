/**
 * Measures the matmul kernels on the device at hand. Optional: untuned, the shipped tables decide.
 *
 * @module
 */

import { encodeBf16, encodeF16 } from "../base/half.ts";
import { Rng } from "../base/rng.ts";
import type { Autotuner, Choice } from "../gpu/autotune.ts";
import type { Plan } from "../gpu/plan.ts";
import { Recorder } from "../gpu/recorder.ts";
import { destroyTensor, readF32, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import { matmul } from "./matmul.ts";
import { matmulCandidates, matmulKey, type MatmulLayout, type MatmulProblem } from "./matmul_kernels.ts";

/** A product to tune. */
export interface MatmulShape {
  /** Which operand is stored transposed. */
  layout: MatmulLayout;
  /** Rows of C. */
  M: number;
  /** Columns of C. */
  N: number;
  /** Length of the sums. */
  K: number;
  /** Type of B. @default {"f32"} */
  bType?: "f32" | "bf16" | "f16";
}

/** Options of {@linkcode tuneMatmul}. */
export interface TuneMatmulOptions {
  /** Timed dispatches of each candidate. @default {8} */
  repeats?: number;
  /** Told what was chosen. */
  onChoice?: (shape: MatmulShape, choice: Choice) => void;
}

/** Outputs compared with the plain kernel's before a candidate is timed. */
const CHECKED = 64;

/**
 * Measures every kernel that can compute each shape and remembers the fastest whose result agrees with the plain kernel's. Call
 * it before recording: what is recorded later looks the choices up. Shapes that are known already cost nothing.
 */
export async function tuneMatmul(
  tuner: Autotuner,
  shapes: readonly MatmulShape[],
  options: TuneMatmulOptions = {},
): Promise<void> {
  const { repeats = 8, onChoice } = options;
  const { gpu } = tuner;
  for (const shape of shapes) {
    const { layout, M, N, K, bType = "f32" } = shape;
    const problem: MatmulProblem = { layout, M, N, K, R: 0, bType, cStride: N, cStart: 0 };
    const candidates = matmulCandidates(gpu, problem);
    const key = matmulKey(problem);
    if (candidates.length < 2) continue;
    const a = tensorFrom(gpu, randomOperand(M * K, 1), { shape: layout === "TN" ? [K, M] : [M, K] });
    const values = randomOperand(N * K, 2);
    const data = bType === "f32" ? values : bType === "bf16" ? encodeBf16(values) : encodeF16(values);
    const b = tensorFrom(gpu, data, { shape: layout === "NT" ? [N, K] : [K, N], dtype: bType });
    const run = async <T>(
      choice: Choice,
      count: number,
      use: (plan: Plan, out: Tensor) => Promise<T>,
    ): Promise<T> => {
      const recorder = new Recorder(gpu);
      const out = recorder.keep(recorder.tensor([M, N], "tuned"));
      for (let i = 0; i < count; i++) matmul(recorder, layout, a, b, { out, choice });
      const plan = await recorder.compile();
      try {
        plan.run();
        return await use(plan, out);
      } finally {
        plan.destroy({ arena: true });
      }
    };
    const read = (choice: Choice): Promise<Float32Array> => run(choice, 1, (_plan, out) => readF32(gpu, out));
    let expected: Float32Array | undefined;
    try {
      const choice = await tuner.choose(key, {
        candidates,
        isCorrect: async (candidate) => {
          expected ??= await read({ kernel: "plain", constants: {} });
          return agrees(await read(candidate), expected);
        },
        measureMs: (candidate) =>
          run(candidate, repeats, async (plan) => {
            const timings = await plan.profile();
            return timings.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
          }),
      });
      if (choice !== undefined) onChoice?.(shape, choice);
    } finally {
      destroyTensor(a);
      destroyTensor(b);
    }
  }
}

function agrees(got: Float32Array, want: Float32Array): boolean {
  let scale = 0;
  let worst = 0;
  const step = Math.max(1, Math.floor(want.length / CHECKED));
  for (let i = 0; i < want.length; i += step) {
    scale = Math.max(scale, Math.abs(want[i]!));
    worst = Math.max(worst, Math.abs(got[i]! - want[i]!));
  }
  // Sums in another order differ in their last bits; NaN fails the comparison.
  return worst <= 1e-4 * scale;
}

function randomOperand(count: number, seed: number): Float32Array<ArrayBuffer> {
  const rng = new Rng(seed);
  return Float32Array.from({ length: count }, () => rng.bits() / 2 ** 31 - 1);
}
