/**
 * What a training run has on the GPU: base models, features, engine, and a generator that writes captions with the weights of
 * the moment.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import type { ImageRow } from "../datasets/rows.ts";
import { CaptionGenerator, type SearchOptions } from "../generate/generator.ts";
import type { Gpu } from "../gpu/device.ts";
import { type CaptionerWeights, prefixTokens } from "../models/captioner.ts";
import { decoderLinears } from "../models/decoder.ts";
import { type DecoderModel, loadDecoderModel, loadVisionModel, type VisionModel } from "../models/load.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { type GpuTrainingEngine, recordTrainingEngine } from "../train/engine.ts";
import type { FeatureImage, Features } from "../train/features.ts";
import { ImageEncoder } from "../train/image_encoder.ts";
import type { TrainBatch } from "../train/engine_types.ts";
import type { BatchInputs, ValidationRows } from "../train/rows.ts";
import type { SampledCaption } from "../train/self_critical.ts";
import { ClipScorer } from "./clip_scorer.ts";
import { ImageSimilarity } from "./image_similarity.ts";
import { ImageWorkers } from "./image_workers.ts";
import type { DataRow } from "./train_data.ts";
import { openFeatures } from "./train_features.ts";
import type { TrainModels } from "./train_models.ts";
import { type AUTOTUNE, tuneStep } from "./tuning.ts";

/** What became of rows: those that are good, with their images. */
export interface LoadedRows {
  /** Good rows. */
  rows: readonly DataRow[];
  /** Their images. */
  inputs: BatchInputs;
}

/** Images that are decoded before their turn comes. */
const IMAGES_AHEAD = 16;

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
  /** Most bytes of features in memory. @default {1e9} */
  maxFeatureBytes?: number;
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
  /** Factor of the policy gradient; 0 for none. @default {0} */
  policyWeight?: number;
  /** CLIP or SigLIP that compares captions with images. @default {none} */
  clipModel?: string | undefined;
  /** Told all the GPU memory that the run will take, evaluations included, before activations are allocated. */
  onMemoryEstimate(bytes: number): void;
}

/** A run's GPU side and the workers that feed it. */
export class TrainSession implements Disposable {
  /** Trains. */
  readonly engine: GpuTrainingEngine;
  /** Compares captions with images, where the run has a model for it. */
  readonly similarity: ImageSimilarity | undefined;
  readonly #options: TrainSessionOptions;
  readonly #parts: SessionParts;
  readonly #features: Features | undefined;

  private constructor(options: TrainSessionOptions, parts: SessionParts, features: Features | undefined) {
    this.#options = options;
    this.engine = parts.engine;
    this.#parts = parts;
    this.#features = features;
    this.similarity = parts.scorer &&
      new ImageSimilarity(
        parts.scorer,
        async (row, processor) =>
          (await parts.workers.prepare(row.path ?? await row.readImage(), processor)).pixelValues,
      );
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
    const engine = recordTrainingEngine(gpu, {
      config,
      models: base,
      modelBytes: vision.weights.sizeBytes + decoder.weights.sizeBytes +
        (decoder.rope?.storage.sizeBytes ?? 0),
      start,
      batchSize,
      textLength,
      accumulation: options.accumulation,
      features,
      maxGradNorm: options.maxGradNorm,
      weightDecay: options.weightDecay,
      seed: options.seed,
      ...(options.policyWeight !== undefined && { policyWeight: options.policyWeight }),
    });
    const generator = CaptionGenerator.record(gpu, {
      config,
      weights: { ...base, trainable: engine.parameters },
      batchSize,
      numBeams: 1,
      maxNewTokens: settings.maxLength,
      features,
    });
    const encoder = features ? ImageEncoder.record(gpu, vision, { batchSize }) : undefined;
    const scorer = options.clipModel === undefined
      ? undefined
      : await ClipScorer.open(gpu, { model: options.clipModel, batchSize });
    options.onMemoryEstimate(memoryOf({ engine, generator, encoder, scorer }));
    for (const part of [engine, generator, encoder, scorer]) await part?.compile();
    const parts = { engine, generator, encoder, scorer, vision, decoder };
    return new TrainSession(
      options,
      { ...parts, workers: new ImageWorkers({ config: models.processor }) },
      encoder && await openFeatures(gpu, encoder, options),
    );
  }

  /** GPU memory of everything that the run holds, in bytes. */
  get memoryBytes(): number {
    return memoryOf(this.#parts);
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
        id: row.id,
        sha256: row.sha256,
        row,
        pixelValues: () => this.#pixelValues(row),
      }));
      return await this.#features.prepare(images, {
        onBad: (image, reason) => onBad((image as FeatureImage & { row: DataRow }).row, reason),
        onProgress,
        signal,
      });
    }
    // Pixels are loaded again for every step; that each can be is seen before the first.
    const ahead: Promise<string | undefined>[] = [];
    for (const done of rows.keys()) {
      signal.throwIfAborted();
      while (ahead.length < IMAGES_AHEAD && done + ahead.length < rows.length) {
        ahead.push(this.#pixelValues(rows[done + ahead.length]!).then(() => undefined, describeError));
      }
      const error = await ahead.shift()!;
      if (error !== undefined) onBad(rows[done]!, error);
      onProgress(done + 1);
    }
    return rows.length;
  }

  /** A file of its own is read by the worker that decodes it; what lies in a table is read here and handed over. */
  async #pixelValues(row: ImageRow): Promise<Float32Array> {
    return (await this.#parts.workers.prepare(row.path ?? await row.readImage())).pixelValues;
  }

  /** Images of rows as the engine takes them. */
  loadInputs = async (rows: readonly DataRow[]): Promise<BatchInputs> => {
    if (this.#features) return { features: await this.#features.get(rows.map(({ sha256 }) => sha256)) };
    const images = await Promise.all(rows.map((row) => this.#pixelValues(row)));
    const size = images[0]!.length;
    const pixelValues = new Float32Array(size * images.length);
    images.forEach((image, i) => pixelValues.set(image, i * size));
    return { pixelValues };
  };

  /**
   * Images of rows that were not prepared, as the engine takes them; at most a batch. Those that cannot be decoded are left out.
   *
   * @returns Inputs of the good rows, and which those are
   */
  loadRows = async (
    rows: readonly DataRow[],
    onBad: (row: DataRow, reason: string) => void,
  ): Promise<LoadedRows> => {
    const loaded = this.#features
      ? await this.#features.load(rows.map((row) => ({
        id: row.id,
        sha256: row.sha256,
        pixelValues: () => this.#pixelValues(row),
      })))
      : await Promise.all(
        rows.map((row) => this.#pixelValues(row).catch((error) => ({ error: describeError(error) }))),
      );
    const good: DataRow[] = [];
    const values: Float32Array[] = [];
    for (const [i, one] of loaded.entries()) {
      if ("error" in one) onBad(rows[i]!, one.error);
      else {
        good.push(rows[i]!);
        values.push(one);
      }
    }
    const size = values[0]?.length ?? 0;
    const joined = new Float32Array(size * values.length);
    values.forEach((one, i) => joined.set(one, i * size));
    return { rows: good, inputs: this.#features ? { features: joined } : { pixelValues: joined } };
  };

  /** Writes captions for rows with the weights as they are now, greedily; at most a batch of them. */
  async caption(data: ValidationRows, indices: readonly number[]): Promise<string[]> {
    const { features, pixelValues } = await data.loadInputs(indices);
    const found = await this.#generate(features ?? pixelValues!, indices.length, {});
    return found.map(({ text }) => text);
  }

  /** Captions of a batch's images with the weights as they are now: drawn with a seed, without one the greedy ones. */
  sampleCaptions = async (batch: TrainBatch, { seed }: { seed?: number }): Promise<SampledCaption[]> => {
    const images = batch.features ?? batch.pixelValues!;
    // No longer than the batches that the engine takes.
    const maxNewTokens = this.engine.textLength;
    return await this.#generate(images, batch.size, {
      maxNewTokens,
      ...(seed !== undefined && { seed, temperature: 1 }),
    });
  };

  async #generate(
    images: Float32Array,
    count: number,
    options: Omit<SearchOptions, "eosIds">,
  ): Promise<SampledCaption[]> {
    const { tokenizer, config } = this.#options.models;
    const eosIds = [...new Set([...config.decoder.eosIds, tokenizer.eosId])];
    const found = await this.#parts.generator.generate(images, count, { ...options, eosIds });
    return found.map(([best]) => ({
      ids: best!.ids,
      text: tokenizer.decode(best!.ids).trim(),
      logProb: best!.logProb,
      isFinished: eosIds.includes(best!.ids.at(-1)!),
    }));
  }

  /** Frees GPU memory and ends the workers. */
  [Symbol.dispose](): void {
    const { engine, generator, encoder, scorer, vision, decoder, workers } = this.#parts;
    workers.close();
    for (const part of [scorer, encoder, generator, engine, vision.weights, decoder]) part?.destroy();
  }
}

interface SessionParts {
  engine: GpuTrainingEngine;
  generator: CaptionGenerator;
  /** Absent where a vision layer is trained: features are then part of every step. */
  encoder: ImageEncoder | undefined;
  scorer: ClipScorer | undefined;
  vision: VisionModel;
  decoder: DecoderModel;
  workers: ImageWorkers;
}

/** The engine counts the base models as its own. */
function memoryOf(
  { engine, generator, encoder, scorer }: Pick<SessionParts, "engine" | "generator" | "encoder" | "scorer">,
): number {
  return engine.memoryBytes + generator.memoryBytes + (encoder?.memoryBytes ?? 0) +
    (scorer?.memoryBytes ?? 0);
}

/** The float type of a weight on the GPU. */
function floatType({ dtype }: Tensor): "f32" | "bf16" | "f16" {
  return dtype === "bf16" || dtype === "f16" ? dtype : "f32";
}
