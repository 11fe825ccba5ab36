/**
 * Matrix products in the three layouts that a linear layer needs, forward and backward.
 *
 * @module
 */

import plainCode from "../../kernels/matmul.wgsl" with { type: "text" };
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { DType, Tensor } from "../gpu/tensor.ts";

/**
 * Which operand is stored transposed: `NT` C[M,N] = A[M,K] B[N,K]ᵗ, `NN` C = A[M,K] B[K,N], `TN` C = A[K,M]ᵗ B[K,N].
 */
export type MatmulLayout = "NT" | "NN" | "TN";

/** A low-rank term added to a product: `scale` · u · b. */
export interface LowRankTerm {
  /** f32 [M, R]. */
  u: Tensor;
  /** f32, stored like B: [N, R] in `NT`, [R, N] in `NN`. */
  b: Tensor;
  /** Factor of the term. */
  scale: number;
}

/** Options of {@linkcode matmul}. */
export interface MatmulOptions {
  /** f32, M·N elements: where the product goes. */
  out: Tensor;
  /** True adds to `out`. @default {false} */
  add?: boolean;
  /** Factor of the product, not of `bias`. @default {1} */
  scale?: number;
  /** f32 [N], added to every row. */
  bias?: Tensor | undefined;
  /** Low-rank term (`NT`, `NN`). */
  lora?: LowRankTerm | undefined;
  /** Name in timings. @default {"matmul." + layout} */
  label?: string;
}

/** Sizes of a product. */
export interface MatmulShape {
  M: number;
  N: number;
  K: number;
  /** Rank of the low-rank term, 0 without. */
  R: number;
}

const plain = new Kernel("matmul", plainCode);
const B_TYPES: Partial<Record<DType, number>> = { f32: 0, bf16: 1, f16: 2 };

/**
 * Records a matrix product into `options.out`. `a` and `out` are f32, `b` is f32, bf16 or f16. Leading dimensions are folded:
 * the last dimension of an operand is its row length.
 *
 * @throws {TypeError} when shapes or types do not fit
 */
export function matmul(
  r: Recorder,
  layout: MatmulLayout,
  a: Tensor,
  b: Tensor,
  options: MatmulOptions,
): void {
  const shape = shapeOf(layout, a, b, options);
  const { M, N } = shape;
  const { kernel, entry, params, workgroups } = plainDispatch(layout, shape);
  const { out, lora, bias } = options;
  const scale = options.scale ?? 1;
  r.dispatch(kernel, entry, {
    // What is absent is bound to something that is there: the kernel does not read it.
    bind: { a, b, c: out, bias: bias ?? a, u: lora?.u ?? a, loraB: lora?.b ?? a },
    params: {
      ...params,
      bType: B_TYPES[b.dtype]!,
      hasBias: bias !== undefined,
      cStride: N,
      cStart: 0,
      add: options.add ?? false,
      scale,
      // The kernel multiplies the whole sum by scale.
      loraScale: lora === undefined ? 0 : lora.scale / scale,
    },
    workgroups,
    flops: 2 * M * N * (shape.K + shape.R),
    label: options.label ?? `matmul.${layout}`,
  });
}

function plainDispatch(layout: MatmulLayout, { M, N, K, R }: MatmulShape): {
  kernel: Kernel;
  entry: string;
  params: Record<string, number>;
  workgroups: [number, number];
} {
  const [aRow, aStep] = layout === "TN" ? [1, M] : [K, 1];
  const [bColumn, bStep] = layout === "NT" ? [K, 1] : [1, N];
  const [loraColumn, loraStep] = layout === "NT" ? [R, 1] : [1, N];
  return {
    kernel: plain,
    entry: "main",
    params: { M, N, K, R, aRow, aStep, bColumn, bStep, loraColumn, loraStep },
    workgroups: [Math.ceil(N / 32), Math.ceil(M / 32)],
  };
}

function shapeOf(layout: MatmulLayout, a: Tensor, b: Tensor, options: MatmulOptions): MatmulShape {
  const { out, bias, lora } = options;
  const what = `Cannot multiply "${a.label}" [${a.shape}] by "${b.label}" [${b.shape}] (${layout})`;
  if (a.dtype !== "f32" || out.dtype !== "f32" || B_TYPES[b.dtype] === undefined) {
    throw new TypeError(
      `${what}: found ${a.dtype} by ${b.dtype} into ${out.dtype}, expected f32 by f32, bf16 or f16 into f32`,
    );
  }
  const rowsOf = (t: Tensor): number => t.size / t.dim(-1);
  const [M, K] = layout === "TN" ? [a.dim(-1), rowsOf(a)] : [rowsOf(a), a.dim(-1)];
  const [N, bK] = layout === "NT" ? [rowsOf(b), b.dim(-1)] : [b.dim(-1), rowsOf(b)];
  if (K !== bK) throw new TypeError(`${what}: the inner dimensions are ${K} and ${bK}, expected equal ones`);
  if (out.size !== M * N) {
    throw new TypeError(
      `${what}: the output "${out.label}" is [${out.shape}], expected ${M} x ${N} elements`,
    );
  }
  if (bias !== undefined && (bias.size !== N || bias.dtype !== "f32")) {
    throw new TypeError(
      `${what}: the bias "${bias.label}" is ${bias.dtype} [${bias.shape}], expected f32 [${N}]`,
    );
  }
  if (lora === undefined) return { M, N, K, R: 0 };
  const R = lora.u.dim(-1);
  const [loraN, loraR] = layout === "NT"
    ? [rowsOf(lora.b), lora.b.dim(-1)]
    : [lora.b.dim(-1), rowsOf(lora.b)];
  if (layout === "TN" || lora.u.size !== M * R || loraR !== R || loraN !== N) {
    throw new TypeError(
      `${what}: the low-rank term is [${lora.u.shape}] by [${lora.b.shape}], expected ` +
        `[${M}, R] by ${layout === "NT" ? `[${N}, R]` : `[R, ${N}]`} and the layout NT or NN`,
    );
  }
  if (lora.u.dtype !== "f32" || lora.b.dtype !== "f32") {
    throw new TypeError(
      `${what}: the low-rank term is ${lora.u.dtype} by ${lora.b.dtype}, expected f32 by f32`,
    );
  }
  return { M, N, K, R };
}
