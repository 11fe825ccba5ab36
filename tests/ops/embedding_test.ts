import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { type DType, makeTrainable, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { embedding } from "../../lib/ops/embedding.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, runOnce, testGpu } from "../support/gpu.ts";

function randomIds(count: number, V: number, seed: number): Uint32Array<ArrayBuffer> {
  return Uint32Array.from(randomValues(count, seed), (x) => Math.floor((x + 1) / 2 * V) % V);
}

/** The device with a binding limit so low that a table needs windows. */
async function smallBindings(maxBindingBytes: number) {
  return { ...await testGpu(), maxBindingBytes };
}

for (const [N, V, D] of [[1, 1, 1], [7, 5, 3], [40, 101, 33], [20, 65, 64]] as const) {
  for (const limit of [undefined, 9000]) {
    const where = `N=${N} V=${V} D=${D}${limit === undefined ? "" : ` through windows of ${limit} bytes`}`;
    Deno.test(`embedding looks rows up and sums the gradient of repeated ids, ${where}`, async () => {
      const gpu = limit === undefined ? await testGpu() : await smallBindings(limit);
      const data = randomValues(V * D, 1);
      const ids = randomIds(N, V, 2);
      const dy = randomValues(N * D, 3);
      const table = makeTrainable(gpu, tensorFrom(gpu, data, { shape: [V, D], label: "table" }));
      gpu.device.queue.writeBuffer(table.grad!.storage.buffer!, 0, new Float32Array(V * D).fill(0.5));
      const r = new Recorder(gpu, true);
      const y = r.keep(embedding(r, tensorFrom(gpu, ids), table));
      r.seedGradient(y, tensorFrom(gpu, dy, { shape: y.shape }));
      r.backward();
      const plan = await r.compile();
      plan.run();
      const want = Array.from(ids, (id) => [...data.slice(id * D, (id + 1) * D)]).flat();
      assert.deepEqual([...await readF32(gpu, y)], want);
      const dTable = new Float64Array(V * D).fill(0.5);
      for (let n = 0; n < N; n++) for (let c = 0; c < D; c++) dTable[ids[n]! * D + c]! += dy[n * D + c]!;
      const first = await readF32(gpu, table.grad!);
      assertClose(first, dTable, { label: "dTable" });
      plan.run(); // a second pass adds the same again
      const twice = await readF32(gpu, table.grad!);
      assertClose(twice, dTable.map((g) => 2 * g - 0.5), { label: "dTable twice" });
      gpu.check();
      plan.destroy({ arena: true });
    });
  }
}

Deno.test("embedding reads packed 16-bit tables with odd widths", async () => {
  const gpu = await smallBindings(2048);
  const [V, D] = [301, 7];
  // 1.5, -2, 2^-14 (smallest normal f16), 0: exact in both types.
  const patterns: Record<string, number[]> = {
    bf16: [0x3fc0, 0xc000, 0x3880, 0],
    f16: [0x3e00, 0xc000, 0x0400, 0],
  };
  const values = [1.5, -2, 2 ** -14, 0];
  const ids = randomIds(50, V, 4);
  for (const dtype of ["bf16", "f16"] as DType[]) {
    const pick = (i: number) => (i * 7 + (i >> 3)) % 4;
    const data = Uint16Array.from({ length: V * D }, (_, i) => patterns[dtype]![pick(i)]!);
    const { y } = await runOnce(gpu, (r) => ({
      y: embedding(
        r,
        tensorFrom(gpu, ids, { shape: [5, 10] }),
        tensorFrom(gpu, data, { shape: [V, D], dtype }),
      ),
    }));
    const want = Array.from(y, (_, i) => values[pick(ids[Math.floor(i / D)]! * D + i % D)]);
    assert.deepEqual([...y], want, dtype);
  }
});

Deno.test("embedding writes a fresh gradient without memory of the last run", async () => {
  const gpu = await testGpu();
  const table = tensorFrom(gpu, randomValues(6, 1), { shape: [3, 2] });
  const run = async (training: boolean): Promise<Tensor | undefined> => {
    const r = new Recorder(gpu, training);
    table.storage.requiresGrad = true;
    const y = embedding(r, tensorFrom(gpu, Uint32Array.of(2, 0, 2)), table);
    r.seedGradient(y, tensorFrom(gpu, Float32Array.of(1, 2, 3, 4, 5, 6), { shape: [3, 2] }));
    r.backward();
    const gradient = r.gradientOf(table);
    if (gradient) r.keep(gradient);
    const plan = await r.compile();
    plan.run();
    plan.run();
    return gradient;
  };
  assert.deepEqual([...await readF32(gpu, (await run(true))!)], [3, 4, 0, 0, 6, 8]);
  assert.equal(await run(false), undefined);
});

Deno.test("embedding turns an id outside the table into NaN and leaves the other rows alone", async () => {
  for (const gpu of [await testGpu(), await smallBindings(512)]) {
    const table = tensorFrom(gpu, randomValues(200, 1), { shape: [100, 2] });
    const ids = tensorFrom(gpu, Uint32Array.of(99, 100, 0, 0xffffffff));
    const { y } = await runOnce(gpu, (r) => ({ y: embedding(r, ids, table) }));
    assert.deepEqual(Array.from(y, Number.isNaN), [false, false, true, true, false, false, true, true]);
  }
});

Deno.test("embedding refuses ids, tables and trainables of the wrong kind", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu, true);
  const ids = r.tensor([3], "ids", "u32");
  const packed = r.tensor([4, 2], "packed", "bf16");
  assert.throws(() => embedding(r, r.tensor([3], "ids", "i32"), packed), TypeError);
  assert.throws(() => embedding(r, ids, r.tensor([4], "flat")), TypeError);
  assert.throws(() => embedding(r, ids, r.tensor([4, 2], "table", "u32")), TypeError);
  packed.storage.requiresGrad = true;
  assert.throws(() => embedding(r, ids, packed), TypeError);
  const wide = r.tensor([200, 64], "wide");
  assert.throws(() => embedding(new Recorder({ ...gpu, maxBindingBytes: 128 }), ids, wide), RangeError);
});
