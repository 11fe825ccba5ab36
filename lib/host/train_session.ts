/**
 * What a training run has on the GPU: base models, features, engine, and a generator that writes captions with the weights of
 * the moment.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { CaptionGenerator } from "../generate/generator.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import { type CaptionerWeights, prefixTokens } from "../models/captioner.ts";
import { decoderLinears } from "../models/decoder.ts";
import { loadDecoderModel, loadVisionModel } from "../models/load.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { createTrainingEngine, type GpuTrainingEngine } from "../train/engine.ts";
import { type FeatureImage, Features } from "../train/features.ts";
import { ImageEncoder } from "../train/image_encoder.ts";
import type { BatchInputs, ValidationRows } from "../train/rows.ts";
import { FeatureCache, resolveCacheDir } from "./cache.ts";
import { ImageWorkers } from "./image_workers.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";
import type { DataRow } from "./train_data.ts";
import { hashOf, type TrainModels } from "./train_models.ts";
import { type AUTOTUNE, tuneStep } from "./tuning.ts";

/** Kinds of adapters that can be asked for; `cuda` and `mps` mean `gpu`, as the Python project's names. */
export const DEVICES = ["auto", "gpu", "cpu", "cuda", "mps"] as const;

/** Opens the adapter. @throws {UserError} If it is not of the kind asked for */
export async function openTrainGpu(device: typeof DEVICES[number]): Promise<Gpu> {
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const isWanted = device === "auto" || (device === "cpu") === gpu.software;
  if (isWanted) return gpu;
  const found = `"${gpu.info.description || gpu.info.device}", ${
    gpu.software ? "a software adapter" : "a GPU"
  }`;
  gpu.destroy();
  throw new UserError(
    `Cannot train with --device ${device}: the adapter that answered is ${found}; use --device auto`,
  );
}

/** Options of {@linkcode TrainSession.open}. */
export interface TrainSessionOptions {
  /** Opened models. */
  models: TrainModels;
  /** Images of a micro-batch. */
  batchSize: number;
  /** Text tokens T of a batch. */
  textLength: number;
  /** Micro-batches of an optimizer step. */
  accumulation: number;
  /** Norm that gradients are clipped to. */
  maxGradNorm: number;
  /** Decoupled weight decay of AdamW. */
  weightDecay: number;
  /** Of everything random. */
  seed: number;
  /** Keep features on disk. With features in any case where no vision layer is trained. */
  cacheFeatures: boolean;
  /** Folder of cached files. @default {below the user's caches} */
  cacheDir?: string;
  /** Size of the feature cache. */
  maxCacheBytes: number;
  /** Empty the cache first. */
  pruneCache: boolean;
  /** When matmul kernels are measured. */
  autotune: typeof AUTOTUNE[number];
  /** Told the GPU memory that training will take, before it is taken. */
  onMemoryEstimate(bytes: number): void;
}

/** A run's GPU side and the workers that feed it. */
export class TrainSession implements Disposable {
  /** Trains. */
  readonly engine: GpuTrainingEngine;
  readonly #options: TrainSessionOptions;
  readonly #workers: ImageWorkers;
  readonly #features: Features | undefined;
  readonly #generator: CaptionGenerator;
  readonly #release: () => void;

  private constructor(
    options: TrainSessionOptions,
    parts: {
      engine: GpuTrainingEngine;
      workers: ImageWorkers;
      features: Features | undefined;
      generator: CaptionGenerator;
      release: () => void;
    },
  ) {
    this.#options = options;
    this.engine = parts.engine;
    this.#workers = parts.workers;
    this.#features = parts.features;
    this.#generator = parts.generator;
    this.#release = parts.release;
  }

  /** Loads the base models and records every plan. The device stays the caller's. */
  static async open(gpu: Gpu, options: TrainSessionOptions): Promise<TrainSession> {
    const { models, batchSize, textLength } = options;
    const { config, settings, encoderFolder, decoderFolder, start } = models;
    const vision = await loadVisionModel(gpu, encoderFolder);
    const positions = prefixTokens(config) + Math.max(textLength, settings.maxLength);
    const decoder = await loadDecoderModel(gpu, decoderFolder, { maxPositions: positions });
    const base: Omit<CaptionerWeights, "trainable"> = {
      vision: vision.weights,
      decoder: decoder.weights,
      rope: decoder.rope,
    };
    const weights = floatType(decoder.weights.get(`${decoderLinears(config.decoder)[0]!.path}.weight`));
    await tuneStep(gpu, config, { ...options, weights, when: options.autotune });
    const features = settings.unfrozenVisionLayers === 0;
    const engine = await createTrainingEngine(gpu, {
      config,
      models: base,
      modelBytes: vision.weights.sizeBytes + decoder.weights.sizeBytes,
      start,
      batchSize,
      textLength,
      accumulation: options.accumulation,
      features,
      maxGradNorm: options.maxGradNorm,
      weightDecay: options.weightDecay,
      seed: options.seed,
      onMemoryEstimate: options.onMemoryEstimate,
    });
    const generator = await CaptionGenerator.create(gpu, {
      config,
      weights: { ...base, trainable: engine.parameters },
      batchSize,
      numBeams: 1,
      maxNewTokens: settings.maxLength,
      features,
    });
    const encoder = features ? await ImageEncoder.create(gpu, vision, { batchSize }) : undefined;
    return new TrainSession(options, {
      engine,
      generator,
      workers: new ImageWorkers({ config: models.processor }),
      features: encoder && await openFeatures(gpu, encoder, options),
      release() {
        encoder?.destroy();
        generator.destroy();
        engine.destroy();
        vision.weights.destroy();
        decoder.destroy();
      },
    });
  }

  /**
   * Decodes every image once and computes its features where they are used.
   *
   * @returns How many images had to be encoded; the others came from the cache
   */
  async prepare(
    rows: readonly DataRow[],
    options: {
      onBad(row: DataRow, reason: string): void;
      onProgress(done: number): void;
      signal: AbortSignal;
    },
  ): Promise<number> {
    const { onBad, onProgress, signal } = options;
    if (this.#features) {
      const images = rows.map((row): FeatureImage & { row: DataRow } => ({
        id: row.path,
        sha256: row.sha256,
        row,
        pixelValues: async () => (await this.#workers.prepare(row.path)).pixelValues,
      }));
      return await this.#features.prepare(images, {
        onBad: (image, reason) => onBad((image as FeatureImage & { row: DataRow }).row, reason),
        onProgress,
        signal,
      });
    }
    // Pixels are loaded again for every step; that each can be is seen before the first.
    for await (const { index, error } of this.#workers.map(rows.map(({ path }) => path))) {
      signal.throwIfAborted();
      if (error !== undefined) onBad(rows[index]!, error);
      onProgress(index + 1);
    }
    return rows.length;
  }

  /** Images of rows as the engine takes them. */
  loadInputs = async (rows: readonly DataRow[]): Promise<BatchInputs> => {
    if (this.#features) return { features: await this.#features.get(rows.map(({ sha256 }) => sha256)) };
    const images = await Promise.all(rows.map(({ path }) => this.#workers.prepare(path)));
    const size = images[0]!.pixelValues.length;
    const pixelValues = new Float32Array(size * images.length);
    images.forEach((image, i) => pixelValues.set(image.pixelValues, i * size));
    return { pixelValues };
  };

  /** Writes captions for rows with the weights as they are now, greedily; at most a batch of them. */
  async caption(data: ValidationRows, indices: readonly number[]): Promise<string[]> {
    const { tokenizer, config } = this.#options.models;
    const { features, pixelValues } = await data.loadInputs(indices);
    const eosIds = [...new Set([...config.decoder.eosIds, tokenizer.eosId])];
    const found = await this.#generator.generate(features ?? pixelValues!, indices.length, { eosIds });
    return found.map(([best]) => tokenizer.decode(best!.ids).trim());
  }

  /** Frees GPU memory and ends the workers. */
  [Symbol.dispose](): void {
    this.#workers.close();
    this.#release();
  }
}

async function openFeatures(
  gpu: Gpu,
  encoder: ImageEncoder,
  options: TrainSessionOptions,
): Promise<Features> {
  const { models, batchSize } = options;
  let cache: FeatureCache | undefined;
  if (options.cacheFeatures || options.pruneCache) {
    const folder = `${resolveCacheDir(options.cacheDir)}/features`;
    const opened = await FeatureCache.open({ folder, maxBytes: options.maxCacheBytes });
    if (options.pruneCache) await opened.prune(0);
    if (options.cacheFeatures) cache = opened;
  }
  // Adapters round differently: with the features of another one a run would not give the same bytes.
  const identity = await hashOf([
    models.encoderHash,
    JSON.stringify(models.processor),
    JSON.stringify(gpu.info),
    String(gpu.subgroupSize),
  ]);
  return new Features({
    encode: (pixelValues, count) => encoder.encode(pixelValues, count),
    batchSize,
    identity,
    ...(cache && { cache }),
  });
}

/** The float type of a weight on the GPU. */
function floatType({ dtype }: Tensor): "f32" | "bf16" | "f16" {
  return dtype === "bf16" || dtype === "f16" ? dtype : "f32";
}
