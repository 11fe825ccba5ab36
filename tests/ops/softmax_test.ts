import { softmax } from "../../lib/ops/softmax.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

function reference(x: ArrayLike<number>, C: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let start = 0; start < x.length; start += C) {
    let largest = -Infinity;
    for (let c = 0; c < C; c++) largest = Math.max(largest, x[start + c]!);
    let sum = 0;
    for (let c = 0; c < C; c++) sum += Math.exp(x[start + c]! - largest);
    for (let c = 0; c < C; c++) y[start + c] = Math.exp(x[start + c]! - largest) / sum;
  }
  return y;
}

for (const shape of [[1, 1], [3, 31], [2, 32], [5, 33], [2, 2, 65], [1, 1000]]) {
  Deno.test(`softmax agrees with its reference and its numerical gradient at [${shape}]`, async () => {
    const C = shape.at(-1)!;
    const size = shape.reduce((product, n) => product * n, 1);
    const x = randomValues(size, 1, 5);
    const dy = randomValues(size, 2);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape } },
      (r, t) => softmax(r, t.x!),
      () => dy,
      0.5,
    );
    assertClose(output, reference(x, C), { absolute: 1e-7, label: "y" });
    const indices = Array.from({ length: Math.min(size, 101) }, (_, i) => Math.floor(i * size / 101));
    const dX = numericalGradient((x) => reference(x, C), x, dy, indices);
    assertClose(indices.map((i) => grads.x![i]!), dX, { label: "dX" });
  });
}

Deno.test("softmax of large and widely spread values does not overflow", async () => {
  const x = Float32Array.of(1e4, 1e4 - 1, -1e4, -3e38, -3e38, -3e38);
  const { output, grads } = await forwardBackward(
    await testGpu(),
    { x: { data: x, shape: [2, 3] } },
    (r, t) => softmax(r, t.x!),
    () => Float32Array.of(1, 0, 0, 1, 0, 0),
  );
  const p = 1 / (1 + Math.exp(-1));
  assertClose(output, [p, 1 - p, 0, 1 / 3, 1 / 3, 1 / 3], { label: "y" });
  assertClose(grads.x!, [p * (1 - p), -p * (1 - p), 0, 2 / 9, -1 / 9, -1 / 9], { label: "dX" });
});
