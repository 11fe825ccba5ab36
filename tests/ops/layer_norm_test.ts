import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { layerNorm } from "../../lib/ops/layer_norm.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

type Values = ArrayLike<number>;

function reference(x: Values, weight: Values, bias: Values, eps: number): Float64Array {
  const C = weight.length;
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += C) {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += x[start + c]!;
    let squares = 0;
    for (let c = 0; c < C; c++) squares += (x[start + c]! - sum / C) ** 2;
    const rstd = 1 / Math.sqrt(squares / C + eps);
    for (let c = 0; c < C; c++) y[start + c] = (x[start + c]! - sum / C) * rstd * weight[c]! + bias[c]!;
  }
  return y;
}

for (const [N, C] of [[1, 1], [3, 31], [2, 32], [5, 33], [6, 4], [3, 132], [2, 768]] as const) {
  Deno.test(`layerNorm agrees with its reference and its numerical gradient at N=${N}, C=${C}`, async () => {
    const x = randomValues(N * C, 1);
    const weight = randomValues(C, 2);
    const bias = randomValues(C, 3);
    const dy = randomValues(N * C, 4);
    const eps = 1e-5;
    const { output, grads } = await forwardBackward(
      await testGpu(),
      {
        x: { data: x, shape: [N, C] },
        weight: { data: weight, shape: [C] },
        bias: { data: bias, shape: [C] },
      },
      (r, t) => layerNorm(r, t.x!, t.weight!, t.bias!, { eps }),
      () => dy,
      0.5,
    );
    assertClose(output, reference(x, weight, bias, eps), { label: "y" });
    const tolerance = { relative: 1e-4, absolute: 1e-5 };
    const dX = numericalGradient((x) => reference(x, weight, bias, eps), x, dy);
    assertClose(grads.x!, dX, { ...tolerance, label: "dX" });
    const dWeight = numericalGradient((weight) => reference(x, weight, bias, eps), weight, dy);
    assertClose(grads.weight!, dWeight, { ...tolerance, label: "dWeight" });
    const dBias = numericalGradient((bias) => reference(x, weight, bias, eps), bias, dy);
    assertClose(grads.bias!, dBias, { ...tolerance, label: "dBias" });
  });
}

for (const [N, C] of [[64, 5], [65, 5], [1031, 8]] as const) {
  Deno.test(`layerNorm sums its weights' gradients over ${N} rows of ${C}`, async () => {
    const x = randomValues(N * C, 1);
    const weight = randomValues(C, 2);
    const bias = randomValues(C, 3);
    const dy = randomValues(N * C, 4);
    const { grads } = await forwardBackward(
      await testGpu(),
      {
        x: { data: x, shape: [N, C] },
        weight: { data: weight, shape: [C] },
        bias: { data: bias, shape: [C] },
      },
      (r, t) => layerNorm(r, t.x!, t.weight!, t.bias!, { eps: 1e-6 }),
      () => dy,
      0.5,
    );
    const normal = reference(x, new Float64Array(C).fill(1), new Float64Array(C), 1e-6);
    const dWeight = new Float64Array(C);
    const dBias = new Float64Array(C);
    for (const [i, d] of dy.entries()) {
      dWeight[i % C]! += d * normal[i]!;
      dBias[i % C]! += d;
    }
    assertClose(grads.weight!, dWeight, { relative: 1e-5, absolute: 1e-5, label: "dWeight" });
    assertClose(grads.bias!, dBias, { relative: 1e-5, absolute: 1e-5, label: "dBias" });
  });
}

Deno.test("layerNorm keeps its precision where the mean is much larger than the deviation", async () => {
  const C = 128;
  const x = randomValues(C, 1).map((value) => 1000 + value);
  const weight = new Float32Array(C).fill(1);
  const bias = new Float32Array(C);
  const { output } = await forwardBackward(
    await testGpu(),
    { x: { data: x, shape: [1, C] }, weight: { data: weight, shape: [C] }, bias: { data: bias, shape: [C] } },
    (r, t) => layerNorm(r, t.x!, t.weight!, t.bias!, { eps: 1e-5 }),
    (size) => new Float32Array(size),
  );
  assertClose(output, reference(x, weight, bias, 1e-5), { absolute: 5e-4, label: "y" });
});

Deno.test("layerNorm refuses weights of another length or type", async () => {
  const r = new Recorder(await testGpu());
  const x = r.tensor([2, 6], "x");
  assert.throws(
    () => layerNorm(r, x, r.tensor([6], "weight"), r.tensor([5], "bias"), { eps: 1e-5 }),
    { name: "TypeError", message: 'Cannot normalise "x" [2,6] with "bias": found f32 [5], expected f32 [6]' },
  );
  assert.throws(
    () => layerNorm(r, x, r.tensor([6], "weight", "bf16"), r.tensor([6], "bias"), { eps: 1e-5 }),
    /found bf16 \[6\], expected f32 \[6\]/,
  );
});
