import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { readF32, tensorFrom, writeTensor } from "../../lib/gpu/tensor.ts";
import { findNonFiniteGradient, ParameterSet } from "../../lib/nn/parameters.ts";
import { rmsNorm } from "../../lib/ops/rms_norm.ts";
import { randomValues, testGpu } from "../support/gpu.ts";

function groups() {
  return [
    {
      name: "projection",
      weightDecay: 0.01,
      tensors: [
        { name: "w", shape: [3, 33], data: randomValues(99, 1) },
        { name: "b", shape: [33], data: randomValues(33, 2) },
      ],
    },
    { name: "lora", weightDecay: 0, tensors: [{ name: "scale", shape: [7], data: randomValues(7, 3) }] },
  ];
}

Deno.test("a parameter set holds values under their names and counts scalars", async () => {
  const gpu = await testGpu();
  const set = new ParameterSet(gpu, groups());
  assert.deepEqual(set.names, ["w", "b", "scale"]);
  assert.deepEqual([set.count(), set.count("projection"), set.count("lora")], [139, 132, 7]);
  assert.deepEqual(set.get("w").shape, [3, 33]);
  assert.equal(set.has("w"), true);
  assert.equal(set.has("x"), false);
  const values = await set.read();
  for (const { tensors } of groups()) {
    for (const { name, data } of tensors) assert.deepEqual(values.get(name), data);
  }
  assert.deepEqual(set.groups.map(({ name, start, size }) => [name, start, size]), [
    ["projection", 0, 192],
    ["lora", 192, 64],
  ]);
  assert.equal(set.memoryBytes, 4 * 256 * 4);
  assert.throws(() => set.get("x"), /no trainable tensor "x"/);
  set.destroy();
});

Deno.test("ops read parameters and add to their gradients in place", async () => {
  const gpu = await testGpu();
  const set = new ParameterSet(gpu, groups());
  const r = new Recorder(gpu, true);
  const x = tensorFrom(gpu, randomValues(14, 4), { shape: [2, 7] });
  const y = r.keep(rmsNorm(r, x, set.get("scale"), { eps: 1e-5 }));
  r.seedGradient(y, tensorFrom(gpu, randomValues(14, 5), { shape: [2, 7] }));
  r.backward();
  const plan = await r.compile();
  plan.run();
  const once = await set.readGradients();
  assert.ok(once.get("scale")!.every((g) => g !== 0));
  assert.ok([...once.get("w")!, ...once.get("b")!].every((g) => g === 0));
  plan.run();
  assert.deepEqual((await set.readGradients()).get("scale"), once.get("scale")!.map((g) => 2 * g));
  assert.deepEqual(await readF32(gpu, set.get("scale").grad!), once.get("scale")!.map((g) => 2 * g));
  gpu.check();
  plan.destroy({ arena: true });
  set.destroy();
});

Deno.test("the first tensor with bad gradients is named with how many", async () => {
  const gpu = await testGpu();
  const set = new ParameterSet(gpu, groups());
  assert.equal(await findNonFiniteGradient(set), undefined);
  writeTensor(gpu, set.get("b").grad!, new Float32Array(33).fill(NaN, 30).fill(-Infinity, 0, 1));
  writeTensor(gpu, set.get("scale").grad!, new Float32Array(7).fill(Infinity));
  assert.deepEqual(await findNonFiniteGradient(set), { name: "b", count: 4 });
  set.destroy();
});

Deno.test("values and state are replaced whole or not at all", async () => {
  const gpu = await testGpu();
  const set = new ParameterSet(gpu, groups());
  const before = await set.readState();
  const values = new Map([...before.values].map(([name, data]) => [name, data.map((x) => x + 1)]));
  set.write(values);
  assert.deepEqual(await set.read(), values);
  const missing = new Map(values);
  missing.delete("b");
  assert.throws(() => set.write(missing), /values of "b": missing/);
  assert.throws(
    () => set.writeState({ ...before, v: new Map(before.v).set("b", new Float32Array(3)) }),
    /v of "b"/,
  );
  assert.throws(() => set.write(new Map(values).set("other", new Float32Array(1))), /"other"/);
  assert.deepEqual(await set.read(), values);
  writeTensor(gpu, set.get("b").grad!, new Float32Array(33).fill(1));
  set.writeState(before);
  assert.deepEqual(await set.readState(), before);
  assert.ok((await readF32(gpu, set.grads)).every((g) => g === 0));
  gpu.check();
  set.destroy();
});

Deno.test("a parameter set refuses names twice, wrong sizes and nothing at all", async () => {
  const gpu = await testGpu();
  const data = new Float32Array(4);
  const group = (name: string, ...tensors: { name: string; shape: number[]; data: Float32Array }[]) => ({
    name,
    weightDecay: 0,
    tensors,
  });
  const t = { name: "t", shape: [2, 2], data };
  assert.throws(() => new ParameterSet(gpu, []), /nothing is trainable/);
  assert.throws(() => new ParameterSet(gpu, [group("g")]), /no tensor/);
  assert.throws(() => new ParameterSet(gpu, [group("g", t, t)]), /"t": the name occurs twice/);
  assert.throws(() => new ParameterSet(gpu, [group("g", t), group("g", { ...t, name: "u" })]), /"g"/);
  assert.throws(() => new ParameterSet(gpu, [group("g", { ...t, shape: [5] })]), TypeError);
});
