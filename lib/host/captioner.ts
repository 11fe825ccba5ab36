/**
 * A captioner in one object: a folder is opened, images go in, captions come out.
 *
 * @module
 */

import { Turns } from "../base/turns.ts";
import { CaptionGenerator } from "../generate/generator.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import { type Tensor, tensorFrom } from "../gpu/tensor.ts";
import { looksPhotographic } from "../image/photograph.ts";
import { preprocess, type ProcessorConfig } from "../image/processor.ts";
import { type CaptionerConfig, type CaptionerWeights, prefixTokens } from "../models/captioner.ts";
import { readCaptionerConfig, readTrainedOf, trainableSpecsOf } from "../models/captioner_files.ts";
import {
  type DecoderModel,
  loadDecoderModel,
  loadVisionModel,
  openDecoderConfig,
  openVisionConfig,
  type VisionModel,
} from "../models/load.ts";
import { FrozenWeights } from "../nn/weights.ts";
import { checkCaptionOptions } from "../serve/caption_options.ts";
import type { CaptionTokenizer } from "../text/tokenizer.ts";
import { decodeImage } from "./decode.ts";
import { EMBEDDED_ENCODER, openModelFolder, resolveModelFolder } from "./model_folders.ts";
import { openFileFolder } from "./files.ts";
import { parseProcessor, parseTokenizer, readModelText } from "./model_texts.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";

/** Options of {@linkcode Captioner.load}. */
export interface CaptionerLoadOptions {
  /** A device opened before; it stays the caller's. @default {a device of its own} */
  gpu?: Gpu;
}

/** How captions are searched. */
export interface CaptionOptions {
  /** Beams, at most 16; 1 is greedy. @default {3} */
  numBeams?: number;
  /** Most tokens. @default {what the captioner was trained for} */
  maxNewTokens?: number;
  /** Above 0 samples, with one beam. @default {0} */
  temperature?: number;
  /** Nucleus of sampling. @default {1} */
  topP?: number;
  /** Above 1 makes repeated tokens unlikelier. @default {1} */
  repetitionPenalty?: number;
  /** Seed of sampling. @default {42} */
  seed?: number;
  /** Images in flight together, at most 256. @default {4} */
  batchSize?: number;
}

/** One image's caption. */
export interface Caption {
  /** The caption. */
  caption: string;
  /** Sum of the tokens' log-probabilities, the end token included. */
  logProb: number;
  /** Number of generated tokens, the end token included. */
  tokens: number;
  /** Their ids. */
  ids: readonly number[];
  /** Share of the batch's time, in milliseconds. */
  timeMs: number;
  /** True when the model was made for drawn scenes and the image looks like a photograph. */
  outOfDomain: boolean;
}

/** An image ready for the encoder. */
export interface PreparedImage {
  /** [C, I, I]. */
  pixelValues: Float32Array;
  /** See {@linkcode Caption}. */
  outOfDomain: boolean;
}

/** Batch shapes kept ready: each has a key/value cache of its own. */
const MAX_GENERATORS = 4;

/** A captioner on the GPU. */
export class Captioner implements Disposable {
  readonly #gpu: Gpu;
  readonly #parts: CaptionerParts;
  /** A generator's buffers hold one batch. */
  readonly #turns = new Turns();
  readonly #generators = new Map<string, CaptionGenerator>();

  private constructor(gpu: Gpu, parts: CaptionerParts) {
    this.#gpu = gpu;
    this.#parts = parts;
  }

  /**
   * Loads a captioner: a run folder of `deno task train`, a Hub id, or `embedded:captioner`.
   *
   * @throws {UserError} when there is no such model
   * @throws {RangeError | SyntaxError | TypeError} when a file is missing, damaged or does not fit; the message names it, and nothing
   * stays on the GPU
   */
  static async load(model: string, options: CaptionerLoadOptions = {}): Promise<Captioner> {
    const folder = await openFileFolder(await resolveModelFolder(model));
    const settings = await readCaptionerConfig(folder);
    const encoderFolder = await openModelFolder(settings.encoder.reference);
    const decoderFolder = await openModelFolder(settings.decoder.reference);
    const config: CaptionerConfig = {
      ...settings,
      vision: await openVisionConfig(encoderFolder),
      decoder: await openDecoderConfig(decoderFolder),
    };
    // What takes no time is refused before what does.
    const tokenizer = parseTokenizer({
      tokenizer: await readModelText(folder, "tokenizer.json"),
      config: await readModelText(folder, "tokenizer_config.json"),
    }, config.decoder);
    const processor = parseProcessor(await readModelText(folder, "preprocessor_config.json"), config.vision);
    const trained = await readTrainedOf(folder, settings, trainableSpecsOf(folder.name, config));
    prepareDriverEnvironment();
    const gpu = options.gpu ?? await openGpu();
    const ownsGpu = options.gpu === undefined;
    let vision: VisionModel | undefined;
    try {
      vision = await loadVisionModel(gpu, encoderFolder);
      const maxPositions = prefixTokens(config) + settings.maxLength;
      const decoder = await loadDecoderModel(gpu, decoderFolder, { maxPositions });
      const trainable = new Map<string, Tensor>();
      for (const [name, { shape, data }] of trained) {
        trainable.set(name, tensorFrom(gpu, new Float32Array(data), { shape, label: name }));
      }
      return new Captioner(gpu, {
        config,
        vision,
        decoder,
        trainable: new FrozenWeights(folder.name, trainable),
        tokenizer,
        processor,
        maxLength: settings.maxLength,
        baseModels: { encoder: settings.encoder.reference, decoder: settings.decoder.reference },
        drawnOnly: settings.encoder.reference === EMBEDDED_ENCODER,
        ownsGpu,
      });
    } catch (error) {
      vision?.weights.destroy();
      if (ownsGpu) gpu.destroy();
      throw error;
    }
  }

  /** What the captioner stands on: its base models' references. */
  get baseModels(): { encoder: string; decoder: string } {
    return this.#parts.baseModels;
  }

  /** Most tokens the captioner was trained for. */
  get maxLength(): number {
    return this.#parts.maxLength;
  }

  /** Captions one encoded image (JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF). @throws {SyntaxError | RangeError} for a damaged or huge image */
  async caption(image: Uint8Array, options: CaptionOptions = {}): Promise<Caption> {
    const [caption] = await this.captionAll([image], options);
    return caption!;
  }

  /**
   * Captions encoded images, in batches. Calls that are made while another runs wait for it.
   *
   * @throws {RangeError} for an option out of its bounds
   */
  async captionAll(images: readonly Uint8Array[], options: CaptionOptions = {}): Promise<Caption[]> {
    checkCaptionOptions(options);
    return await this.#turns.take(() => this.#captionEncoded(images, options));
  }

  async #captionEncoded(images: readonly Uint8Array[], options: CaptionOptions): Promise<Caption[]> {
    const captions: Caption[] = [];
    const batchSize = Math.min(options.batchSize ?? 4, Math.max(images.length, 1));
    for (let start = 0; start < images.length; start += batchSize) {
      const startMs = performance.now();
      const batch = await Promise.all(
        images.slice(start, start + batchSize).map((bytes) => this.prepare(bytes)),
      );
      captions.push(...await this.#captionBatch(batch, { ...options, batchSize, startMs }));
    }
    return captions;
  }

  /** Decodes one image and makes its pixel values, for {@linkcode captionPrepared}. Errors as {@linkcode caption} */
  async prepare(bytes: Uint8Array): Promise<PreparedImage> {
    const { processor, config, drawnOnly } = this.#parts;
    const image = await decodeImage(bytes);
    const pixelValues = preprocess(image, processor);
    const { imageSize, channels } = config.vision;
    const size = channels * imageSize ** 2;
    if (pixelValues.length !== size) {
      throw new RangeError(
        `Cannot caption: the image processor gives ${pixelValues.length} values, the encoder takes ${size}`,
      );
    }
    return { pixelValues, outOfDomain: drawnOnly && looksPhotographic(image) };
  }

  /** Captions prepared images, in batches of `batchSize`; a smaller number of images takes the time of a whole batch. */
  async captionPrepared(images: readonly PreparedImage[], options: CaptionOptions = {}): Promise<Caption[]> {
    checkCaptionOptions(options);
    return await this.#turns.take(() => this.#captionBatches(images, options));
  }

  async #captionBatches(images: readonly PreparedImage[], options: CaptionOptions): Promise<Caption[]> {
    const captions: Caption[] = [];
    const batchSize = options.batchSize ?? 4;
    for (let start = 0; start < images.length; start += batchSize) {
      const batch = images.slice(start, start + batchSize);
      captions.push(
        ...await this.#captionBatch(batch, { ...options, batchSize, startMs: performance.now() }),
      );
    }
    return captions;
  }

  async #captionBatch(
    batch: readonly PreparedImage[],
    options: CaptionOptions & { batchSize: number; startMs: number },
  ): Promise<Caption[]> {
    const { config, tokenizer } = this.#parts;
    const size = batch[0]!.pixelValues.length;
    const all = new Float32Array(batch.length * size);
    for (const [i, { pixelValues }] of batch.entries()) all.set(pixelValues, i * size);
    const generator = await this.#generatorFor(options.batchSize, options);
    const eosIds = [...new Set([...config.decoder.eosIds, tokenizer.eosId])];
    const found = await generator.generate(all, batch.length, { ...options, eosIds });
    const timeMs = (performance.now() - options.startMs) / batch.length;
    return found.map(([best], i) => ({
      caption: tokenizer.decode(best!.ids, { skipSpecialTokens: true }).trim(),
      logProb: best!.logProb,
      tokens: best!.ids.length,
      ids: best!.ids,
      timeMs,
      outOfDomain: batch[i]!.outOfDomain,
    }));
  }

  async #generatorFor(batchSize: number, options: CaptionOptions): Promise<CaptionGenerator> {
    const { config, vision, decoder, trainable, maxLength } = this.#parts;
    const maxNewTokens = Math.min(options.maxNewTokens ?? maxLength, maxLength);
    const numBeams = (options.temperature ?? 0) > 0 ? 1 : options.numBeams ?? 3;
    const key = `${batchSize} ${numBeams} ${maxNewTokens}`;
    const ready = this.#generators.get(key);
    if (ready !== undefined) {
      // The one used last is the last to go.
      this.#generators.delete(key);
      this.#generators.set(key, ready);
      return ready;
    }
    for (const [oldest, generator] of this.#generators) {
      if (this.#generators.size < MAX_GENERATORS) break;
      generator.destroy();
      this.#generators.delete(oldest);
    }
    const weights: CaptionerWeights = {
      vision: vision.weights,
      decoder: decoder.weights,
      trainable,
      rope: decoder.rope,
    };
    const generator = await CaptionGenerator.create(this.#gpu, {
      config,
      weights,
      batchSize,
      numBeams,
      maxNewTokens,
      features: false,
    });
    this.#generators.set(key, generator);
    return generator;
  }

  /** Frees the GPU memory. */
  [Symbol.dispose](): void {
    const { vision, decoder, trainable, ownsGpu } = this.#parts;
    for (const generator of this.#generators.values()) generator.destroy();
    vision.weights.destroy();
    decoder.destroy();
    trainable.destroy();
    if (ownsGpu) this.#gpu.destroy();
  }
}

interface CaptionerParts {
  config: CaptionerConfig;
  vision: VisionModel;
  decoder: DecoderModel;
  trainable: FrozenWeights;
  tokenizer: CaptionTokenizer;
  processor: ProcessorConfig;
  maxLength: number;
  baseModels: { encoder: string; decoder: string };
  drawnOnly: boolean;
  ownsGpu: boolean;
}
