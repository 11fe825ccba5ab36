import assert from "node:assert/strict";
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from "../../lib/base/half.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, makeTrainable, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { lmHeadLoss, logits } from "../../lib/ops/lm_head_loss.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { randomValues, runOnce, testGpu } from "../support/gpu.ts";

interface Case {
  N: number;
  V: number;
  D: number;
  hidden: ArrayLike<number>;
  weight: ArrayLike<number>;
  labels: Int32Array<ArrayBuffer>;
  /** Of a weighted sum. @default the mean */
  weights?: Float32Array<ArrayBuffer>;
}

function logitRow({ V, D, hidden, weight }: Case, n: number): Float64Array {
  return Float64Array.from({ length: V }, (_, v) => {
    let sum = 0;
    for (let d = 0; d < D; d++) sum += hidden[n * D + d]! * weight[v * D + d]!;
    return sum;
  });
}

function reference(c: Case): number {
  let sum = 0;
  let count = 0;
  for (let n = 0; n < c.N; n++) {
    if (c.labels[n] === -100) continue;
    const row = logitRow(c, n);
    const highest = Math.max(...row);
    const loss = highest + Math.log(row.reduce((s, l) => s + Math.exp(l - highest), 0)) - row[c.labels[n]!]!;
    sum += loss * (c.weights?.[n] ?? 1);
    count++;
  }
  return count === 0 ? 0 : c.weights ? sum : sum / count;
}

function makeCase(N: number, V: number, D: number, scale = 1): Case {
  const labels = Int32Array.from(
    randomValues(N, 3),
    (x, n) => n % 3 === 1 ? -100 : Math.floor((x + 1) / 2 * V) % V,
  );
  return { N, V, D, hidden: randomValues(N * D, 1, scale), weight: randomValues(V * D, 2, scale), labels };
}

interface Run {
  loss: number;
  count: number;
  lossSum: number;
  dHidden: Float32Array;
  dWeight: Float32Array | undefined;
}

/** Runs the op forward and backward; gradients and the loss sum start at 0.5 and what is added is returned. */
async function run(
  gpu: Gpu,
  c: Case,
  options: { chunkRows?: number; gradScale?: number; weight?: Tensor } = {},
): Promise<Run> {
  const { chunkRows, gradScale } = options;
  const half = (n: number) => new Float32Array(n).fill(0.5);
  const hidden = makeTrainable(gpu, tensorFrom(gpu, Float32Array.from(c.hidden), { shape: [c.N, c.D] }));
  const weight = options.weight ??
    makeTrainable(gpu, tensorFrom(gpu, Float32Array.from(c.weight), { shape: [c.V, c.D], label: "head" }));
  for (const { grad } of [hidden, weight]) {
    if (grad) gpu.device.queue.writeBuffer(grad.storage.buffer!, 0, half(grad.size));
  }
  const lossOut = tensorFrom(gpu, Float32Array.of(9, 9));
  const lossSum = tensorFrom(gpu, Float32Array.of(0.5));
  const r = new Recorder(gpu, true);
  lmHeadLoss(r, hidden, weight, tensorFrom(gpu, c.labels), {
    lossOut,
    lossSum,
    ...c.weights === undefined ? {} : { weights: tensorFrom(gpu, c.weights) },
    ...chunkRows === undefined ? {} : { chunkRows },
    ...gradScale === undefined ? {} : { gradScale },
  });
  r.backward();
  const plan = await r.compile();
  plan.run();
  const [loss, count] = await readF32(gpu, lossOut);
  const result = {
    loss: loss!,
    count: count!,
    lossSum: (await readF32(gpu, lossSum))[0]! - 0.5,
    dHidden: (await readF32(gpu, hidden.grad!)).map((g) => g - 0.5),
    dWeight: weight.grad && (await readF32(gpu, weight.grad)).map((g) => g - 0.5),
  };
  gpu.check();
  plan.destroy({ arena: true });
  return result;
}

for (
  const [N, V, D, chunkRows] of [
    [1, 1, 1, 128],
    [1, 101, 8, 128],
    [5, 128, 12, 128],
    [6, 129, 7, 128],
    [7, 301, 33, 128],
    [7, 301, 33, 256],
    [4, 301, 16, undefined],
  ] as const
) {
  const where = `N=${N} V=${V} D=${D}, chunks of ${chunkRows ?? "the default"}`;
  const agrees = async (weights?: Float32Array<ArrayBuffer>) => {
    const c = { ...makeCase(N, V, D), ...(weights && { weights }) };
    const got = await run(await testGpu(), c, {
      gradScale: 0.25,
      ...chunkRows === undefined ? {} : { chunkRows },
    });
    assertClose([got.loss], [reference(c)], { label: "loss" });
    assert.equal(got.count, c.labels.filter((label) => label !== -100).length);
    assertClose([got.lossSum], [reference(c) / 4], { label: "loss sum" });
    const dHidden = numericalGradient((hidden) => [reference({ ...c, hidden })], c.hidden, [0.25]);
    assertClose(got.dHidden, dHidden, { relative: 1e-4, absolute: 1e-6, label: "dHidden" });
    // Some elements of every chunk, the labels' rows among them.
    const rows = [0, 127, 128, 200, V - 1, ...c.labels].filter((v) => v >= 0 && v < V);
    const indices = rows.flatMap((v) => [v * D, v * D + D - 1]);
    const dWeight = numericalGradient((weight) => [reference({ ...c, weight })], c.weight, [0.25], indices);
    assertClose(indices.map((i) => got.dWeight![i]!), dWeight, {
      relative: 1e-4,
      absolute: 1e-6,
      label: "dWeight",
    });
  };
  Deno.test(`lmHeadLoss agrees with its reference and its numerical gradient, ${where}`, () => agrees());
  // Of both signs, one of them zero; those of rows without a label do not count.
  const weights = randomValues(N, 9, 2).map((w, n) => n === 3 ? 0 : w);
  Deno.test(`lmHeadLoss with weights agrees with them too, ${where}`, () => agrees(weights));
}

Deno.test("lmHeadLoss and logits read packed weights, whole and through windows", async () => {
  const [N, V, D] = [5, 301, 24];
  const c = makeCase(N, V, D);
  for (
    const [dtype, encode, decode] of [["bf16", encodeBf16, decodeBf16], [
      "f16",
      encodeF16,
      decodeF16,
    ]] as const
  ) {
    const packed = encode(Float32Array.from(c.weight));
    const rounded = { ...c, weight: decode(packed) };
    for (const gpu of [await testGpu(), { ...await testGpu(), maxBindingBytes: 8192 }]) {
      const weight = tensorFrom(gpu, packed, { shape: [V, D], dtype });
      const got = await run(gpu, rounded, { weight });
      assertClose([got.loss], [reference(rounded)], { label: `${dtype} loss` });
      const dHidden = numericalGradient((hidden) => [reference({ ...rounded, hidden })], c.hidden, [1]);
      assertClose(got.dHidden, dHidden, { relative: 1e-4, label: `${dtype} dHidden` });
      const hidden = tensorFrom(gpu, Float32Array.from(c.hidden), { shape: [N, D] });
      const { all } = await runOnce(gpu, (r) => ({ all: logits(r, hidden, weight) }));
      const want = Array.from({ length: N }, (_, n) => [...logitRow(rounded, n)]).flat();
      assertClose(all, want, { label: `${dtype} logits` });
    }
  }
});

Deno.test("lmHeadLoss stays exact where exponentials overflow", async () => {
  const c = makeCase(4, 300, 8, 30); // logits of several thousand
  const got = await run(await testGpu(), c, { chunkRows: 128 });
  assertClose([got.loss], [reference(c)], { label: "loss" });
  assert.ok(got.loss > 1000);
});

Deno.test("lmHeadLoss without any valid label is zero with zero gradients", async () => {
  const c = { ...makeCase(3, 130, 4), labels: new Int32Array(3).fill(-100) };
  const got = await run(await testGpu(), c, { chunkRows: 128 });
  assert.deepEqual([got.loss, got.count, got.lossSum], [0, 0, 0]);
  assert.ok([...got.dHidden, ...got.dWeight!].every((g) => g === 0));
});

Deno.test("a label outside the vocabulary makes the loss NaN", async () => {
  for (const wrong of [130, -1, -101, 2 ** 31 - 1]) {
    const c = makeCase(3, 130, 4);
    c.labels[2] = wrong;
    assert.ok(Number.isNaN((await run(await testGpu(), c, { chunkRows: 128 })).loss), `label ${wrong}`);
  }
});

Deno.test("lmHeadLoss in a recorder without training leaves only the loss", async () => {
  const gpu = await testGpu();
  const c = makeCase(5, 260, 6);
  const r = new Recorder(gpu, false);
  const hidden = makeTrainable(gpu, tensorFrom(gpu, Float32Array.from(c.hidden), { shape: [5, 6] }));
  const weight = tensorFrom(gpu, Float32Array.from(c.weight), { shape: [260, 6] });
  const lossOut = createTensor(gpu, [2]);
  lmHeadLoss(r, hidden, weight, tensorFrom(gpu, c.labels), { lossOut, chunkRows: 128 });
  const steps = r.steps.length;
  r.backward();
  assert.equal(r.steps.length, steps);
  const plan = await r.compile();
  plan.run();
  plan.run(); // written, not added to
  assertClose([(await readF32(gpu, lossOut))[0]!], [reference(c)], { label: "loss" });
  plan.destroy({ arena: true });
});

Deno.test("lmHeadLoss refuses wrong labels, widths, outputs and chunks", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu, true);
  const [hidden, weight] = [r.tensor([3, 8], "hidden"), r.tensor([50, 8], "head")];
  const labels = r.tensor([3], "labels", "i32");
  const lossOut = createTensor(gpu, [2]);
  const options = { lossOut };
  assert.throws(() => lmHeadLoss(r, hidden, weight, r.tensor([3], "labels", "u32"), options), TypeError);
  assert.throws(() => lmHeadLoss(r, r.tensor([3, 9], "hidden"), weight, labels, options), TypeError);
  assert.throws(() => lmHeadLoss(r, hidden, weight, r.tensor([4], "labels", "i32"), options), TypeError);
  assert.throws(() => lmHeadLoss(r, hidden, weight, labels, { lossOut: createTensor(gpu, [1]) }), TypeError);
  for (const weights of [createTensor(gpu, [2]), createTensor(gpu, [3], { dtype: "u32" })]) {
    assert.throws(() => lmHeadLoss(r, hidden, weight, labels, { lossOut, weights }), TypeError);
  }
  for (const chunkRows of [0, 64, 100, 8191.5]) {
    assert.throws(() => lmHeadLoss(r, hidden, weight, labels, { lossOut, chunkRows }), RangeError);
  }
  const packed = r.tensor([50, 8], "head", "bf16");
  packed.storage.requiresGrad = true;
  assert.throws(() => lmHeadLoss(r, hidden, packed, labels, options), TypeError);
});

Deno.test("a NaN in a hidden state reaches the loss, whatever its column's chunk", async () => {
  for (const V of [128, 129]) {
    const c = makeCase(3, V, 4);
    const hidden = Float32Array.from(c.hidden);
    hidden[0] = NaN; // row 0 has a label
    assert.ok(
      Number.isNaN((await run(await testGpu(), { ...c, hidden }, { chunkRows: 128 })).loss),
      `V=${V}`,
    );
  }
});
