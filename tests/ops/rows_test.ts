import assert from "node:assert/strict";
import type { Recorder } from "../../lib/gpu/recorder.ts";
import type { Tensor } from "../../lib/gpu/tensor.ts";
import { Kernel } from "../../lib/gpu/kernel.ts";
import { layerNorm } from "../../lib/ops/layer_norm.ts";
import { rmsNorm } from "../../lib/ops/rms_norm.ts";
import { rowKernels } from "../../lib/ops/rows.ts";
import { softmax } from "../../lib/ops/softmax.ts";
import { assertClose } from "../support/close.ts";
import { forwardBackward, randomValues, testGpu } from "../support/gpu.ts";

const ops: Record<string, (r: Recorder, t: Record<string, Tensor>) => Tensor> = {
  layerNorm: (r, t) => layerNorm(r, t.x!, t.weight!, t.bias!, { eps: 1e-5 }),
  rmsNorm: (r, t) => rmsNorm(r, t.x!, t.weight!, { eps: 1e-5 }),
  softmax: (r, t) => softmax(r, t.x!),
};

for (const [name, op] of Object.entries(ops)) {
  for (const C of [1, 63, 64, 65, 252, 256, 260]) {
    Deno.test(`${name} gives the same with the lanes of a GPU as with those of a software adapter, C=${C}`, async () => {
      const gpu = await testGpu();
      const N = 3;
      const inputs = {
        x: { data: randomValues(N * C, 1), shape: [N, C] },
        weight: { data: randomValues(C, 2), shape: [C] },
        bias: { data: randomValues(C, 3), shape: [C] },
      };
      const dy = randomValues(N * C, 4);
      const want = await forwardBackward({ ...gpu, software: true }, inputs, op, () => dy);
      const got = await forwardBackward({ ...gpu, software: false }, inputs, op, () => dy);
      assertClose(got.output, want.output, { label: "y" });
      assertClose(got.grads.x!, want.grads.x!, { label: "dX" });
    });
  }
}

Deno.test("row kernels take four channels at once where the channels divide", async () => {
  const gpu = await testGpu();
  const plain = new Kernel("plain", "const WORKGROUP: u32 = 1u;");
  const vec4 = new Kernel("vec4", "const WORKGROUP: u32 = 1u;");
  const both = rowKernels(plain, vec4);
  assert.deepEqual([both(gpu, 8).name, both(gpu, 9).name, both(gpu, 10).name], ["vec4", "plain", "plain"]);
  assert.equal(rowKernels(plain)(gpu, 8).name, "plain");
});
