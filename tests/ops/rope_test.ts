import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import { rope, ropeTable } from "../../lib/ops/rope.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

/** Rotation of pairs (i, i + Dh/2) as complex numbers. */
function reference(
  x: ArrayLike<number>,
  sizes: { heads: number; headDim: number; theta: number; positions: ArrayLike<number> },
): Float64Array {
  const { heads, headDim, theta, positions } = sizes;
  const y = new Float64Array(x.length);
  const half = headDim / 2;
  for (let n = 0; n < positions.length; n++) {
    for (let h = 0; h < heads; h++) {
      const start = (n * heads + h) * headDim;
      for (let i = 0; i < half; i++) {
        const angle = positions[n]! / theta ** (i / half);
        const [re, im] = [x[start + i]!, x[start + half + i]!];
        y[start + i] = re * Math.cos(angle) - im * Math.sin(angle);
        y[start + half + i] = re * Math.sin(angle) + im * Math.cos(angle);
      }
    }
  }
  return y;
}

for (
  const [B, S, heads, headDim] of [[1, 1, 1, 2], [2, 3, 3, 6], [1, 5, 2, 10], [2, 5, 3, 8], [
    1,
    7,
    9,
    64,
  ]] as const
) {
  for (const given of [false, true]) {
    const where = given ? "given positions" : "rows in order";
    Deno.test(`rope agrees with its reference at B=${B} S=${S} H=${heads} Dh=${headDim}, ${where}`, async () => {
      const gpu = await testGpu();
      const theta = 10000;
      const table = ropeTable(gpu, { headDim, theta, maxPositions: 32 });
      const positions = Uint32Array.from({ length: B * S }, (_, n) => given ? (n * 7 + 3) % 32 : n % S);
      const shape = [B, S, heads * headDim];
      const x = randomValues(B * S * heads * headDim, 1);
      const dy = randomValues(x.length, 2);
      const { output, grads } = await forwardBackward(
        gpu,
        { x: { data: x, shape } },
        (r, t) =>
          rope(r, t.x!, table, {
            heads,
            headDim,
            positions: given ? tensorFrom(gpu, positions) : undefined,
          }),
        () => dy,
        0.5,
      );
      const f = (x: ArrayLike<number>): Float64Array => reference(x, { heads, headDim, theta, positions });
      assertClose(output, f(x), { label: "y" });
      const indices = Array.from({ length: Math.min(x.length, 97) }, (_, i) => Math.floor(i * x.length / 97));
      assertClose(indices.map((i) => grads.x![i]!), numericalGradient(f, x, dy, indices), { label: "dX" });
    });
  }
}

Deno.test("the rope table holds f64 cosines and sines, also far out", async () => {
  const gpu = await testGpu();
  const table = ropeTable(gpu, { headDim: 4, theta: 100, maxPositions: 2001 });
  assert.deepEqual(table.shape, [2001, 4]);
  const row = (await readF32(gpu, table)).slice(2000 * 4);
  const want = [Math.cos(2000), Math.cos(200), Math.sin(2000), Math.sin(200)];
  assertClose(row, want, { relative: 0, absolute: 1e-7 });
});

Deno.test("rope refuses wrong shapes, too many positions and odd heads", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const table = ropeTable(gpu, { headDim: 4, theta: 100, maxPositions: 5 });
  const sizes = { heads: 2, headDim: 4 };
  assert.throws(() => rope(r, r.tensor([1, 6, 8], "q"), table, sizes), {
    name: "RangeError",
    message: 'Cannot rotate "q" [1,6,8]: 6 positions, "rope table" holds 5; use shorter captions',
  });
  assert.throws(() => rope(r, r.tensor([1, 5, 12], "q"), table, sizes), TypeError);
  assert.throws(() => rope(r, r.tensor([1, 5, 8], "q"), table, { heads: 1, headDim: 8 }), TypeError);
  const positions = createTensor(gpu, [4], { dtype: "u32" });
  assert.throws(() => rope(r, r.tensor([1, 5, 8], "q"), table, { ...sizes, positions }), TypeError);
  assert.throws(() => ropeTable(gpu, { headDim: 3, theta: 100, maxPositions: 5 }), RangeError);
  assert.throws(() => ropeTable(gpu, { headDim: 4, theta: 0, maxPositions: 5 }), RangeError);
});
