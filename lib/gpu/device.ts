/**
 * The one place where an adapter is chosen, limits are asked for and a device's errors are collected.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";

/** An open WebGPU device with what the rest of the library needs to know about it. */
export interface Gpu {
  /** The open device. */
  readonly device: GPUDevice;
  /** Vendor, architecture, device and description as the adapter states them. */
  readonly info: { vendor: string; architecture: string; device: string; description: string };
  /** True for CPU rasterisers (lavapipe, SwiftShader, WARP), whose fast kernels differ from a GPU's. */
  readonly software: boolean;
  /** Lanes of a subgroup when the size is fixed and `subgroups` was granted, else 0. */
  readonly subgroupSize: number;
  /** True when timestamp queries were granted. */
  readonly timestamps: boolean;
  /** Largest storage binding in bytes: a larger tensor is reached through several windows. */
  readonly maxBindingBytes: number;
  /** Bytes to which a storage window's offset must be aligned. */
  readonly bindingAlignment: number;
  /** Pipelines by kernel text and entry, so that no plan compiles one twice. */
  readonly pipelines: Map<string, GPUComputePipeline>;
  /** Shader modules by text. */
  readonly modules: Map<string, GPUShaderModule>;
  /**
   * Throws what the device reported since the last call: validation errors, allocation failure. A lost device throws at every
   * call.
   */
  check(): void;
  /** Leaves an error for the next {@linkcode Gpu.check}; the first one counts. */
  report(error: DeviceError): void;
  /** Releases the device and every buffer on it. */
  destroy(): void;
}

/** Options of {@linkcode openGpu}. */
export interface OpenGpuOptions {
  /** WebGPU entry point; browsers and Deno offer it as `navigator.gpu`. @default {navigator.gpu} */
  gpu?: GPU | undefined;
  /** False leaves `subgroups` unasked for, so that the portable kernels run. @default {true} */
  subgroups?: boolean;
}

/** Thrown when no adapter answers; the caller says what to install. */
export class NoAdapterError extends Error {
  /** Always `"NoAdapterError"`. */
  override name = "NoAdapterError";
}

/** Thrown when the device was lost or an allocation was refused. */
export class DeviceError extends Error {
  /** Always `"DeviceError"`. */
  override name = "DeviceError";
}

const SOFTWARE = /llvmpipe|lavapipe|swiftshader|basic render|warp/i;

/**
 * Opens the adapter with the largest limits it offers.
 *
 * @throws {NoAdapterError} when there is no WebGPU or no adapter
 */
export async function openGpu(options: OpenGpuOptions = {}): Promise<Gpu> {
  const entry = options.gpu ?? globalThis.navigator?.gpu;
  const adapter = await entry?.requestAdapter({ powerPreference: "high-performance" });
  if (!adapter) {
    throw new NoAdapterError(
      "Cannot open a GPU: no WebGPU adapter answered; install a driver for the graphics card, or a software driver with `deno task setup`",
    );
  }
  const { limits, info } = adapter;
  const requiredLimits: Record<string, number> = {
    maxStorageBufferBindingSize: limits.maxStorageBufferBindingSize,
    maxBufferSize: limits.maxBufferSize,
    minStorageBufferOffsetAlignment: limits.minStorageBufferOffsetAlignment,
  };
  const features: string[] = [];
  const timestamps = adapter.features.has("timestamp-query");
  if (timestamps) features.push("timestamp-query");
  let device: GPUDevice | undefined;
  let subgroups = false;
  if (options.subgroups !== false) {
    try {
      // Deno grants subgroups without listing them, so asking is the only way to know.
      const asked = [...features, "subgroups"] as GPUFeatureName[];
      device = await adapter.requestDevice({ requiredFeatures: asked, requiredLimits });
      subgroups = true;
    } catch {
      device = undefined;
    }
  }
  device ??= await adapter.requestDevice({ requiredFeatures: features as GPUFeatureName[], requiredLimits });
  const sizes = info as unknown as { subgroupMinSize?: number; subgroupMaxSize?: number };
  const fixed = sizes.subgroupMinSize === sizes.subgroupMaxSize ? sizes.subgroupMinSize ?? 0 : 0;
  return wrapDevice(device, {
    info: {
      vendor: info.vendor,
      architecture: info.architecture,
      device: info.device,
      description: info.description,
    },
    software: SOFTWARE.test(`${info.vendor} ${info.description} ${info.device}`),
    subgroupSize: subgroups ? fixed : 0,
    timestamps,
  });
}

function wrapDevice(
  device: GPUDevice,
  facts: Pick<Gpu, "info" | "software" | "subgroupSize" | "timestamps">,
): Gpu {
  let failure: Error | undefined;
  let loss: string | undefined;
  let closed = false;
  device.addEventListener("uncapturederror", (event) => {
    const { error } = event as GPUUncapturedErrorEvent;
    failure ??= new DeviceError(
      error.constructor.name === "GPUOutOfMemoryError"
        ? `The GPU has no memory left: ${error.message}; use a smaller batch or model`
        : `The GPU refused a command: ${error.message}`,
    );
    event.preventDefault();
  });
  device.lost.then(({ reason, message }) => {
    loss = closed
      ? "The GPU was closed; open it again"
      : `The GPU was lost (${reason}): ${message}; start again from the last checkpoint`;
  });
  return {
    device,
    ...facts,
    maxBindingBytes: device.limits.maxStorageBufferBindingSize,
    bindingAlignment: device.limits.minStorageBufferOffsetAlignment,
    pipelines: new Map(),
    modules: new Map(),
    check(): void {
      if (loss !== undefined) throw new DeviceError(loss);
      if (failure === undefined) return;
      const thrown = failure;
      failure = undefined;
      throw thrown;
    },
    report(error: DeviceError): void {
      failure ??= error;
    },
    destroy(): void {
      closed = true;
      device.destroy();
    },
  };
}

/**
 * Does work that waits for the device; if that fails, throws what the device says of itself (a loss, an earlier refusal) rather
 * than the symptom.
 *
 * @param what goes on, for the message: "read results"
 * @throws {DeviceError} when the work fails
 */
export async function awaitDevice<T>(gpu: Gpu, what: string, work: () => Promise<T>): Promise<T> {
  try {
    const value = await work();
    gpu.check();
    return value;
  } catch (error) {
    if (error instanceof DeviceError) throw error;
    // The device's own report comes as an event of a later turn.
    await new Promise((resolve) => setTimeout(resolve, 0));
    gpu.check();
    throw new DeviceError(`Cannot ${what}: ${describeError(error)}`, { cause: error });
  }
}
