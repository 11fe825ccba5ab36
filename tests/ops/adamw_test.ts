import assert from "node:assert/strict";
import type { Gpu } from "../../lib/gpu/device.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, readF32, type Tensor, writeTensor } from "../../lib/gpu/tensor.ts";
import { ParameterSet } from "../../lib/nn/parameters.ts";
import { createOptimizerState, recordOptimizerStep, writeOptimizerState } from "../../lib/ops/adamw.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, testGpu } from "../support/gpu.ts";

const SHAPES = { a: [5, 7], b: [1], c: [64], d: [33, 65] };
const GROUPS = { slow: { names: ["a", "b"], weightDecay: 0 }, fast: { names: ["c", "d"], weightDecay: 0.1 } };
const RING = 3;

type Values = Map<string, Float32Array>;

function makeSet(gpu: Gpu): ParameterSet {
  return new ParameterSet(
    gpu,
    Object.entries(GROUPS).map(([name, { names, weightDecay }]) => ({
      name,
      weightDecay,
      tensors: names.map((name) => {
        const shape = SHAPES[name as keyof typeof SHAPES];
        return { name, shape, data: randomValues(shape.reduce((x, y) => x * y, 1), name.charCodeAt(0)) };
      }),
    })),
  );
}

/** A step's gradients; the same for the device and the reference. */
function gradientsOf(set: ParameterSet, step: number, scale = 1): Values {
  return new Map(set.names.map((name) => [name, randomValues(set.get(name).size, step * 31 + 5, scale)]));
}

interface Stepper {
  set: ParameterSet;
  stats: Tensor;
  loss: Tensor;
  step(step: number, gradients: Values, loss?: number): void;
}

const rates = (step: number) => ({ slow: 1e-3 * step, fast: 3e-3 / step });

async function makeStepper(gpu: Gpu, maxGradNorm: number): Promise<Stepper> {
  const set = makeSet(gpu);
  const state = createOptimizerState(gpu, set);
  const stats = createTensor(gpu, [RING, 4]);
  const loss = createTensor(gpu, [1]);
  const r = new Recorder(gpu);
  recordOptimizerStep(r, set, { state, stats, loss, maxGradNorm });
  const plan = await r.compile();
  return {
    set,
    stats,
    loss,
    step(step, gradients, lossValue = 1) {
      for (const [name, data] of gradients) writeTensor(gpu, set.get(name).grad!, data);
      writeTensor(gpu, loss, Float32Array.of(lossValue));
      writeOptimizerState(gpu, state, { set, step, slot: step % RING, learningRates: rates(step) });
      plan.run();
    },
  };
}

/** torch.nn.utils.clip_grad_norm_ and torch.optim.AdamW in f64. */
class Reference {
  readonly moments = new Map<string, { m: Float64Array; v: Float64Array }>();
  constructor(readonly values: Map<string, Float64Array>, readonly maxGradNorm: number) {
    for (const [name, p] of values) {
      this.moments.set(name, { m: new Float64Array(p.length), v: new Float64Array(p.length) });
    }
  }
  step(step: number, gradients: Values): { norm: number; clip: number } {
    let squares = 0;
    for (const gradient of gradients.values()) for (const g of gradient) squares += g * g;
    const norm = Math.sqrt(squares);
    const clip = Math.min(1, this.maxGradNorm / (norm + 1e-6));
    for (const [group, { names, weightDecay }] of Object.entries(GROUPS)) {
      const lr = rates(step)[group as keyof typeof GROUPS];
      for (const name of names) {
        const p = this.values.get(name)!;
        const { m, v } = this.moments.get(name)!;
        for (let i = 0; i < p.length; i++) {
          const g = gradients.get(name)![i]! * clip;
          p[i]! *= 1 - lr * weightDecay;
          m[i] = 0.9 * m[i]! + 0.1 * g;
          v[i] = 0.999 * v[i]! + 0.001 * g * g;
          const denominator = Math.sqrt(v[i]!) / Math.sqrt(1 - 0.999 ** step) + 1e-8;
          p[i]! -= lr / (1 - 0.9 ** step) * m[i]! / denominator;
        }
      }
    }
    return { norm, clip };
  }
}

for (const [maxGradNorm, limit] of [[0.7, 0], [1e6, 0], [Infinity, 0], [0.7, 512]] as const) {
  const where = limit === 0 ? "" : ` through windows of ${limit} bytes`;
  Deno.test(`the optimizer step agrees with torch's AdamW clipped to ${maxGradNorm}${where}`, async () => {
    const gpu = limit === 0 ? await testGpu() : { ...await testGpu(), maxBindingBytes: limit };
    const { set, stats, loss, step } = await makeStepper(gpu, maxGradNorm);
    const start = await set.read();
    const reference = new Reference(
      new Map([...start].map(([name, p]) => [name, Float64Array.from(p)])),
      maxGradNorm,
    );
    const wanted: number[] = [];
    for (let t = 1; t <= 5; t++) {
      const gradients = gradientsOf(set, t, t);
      const { norm, clip } = reference.step(t, gradients);
      step(t, gradients, t + 0.25);
      if (t > 5 - RING) wanted[t % RING] = t;
      if (t > 5 - RING) assert.ok(clip <= 1 && norm > 0);
      if (t === 5) {
        const row = (await readF32(gpu, stats)).slice(t % RING * 4, t % RING * 4 + 4);
        assertClose(row, [5.25, norm, clip, 0], { label: "stats" });
      }
    }
    assert.deepEqual(
      Array.from({ length: RING }, (_, i) => wanted[i]! + 0.25),
      [...await readF32(gpu, stats)].filter((_, i) => i % 4 === 0),
    );
    const state = await set.readState();
    for (const name of set.names) {
      assertClose(state.values.get(name)!, reference.values.get(name)!, { label: name, absolute: 2e-6 });
      assertClose(state.m.get(name)!, reference.moments.get(name)!.m, { label: `m of ${name}` });
      assertClose(state.v.get(name)!, reference.moments.get(name)!.v, { label: `v of ${name}` });
    }
    const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + Math.abs(b), 0);
    assert.equal(sum(await readF32(gpu, set.grads)), 0, "gradients are zero afterwards");
    assert.equal((await readF32(gpu, loss))[0], 0, "the loss starts again");
    gpu.check();
    set.destroy();
  });
}

for (
  const [what, gradient, loss] of [["a NaN gradient", NaN, 1], ["an infinite gradient", -Infinity, 1], [
    "a NaN loss",
    0,
    NaN,
  ]] as const
) {
  Deno.test(`${what} changes nothing, is flagged, and later steps change nothing either`, async () => {
    const gpu = await testGpu();
    const { set, stats, step } = await makeStepper(gpu, 1);
    step(1, gradientsOf(set, 1));
    const before = await set.readState();
    const gradients = gradientsOf(set, 2);
    gradients.get("d")![7] = gradient;
    step(2, gradients, loss);
    const kept = await set.readGradients();
    assert.deepEqual(kept, gradients, "gradients stay for whoever looks for the culprit");
    const rows = await readF32(gpu, stats);
    assert.equal(rows[1 * 4 + 3], 0);
    assert.equal(rows[2 * 4 + 3], 1);
    assert.deepEqual(await set.readState(), before);
    gpu.check();
    set.destroy();
  });
}

Deno.test("a set written from another's state continues bit for bit", async () => {
  const gpu = await testGpu();
  const [one, two] = [await makeStepper(gpu, 1), await makeStepper(gpu, 1)];
  for (let t = 1; t <= 2; t++) one.step(t, gradientsOf(one.set, t));
  two.set.writeState(await one.set.readState());
  for (const { set, step } of [one, two]) for (let t = 3; t <= 4; t++) step(t, gradientsOf(set, t));
  assert.deepEqual(await two.set.readState(), await one.set.readState());
  for (const { set } of [one, two]) set.destroy();
});

Deno.test("the optimizer refuses impossible steps, rates and norms", async () => {
  const gpu = await testGpu();
  const set = makeSet(gpu);
  const state = createOptimizerState(gpu, set);
  const good = { set, step: 1, slot: 0, learningRates: { slow: 1, fast: 1 } };
  writeOptimizerState(gpu, state, good);
  assert.throws(() => writeOptimizerState(gpu, state, { ...good, step: 0 }), RangeError);
  assert.throws(() => writeOptimizerState(gpu, state, { ...good, slot: -1 }), RangeError);
  assert.throws(
    () => writeOptimizerState(gpu, state, { ...good, learningRates: { slow: 1 } }),
    /group "fast"/,
  );
  assert.throws(
    () => writeOptimizerState(gpu, state, { ...good, learningRates: { slow: NaN, fast: 1 } }),
    /group "slow"/,
  );
  const stats = createTensor(gpu, [2, 4]);
  for (const maxGradNorm of [0, -1, NaN]) {
    assert.throws(
      () => recordOptimizerStep(new Recorder(gpu), set, { state, stats, maxGradNorm }),
      RangeError,
    );
  }
  const wrong = { state, stats: createTensor(gpu, [2, 3]), maxGradNorm: 1 };
  assert.throws(() => recordOptimizerStep(new Recorder(gpu), set, wrong), TypeError);
  set.destroy();
});
