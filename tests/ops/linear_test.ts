import assert from "node:assert/strict";
import { decodeBf16, encodeBf16 } from "../../lib/base/half.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { makeTrainable, readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import { dropout } from "../../lib/ops/dropout.ts";
import { linear } from "../../lib/ops/linear.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, runOnce, testGpu } from "../support/gpu.ts";

interface Operands {
  x: ArrayLike<number>;
  weight: ArrayLike<number>;
  bias: ArrayLike<number>;
  a: ArrayLike<number>;
  b: ArrayLike<number>;
}

const SCALE = 1.5;

/** y = x weightᵗ + bias + SCALE x aᵗ bᵗ in f64. */
function reference({ x, weight, bias, a, b }: Operands, N: number, K: number, R: number): Float64Array {
  const M = x.length / K;
  const y = new Float64Array(M * N);
  for (let m = 0; m < M; m++) {
    const u = new Float64Array(R);
    for (let r = 0; r < R; r++) for (let k = 0; k < K; k++) u[r]! += x[m * K + k]! * a[r * K + k]!;
    for (let n = 0; n < N; n++) {
      let sum = bias[n]!;
      for (let k = 0; k < K; k++) sum += x[m * K + k]! * weight[n * K + k]!;
      for (let r = 0; r < R; r++) sum += SCALE * u[r]! * b[n * R + r]!;
      y[m * N + n] = sum;
    }
  }
  return y;
}

for (const [M, N, K, R] of [[1, 1, 1, 1], [3, 5, 7, 2], [9, 16, 8, 4], [26, 40, 32, 8]] as const) {
  Deno.test(`linear with LoRA agrees with its numerical gradients at ${M}x${N}x${K}, rank ${R}`, async () => {
    const operands = {
      x: randomValues(M * K, 1),
      weight: randomValues(N * K, 2),
      bias: randomValues(N, 3),
      a: randomValues(R * K, 4),
      b: randomValues(N * R, 5),
    };
    const shapes = { x: [1, M, K], weight: [N, K], bias: [N], a: [R, K], b: [N, R] };
    const dy = randomValues(M * N, 6);
    const names = Object.keys(operands) as (keyof Operands)[];
    const { output, grads } = await forwardBackward(
      await testGpu(),
      Object.fromEntries(names.map((name) => [name, { data: operands[name], shape: shapes[name] }])),
      (r, t) => {
        const y = linear(r, t.x!, t.weight!, { bias: t.bias!, lora: { a: t.a!, b: t.b!, scale: SCALE } });
        assert.deepEqual(y.shape, [1, M, N]);
        return y;
      },
      () => dy,
      0.5,
    );
    assertClose(output, reference(operands, N, K, R), { relative: 2e-6, label: "y" });
    for (const name of names) {
      const indices = Array.from({ length: operands[name].length }, (_, i) => i)
        .filter((i) => i % Math.ceil(operands[name].length / 64) === 0);
      const f = (values: Float64Array) => reference({ ...operands, [name]: values }, N, K, R);
      const want = numericalGradient(f, operands[name], dy, indices);
      const got = indices.map((i) => grads[name]![i]!);
      assertClose(got, want, { relative: 1e-5, absolute: 1e-5, label: `d ${name}` });
    }
  });
}

Deno.test("linear drops the adapter's input in the forward and the same elements in the backward", async () => {
  const gpu = await testGpu();
  const [M, N, K, R] = [6, 12, 16, 4];
  const site = { rate: 0.4, seed: tensorFrom(gpu, new Uint32Array([7, 3])), site: 5 };
  const operands = {
    x: randomValues(M * K, 1),
    weight: randomValues(N * K, 2),
    bias: randomValues(N, 3),
    a: randomValues(R * K, 4),
    b: randomValues(N * R, 5),
  };
  const { mask } = await runOnce(gpu, (r) => {
    const ones = tensorFrom(gpu, new Float32Array(M * K).fill(1), { shape: [M, K] });
    return { mask: dropout(r, ones, site) };
  }, { training: true });
  assert.ok(mask.includes(0) && mask.some((value) => value > 1));
  const f = (o: Operands): Float64Array => {
    const { x, ...rest } = o;
    const plain = reference({ ...o, b: new Float64Array(N * R) }, N, K, R);
    const dropped = Float64Array.from(x, (value, i) => value * mask[i]!);
    const low = reference(
      {
        ...rest,
        x: dropped,
        weight: new Float64Array(N * K),
        bias: new Float64Array(N),
      },
      N,
      K,
      R,
    );
    return plain.map((value, i) => value + low[i]!);
  };
  const shapes = { x: [M, K], weight: [N, K], bias: [N], a: [R, K], b: [N, R] };
  const names = Object.keys(operands) as (keyof Operands)[];
  const dy = randomValues(M * N, 6);
  const { output, grads } = await forwardBackward(
    gpu,
    Object.fromEntries(names.map((name) => [name, { data: operands[name], shape: shapes[name] }])),
    (r, t) => {
      const lora = { a: t.a!, b: t.b!, scale: SCALE, dropout: site };
      return linear(r, t.x!, t.weight!, { bias: t.bias!, lora });
    },
    () => dy,
    0.5,
  );
  assertClose(output, f(operands), { relative: 2e-6, label: "y" });
  for (const name of names) {
    const want = numericalGradient((values) => f({ ...operands, [name]: values }), operands[name], dy);
    assertClose(grads[name]!, want, { relative: 1e-5, absolute: 1e-5, label: `d ${name}` });
  }
});

Deno.test("linear over a frozen packed weight passes the gradient to its input only", async () => {
  const gpu = await testGpu();
  const [M, N, K] = [5, 24, 16];
  const bits = encodeBf16(randomValues(N * K, 2));
  const weight = decodeBf16(bits);
  const x = makeTrainable(gpu, tensorFrom(gpu, randomValues(M * K, 1), { shape: [M, K] }));
  const w = tensorFrom(gpu, bits, { shape: [N, K], dtype: "bf16" });
  const dy = randomValues(M * N, 6);
  const r = new Recorder(gpu, true);
  const y = r.keep(linear(r, x, w));
  r.seedGradient(y, tensorFrom(gpu, dy, { shape: [M, N] }));
  r.backward();
  assert.equal(r.gradientOf(w), undefined);
  const plan = await r.compile();
  plan.run();
  const want = new Float64Array(M * K);
  for (let m = 0; m < M; m++) {
    for (let k = 0; k < K; k++) {
      for (let n = 0; n < N; n++) want[m * K + k]! += dy[m * N + n]! * weight[n * K + k]!;
    }
  }
  assertClose(await readF32(gpu, x.grad!), want, { relative: 2e-6, label: "dx" });
  plan.destroy({ arena: true });
});

Deno.test("linear records no backward when everything is frozen", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu, true);
  const x = tensorFrom(gpu, randomValues(6, 1), { shape: [2, 3] });
  const y = linear(r, x, tensorFrom(gpu, randomValues(12, 2), { shape: [4, 3] }));
  const forward = r.steps.length;
  r.seedGradient(y, tensorFrom(gpu, randomValues(8, 3), { shape: [2, 4] }));
  r.backward();
  assert.equal(y.requiresGrad, false);
  assert.equal(r.steps.length, forward);
});

Deno.test("linear refuses rows of another length and a packed weight that is to be trained", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, randomValues(6, 1), { shape: [2, 3] });
  const wide = tensorFrom(gpu, randomValues(8, 2), { shape: [2, 4] });
  assert.throws(() => linear(new Recorder(gpu), x, wide), /its rows have 3 elements, expected 4/);
  const packed = tensorFrom(gpu, new Uint16Array(6), { shape: [2, 3], dtype: "bf16" });
  packed.storage.requiresGrad = true;
  assert.throws(() => linear(new Recorder(gpu, true), x, packed), /it is bf16, expected f32/);
});
