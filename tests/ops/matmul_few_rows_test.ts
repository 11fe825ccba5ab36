import assert from "node:assert/strict";
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from "../../lib/base/half.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { tensorFrom } from "../../lib/gpu/tensor.ts";
import { matmul } from "../../lib/ops/matmul.ts";
import { chooseMatmul, type MatmulProblem } from "../../lib/ops/matmul_kernels.ts";
import { assertClose } from "../support/close.ts";
import { portableGpu, randomValues, runOnce, testGpu } from "../support/gpu.ts";

const TYPES = ["f32", "bf16", "f16"] as const;

interface Case {
  M: number;
  N: number;
  K: number;
  bType: typeof TYPES[number];
  /** Adds to what is there, scaled, with a bias and a low-rank term. */
  all?: boolean;
  /** Lanes of the portable kernel's workgroup; the kernel for subgroups without. */
  workgroup?: number;
}

async function check(gpu: Gpu, { M, N, K, bType, all = false, workgroup }: Case): Promise<void> {
  const R = all ? 12 : 0;
  const a = randomValues(M * K, 1);
  const exact = randomValues(N * K, 2);
  const data = bType === "f32" ? exact : bType === "bf16" ? encodeBf16(exact) : encodeF16(exact);
  const b = bType === "f32" ? exact : (bType === "bf16" ? decodeBf16 : decodeF16)(data as Uint16Array);
  const [u, loraB] = [randomValues(M * R, 3), randomValues(N * R, 4)];
  const [bias, start] = [randomValues(N, 5), randomValues(M * N, 6)];
  const c = tensorFrom(gpu, start, { shape: [M, N] });
  const found = await runOnce(gpu, (r) => {
    matmul(
      r,
      "NT",
      tensorFrom(gpu, a, { shape: [M, K] }),
      tensorFrom(gpu, data, { shape: [N, K], dtype: bType }),
      {
        out: c,
        choice: workgroup === undefined
          ? { kernel: "fewRowsSubgroup", constants: { ROWS: M } }
          : { kernel: "fewRows", constants: { ROWS: M, WORKGROUP: workgroup } },
        ...(all
          ? {
            add: true,
            scale: -0.5,
            bias: tensorFrom(gpu, bias),
            lora: {
              u: tensorFrom(gpu, u, { shape: [M, R] }),
              b: tensorFrom(gpu, loraB, { shape: [N, R] }),
              scale: 1.5,
            },
          }
          : {}),
      },
    );
    return { c };
  });
  const want = Array.from({ length: M * N }, (_, i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    const dot = (x: ArrayLike<number>, y: ArrayLike<number>, length: number): number => {
      let sum = 0;
      for (let k = 0; k < length; k++) sum += x[m * length + k]! * y[n * length + k]!;
      return sum;
    };
    const sum = dot(a, b, K);
    return all ? start[i]! - 0.5 * sum + 1.5 * dot(u, loraB, R) + bias[n]! : sum;
  });
  assertClose(found.c!, want, { relative: 2e-6, label: JSON.stringify({ M, N, K, bType, all, workgroup }) });
}

for (const workgroup of [undefined, 8]) {
  for (const bType of TYPES) {
    const kernel = workgroup === undefined ? "the subgroup kernel" : "the portable kernel";
    Deno.test(`a product of one or two rows with ${bType} by ${kernel} agrees with f64 sums`, async () => {
      const gpu = workgroup === undefined ? await testGpu() : await portableGpu();
      // Columns below, at and past a tile of 16; k below, at and past what eight lanes take at once.
      for (const [N, K] of [[1, 8], [15, 24], [16, 64], [17, 72], [37, 136]] as const) {
        for (const M of [1, 2]) {
          await check(gpu, { M, N, K, bType, workgroup });
          await check(gpu, { M, N, K, bType, workgroup, all: true });
        }
      }
    });
  }
}

Deno.test("a product of one row at a decoder's sizes agrees with f64 sums", async () => {
  for (const [N, K] of [[192, 576], [576, 1536]] as const) {
    await check(await testGpu(), { M: 1, N, K, bType: "bf16", all: true });
  }
});

Deno.test("a product of few rows agrees with f64 sums in wide workgroups", async () => {
  const gpu = await portableGpu();
  for (const workgroup of [16, 32, 64]) {
    for (const bType of ["f32", "bf16"] as const) {
      await check(gpu, { M: 2, N: 21, K: 200, bType, all: true, workgroup });
    }
  }
});

Deno.test("few rows are chosen for decoding alone", async () => {
  const gpu = await testGpu();
  const problem: MatmulProblem = {
    layout: "NT",
    M: 1,
    N: 576,
    K: 576,
    R: 16,
    bType: "bf16",
    cStride: 576,
    cStart: 0,
  };
  const chosen = (change: Partial<MatmulProblem>, on = gpu): string =>
    chooseMatmul(on, { ...problem, ...change }).kernel;
  assert.equal(chosen({}), "fewRowsSubgroup");
  assert.equal(chosen({ M: 2, bType: "f32" }), "fewRowsSubgroup");
  assert.equal(chosen({}, await portableGpu()), "fewRows");
  for (const change of [{ M: 3 }, { K: 572 }, { R: 3 }, { layout: "NN" as const }]) {
    assert.doesNotMatch(chosen(change), /^fewRows/);
  }
});
