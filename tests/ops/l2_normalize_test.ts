import { l2Normalize } from "../../lib/ops/l2_normalize.ts";
import { assertClose, numericalGradient } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

function reference(x: ArrayLike<number>, C: number, eps: number): Float64Array {
  const y = Float64Array.from(x);
  for (let n = 0; n < x.length / C; n++) {
    let squares = 0;
    for (let c = 0; c < C; c++) squares += x[n * C + c]! ** 2;
    for (let c = 0; c < C; c++) y[n * C + c]! /= Math.max(Math.sqrt(squares), eps);
  }
  return y;
}

// With eps = 50 every row is shorter than eps.
for (
  const [N, C, eps] of [[1, 1, 1e-12], [3, 31, 1e-12], [2, 32, 50], [5, 33, 1e-12], [2, 768, 1e-12]] as const
) {
  Deno.test(`l2Normalize agrees with its reference and its numerical gradient at N=${N}, C=${C}, eps=${eps}`, async () => {
    const x = randomValues(N * C, 1);
    const dy = randomValues(N * C, 3);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape: [N, C] } },
      (r, t) => l2Normalize(r, t.x!, { eps }),
      () => dy,
      0.5,
    );
    assertClose(output, reference(x, C, eps), { label: "y" });
    const dx = numericalGradient((x) => reference(x, C, eps), x, dy);
    assertClose(grads.x!, dx, { relative: 1e-4, absolute: 1e-6, label: "dx" });
  });
}

Deno.test("l2Normalize leaves a row of zeros zero", async () => {
  const { output } = await forwardBackward(
    await testGpu(),
    { x: { data: Float32Array.of(0, 0, 3, 4), shape: [2, 2] } },
    (r, t) => l2Normalize(r, t.x!),
    () => new Float32Array(4),
  );
  assertClose(output, [0, 0, 0.6, 0.8]);
});
