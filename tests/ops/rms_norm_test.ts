import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { rmsNorm } from "../../lib/ops/rms_norm.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

function reference(x: ArrayLike<number>, weight: ArrayLike<number>, C: number, eps: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let n = 0; n < x.length / C; n++) {
    let squares = 0;
    for (let c = 0; c < C; c++) squares += x[n * C + c]! ** 2;
    for (let c = 0; c < C; c++) y[n * C + c] = x[n * C + c]! / Math.sqrt(squares / C + eps) * weight[c]!;
  }
  return y;
}

for (const [N, C] of [[1, 1], [3, 31], [2, 32], [5, 33], [6, 4], [3, 132], [4, 576]] as const) {
  Deno.test(`rmsNorm agrees with its reference and its numerical gradient at N=${N}, C=${C}`, async () => {
    const x = randomValues(N * C, 1);
    const weight = randomValues(C, 2);
    const dy = randomValues(N * C, 3);
    const eps = 1e-5;
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape: [N, C] }, weight: { data: weight, shape: [C] } },
      (r, t) => rmsNorm(r, t.x!, t.weight!, { eps }),
      () => dy,
      0.5,
    );
    assertClose(output, reference(x, weight, C, eps), { label: "y" });
    const dx = numericalGradient((x) => reference(x, weight, C, eps), x, dy);
    assertClose(grads.x!, dx, { relative: 1e-4, absolute: 1e-5, label: "dx" });
    const dWeight = numericalGradient((w) => reference(x, w, C, eps), weight, dy);
    assertClose(grads.weight!, dWeight, { relative: 1e-4, absolute: 1e-5, label: "dWeight" });
  });
}

for (const [N, C] of [[64, 5], [65, 5], [1031, 8]] as const) {
  Deno.test(`rmsNorm sums its weight's gradient over ${N} rows of ${C}`, async () => {
    const x = randomValues(N * C, 1);
    const dy = randomValues(N * C, 3);
    const { grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape: [N, C] }, weight: { data: randomValues(C, 2), shape: [C] } },
      (r, t) => rmsNorm(r, t.x!, t.weight!, { eps: 1e-6 }),
      () => dy,
      0.5,
    );
    const normal = reference(x, new Float64Array(C).fill(1), C, 1e-6);
    const dWeight = new Float64Array(C);
    for (const [i, d] of dy.entries()) dWeight[i % C]! += d * normal[i]!;
    assertClose(grads.weight!, dWeight, { relative: 1e-5, absolute: 1e-5, label: "dWeight" });
  });
}

Deno.test("rmsNorm refuses a weight of another length or type", async () => {
  const r = new Recorder(await testGpu());
  const x = r.tensor([2, 6], "x");
  assert.throws(() => rmsNorm(r, x, r.tensor([5], "weight"), { eps: 1e-5 }), {
    name: "TypeError",
    message: 'Cannot normalise "x" [2,6] with "weight": found f32 [5], expected f32 [6]',
  });
  assert.throws(() => rmsNorm(r, x, r.tensor([6], "weight", "f16"), { eps: 1e-5 }), /found f16 \[6\]/);
});
