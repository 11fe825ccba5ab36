import assert from "node:assert/strict";
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from "../../lib/base/half.ts";
import type { Choice } from "../../lib/gpu/autotune.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, tensorFrom, writeTensor } from "../../lib/gpu/tensor.ts";
import { matmul, type MatmulLayout } from "../../lib/ops/matmul.ts";
import { chooseMatmul } from "../../lib/ops/matmul_kernels.ts";
import { assertClose } from "../support/close.ts";
import { portableGpu, randomValues, runOnce, testGpu } from "../support/gpu.ts";

type BType = "f32" | "bf16" | "f16";

interface Case {
  layout: MatmulLayout;
  M: number;
  N: number;
  K: number;
  bType?: BType;
  add?: boolean;
  scale?: number;
  bias?: boolean;
  R?: number;
  choice?: Choice;
}

/** B as the GPU gets it and as the values that those bits mean. */
function operandB(count: number, type: BType): { data: Float32Array | Uint16Array; values: Float32Array } {
  const values = randomValues(count, 2);
  if (type === "f32") return { data: values, values };
  const data = type === "bf16" ? encodeBf16(values) : encodeF16(values);
  return { data, values: type === "bf16" ? decodeBf16(data) : decodeF16(data) };
}

/** Asserts that the product agrees with f64 sums, at every element or at `samples` of them. */
async function checkProduct(gpu: Gpu, test: Case, samples?: number): Promise<void> {
  const { layout, M, N, K, bType = "f32", add = false, scale = 1, R = 0 } = test;
  const a = randomValues(M * K, 1);
  const { data, values: b } = operandB(K * N, bType);
  const bias = test.bias ? randomValues(N, 3) : undefined;
  const [u, loraB] = [randomValues(M * R, 4), randomValues(R * N, 5)];
  const start = randomValues(M * N, 6);
  const out = tensorFrom(gpu, start, { shape: [M, N], label: "c" });
  const tensor = (values: Float32Array, shape: number[]) => tensorFrom(gpu, values, { shape });
  const { c } = await runOnce(gpu, (r) => {
    matmul(
      r,
      layout,
      tensor(a, layout === "TN" ? [K, M] : [M, K]),
      tensorFrom(gpu, data, { shape: layout === "NT" ? [N, K] : [K, N], dtype: bType }),
      {
        out,
        add,
        scale,
        choice: test.choice,
        bias: bias && tensor(bias, [N]),
        lora: R === 0
          ? undefined
          : { u: tensor(u, [M, R]), b: tensor(loraB, layout === "NT" ? [N, R] : [R, N]), scale: 1.5 },
      },
    );
    return { c: out };
  });
  const indices = samples === undefined
    ? Array.from({ length: M * N }, (_, i) => i)
    : Array.from({ length: samples }, (_, i) => Math.floor((i * 7919.31) % (M * N)));
  const want = indices.map((i) => {
    const [m, n] = [Math.floor(i / N), i % N];
    let sum = 0;
    for (let k = 0; k < K; k++) {
      sum += a[layout === "TN" ? k * M + m : m * K + k]! * b[layout === "NT" ? n * K + k : k * N + n]!;
    }
    let low = 0;
    for (let k = 0; k < R; k++) low += u[m * R + k]! * loraB[layout === "NT" ? n * R + k : k * N + n]!;
    return scale * sum + 1.5 * low + (bias?.[n] ?? 0) + (add ? start[i]! : 0);
  });
  assertClose(indices.map((i) => c[i]!), want, { relative: 2e-6, label: JSON.stringify(test) });
}

const LAYOUTS: MatmulLayout[] = ["NT", "NN", "TN"];
const TYPES: BType[] = ["f32", "bf16", "f16"];
const SIZES = [
  [1, 1, 1],
  [1, 8, 8],
  [3, 5, 7],
  [7, 31, 33],
  [24, 32, 16],
  [25, 33, 24],
  [33, 64, 8],
  [31, 72, 12],
  [52, 136, 40],
  [36, 40, 37],
] as const;

for (const layout of LAYOUTS) {
  for (const bType of TYPES) {
    Deno.test(`matmul ${layout} with ${bType} agrees with f64 sums at every size`, async () => {
      for (const [M, N, K] of SIZES) await checkProduct(await testGpu(), { layout, M, N, K, bType });
    });
  }

  Deno.test(`matmul ${layout} adds, scales and takes a bias`, async () => {
    for (const [M, N, K] of [[5, 9, 7], [28, 40, 16]] as const) {
      for (const bType of TYPES) {
        await checkProduct(await testGpu(), { layout, M, N, K, bType, add: true, scale: -0.5, bias: true });
      }
    }
  });

  Deno.test(`matmul ${layout} agrees with f64 sums at a real size`, async () => {
    await checkProduct(await testGpu(), { layout, M: 226, N: 576, K: 576 }, 400);
    await checkProduct(await testGpu(), { layout, M: 226, N: 576, K: 576, bType: "bf16" }, 400);
  });

  Deno.test(`matmul ${layout} agrees with f64 sums where there are no subgroups`, async () => {
    for (const [M, N, K] of [[1, 1, 1], [33, 64, 24], [36, 40, 37]] as const) {
      for (const bType of TYPES) {
        await checkProduct(await portableGpu(), { layout, M, N, K, bType, bias: true, add: true });
      }
    }
  });
}

const TILES = [
  { BM: 128, BN: 128, BK: 8, TM: 8, TN: 8 },
  { BM: 64, BN: 64, BK: 16, TM: 8, TN: 4 },
  { BM: 32, BN: 32, BK: 16, TM: 4, TN: 4 },
];
for (const constants of TILES) {
  const { BM, BN, BK } = constants;
  Deno.test(`the ${BM}x${BN}x${BK} tile kernel agrees with f64 sums in every layout`, async () => {
    const choice = { kernel: "tile", constants };
    for (const layout of LAYOUTS) {
      // Every type costs a compilation; the types differ in how B is unpacked, which no tile changes.
      const types: BType[] = BM !== 64 ? ["f32"] : layout === "NT" ? TYPES : ["f32", "bf16"];
      for (const bType of types) {
        const isTn = layout === "TN";
        const sizes = [[1, 4, 4], [BM - 1, layout === "NT" ? BN + 3 : BN + 4, BK], [BM + 1, BN, BK + 4], [
          BM,
          BN - 4,
          3 * BK - 4,
        ]] as const;
        for (const [M, N, K] of sizes) {
          const [rows, depth] = isTn ? [Math.ceil(M / 4) * 4, K + 1] : [M, K];
          const test = { layout, M: rows, N, K: depth, R: isTn ? 0 : 12, bType, choice };
          await checkProduct(await portableGpu(), { ...test, add: true, bias: true, scale: 0.5 }, 900);
        }
      }
    }
  });
}

Deno.test("the tile kernel sums the parts of a split product", async () => {
  const choice = { kernel: "tile", constants: { ...TILES[2]!, SPLIT: 3 } };
  for (const layout of LAYOUTS) {
    for (const K of [4, 48, 52, 148]) {
      const test = { layout, M: 36, N: 40, K, add: true, bias: true, scale: 0.5, choice };
      await checkProduct(await portableGpu(), test);
    }
  }
});

Deno.test("on a GPU the tile kernel is chosen by size, split where few tiles would run, and the plain one as a last resort", async () => {
  const gpu = { ...await portableGpu(), software: false };
  const chosen = (layout: MatmulLayout, M: number, N: number, K: number): Choice =>
    chooseMatmul(gpu, { layout, M, N, K, R: 0, bType: "bf16", cStride: N, cStart: 0 });
  assert.equal(chosen("NT", 4096, 4096, 576).constants.BM, 128);
  assert.equal(chosen("NT", 904, 576, 576).constants.BM, 64);
  assert.equal(chosen("NT", 226, 577, 576).constants.BM, 32);
  assert.deepEqual(chosen("TN", 16, 576, 904).constants, { ...TILES[2]!, SPLIT: 6 });
  assert.equal(chosen("NT", 226, 576, 577).kernel, "plain");
  assert.equal(chosen("NN", 226, 577, 576).kernel, "plain");
});

for (const RA of [1, 2, 3]) {
  Deno.test(`the subgroup kernel of ${RA} blocks of rows agrees with f64 sums`, async () => {
    const gpu = await testGpu();
    // Elsewhere the kernel has no meaning: it needs subgroups of eight lanes.
    if (gpu.subgroupSize !== 8) return;
    const choice = { kernel: "subgroupNt", constants: { RA } };
    for (const bType of TYPES) {
      for (const M of [1, 8 * RA - 1, 8 * RA, 8 * RA + 1]) {
        await checkProduct(gpu, { layout: "NT", M, N: 37, K: 24, R: 4, bType, bias: true, choice });
      }
    }
  });
}

for (const layout of ["NT", "NN"] as const) {
  for (const bType of TYPES) {
    Deno.test(`matmul ${layout} with ${bType} adds a low-rank term of any rank`, async () => {
      for (const [M, N, K, R] of [[5, 9, 7, 3], [28, 40, 16, 1], [26, 72, 24, 8], [9, 32, 32, 20]] as const) {
        const test = { layout, M, N, K, R, bType, scale: 0.5, bias: true, add: true };
        await checkProduct(await testGpu(), test);
        await checkProduct(await portableGpu(), test);
      }
    });
  }
}

Deno.test("matmul reads and writes windows of rows", async () => {
  const gpu = await testGpu();
  const weight = tensorFrom(gpu, randomValues(64 * 8, 1), { shape: [64, 8] });
  const x = tensorFrom(gpu, randomValues(16 * 8, 2), { shape: [16, 8] });
  const out = createTensor(gpu, [16, 32], { label: "out" });
  writeTensor(gpu, out, new Float32Array(16 * 32).fill(9));
  const { whole, window } = await runOnce(gpu, (r) => {
    const whole = r.tensor([16, 64], "whole");
    matmul(r, "NT", x, weight, { out: whole });
    matmul(r, "NT", x.rows(8, 16), weight.rows(32, 64), { out: out.rows(8, 16) });
    return { whole, window: out };
  });
  for (let m = 0; m < 16; m++) {
    for (let n = 0; n < 32; n++) {
      assert.equal(window[m * 32 + n], m < 8 ? 9 : whole[m * 64 + 32 + n]);
    }
  }
});

Deno.test("matmul NT reads an operand larger than a binding through windows", async () => {
  const gpu = await testGpu();
  const [M, N] = [5, 600];
  const bias = tensorFrom(gpu, randomValues(N, 3));
  const lora = {
    u: tensorFrom(gpu, randomValues(M * 4, 4), { shape: [M, 4] }),
    b: tensorFrom(gpu, randomValues(N * 4, 5), { shape: [N, 4] }),
    scale: 0.5,
  };
  // A window of a bias may start at every eighth row alone (with 256-byte steps, at every 64th).
  const step = gpu.bindingAlignment / 4;
  for (const [K, limit] of [[8, 12288], [40, 12200]] as const) {
    const x = tensorFrom(gpu, randomValues(M * K, 1), { shape: [M, K] });
    const weight = tensorFrom(gpu, randomValues(N * K, 2), { shape: [N, K] });
    const product = (gpu: Gpu, windows: number) =>
      runOnce(gpu, (r) => {
        const y = r.tensor([M, N], "y");
        matmul(r, "NT", x, weight, { out: y, bias, lora });
        assert.equal(r.steps.length, windows);
        return { y };
      });
    const rows = Math.floor(limit / (4 * K) / step) * step;
    assert.deepEqual(
      await product({ ...gpu, maxBindingBytes: limit }, Math.ceil(N / rows)),
      await product(gpu, 1),
    );
    const narrow = new Recorder({ ...gpu, maxBindingBytes: 4 * K * (step - 1) });
    const y = narrow.tensor([M, N], "y");
    assert.throws(() => matmul(narrow, "NT", x, weight, { out: y }), RangeError);
  }
});

Deno.test("matmul refuses operands that do not fit", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const tensor = (...shape: number[]) => createTensor(gpu, shape);
  const out = tensor(2, 3);
  assert.throws(() => matmul(r, "NT", tensor(2, 4), tensor(3, 5), { out }), /inner dimensions are 4 and 5/);
  assert.throws(() => matmul(r, "NN", tensor(2, 4), tensor(4, 5), { out }), /expected 2 x 5 elements/);
  assert.throws(() => matmul(r, "NT", tensor(2, 4), tensor(3, 4), { out, bias: tensor(2) }), /f32 \[3\]/);
  const packed = createTensor(gpu, [2, 4], { dtype: "bf16" });
  assert.throws(() => matmul(r, "NT", packed, tensor(3, 4), { out }), /found bf16 by f32/);
  const lora = { u: tensor(2, 2), b: tensor(2, 3), scale: 1 };
  assert.throws(() => matmul(r, "NT", tensor(2, 4), tensor(3, 4), { out, lora }), /low-rank term/);
});
