import assert from "node:assert/strict";
import { Kernel } from "../../lib/gpu/kernel.ts";
import { PlanGroup } from "../../lib/gpu/plan_group.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { gelu } from "../../lib/ops/gelu.ts";
import { countBuffers, testGpu } from "../support/gpu.ts";

/** x through `depth` activations, the last of them kept. */
function chain(r: Recorder, x: Tensor, depth: number): Tensor {
  let y = x;
  for (let i = 0; i < depth; i++) y = gelu(r, y, "tanh");
  return r.keep(y);
}

Deno.test("a group's plans share memory, which is known before it is taken", async () => {
  const gpu = await testGpu();
  let outputs: Tensor[] = [];
  let group: PlanGroup<"short" | "long"> | undefined;
  let before = 0;
  const { leftBytes } = await countBuffers(gpu, async () => {
    const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
    const [short, long] = [new Recorder(gpu), new Recorder(gpu)];
    outputs = [chain(short, x, 2), chain(long, x, 4)];
    group = new PlanGroup(gpu, { short, long }, [x]);
    before = group.memoryBytes;
    assert.throws(() => group!.plans, /recorded but not compiled/);
    await group.compile();
  });
  assert.equal(before, leftBytes);
  assert.equal(group!.memoryBytes, leftBytes);
  group!.plans.short.run();
  const first = await readF32(gpu, outputs[0]!);
  group!.plans.long.run();
  assert.deepEqual(await readF32(gpu, outputs[0]!), first, "what one plan keeps outlives the other's run");
  group!.destroy();
});

Deno.test("a group that does not compile frees everything, its tensors too", async () => {
  const gpu = await testGpu();
  const broken = new Kernel(
    "broken",
    "@group(0) @binding(1) var<storage, read_write> y: array<f32>;\n@compute @workgroup_size(64) fn main() { y[0] = nonsense; }",
  );
  const { made, freed } = await countBuffers(gpu, async () => {
    const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
    const [good, bad] = [new Recorder(gpu), new Recorder(gpu)];
    chain(good, x, 3);
    bad.dispatch(broken, "main", { bind: { y: bad.tensor([3], "y") }, workgroups: [1] });
    const group = new PlanGroup(gpu, { good, bad }, [x]);
    await assert.rejects(group.compile(), { name: "DeviceError", message: /^Cannot compile broken\.main/ });
  });
  assert.ok(made >= 4, `${made} buffers were counted`);
  assert.equal(freed, made);
});
