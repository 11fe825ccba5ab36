import assert from "node:assert/strict";
import { readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import { splitColumns } from "../../lib/ops/split_columns.ts";
import { add } from "../../lib/ops/add.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, runOnce, testGpu } from "../support/gpu.ts";

for (
  const { rows, widths } of [{ rows: 1, widths: [1, 1] }, { rows: 5, widths: [6, 2, 2] }, {
    rows: 67,
    widths: [51, 3],
  }]
) {
  const W = widths.reduce((sum, width) => sum + width, 0);
  const x = randomValues(rows * W, 3);
  const columns = (from: number, width: number): Float32Array =>
    Float32Array.from({ length: rows * width }, (_, i) => x[Math.floor(i / width) * W + from + i % width]!);

  Deno.test(`columns ${widths} of ${rows} rows come apart unchanged`, async () => {
    const gpu = await testGpu();
    const parts = await runOnce(gpu, (r) => {
      const tensors = splitColumns(r, tensorFrom(gpu, x, { shape: [rows, W] }), widths);
      return Object.fromEntries(tensors.map((tensor, i) => [String(i), tensor]));
    });
    let from = 0;
    for (const [i, width] of widths.entries()) {
      assert.deepEqual([...parts[String(i)]!], [...columns(from, width)]);
      from += width;
    }
  });
}

Deno.test("every column gets its gradient, used or not, on top of what was there", async () => {
  const [rows, widths] = [5, [2, 3, 2]];
  const dy = randomValues(rows * 2, 4);
  const { output, grads } = await forwardBackward(
    await testGpu(),
    { x: { data: randomValues(rows * 7, 5), shape: [rows, 7] } },
    (r, t) => {
      // The middle part leads nowhere; the outer ones share a gradient.
      const [first, , last] = splitColumns(r, add(r, t.x!, t.x!), widths);
      return add(r, first!, last!);
    },
    () => dy,
    0.25,
  );
  assert.equal(output.length, dy.length);
  const want = Float32Array.from({ length: rows * 7 }, (_, i) => {
    const [row, column] = [Math.floor(i / 7), i % 7];
    return column < 2 ? 2 * dy[row * 2 + column]! : column < 5 ? 0 : 2 * dy[row * 2 + column - 5]!;
  });
  assertClose(grads.x!, want, { relative: 1e-6, label: "dX" });
});

Deno.test("widths that are not the whole row are refused", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, new Float32Array(12), { shape: [2, 6], label: "qkv" });
  await assert.rejects(
    runOnce(gpu, (r) => ({ y: splitColumns(r, x, [2, 2])[0]! })),
    /Cannot split "qkv" \[2,6\] into columns of 2,2: they are not 6 together/,
  );
  assert.equal((await readF32(gpu, x)).length, 12);
});
