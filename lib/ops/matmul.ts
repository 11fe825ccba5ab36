/**
 * Matrix products in the three layouts that a linear layer needs, forward and backward.
 *
 * @module
 */

import sumCode from "../../kernels/matmul_sum.wgsl" with { type: "text" };
import type { Choice } from "../gpu/autotune.ts";
import type { Gpu } from "../gpu/device.ts";
import { Kernel } from "../gpu/kernel.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { foldGrid } from "./grid.ts";
import { chooseMatmul, matmulDispatch, type MatmulLayout, type MatmulProblem } from "./matmul_kernels.ts";
import { type RowWindow, rowWindows } from "./windows.ts";

export type { MatmulLayout } from "./matmul_kernels.ts";

const sumKernel = new Kernel("matmul_sum", sumCode);

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
  /** Kernel to use. @default {as measured on this device, else as expected} */
  choice?: Choice | undefined;
  /** Name in timings. @default {"matmul." + layout} */
  label?: string;
}

/**
 * Records a matrix product into `options.out`. `a` and `out` are f32, `b` is f32, bf16 or f16. Leading dimensions are folded:
 * the last dimension of an operand is its row length. In `NT`, a `b` larger than one binding is read through windows.
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
  const problem = problemOf(layout, a, b, options);
  const { N, K } = problem;
  const windows = layout === "NT" && b.sizeBytes > r.gpu.maxBindingBytes
    ? alignedWindows(r.gpu, b.reshape(N, K))
    : [{ start: 0, end: N }];
  for (const { start, end } of windows) {
    if (end - start === N) recordProduct(r, { problem, a, b, options });
    else {
      const { bias, lora } = options;
      recordProduct(r, {
        problem: { ...problem, N: end - start, cStart: start },
        a,
        b: b.reshape(N, K).rows(start, end),
        options: {
          ...options,
          bias: bias?.rows(start, end),
          lora: lora && { ...lora, b: lora.b.rows(start, end) },
        },
      });
    }
  }
}

/** Windows at whose first row a bias or the low-rank term's rows, f32, may start a binding too. */
function alignedWindows(gpu: Gpu, b: Tensor): RowWindow[] {
  return rowWindows(gpu, b, { multiple: gpu.bindingAlignment / Float32Array.BYTES_PER_ELEMENT });
}

/** A product with its operands. */
interface Product {
  problem: MatmulProblem;
  a: Tensor;
  b: Tensor;
  options: MatmulOptions;
}

function recordProduct(r: Recorder, product: Product): void {
  const { problem, a, b, options } = product;
  const { layout, M, N, K, R, cStride, cStart } = problem;
  const { out, lora, bias, scale = 1, label = `matmul.${layout}` } = options;
  if (lora !== undefined && R % 4 !== 0) {
    // The fast kernels take ranks in steps of four; another rank is a product of its own.
    const withoutTerm = { ...problem, R: 0 };
    recordProduct(r, { ...product, problem: withoutTerm, options: { ...options, lora: undefined } });
    recordProduct(r, {
      ...product,
      problem: { ...withoutTerm, K: R, bType: "f32" },
      a: lora.u,
      b: lora.b,
      options: { out, add: true, scale: lora.scale, label },
    });
    return;
  }
  const choice = options.choice ?? chooseMatmul(r.gpu, problem);
  const { kernel, entry, operandB, params, workgroups, parts } = matmulDispatch(problem, choice);
  const flops = 2 * M * N * (K + R);
  // How the product goes into its output.
  const finish = { hasBias: bias !== undefined, cStride, cStart, add: options.add ?? false, scale };
  // What is absent is bound to something that is there: the kernel does not read it.
  const bind = { a, [operandB]: b, c: out, bias: bias ?? a, u: lora?.u ?? a, loraB: lora?.b ?? a };
  if (parts === 1) {
    // The kernel multiplies the whole sum by scale.
    const loraScale = lora === undefined ? 0 : lora.scale / scale;
    r.dispatch(kernel, entry, {
      bind,
      params: { ...params, ...finish, loraScale },
      workgroups,
      flops,
      label,
    });
    return;
  }
  const each = r.tensor([parts, M, N], `${label}.parts`);
  const asIs = { hasBias: false, cStride: N, cStart: 0, add: false, scale: 1, loraScale: 0 };
  r.dispatch(kernel, entry, {
    bind: { ...bind, c: each },
    params: { ...params, ...asIs },
    workgroups,
    flops,
    label,
  });
  r.dispatch(sumKernel, "main", {
    bind: { parts: each, c: out, bias: bias ?? a },
    params: { M, N, P: parts, ...finish },
    workgroups: foldGrid(r.gpu, Math.ceil(M * N / 64)),
    label,
  });
}

function problemOf(layout: MatmulLayout, a: Tensor, b: Tensor, options: MatmulOptions): MatmulProblem {
  const { out, bias, lora } = options;
  const what = `Cannot multiply "${a.label}" [${a.shape}] by "${b.label}" [${b.shape}] (${layout})`;
  const bType = b.dtype;
  if (a.dtype !== "f32" || out.dtype !== "f32" || bType === "u32" || bType === "i32") {
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
  const problem: MatmulProblem = { layout, M, N, K, R: 0, bType, cStride: N, cStart: 0 };
  if (lora === undefined) return problem;
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
  return { ...problem, R };
}
