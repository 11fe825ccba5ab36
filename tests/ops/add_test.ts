import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { destroyTensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { add } from "../../lib/ops/add.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, runOnce, testGpu } from "../support/gpu.ts";

for (const shape of [[1], [3], [2, 2], [5, 13], [3, 7, 33], [260, 1]]) {
  Deno.test(`add agrees with its reference and hands its gradient to both at [${shape}]`, async () => {
    const size = shape.reduce((product, n) => product * n, 1);
    const a = randomValues(size, 1);
    const b = randomValues(size, 2);
    const dy = randomValues(size, 3);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { a: { data: a, shape }, b: { data: b, shape } },
      (r, t) => add(r, t.a!, t.b!),
      () => dy,
      0.5,
    );
    assertClose(output, a.map((value, i) => value + b[i]!), { label: "y" });
    assertClose(grads.a!, dy, { label: "dA" });
    assertClose(grads.b!, dy, { label: "dB" });
  });
}

Deno.test("add of a tensor to itself doubles its gradient", async () => {
  const a = randomValues(7, 1);
  const dy = randomValues(7, 2);
  const { output, grads } = await forwardBackward(
    await testGpu(),
    { a: { data: a, shape: [7] } },
    (r, t) => {
      const between = add(r, t.a!, t.a!);
      return add(r, between, between);
    },
    () => dy,
  );
  assertClose(output, a.map((value) => 4 * value), { label: "y" });
  assertClose(grads.a!, dy.map((value) => 4 * value), { label: "dA" });
});

Deno.test("add folds grids that are longer than one dimension allows", async () => {
  const gpu = await testGpu();
  const size = gpu.device.limits.maxComputeWorkgroupsPerDimension * 256 + 5;
  const a = new Float32Array(size);
  a[size - 1] = 2;
  a[12345] = 3;
  const input = tensorFrom(gpu, a);
  const { output } = await runOnce(gpu, (r) => ({ output: add(r, input, input) }));
  destroyTensor(input);
  assert.deepEqual([output[12345], output[size - 1], output[7]], [6, 4, 0]);
});

Deno.test("add refuses tensors of different shapes", async () => {
  const r = new Recorder(await testGpu());
  assert.throws(
    () => add(r, r.tensor([2, 3], "left"), r.tensor([3, 2], "right")),
    { name: "TypeError", message: 'Cannot add "left" [2,3] and "right" [3,2]: shapes differ' },
  );
});
