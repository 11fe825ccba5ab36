import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, makeTrainable, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { sigmoidContrastiveLoss } from "../../lib/ops/sigmoid_contrastive_loss.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { randomValues, testGpu } from "../support/gpu.ts";

type Inputs = Record<"images" | "texts" | "scale" | "bias", ArrayLike<number>>;

function unit(x: ArrayLike<number>, row: number, E: number): number[] {
  const values = Array.from({ length: E }, (_, e) => x[row * E + e]!);
  const norm = Math.hypot(...values);
  return values.map((value) => value / norm);
}

function reference({ images, texts, scale, bias }: Inputs, B: number, E: number): number {
  const rows = (x: ArrayLike<number>) => Array.from({ length: B }, (_, i) => unit(x, i, E));
  const [xs, ys] = [rows(images), rows(texts)];
  let loss = 0;
  for (const [i, x] of xs.entries()) {
    for (const [j, y] of ys.entries()) {
      const sim = x.reduce((sum, value, e) => sum + value * y[e]!, 0);
      const logit = (i === j ? 1 : -1) * (sim * Math.exp(scale[0]!) + bias[0]!);
      loss += Math.max(-logit, 0) + Math.log1p(Math.exp(-Math.abs(logit)));
    }
  }
  return loss / B;
}

for (
  const [B, E, scale, bias] of [[1, 1, 0, 0], [2, 3, 1.5, -2], [5, 33, Math.log(10), -10], [
    67,
    12,
    3,
    -12,
  ]] as const
) {
  Deno.test(`sigmoidContrastiveLoss and all its gradients agree with f64, B=${B} E=${E} scale=e^${scale} bias=${bias}`, async () => {
    const gpu = await testGpu();
    const gradScale = 0.5;
    const inputs: Inputs = {
      images: randomValues(B * E, 1, 3),
      texts: randomValues(B * E, 2, 0.2),
      scale: Float32Array.of(scale),
      bias: Float32Array.of(bias),
    };
    const shapes = { images: [B, E], texts: [B, E], scale: [1], bias: [1] };
    const tensors = {} as Record<keyof Inputs, Tensor>;
    const names = Object.keys(inputs) as (keyof Inputs)[];
    for (const name of names) {
      const data = Float32Array.from(inputs[name]);
      tensors[name] = makeTrainable(gpu, tensorFrom(gpu, data, { shape: shapes[name], label: name }));
      gpu.device.queue.writeBuffer(tensors[name].grad!.storage.buffer!, 0, data.map(() => 0.5));
    }
    const lossOut = tensorFrom(gpu, Float32Array.of(7));
    const lossSum = tensorFrom(gpu, Float32Array.of(7));
    const r = new Recorder(gpu, true);
    sigmoidContrastiveLoss(r, tensors.images, tensors.texts, {
      logitScale: tensors.scale,
      logitBias: tensors.bias,
      lossOut,
      lossSum,
      gradScale,
    });
    r.backward();
    const plan = await r.compile();
    plan.run();
    const want = reference(inputs, B, E);
    assertClose(await readF32(gpu, lossOut), [want], { label: "loss" });
    assertClose(await readF32(gpu, lossSum), [7 + want / 2], { label: "loss sum" });
    for (const name of names) {
      const got = (await readF32(gpu, tensors[name].grad!)).map((g) => g - 0.5);
      const count = inputs[name].length;
      const indices = Array.from(
        { length: Math.min(count, 40) },
        (_, i) => Math.floor(i * count / Math.min(count, 40)),
      );
      const f = (x: Float64Array) => [reference({ ...inputs, [name]: x }, B, E)];
      const numeric = numericalGradient(f, inputs[name], [gradScale], indices);
      assertClose(indices.map((i) => got[i]!), numeric, {
        relative: 2e-4,
        absolute: 1e-6,
        label: `d ${name}`,
      });
    }
    gpu.check();
    plan.destroy({ arena: true });
  });
}

Deno.test("confident pairs keep their exact share of the loss", async () => {
  const gpu = await testGpu();
  const B = 16;
  const eye = Float32Array.from({ length: B * B }, (_, i) => i % (B + 1) === 0 ? 1 : 0);
  // Diagonal logits 30 - 12 = 18, others -12: every pair is right by a wide margin.
  const inputs = { images: eye, texts: eye, scale: [Math.fround(Math.log(30))], bias: [-12] };
  const lossOut = createTensor(gpu, [1]);
  const r = new Recorder(gpu);
  const embeds = tensorFrom(gpu, eye, { shape: [B, B] });
  sigmoidContrastiveLoss(r, embeds, embeds, {
    logitScale: tensorFrom(gpu, Float32Array.from(inputs.scale)),
    logitBias: tensorFrom(gpu, Float32Array.from(inputs.bias)),
    lossOut,
  });
  const plan = await r.compile();
  plan.run();
  const want = reference(inputs, B, B);
  assert.ok(want < 1e-3);
  assertClose(await readF32(gpu, lossOut), [want], { relative: 1e-5, absolute: 0, label: "loss" });
  plan.destroy({ arena: true });
});

Deno.test("sigmoidContrastiveLoss refuses embeddings and scalars of other shapes", async () => {
  const r = new Recorder(await testGpu());
  const [images, scalar] = [r.tensor([3, 8], "images"), r.tensor([1], "scalar")];
  const options = { logitScale: scalar, logitBias: scalar, lossOut: scalar };
  assert.throws(() => sigmoidContrastiveLoss(r, images, r.tensor([4, 8], "texts"), options), TypeError);
  assert.throws(() => sigmoidContrastiveLoss(r, images, r.tensor([3, 9], "texts"), options), TypeError);
  const wrong = { ...options, lossOut: r.tensor([2], "loss") };
  assert.throws(() => sigmoidContrastiveLoss(r, images, images, wrong), /lossOut/);
});
