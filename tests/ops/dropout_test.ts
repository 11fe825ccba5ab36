import assert from "node:assert/strict";
import type { Gpu } from "../../lib/gpu/device.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { dropout } from "../../lib/ops/dropout.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, runOnce, testGpu } from "../support/gpu.ts";

/** Philox4x32-10 in big integers. */
function philox(start: number[], startKey: number[]): number[] {
  let [x, y, z, w] = start.map(BigInt) as [bigint, bigint, bigint, bigint];
  let [k0, k1] = startKey.map(BigInt) as [bigint, bigint];
  const low = (value: bigint): bigint => value & 0xffffffffn;
  for (let round = 0; round < 10; round++) {
    const p0 = 0xD2511F53n * x;
    const p1 = 0xCD9E8D57n * z;
    [x, y, z, w] = [(p1 >> 32n) ^ y ^ k0, low(p1), (p0 >> 32n) ^ w ^ k1, low(p0)];
    k0 = low(k0 + 0x9E3779B9n);
    k1 = low(k1 + 0xBB67AE85n);
  }
  return [x, y, z, w].map(Number);
}

const seedOf = (gpu: Gpu, seed: number, step: number): Tensor =>
  tensorFrom(gpu, Uint32Array.of(seed, step), { label: "seed" });

/** Masks of 1 and 0 at the given seeds, steps and sites, all over `size` elements. */
async function masks(
  size: number,
  rate: number,
  places: { seed: number; step: number; site: number }[],
): Promise<Float32Array[]> {
  const gpu = await testGpu();
  const ones = tensorFrom(gpu, new Float32Array(size).fill(1), { label: "ones" });
  const values = await runOnce(gpu, (r) =>
    Object.fromEntries(places.map(({ seed, step, site }, i) => [
      i,
      dropout(r, ones, { rate, seed: seedOf(gpu, seed, step), site }),
    ])), { training: true });
  return places.map((_, i) => values[i]!.map((value) => value === 0 ? 0 : 1));
}

const mean = (values: Float32Array): number => values.reduce((sum, value) => sum + value, 0) / values.length;

Deno.test("the reference generator gives the published numbers of Philox4x32-10", () => {
  const ones = 0xffffffff;
  assert.deepEqual(philox([0, 0, 0, 0], [0, 0]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
  assert.deepEqual(
    philox([ones, ones, ones, ones], [ones, ones]),
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  );
});

for (const size of [1, 4, 255, 1021]) {
  Deno.test(`dropout drops exactly what Philox says and scales the rest, ${size} elements`, async () => {
    const gpu = await testGpu();
    const place = { rate: 0.3, seed: seedOf(gpu, 0xdeadbeef, 4000000007), site: 17 };
    const x = randomValues(size, 1);
    const dy = randomValues(size, 2);
    const keep = x.map((_, i) =>
      philox([i >> 2, 17, 4000000007, 0], [0xdeadbeef, 0])[i % 4]! >= Math.round(0.3 * 2 ** 32) ? 1 / 0.7 : 0
    );
    const { output, grads } = await forwardBackward(
      gpu,
      { x: { data: x, shape: [size] } },
      (r, t) => dropout(r, t.x!, place),
      () => dy,
      0.5,
    );
    assertClose(output, x.map((value, i) => value * keep[i]!), { label: "y" });
    assertClose(grads.x!, dy.map((value, i) => value * keep[i]!), { label: "dX" });
  });
}

Deno.test("dropout adds the gradients of a tensor that is dropped twice, each with its own mask", async () => {
  const gpu = await testGpu();
  const seed = seedOf(gpu, 1, 2);
  const size = 1000;
  const dy = randomValues(size, 3);
  const run = (sites: number[]): ReturnType<typeof forwardBackward> =>
    forwardBackward(
      gpu,
      { x: { data: new Float32Array(size).fill(1), shape: [size] } },
      (r, t) => sites.reduce((x, site) => dropout(r, x, { rate: 0.5, seed, site }), t.x!),
      () => dy,
    );
  const { output, grads } = await run([1, 2]);
  assertClose(grads.x!, dy.map((value, i) => value * output[i]!), { label: "dX" });
  assert.ok(Math.abs(mean(output.map((value) => value === 0 ? 0 : 1)) - 0.25) < 0.07);
});

Deno.test("dropout keeps a share of 1 - rate", async () => {
  const size = 40000;
  for (const rate of [0.05, 0.1, 0.5, 0.9]) {
    const [mask] = await masks(size, rate, [{ seed: 7, step: 1, site: 0 }]);
    const sigma = Math.sqrt(rate * (1 - rate) / size);
    assert.ok(Math.abs(mean(mask!) - (1 - rate)) < 4 * sigma, `rate ${rate}: kept ${mean(mask!)}`);
  }
});

Deno.test("masks of other sites, steps, seeds and shifted places are independent", async () => {
  const size = 20000;
  const all = await masks(size, 0.5, [
    { seed: 1, step: 1, site: 1 },
    { seed: 1, step: 1, site: 2 },
    { seed: 1, step: 2, site: 1 },
    { seed: 2, step: 1, site: 1 },
    { seed: 0, step: 0, site: 0 },
  ]);
  const signs = all.map((mask) => mask.map((value) => 2 * value - 1));
  const limit = 4.5 / Math.sqrt(size);
  for (const [i, a] of signs.entries()) {
    for (const b of signs.slice(i + 1)) {
      const correlation = mean(a.map((value, k) => value * b[k]!));
      assert.ok(Math.abs(correlation) < limit, `correlation ${correlation}, limit ${limit}`);
    }
    for (const shift of [1, 2, 3, 4, 8, 64, 576]) {
      const correlation = mean(a.map((value, k) => value * a[(k + shift) % size]!));
      assert.ok(Math.abs(correlation) < limit, `shift ${shift}: correlation ${correlation}, limit ${limit}`);
    }
  }
});

Deno.test("dropout is the identity at rate 0 and where nothing is trained", async () => {
  const gpu = await testGpu();
  const seed = seedOf(gpu, 1, 1);
  const x = createTensor(gpu, [3]);
  assert.equal(dropout(new Recorder(gpu, true), x, { rate: 0, seed, site: 1 }), x);
  assert.equal(dropout(new Recorder(gpu, false), x, { rate: 0.5, seed, site: 1 }), x);
});

Deno.test("dropout refuses impossible rates, sites and seeds", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu, true);
  const seed = seedOf(gpu, 1, 1);
  const x = r.tensor([3], "x");
  for (const rate of [1, -0.1, NaN, Infinity]) {
    assert.throws(() => dropout(r, x, { rate, seed, site: 1 }), RangeError);
  }
  for (const site of [-1, 1.5, 2 ** 32]) {
    assert.throws(() => dropout(r, x, { rate: 0.1, seed, site }), RangeError);
  }
  assert.throws(() => dropout(r, x, { rate: 0.1, seed: createTensor(gpu, [2]), site: 1 }), TypeError);
  assert.throws(() => dropout(r, x, { rate: 0.1, seed: createTensor(gpu, [3], { dtype: "u32" }), site: 1 }), {
    message: 'Cannot drop elements of "x": seed is u32 [3], expected u32 [2] (seed, step)',
  });
});
