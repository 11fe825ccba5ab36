import assert from "node:assert/strict";
import { Arena } from "../../lib/gpu/arena.ts";
import { Kernel } from "../../lib/gpu/kernel.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { countBuffers, testGpu } from "../support/gpu.ts";

const SCALE = `
struct Params { count: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { y[id.x] = params.factor * x[id.x]; }
}
`;
const kernel = new Kernel("scale", SCALE);

/** y = factor · x. */
function scale(r: Recorder, x: Tensor, factor: number, label: string): Tensor {
  const y = r.tensor(x.shape, label);
  r.dispatch(kernel, "main", {
    bind: { x, y },
    params: { count: x.size, factor },
    workgroups: [Math.ceil(x.size / 64)],
  });
  return y;
}

Deno.test("tensors that are never alive together share memory, and every value is right", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  const r = new Recorder(gpu);
  let y = x;
  for (let i = 0; i < 10; i++) y = scale(r, y, 2, `y${i}`);
  r.keep(y);
  // Two take turns, and what is kept has its own.
  assert.equal(r.estimateBytes(), 3 * 16);
  const arena = new Arena(gpu);
  const plan = await r.compile(arena);
  assert.equal(arena.allocatedBytes, 3 * 16);
  assert.equal(plan.dispatchCount, 10);
  for (let run = 0; run < 2; run++) {
    plan.run();
    assert.deepEqual([...await readF32(gpu, y)], [1024, 2048, 3072]);
  }
  plan.destroy({ arena: true });
  destroyTensor(x);
});

Deno.test("a tensor lives until its last reader, also when larger and smaller ones come between", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, Float32Array.from({ length: 100 }, (_, i) => i));
  const r = new Recorder(gpu);
  const early = scale(r, x, 3, "early");
  let y = x;
  for (let i = 0; i < 4; i++) y = scale(r, y, 1, `between ${i}`);
  const small = scale(r, x.rows(0, 5), 7, "small");
  const copied = r.tensor([5], "copied");
  r.copy(small, copied);
  r.clear(scale(r, x, 9, "cleared"));
  const late = r.keep(scale(r, early, 2, "late"));
  const lateSmall = r.keep(scale(r, copied, 2, "late small"));
  const plan = await r.compile();
  plan.run();
  assert.deepEqual([...await readF32(gpu, late)], Array.from({ length: 100 }, (_, i) => 6 * i));
  assert.deepEqual([...await readF32(gpu, lateSmall)], [0, 14, 28, 42, 56]);
  plan.destroy({ arena: true });
});

Deno.test("what is kept survives later steps and other plans of its arena, which share the rest", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3, 4));
  const arena = new Arena(gpu);
  const first = new Recorder(gpu);
  const kept = first.keep(scale(first, scale(first, x, 2, "a"), 5, "kept"));
  let y = kept;
  for (let i = 0; i < 5; i++) y = scale(first, y, 3, `after ${i}`);
  const firstPlan = await first.compile(arena);
  const firstBytes = arena.allocatedBytes;

  const second = new Recorder(gpu);
  let z = scale(second, kept, 10, "from kept");
  for (let i = 0; i < 5; i++) z = scale(second, z, 1, `second ${i}`);
  const result = second.keep(scale(second, z, 1, "result"));
  const secondPlan = await second.compile(arena);
  assert.equal(arena.allocatedBytes, firstBytes + 16, "only what the second plan keeps is new");

  for (let run = 0; run < 2; run++) {
    firstPlan.run();
    secondPlan.run();
    assert.deepEqual([...await readF32(gpu, kept)], [10, 20, 30, 40]);
    assert.deepEqual([...await readF32(gpu, result)], [100, 200, 300, 400]);
  }
  gpu.check();
  secondPlan.destroy();
  firstPlan.destroy({ arena: true });
  assert.equal(arena.allocatedBytes, 0);
});

Deno.test("a tensor that is neither kept nor compiled cannot be read", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  await assert.rejects(readF32(gpu, r.tensor([3], "nowhere")), /"nowhere" has no memory/);
});

Deno.test("workgroup counts outside the adapter's limits are refused", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const x = r.tensor([4], "x");
  const limit = gpu.device.limits.maxComputeWorkgroupsPerDimension;
  for (
    const workgroups of [[limit + 1], [1, limit + 1], [1, 1, limit + 1], [0], [1, 0], [1.5], [NaN], [-1]]
  ) {
    assert.throws(
      () =>
        r.dispatch(kernel, "main", {
          bind: { x, y: r.tensor([4], "y") },
          params: { count: 4, factor: 1 },
          workgroups: workgroups as [number, number?, number?],
          label: "too many",
        }),
      { name: "RangeError", message: /^Cannot record too many: workgroups .*, each must be 1 to \d+$/ },
    );
  }
  assert.equal(r.steps.length, 0);
});

Deno.test("a tensor larger than a binding is refused, its windows are not", async () => {
  const gpu = { ...await testGpu(), maxBindingBytes: 1024 };
  const x = createTensor(gpu, [8, 64], { label: "embedding" });
  const r = new Recorder(gpu);
  assert.throws(() => scale(r, x, 2, "y"), {
    name: "RangeError",
    message: 'Cannot bind "embedding" [8,64] to scale.main: 2048 bytes, this adapter binds at most 1024; ' +
      "bind windows of its rows",
  });
  assert.equal(r.steps.length, 0);
  scale(r, x.rows(4, 8), 2, "y");
  assert.equal(r.steps.length, 1);
  const plan = await r.compile();
  plan.destroy({ arena: true });
  destroyTensor(x);
});

Deno.test("windows read and write their rows alone", async () => {
  const gpu = await testGpu();
  const rowBytes = Math.max(gpu.bindingAlignment, 16);
  const columns = rowBytes / 4;
  const x = tensorFrom(gpu, Float32Array.from({ length: 3 * columns }, (_, i) => i), { shape: [3, columns] });
  const y = createTensor(gpu, [3, columns]);
  const r = new Recorder(gpu);
  r.dispatch(kernel, "main", {
    bind: { x: x.rows(2, 3), y: y.rows(1, 2) },
    params: { count: columns, factor: 2 },
    workgroups: [Math.ceil(columns / 64)],
  });
  const plan = await r.compile();
  plan.run();
  const want = Array.from(
    { length: 3 * columns },
    (_, i) => i >= columns && i < 2 * columns ? 2 * (i + columns) : 0,
  );
  assert.deepEqual([...await readF32(gpu, y)], want);
  plan.destroy({ arena: true });
});

Deno.test("misnamed, missing and misaligned bindings are refused by name", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  const x = tensorFrom(gpu, new Float32Array(64), { shape: [64, 1] });
  const y = r.tensor([4], "y");
  const options = { params: { count: 1, factor: 1 }, workgroups: [1] as [number] };
  assert.throws(() => r.dispatch(kernel, "main", { ...options, bind: { X: x, y } }), {
    name: "TypeError",
    message: 'Cannot record scale.main: the kernel has no binding "X"',
  });
  r.dispatch(kernel, "main", { ...options, bind: { y }, label: "forgetful" });
  await assert.rejects(r.compile(), { name: "DeviceError", message: /forgetful \(scale\.wgsl\)/ });
  const other = new Recorder(gpu);
  other.dispatch(kernel, "main", { ...options, bind: { x: x.rows(1, 2), y: other.tensor([4], "y") } });
  await assert.rejects(other.compile(), { name: "DeviceError", message: /scale\.main/ });
  gpu.check();
});

Deno.test("a kernel that does not compile is named, again at the second try, and leaves the device whole", async () => {
  const gpu = await testGpu();
  const broken = new Kernel("broken", SCALE.replace("params.factor *", "params.factor * nothing +"));
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  for (let attempt = 0; attempt < 2; attempt++) {
    const r = new Recorder(gpu);
    const options = { bind: { x, y: r.tensor([3], "y") }, params: { count: 3, factor: 1 } };
    r.dispatch(broken, "main", { ...options, workgroups: [1] });
    await assert.rejects(r.compile(), {
      name: "DeviceError",
      message: /^Cannot compile broken\.main \(broken\.wgsl\): /,
    });
  }
  const entryless = new Recorder(gpu);
  entryless.dispatch(kernel, "absent", {
    bind: { x, y: entryless.tensor([3], "y") },
    params: { count: 3, factor: 1 },
    workgroups: [1],
  });
  await assert.rejects(entryless.compile(), {
    name: "DeviceError",
    message: /scale\.absent \(scale\.wgsl\)/,
  });
  gpu.check();
  const r = new Recorder(gpu);
  const y = r.keep(scale(r, x, 2, "y"));
  const plan = await r.compile();
  plan.run();
  assert.deepEqual([...await readF32(gpu, y)], [2, 4, 6]);
  gpu.check();
  plan.destroy({ arena: true });
});

Deno.test("memory that the adapter refuses is an error that says how much was wanted, and is given back", async () => {
  const gpu = await testGpu();
  const { device } = gpu;
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  const arena = new Arena(gpu);
  const record = (): { r: Recorder; y: Tensor } => {
    const r = new Recorder(gpu);
    return { r, y: r.keep(scale(r, scale(r, x, 2, "a"), 2, "y")) };
  };
  const pop = device.popErrorScope;
  const counts = await countBuffers(gpu, async () => {
    device.popErrorScope = async () => {
      await pop.call(device);
      return { message: "Not enough memory left" } as GPUError;
    };
    try {
      await assert.rejects(record().r.compile(arena), {
        name: "DeviceError",
        message: "Cannot allocate 1 MB of GPU memory: Not enough memory left; use a smaller batch",
      });
    } finally {
      device.popErrorScope = pop;
    }
  });
  assert.deepEqual(counts, { made: 2, freed: 2, leftBytes: 0 });
  assert.equal(arena.allocatedBytes, 0);
  const { r, y } = record();
  const plan = await r.compile(arena);
  plan.run();
  assert.deepEqual([...await readF32(gpu, y)], [4, 8, 12]);
  plan.destroy({ arena: true });
});

Deno.test("as many buffers are destroyed as were created", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  const { made, freed } = await countBuffers(gpu, async () => {
    const arena = new Arena(gpu);
    const first = new Recorder(gpu);
    const kept = first.keep(scale(first, scale(first, x, 2, "a"), 5, "kept"));
    const firstPlan = await first.compile(arena);
    const second = new Recorder(gpu);
    second.keep(scale(second, scale(second, kept, 2, "b"), 5, "c"));
    const secondPlan = await second.compile(arena);
    for (let run = 0; run < 3; run++) {
      firstPlan.run();
      secondPlan.run();
    }
    await firstPlan.profile();
    assert.deepEqual([...await readF32(gpu, kept)], [10, 20, 30]);
    secondPlan.destroy();
    firstPlan.destroy({ arena: true });
  });
  assert.ok(made >= 6, `${made} buffers were counted`);
  assert.equal(freed, made);
});

Deno.test("running a plan creates no buffer", async () => {
  const gpu = await testGpu();
  const r = new Recorder(gpu);
  r.keep(scale(r, tensorFrom(gpu, Float32Array.of(1, 2, 3)), 2, "y"));
  const plan = await r.compile();
  const counts = await countBuffers(gpu, async () => {
    for (let run = 0; run < 10; run++) plan.run();
    await gpu.device.queue.onSubmittedWorkDone();
  });
  assert.deepEqual(counts, { made: 0, freed: 0, leftBytes: 0 });
  plan.destroy({ arena: true });
});
