/**
 * The frozen vision encoder as a plan of its own, for features that are computed once.
 *
 * @module
 */

import { Arena } from "../gpu/arena.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, writeTensor } from "../gpu/tensor.ts";
import type { VisionModel } from "../models/load.ts";
import { visionEncoder } from "../models/vision.ts";

/** Images to features, a batch at a time. */
export class ImageEncoder {
  readonly #gpu: Gpu;
  readonly #plan: Plan;
  readonly #arena: Arena;
  readonly #pixelValues: Tensor;
  readonly #features: Tensor;

  private constructor(
    gpu: Gpu,
    parts: { plan: Plan; arena: Arena; pixelValues: Tensor; features: Tensor },
  ) {
    this.#gpu = gpu;
    this.#plan = parts.plan;
    this.#arena = parts.arena;
    this.#pixelValues = parts.pixelValues;
    this.#features = parts.features;
  }

  /** Allocates and records. The model stays the caller's. */
  static async create(gpu: Gpu, model: VisionModel, options: { batchSize: number }): Promise<ImageEncoder> {
    const { imageSize, channels } = model.config;
    const pixelValues = createTensor(gpu, [options.batchSize, channels, imageSize, imageSize], {
      label: "pixelValues",
    });
    const arena = new Arena(gpu);
    const r = new Recorder(gpu);
    const features = r.keep(visionEncoder(r, model.weights, pixelValues, model.config));
    return new ImageEncoder(gpu, { plan: await r.compile(arena), arena, pixelValues, features });
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
    this.#plan.run();
    const features = await readF32(this.#gpu, this.#features);
    this.#gpu.check();
    return features.subarray(0, count * features.length / batchSize);
  }

  /** Frees activations. */
  destroy(): void {
    this.#plan.destroy();
    this.#arena.destroy();
    destroyTensor(this.#pixelValues);
  }
}
