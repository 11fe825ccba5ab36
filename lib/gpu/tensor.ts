/**
 * Tensors: a shape over bytes on the GPU. A tensor made while recording has no buffer until its plan is compiled.
 *
 * @module
 */

import { awaitDevice, DeviceError, type Gpu } from "./device.ts";

/** Element types. `bf16` and `f16` are packed two to a u32, lower element in the lower half. */
export type DType = "f32" | "u32" | "i32" | "bf16" | "f16";

/** Bytes of one element. */
export function elementBytes(dtype: DType): number {
  return dtype === "bf16" || dtype === "f16" ? 2 : 4;
}

/** Memory that tensors share: one buffer, present at once or assigned when a plan is compiled. */
export interface Storage {
  readonly label: string;
  readonly sizeBytes: number;
  buffer: GPUBuffer | undefined;
  /** Gradients flow here while a plan is recorded. */
  requiresGrad?: boolean;
  /** Persistent gradient of a trainable tensor: every backward pass adds to it. */
  grad?: Tensor;
}

/** A row-major shape over a window of a {@linkcode Storage}. */
export class Tensor {
  /**
   * @param storage the memory
   * @param shape row-major dimensions
   * @param dtype the element type
   * @param offsetBytes where the first element lies in the storage
   */
  constructor(
    readonly storage: Storage,
    readonly shape: readonly number[],
    readonly dtype: DType = "f32",
    readonly offsetBytes: number = 0,
  ) {}

  /** Whether gradients flow to this tensor; shared by every view of its storage. */
  get requiresGrad(): boolean {
    return this.storage.requiresGrad === true;
  }

  /** Persistent gradient of a trainable tensor, or `undefined`. */
  get grad(): Tensor | undefined {
    return this.storage.grad;
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((product, n) => product * n, 1);
  }

  /** Bytes from the first element to past the last, rounded up to a whole u32. */
  get sizeBytes(): number {
    return Math.ceil(this.size * elementBytes(this.dtype) / 4) * 4;
  }

  /** Name in errors and timings. */
  get label(): string {
    return this.storage.label;
  }

  /** Dimension `i`; negative counts from the end. */
  dim(i: number): number {
    const n = this.shape.at(i);
    if (n === undefined) {
      throw new RangeError(`"${this.label}" has ${this.shape.length} dimensions, not one numbered ${i}`);
    }
    return n;
  }

  /** The same elements under another shape; gradients pass through. */
  reshape(...shape: number[]): Tensor {
    const view = new Tensor(this.storage, shape, this.dtype, this.offsetBytes);
    if (view.size !== this.size) {
      throw new TypeError(
        `Cannot view "${this.label}" [${this.shape}] as [${shape}]: the number of elements differs`,
      );
    }
    return view;
  }

  /** Rows `[start, end)` of the first dimension, in place. */
  rows(start: number, end: number): Tensor {
    const rowBytes = this.size / this.dim(0) * elementBytes(this.dtype);
    return new Tensor(
      this.storage,
      [end - start, ...this.shape.slice(1)],
      this.dtype,
      this.offsetBytes + start * rowBytes,
    );
  }
}

const STORAGE_USAGE = 0x80 | 0x8 | 0x4; // STORAGE | COPY_DST | COPY_SRC

/** Rounds up to what a buffer or binding must be a multiple of. */
export function alignBytes(bytes: number): number {
  return Math.max(16, Math.ceil(bytes / 16) * 16);
}

/** @throws {RangeError} when a tensor is larger than any buffer of the adapter */
export function refuseOversized(
  gpu: Gpu,
  { label, shape, sizeBytes }: { label: string; shape?: readonly number[]; sizeBytes: number },
): void {
  const limit = gpu.device.limits.maxBufferSize;
  if (alignBytes(sizeBytes) <= limit) return;
  throw new RangeError(
    `Cannot allocate "${label}"${shape === undefined ? "" : ` [${shape}]`}: ${sizeBytes} bytes, ` +
      `the adapter's buffers hold ${limit}; use a smaller batch or model`,
  );
}

/** Allocates a storage buffer. */
export function createStorageBuffer(gpu: Gpu, sizeBytes: number, label: string): GPUBuffer {
  return gpu.device.createBuffer({ label, size: alignBytes(sizeBytes), usage: STORAGE_USAGE });
}

/**
 * A tensor with memory of its own, zero at first. Destroy it with {@linkcode destroyTensor}. Memory that the adapter has not
 * got is reported by the next {@linkcode Gpu.check}, which compiling a plan and reading results do.
 *
 * @throws {RangeError} when it is larger than any buffer of the adapter
 */
export function createTensor(
  gpu: Gpu,
  shape: readonly number[],
  options: { dtype?: DType; label?: string } = {},
): Tensor {
  const { dtype = "f32", label = "tensor" } = options;
  const sizeBytes = shape.reduce((product, n) => product * n, 1) * elementBytes(dtype);
  refuseOversized(gpu, { label, shape, sizeBytes });
  const { device } = gpu;
  device.pushErrorScope("out-of-memory");
  const buffer = createStorageBuffer(gpu, sizeBytes, label);
  device.popErrorScope().then((error) => {
    if (error === null) return;
    gpu.report(
      new DeviceError(
        `Cannot allocate "${label}" [${shape}], ${sizeBytes} bytes of GPU memory: ${error.message}; ` +
          "use a smaller batch or model",
      ),
    );
  }, () => {}); // a lost device has no scopes; the loss is reported by itself
  return new Tensor({ label, sizeBytes: alignBytes(sizeBytes), buffer }, shape, dtype);
}

/** A tensor filled from typed-array data (for `bf16`/`f16`, the 16-bit patterns). */
export function tensorFrom(
  gpu: Gpu,
  data: Float32Array | Uint32Array | Int32Array | Uint16Array,
  options: { shape?: readonly number[]; dtype?: DType; label?: string } = {},
): Tensor {
  const dtype = options.dtype ??
    (data instanceof Float32Array ? "f32" : data instanceof Int32Array ? "i32" : "u32");
  const tensor = createTensor(gpu, options.shape ?? [data.length], { ...options, dtype });
  if (tensor.size !== data.length) {
    throw new TypeError(`Cannot fill "${tensor.label}" [${tensor.shape}]: found ${data.length} elements`);
  }
  writeTensor(gpu, tensor, data);
  return tensor;
}

/** Copies typed-array data into a tensor. */
export function writeTensor(
  gpu: Gpu,
  tensor: Tensor,
  data: Float32Array | Uint32Array | Int32Array | Uint16Array,
): void {
  const buffer = bufferOf(tensor);
  let bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  if (bytes.length % 4 !== 0) {
    const padded = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
    padded.set(bytes);
    bytes = padded;
  }
  if (bytes.length > tensor.sizeBytes) {
    throw new RangeError(
      `Cannot write ${bytes.length} bytes to "${tensor.label}": it holds ${tensor.sizeBytes}`,
    );
  }
  gpu.device.queue.writeBuffer(buffer, tensor.offsetBytes, bytes as Uint8Array<ArrayBuffer>);
}

/**
 * Waits until what was written is on the GPU. Until the next submission a write waits in memory of its own: whoever writes much
 * would hold it twice.
 *
 * @throws {DeviceError} when the device was lost, or had refused something since it was last asked
 */
export async function flushWrites(gpu: Gpu): Promise<void> {
  const { queue } = gpu.device;
  queue.submit([]);
  await awaitDevice(gpu, "write to the GPU", () => queue.onSubmittedWorkDone());
}

/** Copies all of `from` into the tensor `to` of the same size, on the GPU and without waiting. */
export function copyTensor(gpu: Gpu, from: Tensor, to: Tensor): void {
  if (from.sizeBytes !== to.sizeBytes) {
    throw new RangeError(
      `Cannot copy "${from.label}" to "${to.label}": found ${from.sizeBytes} bytes, expected ${to.sizeBytes}`,
    );
  }
  const encoder = gpu.device.createCommandEncoder();
  encoder.copyBufferToBuffer(bufferOf(from), from.offsetBytes, bufferOf(to), to.offsetBytes, to.sizeBytes);
  gpu.device.queue.submit([encoder.finish()]);
}

/** Makes a persistent tensor trainable: it gets a gradient of the same shape, zero at first. */
export function makeTrainable(gpu: Gpu, tensor: Tensor): Tensor {
  tensor.storage.requiresGrad = true;
  tensor.storage.grad ??= createTensor(gpu, tensor.shape, { label: `d ${tensor.label}` });
  return tensor;
}

/** The buffer under a tensor. @throws {Error} when its plan has not been compiled */
export function bufferOf(tensor: Tensor): GPUBuffer {
  if (tensor.storage.buffer === undefined) {
    throw new Error(
      `"${tensor.label}" has no memory: it belongs to a plan that is not compiled, or did not keep it`,
    );
  }
  return tensor.storage.buffer;
}

/** Frees a tensor's memory at once; V8 does not see GPU memory, so nothing else does. */
export function destroyTensor(tensor: Tensor): void {
  tensor.storage.buffer?.destroy();
  tensor.storage.buffer = undefined;
}

/**
 * Reads tensors back, all in one submission. Waits for the GPU: about 10 ms in Deno, so never once per step.
 *
 * @throws {DeviceError} when the device was lost, or had refused something since it was last asked
 */
export async function readTensors(gpu: Gpu, tensors: readonly Tensor[]): Promise<Uint8Array<ArrayBuffer>[]> {
  const encoder = gpu.device.createCommandEncoder();
  const staging = tensors.map((tensor) => {
    const buffer = gpu.device.createBuffer({ size: alignBytes(tensor.sizeBytes), usage: 0x1 | 0x8 }); // MAP_READ | COPY_DST
    encoder.copyBufferToBuffer(bufferOf(tensor), tensor.offsetBytes, buffer, 0, tensor.sizeBytes);
    return buffer;
  });
  gpu.device.queue.submit([encoder.finish()]);
  try {
    // getMappedRange before mapAsync has resolved ends a Deno process, so every map is awaited first.
    await awaitDevice(gpu, "read results", () => Promise.all(staging.map((buffer) => buffer.mapAsync(1))));
    return tensors.map((tensor, i) =>
      new Uint8Array(staging[i]!.getMappedRange().slice(0, tensor.sizeBytes))
    );
  } finally {
    for (const buffer of staging) buffer.destroy();
  }
}

/** Reads one f32 tensor back. */
export async function readF32(gpu: Gpu, tensor: Tensor): Promise<Float32Array<ArrayBuffer>> {
  const [bytes] = await readTensors(gpu, [tensor]);
  return new Float32Array(bytes!.buffer);
}
