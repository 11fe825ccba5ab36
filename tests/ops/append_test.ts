import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, readF32, tensorFrom, writeTensor } from "../../lib/gpu/tensor.ts";
import { append } from "../../lib/ops/append.ts";
import { testGpu } from "../support/gpu.ts";

Deno.test("append writes one row a replay and wraps around", async () => {
  const gpu = await testGpu();
  const values = createTensor(gpu, [2]);
  const ring = createTensor(gpu, [3, 2]);
  const counter = tensorFrom(gpu, new Uint32Array(1));
  const r = new Recorder(gpu);
  append(r, values, { ring, counter });
  const plan = await r.compile();
  for (let i = 1; i <= 4; i++) {
    writeTensor(gpu, values, Float32Array.of(i, -i));
    plan.run();
  }
  assert.deepEqual([...await readF32(gpu, ring)], [4, -4, 2, -2, 3, -3]);
});

Deno.test("append refuses a row of another width", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const options = { ring: createTensor(gpu, [3, 2]), counter: tensorFrom(gpu, new Uint32Array(1)) };
  assert.throws(() => append(r, createTensor(gpu, [3]), options), TypeError);
});
