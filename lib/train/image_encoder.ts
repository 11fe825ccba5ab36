/**
 * The frozen vision encoder as a plan of its own, for features that are computed once.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import { PlanGroup } from "../gpu/plan_group.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, readF32, type Tensor, writeTensor } from "../gpu/tensor.ts";
import type { VisionModel } from "../models/load.ts";
import { visionEncoder } from "../models/vision.ts";

/** Images to features, a batch at a time. */
export class ImageEncoder {
  readonly #gpu: Gpu;
  readonly #group: PlanGroup<"encode">;
  readonly #pixelValues: Tensor;
  readonly #features: Tensor;

  private constructor(
    gpu: Gpu,
    parts: { group: PlanGroup<"encode">; pixelValues: Tensor; features: Tensor },
  ) {
    this.#gpu = gpu;
    this.#group = parts.group;
    this.#pixelValues = parts.pixelValues;
    this.#features = parts.features;
  }

  /** Records and compiles. The model stays the caller's. @throws {DeviceError} when the memory is refused */
  static async create(gpu: Gpu, model: VisionModel, options: { batchSize: number }): Promise<ImageEncoder> {
    const encoder = ImageEncoder.record(gpu, model, options);
    await encoder.compile();
    return encoder;
  }

  /** Records; {@linkcode ImageEncoder.compile} makes it ready. The model stays the caller's. */
  static record(gpu: Gpu, model: VisionModel, options: { batchSize: number }): ImageEncoder {
    const { imageSize, channels } = model.config;
    const pixelValues = createTensor(gpu, [options.batchSize, channels, imageSize, imageSize], {
      label: "pixelValues",
    });
    const r = new Recorder(gpu);
    const features = r.keep(visionEncoder(r, model.weights, pixelValues, model.config));
    return new ImageEncoder(gpu, {
      group: new PlanGroup(gpu, { encode: r }, [pixelValues]),
      pixelValues,
      features,
    });
  }

  /** Takes the memory and compiles. @throws {DeviceError} when the memory is refused */
  async compile(): Promise<void> {
    await this.#group.compile();
  }

  /** GPU memory of pixels and activations in bytes; before {@linkcode ImageEncoder.compile} what it will be. */
  get memoryBytes(): number {
    return this.#group.memoryBytes;
  }

  /** Features [count, P, Dv] of pixelValues [count, 3, I, I]; count at most the batch size. */
  async encode(pixelValues: Float32Array, count: number): Promise<Float32Array> {
    const batchSize = this.#pixelValues.dim(0);
    const rowSize = this.#pixelValues.size / batchSize;
    if (count < 1 || count > batchSize || pixelValues.length !== count * rowSize) {
      throw new TypeError(
        `Cannot encode ${count} images from ${pixelValues.length} values; expected 1 to ${batchSize} images of ${rowSize}`,
      );
    }
    writeTensor(this.#gpu, this.#pixelValues, pixelValues);
    this.#group.plans.encode.run();
    const features = await readF32(this.#gpu, this.#features);
    this.#gpu.check();
    return features.subarray(0, count * features.length / batchSize);
  }

  /** Frees pixels and activations. */
  destroy(): void {
    this.#group.destroy();
  }
}
