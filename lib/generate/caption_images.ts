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
import {
  blankPixelValues,
  CaptionScorer,
  type Confidence,
  confidenceOf,
  type TeacherForcing,
} from "./confidence.ts";
import type { Hypothesis } from "./beam_search.ts";
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
  /** Whether captions say how sure the model is of them, which takes a second look at each. @default {true} */
  confidence?: boolean;
  /** Told after every token how the likeliest caption of each image of a batch reads so far. */
  onText?(texts: readonly string[]): void;
}

/** One image's caption. */
export interface Caption {
  /** The caption. */
  caption: string;
  /** Sum of the tokens' log-probabilities as the search saw them (a repetition penalty changes them), the end token included. */
  logProb: number;
  /** How sure the model is; `undefined` where nobody wanted to know. */
  confidence: Confidence | undefined;
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

/** How sure a model is of a text that somebody else wrote of an image. */
export interface TextScore {
  /** How sure. */
  confidence: Confidence;
  /** Number of tokens, the end token included. */
  tokens: number;
  /** Share of the time, in milliseconds. */
  timeMs: number;
  /** See {@linkcode Caption}. */
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

/** Longer texts are refused before they are cut into tokens. */
const MAX_TEXT_LENGTH = 10_000;

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
  #scorer: CaptionScorer | undefined;
  #blankText: { key: string; logProb: number } | undefined;

  /** @ignore @param batchSize images in flight together unless told */
  constructor(parts: CaptionParts, batchSize: number) {
    this.#parts = parts;
    this.#batchSize = batchSize;
  }

  /** @ignore Gives what runs batches of so many images. */
  protected abstract stepperFor(batchSize: number, options: CaptionOptions): Promise<Stepper>;

  /** @ignore Gives what runs given captions; asked once. */
  protected abstract openForcing(): Promise<TeacherForcing>;

  /** Frees the model. */
  abstract [Symbol.dispose](): void;

  /** Buffers on the GPU in bytes, where they are known. */
  get gpuBytes(): number | undefined {
    return undefined;
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

  /**
   * How sure the model is of a text, for each of some encoded images: the figures that captions come with.
   *
   * @throws {RangeError} for a text without visible characters, or of more tokens than the captioner was trained for
   */
  async scoreText(images: readonly Uint8Array[], text: string): Promise<TextScore[]> {
    const ids = this.#encodeText(text);
    return await this.#turns.take(async () => {
      const scores: TextScore[] = [];
      for (const bytes of images) {
        const startMs = performance.now();
        const { pixelValues, outOfDomain } = await this.prepare(bytes);
        const blankLogProb = await this.#scoreBlankText(ids);
        const [logProb] = await (await this.#openScorer()).score(pixelValues, [ids]);
        scores.push({
          confidence: confidenceOf({ logProb: logProb!, blankLogProb, tokens: ids.length }),
          tokens: ids.length,
          timeMs: performance.now() - startMs,
          outOfDomain,
        });
      }
      return scores;
    });
  }

  #encodeText(text: string): number[] {
    const { tokenizer, maxLength } = this.#parts;
    if (text.length > MAX_TEXT_LENGTH) {
      throw new RangeError(
        `Cannot score a text of ${text.length} characters: expected at most ${MAX_TEXT_LENGTH}`,
      );
    }
    let ids: number[];
    try {
      ids = tokenizer.encodeCaption(text, { maxLength: Number.MAX_SAFE_INTEGER });
    } catch (cause) {
      throw new RangeError("Cannot score a text without visible characters", { cause });
    }
    if (ids.length > maxLength) {
      throw new RangeError(
        `Cannot score a text of ${ids.length} tokens, its end included: the captioner was trained for ${maxLength}`,
      );
    }
    return ids;
  }

  /** A text's log-probability without an image; that of the last text is remembered, as it is often asked for many images. */
  async #scoreBlankText(ids: readonly number[]): Promise<number> {
    const key = ids.join();
    if (this.#blankText?.key !== key) {
      const [logProb] = await (await this.#openScorer()).scoreBlank([ids]);
      this.#blankText = { key, logProb: logProb! };
    }
    return this.#blankText.logProb;
  }

  async #openScorer(): Promise<CaptionScorer> {
    const { processor, image } = this.#parts;
    return this.#scorer ??= new CaptionScorer(await this.openForcing(), {
      blank: blankPixelValues(processor, image),
    });
  }

  /** How sure the model is of the captions it wrote. The search knows with the image, unless a penalty changed what it saw. */
  async #confidences(
    batch: readonly PreparedImage[],
    found: readonly Hypothesis[],
    { repetitionPenalty = 1 }: CaptionOptions,
  ): Promise<Confidence[]> {
    const scorer = await this.#openScorer();
    const blank = await scorer.scoreBlank(found.map(({ ids }) => ids));
    const confidences: Confidence[] = [];
    for (const [i, { ids, logProb: searched }] of found.entries()) {
      const [logProb] = repetitionPenalty === 1
        ? [searched]
        : await scorer.score(batch[i]!.pixelValues, [ids]);
      confidences.push(
        confidenceOf({ logProb: logProb!, blankLogProb: blank[i]!, tokens: ids.length }),
      );
    }
    return confidences;
  }

  async #captionBatch(
    batch: readonly PreparedImage[],
    options: CaptionOptions & { batchSize: number; startMs: number },
  ): Promise<Caption[]> {
    const { tokenizer, eosIds } = this.#parts;
    const { onText, startMs, confidence = true, ...search } = options;
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
    const confidences = confidence
      ? await this.#confidences(batch, found.map(([best]) => best!), options)
      : undefined;
    const timeMs = (performance.now() - startMs) / batch.length;
    return found.map(([best, ...others], i) => ({
      caption: spell(best!.ids),
      logProb: best!.logProb,
      confidence: confidences?.[i],
      tokens: best!.ids.length,
      ids: best!.ids,
      others: others.map(({ ids, logProb }) => ({ caption: spell(ids), logProb })),
      timeMs,
      outOfDomain: batch[i]!.outOfDomain,
    }));
  }
}
