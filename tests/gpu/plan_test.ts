import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import { add } from "../../lib/ops/add.ts";
import { matmul } from "../../lib/ops/matmul.ts";
import { testGpu } from "../support/gpu.ts";

Deno.test("a part of a plan runs its dispatches alone, on the plan's memory", async () => {
  const gpu = await testGpu();
  const recorder = new Recorder(gpu);
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3, 4), { shape: [1, 4] });
  const product = createTensor(gpu, [1, 1]);
  matmul(recorder, "NT", x, x, { out: product });
  const sum = recorder.keep(add(recorder, x, x));
  const plan = await recorder.compile();
  const products = plan.select(({ kernel }) => kernel.startsWith("matmul"));
  assert.equal(products.dispatchCount, plan.dispatchCount - 1);
  assert.equal(products.flops, plan.flops);

  products.run();
  assert.deepEqual([...await readF32(gpu, product)], [30]);
  assert.deepEqual([...await readF32(gpu, sum)], [0, 0, 0, 0]);
  plan.run();
  assert.deepEqual([...await readF32(gpu, sum)], [2, 4, 6, 8]);
  assert.equal(plan.select(() => false).dispatchCount, 0);
  plan.destroy({ arena: true });
});
