/**
 * From encoded images to captions, whatever runs the model: decode, prepare, search, spell.
 *
 * @module
 */

import { Turns } from "../base/turns.ts";
import type { ImageDecoder } from "../image/decode.ts";
import { looksPhotographic } from "../image/photograph.ts";
import { preprocess, type ProcessorConfig } from "../image/processor.ts";
import { checkCaptionOptions } from "../models/caption_options.ts";
import type { CaptionTokenizer } from "../text/tokenizer.ts";
import { searchCaptions } from "./search.ts";
import type { Stepper } from "./stepper.ts";

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
  /** Told after every token how the likeliest caption of each image of a batch reads so far. */
  onText?(texts: readonly string[]): void;
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
  /** What the other beams found, best first. */
  others: readonly { caption: string; logProb: number }[];
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

/** What a captioner needs besides what runs it. */
export interface CaptionParts {
  /** Reads the files of images. */
  decode: ImageDecoder;
  tokenizer: CaptionTokenizer;
  processor: ProcessorConfig;
  /** Of what the encoder takes. */
  image: { channels: number; size: number };
  /** Tokens that end a caption. */
  eosIds: readonly number[];
  maxLength: number;
  /** Made for drawn scenes, as the embedded one. */
  drawnOnly: boolean;
}

/** Beams and length of a search. */
export function searchSize(
  { maxLength }: Pick<CaptionParts, "maxLength">,
  options: CaptionOptions,
): { numBeams: number; maxNewTokens: number } {
  return {
    numBeams: (options.temperature ?? 0) > 0 ? 1 : options.numBeams ?? 3,
    maxNewTokens: Math.min(options.maxNewTokens ?? maxLength, maxLength),
  };
}

/** Whatever captions images: what runs the model is the subclass's. */
export abstract class ImageCaptioner implements Disposable {
  readonly #parts: CaptionParts;
  readonly #batchSize: number;
  /** What runs a batch holds one. */
  readonly #turns = new Turns();

  /** @ignore @param batchSize images in flight together unless told */
  constructor(parts: CaptionParts, batchSize: number) {
    this.#parts = parts;
    this.#batchSize = batchSize;
  }

  /** @ignore Gives what runs batches of so many images. */
  protected abstract stepperFor(batchSize: number, options: CaptionOptions): Promise<Stepper>;

  /** Frees the model. */
  abstract [Symbol.dispose](): void;

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
    const batchSize = Math.min(options.batchSize ?? this.#batchSize, Math.max(images.length, 1));
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
    const { decode, processor, image: { channels, size }, drawnOnly } = this.#parts;
    const picture = await decode(bytes);
    const pixelValues = preprocess(picture, processor);
    if (pixelValues.length !== channels * size ** 2) {
      throw new RangeError(
        `Cannot caption: the image processor gives ${pixelValues.length} values, the encoder takes ${
          channels * size ** 2
        }`,
      );
    }
    return { pixelValues, outOfDomain: drawnOnly && looksPhotographic(picture) };
  }

  /** Captions prepared images, in batches of `batchSize`; a smaller number of images takes the time of a whole batch. */
  async captionPrepared(images: readonly PreparedImage[], options: CaptionOptions = {}): Promise<Caption[]> {
    checkCaptionOptions(options);
    return await this.#turns.take(() => this.#captionBatches(images, options));
  }

  async #captionBatches(images: readonly PreparedImage[], options: CaptionOptions): Promise<Caption[]> {
    const captions: Caption[] = [];
    const batchSize = options.batchSize ?? this.#batchSize;
    for (let start = 0; start < images.length; start += batchSize) {
      const batch = images.slice(start, start + batchSize);
      const startMs = performance.now();
      captions.push(...await this.#captionBatch(batch, { ...options, batchSize, startMs }));
    }
    return captions;
  }

  async #captionBatch(
    batch: readonly PreparedImage[],
    options: CaptionOptions & { batchSize: number; startMs: number },
  ): Promise<Caption[]> {
    const { tokenizer, eosIds } = this.#parts;
    const { onText, startMs, ...search } = options;
    const spell = (ids: readonly number[]): string =>
      tokenizer.decode(ids, { skipSpecialTokens: true }).trim();
    const size = batch[0]!.pixelValues.length;
    const all = new Float32Array(batch.length * size);
    for (const [i, { pixelValues }] of batch.entries()) all.set(pixelValues, i * size);
    const stepper = await this.stepperFor(options.batchSize, options);
    const found = await searchCaptions(stepper, all, {
      ...search,
      eosIds,
      count: batch.length,
      // The bytes of a letter may be spread over tokens.
      ...(onText &&
        { onStep: (captions) => onText(captions.map((ids) => spell(ids).replace(/\uFFFD+$/, ""))) }),
    });
    const timeMs = (performance.now() - startMs) / batch.length;
    return found.map(([best, ...others], i) => ({
      caption: spell(best!.ids),
      logProb: best!.logProb,
      tokens: best!.ids.length,
      ids: best!.ids,
      others: others.map(({ ids, logProb }) => ({ caption: spell(ids), logProb })),
      timeMs,
      outOfDomain: batch[i]!.outOfDomain,
    }));
  }
}
