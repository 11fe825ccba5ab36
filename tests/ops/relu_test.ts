import { relu } from "../../lib/ops/relu.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

for (const shape of [[1], [3], [2, 128], [5, 51]]) {
  Deno.test(`relu and its gradient are exact at [${shape}], 0 at 0`, async () => {
    const size = shape.reduce((product, n) => product * n, 1);
    const x = randomValues(size, 1, 6);
    x[size - 1] = 0;
    const dy = randomValues(size, 2);
    const { output, grads } = await forwardBackward(
      await testGpu(),
      { x: { data: x, shape } },
      (r, t) => relu(r, t.x!),
      () => dy,
      0.5,
    );
    assertClose(output, x.map((value) => Math.max(value, 0)), { relative: 0, absolute: 0, label: "y" });
    assertClose(grads.x!, dy.map((d, i) => x[i]! > 0 ? d : 0), { relative: 0, absolute: 1e-7, label: "dX" });
  });
}
