/** A GPU for tests: one device a process, and small helpers to run an op forward and backward. */
import { prepareDriverEnvironment } from "../../lib/host/quiet_driver.ts";
import { type Gpu, openGpu } from "../../lib/gpu/device.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { makeTrainable, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";

let shared: Promise<Gpu> | undefined;
let portable: Promise<Gpu> | undefined;

/** The device of this test process. */
export function testGpu(): Promise<Gpu> {
  prepareDriverEnvironment();
  return shared ??= openGpu();
}

/** A second device without subgroups, on which the portable kernels run. */
export function portableGpu(): Promise<Gpu> {
  prepareDriverEnvironment();
  return portable ??= openGpu({ subgroups: false });
}

/** Seeded values in (-scale, scale). */
export function randomValues(count: number, seed: number, scale = 1): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  let state = (seed * 7919 + 12345) | 0;
  for (let i = 0; i < count; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    values[i] = ((state >>> 8) / 2 ** 23 - 1) * scale;
  }
  return values;
}

/** Runs a recorded computation once and reads the named tensors. */
export async function runOnce<K extends string>(
  gpu: Gpu,
  record: (r: Recorder) => Record<K, Tensor>,
  options: { training?: boolean } = {},
): Promise<Record<K, Float32Array<ArrayBuffer>>> {
  const recorder = new Recorder(gpu, options.training ?? false);
  const outputs = record(recorder);
  for (const tensor of Object.values<Tensor>(outputs)) recorder.keep(tensor);
  const plan = await recorder.compile();
  plan.run();
  const values = {} as Record<K, Float32Array<ArrayBuffer>>;
  for (const name of Object.keys(outputs) as K[]) values[name] = await readF32(gpu, outputs[name]);
  gpu.check();
  plan.destroy({ arena: true });
  return values;
}

/**
 * Runs an op with trainable inputs, seeds its output's gradient with `dOutput`, and returns the output and the gradient of
 * every input. Gradients start at `startGrad` (so that adding is told from writing).
 */
export async function forwardBackward(
  gpu: Gpu,
  inputs: Record<string, { data: Float32Array; shape: number[] }>,
  op: (r: Recorder, tensors: Record<string, Tensor>) => Tensor,
  dOutput: (size: number) => Float32Array,
  startGrad = 0,
): Promise<{ output: Float32Array; grads: Record<string, Float32Array> }> {
  const tensors: Record<string, Tensor> = {};
  for (const [label, { data, shape }] of Object.entries(inputs)) {
    tensors[label] = makeTrainable(gpu, tensorFrom(gpu, data, { shape, label }));
    if (startGrad !== 0) {
      const start = new Float32Array(data.length).fill(startGrad);
      gpu.device.queue.writeBuffer(tensors[label].grad!.storage.buffer!, 0, start);
    }
  }
  const recorder = new Recorder(gpu, true);
  const output = recorder.keep(op(recorder, tensors));
  recorder.seedGradient(
    output,
    tensorFrom(gpu, dOutput(output.size), { shape: output.shape, label: "dOutput" }),
  );
  recorder.backward();
  const plan = await recorder.compile();
  plan.run();
  gpu.check();
  const grads: Record<string, Float32Array> = {};
  for (const [label, tensor] of Object.entries(tensors)) {
    grads[label] = (await readF32(gpu, tensor.grad!)).map((g) => g - startGrad);
  }
  const result = { output: await readF32(gpu, output), grads };
  gpu.check();
  plan.destroy({ arena: true });
  return result;
}

/** Counts the buffers that `action` creates and those of them that it destroys, and the bytes of those that are left. */
export async function countBuffers(
  gpu: Gpu,
  action: () => Promise<void>,
): Promise<{ made: number; freed: number; leftBytes: number }> {
  const { device } = gpu;
  const create = device.createBuffer;
  let made = 0;
  let freed = 0;
  let leftBytes = 0;
  device.createBuffer = (descriptor) => {
    const buffer = create.call(device, descriptor);
    const destroy = buffer.destroy;
    made++;
    leftBytes += buffer.size;
    let alive = true;
    buffer.destroy = () => {
      if (alive) {
        freed++;
        leftBytes -= buffer.size;
      }
      alive = false;
      destroy.call(buffer);
    };
    return buffer;
  };
  try {
    await action();
  } finally {
    device.createBuffer = create;
  }
  return { made, freed, leftBytes };
}
