/**
 * A captioner in one object: a folder is opened, images go in, captions come out.
 *
 * @module
 */

import {
  type CaptionOptions,
  type CaptionParts,
  ImageCaptioner,
  searchSize,
} from "../generate/caption_images.ts";
import type { TeacherForcing } from "../generate/confidence.ts";
import { ForcedDecoder } from "../generate/forced_decoder.ts";
import { CaptionGenerator } from "../generate/generator.ts";
import type { Stepper } from "../generate/stepper.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import { type Tensor, tensorFrom } from "../gpu/tensor.ts";
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
import { parseProcessor, parseTokenizer, readModelText } from "../models/model_texts.ts";
import { FrozenWeights } from "../nn/weights.ts";
import { decodeImage } from "./decode.ts";
import { EMBEDDED_ENCODER, openModelFolder, resolveModelFolder } from "./model_folders.ts";
import { openFileFolder } from "./files.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";

/** Options of {@linkcode Captioner.load}. */
export interface CaptionerLoadOptions {
  /** A device opened before; it stays the caller's. @default {a device of its own} */
  gpu?: Gpu;
}

export type { Caption, CaptionOptions, PreparedImage } from "../generate/caption_images.ts";

/** Batch shapes kept ready: each has a key/value cache of its own. */
const MAX_GENERATORS = 4;

/** A captioner on the GPU. */
export class Captioner extends ImageCaptioner {
  readonly #gpu: Gpu;
  readonly #parts: CaptionerParts;
  readonly #generators = new Map<string, CaptionGenerator>();
  #forcing: ForcedDecoder | undefined;

  private constructor(gpu: Gpu, parts: CaptionerParts) {
    super(parts, 4);
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
        decode: decodeImage,
        tokenizer,
        processor,
        image: { channels: config.vision.channels, size: config.vision.imageSize },
        eosIds: [...new Set([...config.decoder.eosIds, tokenizer.eosId])],
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

  /** Weights, caches and activations on the GPU in bytes. */
  override get gpuBytes(): number {
    const { vision, decoder, trainable } = this.#parts;
    const plans = [...this.#generators.values(), ...(this.#forcing ? [this.#forcing] : [])];
    return plans.reduce(
      (sum, { memoryBytes }) => sum + memoryBytes,
      vision.weights.sizeBytes + decoder.weights.sizeBytes + trainable.sizeBytes +
        (decoder.rope?.sizeBytes ?? 0),
    );
  }

  /** What the captioner stands on: its base models' references. */
  get baseModels(): { encoder: string; decoder: string } {
    return this.#parts.baseModels;
  }

  /** @ignore The base class's business. */
  protected override async stepperFor(batchSize: number, options: CaptionOptions): Promise<Stepper> {
    const { config } = this.#parts;
    const { numBeams, maxNewTokens } = searchSize(this.#parts, options);
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
    const generator = await CaptionGenerator.create(this.#gpu, {
      config,
      weights: this.#weights,
      batchSize,
      numBeams,
      maxNewTokens,
      features: false,
    });
    this.#generators.set(key, generator);
    return generator;
  }

  /** @ignore The base class's business. */
  protected override async openForcing(): Promise<TeacherForcing> {
    const { config, maxLength } = this.#parts;
    return this.#forcing = await ForcedDecoder.create(this.#gpu, {
      config,
      weights: this.#weights,
      maxNewTokens: maxLength,
    });
  }

  get #weights(): CaptionerWeights {
    const { vision, decoder, trainable } = this.#parts;
    return { vision: vision.weights, decoder: decoder.weights, trainable, rope: decoder.rope };
  }

  /** Frees the GPU memory. */
  override [Symbol.dispose](): void {
    const { vision, decoder, trainable, ownsGpu } = this.#parts;
    for (const generator of this.#generators.values()) generator.destroy();
    this.#forcing?.destroy();
    vision.weights.destroy();
    decoder.destroy();
    trainable.destroy();
    if (ownsGpu) this.#gpu.destroy();
  }
}

interface CaptionerParts extends CaptionParts {
  config: CaptionerConfig;
  vision: VisionModel;
  decoder: DecoderModel;
  trainable: FrozenWeights;
  baseModels: { encoder: string; decoder: string };
  ownsGpu: boolean;
}
