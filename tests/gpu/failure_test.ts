import assert from "node:assert/strict";
import { Arena } from "../../lib/gpu/arena.ts";
import { DeviceError, type Gpu, openGpu } from "../../lib/gpu/device.ts";
import { Kernel } from "../../lib/gpu/kernel.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import { gelu } from "../../lib/ops/gelu.ts";
import { countBuffers, testGpu } from "../support/gpu.ts";

const broken = new Kernel(
  "broken",
  "@group(0) @binding(0) var<storage, read_write> y: array<f32>;\n@compute @workgroup_size(1) fn main() { y[0] = nothing; }",
);

/** A view of the device with a smaller limit of buffers. */
function withMaxBufferSize(gpu: Gpu, maxBufferSize: number): Gpu {
  const limits = new Proxy(gpu.device.limits, {
    get: (target, key) => key === "maxBufferSize" ? maxBufferSize : Reflect.get(target, key, target),
  });
  const device = new Proxy(gpu.device, {
    get: (target, key) => {
      if (key === "limits") return limits;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return { ...gpu, device };
}

/** Makes the next error scopes of the device end in an error. */
async function whileRefusing(gpu: Gpu, action: () => Promise<void>): Promise<void> {
  const { device } = gpu;
  const pop = device.popErrorScope;
  device.popErrorScope = async () => {
    await pop.call(device);
    return { message: "Not enough memory left" } as GPUError;
  };
  try {
    await action();
  } finally {
    device.popErrorScope = pop;
  }
}

Deno.test("a tensor larger than any buffer is refused by name when its plan is compiled, and nothing is left behind", async () => {
  const gpu = withMaxBufferSize(await testGpu(), 4096);
  const x = tensorFrom(gpu, new Float32Array(64));
  const counts = await countBuffers(await testGpu(), async () => {
    const r = new Recorder(gpu);
    const y = r.tensor([33, 32], "activations");
    r.clear(gelu(r, x, "tanh"));
    r.clear(y);
    assert.ok(r.estimateBytes() > 4096);
    await assert.rejects(r.compile(), {
      name: "RangeError",
      message: 'Cannot allocate "activations": 4224 bytes, the adapter\'s buffers hold 4096; ' +
        "use a smaller batch or model",
    });
  });
  assert.deepEqual(counts, { made: 0, freed: 0, leftBytes: 0 });
  assert.throws(() => createTensor(gpu, [33, 32], { label: "weights" }), {
    name: "RangeError",
    message: 'Cannot allocate "weights" [33,32]: 4224 bytes, the adapter\'s buffers hold 4096; ' +
      "use a smaller batch or model",
  });
  const fits = new Recorder(gpu);
  fits.clear(fits.tensor([32, 32], "activations"));
  (await fits.compile()).destroy({ arena: true });
  destroyTensor(x);
  (await testGpu()).check();
});

Deno.test("a compile that fails frees what it made: the arena's buffers and the parameters", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  const { made, freed } = await countBuffers(gpu, async () => {
    const r = new Recorder(gpu);
    r.keep(gelu(r, x, "tanh"));
    r.dispatch(broken, "main", { bind: { y: r.tensor([3], "y") }, workgroups: [1] });
    await assert.rejects(r.compile(), { name: "DeviceError", message: /^Cannot compile broken\.main/ });
  });
  assert.ok(made >= 3, `${made} buffers were counted`);
  assert.equal(freed, made);
  destroyTensor(x);
});

Deno.test("a compile that fails leaves the arena it shares as it was", async () => {
  const gpu = await testGpu();
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  const arena = new Arena(gpu);
  const good = new Recorder(gpu);
  const kept = good.keep(gelu(good, gelu(good, x, "tanh"), "tanh"));
  const plan = await good.compile(arena);
  plan.run();
  const before = await readF32(gpu, kept);
  const bytes = arena.allocatedBytes;
  const bad = new Recorder(gpu);
  const y = bad.keep(bad.tensor([1000], "y"));
  bad.dispatch(broken, "main", { bind: { y }, workgroups: [1] });
  await assert.rejects(bad.compile(arena), DeviceError);
  assert.equal(arena.allocatedBytes, bytes);
  await assert.rejects(readF32(gpu, y), /"y" has no memory/);
  plan.run();
  assert.deepEqual(await readF32(gpu, kept), before);
  plan.destroy({ arena: true });
  destroyTensor(x);
});

Deno.test("memory refused for a tensor of its own is reported by name at the next check, once", async () => {
  const gpu = await testGpu();
  const message = 'Cannot allocate "embedding" [5,7], 140 bytes of GPU memory: Not enough memory left; ' +
    "use a smaller batch or model";
  await whileRefusing(gpu, async () => {
    destroyTensor(createTensor(gpu, [5, 7], { label: "embedding" }));
    await Promise.resolve();
  });
  await new Promise((resolve) => setTimeout(resolve, 0));
  assert.throws(() => gpu.check(), { name: "DeviceError", message });
  gpu.check();
  const fine = tensorFrom(gpu, Float32Array.of(1, 2));
  await whileRefusing(gpu, async () => {
    destroyTensor(tensorFrom(gpu, new Float32Array(35), { shape: [5, 7], label: "embedding" }));
    await Promise.resolve();
  });
  await assert.rejects(readF32(gpu, fine), { name: "DeviceError", message });
  assert.deepEqual([...await readF32(gpu, fine)], [1, 2]);
  destroyTensor(fine);
});

Deno.test("an error nobody waited for is a DeviceError at the next check; memory says what to do", async () => {
  const gpu = await openGpu();
  class GPUOutOfMemoryError extends Error {}
  class GPUValidationError extends Error {}
  for (
    const [error, wanted] of [
      [
        new GPUOutOfMemoryError("no pages"),
        "The GPU has no memory left: no pages; use a smaller batch or model",
      ],
      [new GPUValidationError("odd size"), "The GPU refused a command: odd size"],
    ] as const
  ) {
    gpu.device.dispatchEvent(Object.assign(new Event("uncapturederror"), { error }));
    assert.throws(() => gpu.check(), { name: "DeviceError", message: wanted });
    gpu.check();
  }
  gpu.device.createBuffer({ size: 2 ** 40, usage: 0x80 });
  const x = tensorFrom(gpu, Float32Array.of(1));
  await assert.rejects(readF32(gpu, x), { name: "DeviceError", message: /^The GPU refused a command: / });
  destroyTensor(x);
  gpu.destroy();
});

Deno.test("after a loss everything that waits for the device says so, every time", async () => {
  const gpu = await openGpu();
  const x = tensorFrom(gpu, Float32Array.of(1, 2, 3));
  const r = new Recorder(gpu);
  const y = r.keep(gelu(r, x, "tanh"));
  const plan = await r.compile();
  plan.run();
  await readF32(gpu, y);
  // Not gpu.destroy(): for the library this device goes away by itself.
  gpu.device.destroy();
  const lost = {
    name: "DeviceError",
    message: /^The GPU was lost \(\w+\): .+; start again from the last checkpoint$/,
  };
  plan.run();
  await assert.rejects(readF32(gpu, y), lost);
  await assert.rejects(plan.profile(), lost);
  const again = new Recorder(gpu);
  gelu(again, x, "tanh");
  await assert.rejects(again.compile(), lost);
  for (let i = 0; i < 2; i++) assert.throws(() => gpu.check(), lost);
});

Deno.test("a device that was closed says that, not that it was lost", async () => {
  const gpu = await openGpu();
  const x = tensorFrom(gpu, Float32Array.of(1));
  gpu.destroy();
  await assert.rejects(readF32(gpu, x), {
    name: "DeviceError",
    message: "The GPU was closed; open it again",
  });
});
