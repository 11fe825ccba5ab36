import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { assemblePrefix, gatherTextRows } from "../../lib/ops/prefix.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

for (const [B, P, T, D] of [[1, 1, 1, 1], [2, 3, 5, 7], [3, 4, 2, 64]] as const) {
  Deno.test(`assemblePrefix puts the prefix first and splits the gradient, B=${B} P=${P} T=${T} D=${D}`, async () => {
    const prefix = randomValues(B * P * D, 1);
    const text = randomValues(B * T * D, 2);
    const dOutput = randomValues(B * (P + T) * D, 3);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { prefix: { data: prefix, shape: [B, P, D] }, text: { data: text, shape: [B, T, D] } },
      (r, t) => assemblePrefix(r, t.prefix!, t.text!),
      () => dOutput,
      0.5,
    );
    const want: number[] = [];
    const dPrefix: number[] = [];
    const dText: number[] = [];
    for (let b = 0; b < B; b++) {
      want.push(...prefix.slice(b * P * D, (b + 1) * P * D), ...text.slice(b * T * D, (b + 1) * T * D));
      const start = b * (P + T) * D;
      dPrefix.push(...dOutput.slice(start, start + P * D));
      dText.push(...dOutput.slice(start + P * D, start + (P + T) * D));
    }
    assert.deepEqual([...output], want);
    assertClose(grads.prefix!, dPrefix, { label: "dPrefix" });
    assertClose(grads.text!, dText, { label: "dText" });
  });

  Deno.test(`gatherTextRows takes rows P-1 to S-2 and sends zero to the others, B=${B} P=${P} T=${T} D=${D}`, async () => {
    const gpu = await testGpu();
    const S = P + T;
    const hidden = randomValues(B * S * D, 1);
    const dOutput = randomValues(B * T * D, 3);
    const want: number[] = [];
    const dHidden = new Float32Array(hidden.length);
    for (let b = 0; b < B; b++) {
      const start = (b * S + P - 1) * D;
      want.push(...hidden.slice(start, start + T * D));
      dHidden.set(dOutput.slice(b * T * D, (b + 1) * T * D), start);
    }
    const inputs = { hidden: { data: hidden, shape: [B, S, D] } };
    const op = (r: Recorder, t: Record<string, Tensor>) => gatherTextRows(r, t.hidden!, { prefixTokens: P });
    const { output, grads } = await forwardBackward(gpu, inputs, op, () => dOutput, 0.5);
    assert.deepEqual([...output], want);
    assertClose(grads.hidden!, dHidden, { label: "dHidden" });

    // A fresh gradient is written, not added to: run it twice over memory that is no longer zero.
    const r = new Recorder(gpu, true);
    const x = tensorFrom(gpu, hidden, { shape: [B, S, D] });
    x.storage.requiresGrad = true;
    const rows = gatherTextRows(r, x, { prefixTokens: P });
    r.seedGradient(rows, tensorFrom(gpu, dOutput, { shape: rows.shape }));
    r.backward();
    const fresh = r.keep(r.gradientOf(x)!);
    const plan = await r.compile();
    plan.run();
    plan.run();
    assertClose(await readF32(gpu, fresh), dHidden, { label: "fresh dHidden" });
    plan.destroy({ arena: true });
  });
}

Deno.test("prefix ops refuse shapes that do not fit", async () => {
  const r = new Recorder(await testGpu());
  const text = r.tensor([2, 3, 8], "text");
  assert.throws(() => assemblePrefix(r, r.tensor([2, 3, 9], "prefix"), text), TypeError);
  assert.throws(() => assemblePrefix(r, r.tensor([1, 3, 8], "prefix"), text), TypeError);
  for (const prefixTokens of [0, 3, 4, 1.5]) {
    assert.throws(() => gatherTextRows(r, text, { prefixTokens }), RangeError);
  }
});
