import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { swiglu } from "../../lib/ops/swiglu.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

const reference = (gate: ArrayLike<number>, up: ArrayLike<number>): Float64Array =>
  Float64Array.from(gate, (g, i) => g / (1 + Math.exp(-g)) * up[i]!);

for (const shape of [[1], [7], [2, 128], [3, 5, 17]]) {
  Deno.test(`swiglu agrees with its reference and its numerical gradients at [${shape}]`, async () => {
    const size = shape.reduce((product, n) => product * n, 1);
    const gate = randomValues(size, 1, 8);
    const up = randomValues(size, 2, 3);
    const dy = randomValues(size, 3);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { gate: { data: gate, shape }, up: { data: up, shape } },
      (r, t) => swiglu(r, t.gate!, t.up!),
      () => dy,
      0.5,
    );
    assertClose(output, reference(gate, up), { relative: 1e-6, label: "y" });
    const dGate = numericalGradient((gate) => reference(gate, up), gate, dy);
    assertClose(grads.gate!, dGate, { relative: 2e-6, absolute: 1e-6, label: "dGate" });
    const dUp = numericalGradient((up) => reference(gate, up), up, dy);
    assertClose(grads.up!, dUp, { relative: 2e-6, absolute: 1e-6, label: "dUp" });
  });
}

Deno.test("swiglu of a tensor with itself adds both gradients", async () => {
  const x = randomValues(9, 1, 3);
  const dy = randomValues(9, 2);
  const { grads } = await forwardBackward(
    await testGpu(),
    { x: { data: x, shape: [9] } },
    (r, t) => swiglu(r, t.x!, t.x!),
    () => dy,
  );
  assertClose(grads.x!, numericalGradient((x) => reference(x, x), x, dy), { relative: 1e-5, label: "dX" });
});

Deno.test("swiglu is finite at the ends of the range", async () => {
  const gate = Float32Array.of(-1e30, -1e4, -100, 0, 100, 1e4, 1e12);
  const up = new Float32Array(7).fill(2);
  const { output, grads } = await forwardBackward(
    await testGpu(),
    { gate: { data: gate, shape: [7] }, up: { data: up, shape: [7] } },
    (r, t) => swiglu(r, t.gate!, t.up!),
    (size) => new Float32Array(size).fill(1),
  );
  for (const [i, g] of gate.entries()) {
    const want = { relative: 1e-6, absolute: 1e-3, label: `at ${g}` };
    assertClose([output[i]!], [2 * Math.max(g, 0)], want);
    assertClose([grads.up![i]!], [Math.max(g, 0)], want);
    assertClose([grads.gate![i]!], [g > 0 ? 2 : g < 0 ? 0 : 1], want);
  }
});

Deno.test("swiglu refuses tensors of different shapes", async () => {
  const r = new Recorder(await testGpu());
  assert.throws(
    () => swiglu(r, r.tensor([2, 3], "gate"), r.tensor([6], "up")),
    { name: "TypeError", message: 'Cannot gate "up" [6] with "gate" [2,3]: shapes differ' },
  );
});
