import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { patchify } from "../../lib/ops/patchify.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

function reference(pixels: ArrayLike<number>, shape: readonly number[], p: number): Float64Array {
  const [B, C, H, W] = shape as [number, number, number, number];
  const patches: number[] = [];
  for (let b = 0; b < B; b++) {
    for (let top = 0; top + p <= H; top += p) {
      for (let left = 0; left + p <= W; left += p) {
        for (let c = 0; c < C; c++) {
          for (let y = top; y < top + p; y++) {
            for (let x = left; x < left + p; x++) patches.push(pixels[((b * C + c) * H + y) * W + x]!);
          }
        }
      }
    }
  }
  return Float64Array.from(patches);
}

for (
  const [shape, patch] of [
    [[1, 1, 1, 1], 1],
    [[2, 3, 8, 8], 4],
    [[1, 3, 42, 42], 14],
    [[1, 3, 45, 45], 14],
    [[3, 2, 7, 11], 3],
  ] as const
) {
  Deno.test(`patchify agrees with plain loops, and its gradient, for [${shape}] and patch ${patch}`, async () => {
    const pixels = randomValues(shape.reduce<number>((a, b) => a * b, 1), 1);
    const want = reference(pixels, shape, patch);
    const dOutput = randomValues(want.length, 2);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { pixels: { data: pixels, shape: [...shape] } },
      (r, t) => patchify(r, t.pixels!, { patch }),
      () => dOutput,
      0.5,
    );
    assert.deepEqual([...output], [...want]);
    const indices = Array.from({ length: Math.min(pixels.length, 80) }, (_, i) => pixels.length - 1 - i);
    const dPixels = numericalGradient((x) => reference(x, shape, patch), pixels, dOutput, indices);
    assertClose(indices.map((i) => grads.pixels![i]!), dPixels, { absolute: 1e-6, label: "dPixels" });
  });
}

Deno.test("patchify refuses images smaller than a patch and tensors that are not images", async () => {
  const r = new Recorder(await testGpu());
  assert.throws(() => patchify(r, r.tensor([1, 3, 13, 20], "pixels"), { patch: 14 }), RangeError);
  assert.throws(() => patchify(r, r.tensor([1, 3, 16, 20], "pixels"), { patch: 0 }), RangeError);
  assert.throws(() => patchify(r, r.tensor([3, 16, 16], "pixels"), { patch: 8 }), TypeError);
});
