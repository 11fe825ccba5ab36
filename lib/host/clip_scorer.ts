/**
 * A CLIP or SigLIP with its tokenizer and image processor: how alike images and captions are to it.
 *
 * @module
 */

import { TwoTowerEmbedder } from "../evaluate/encoders.ts";
import type { FileFolder } from "../format/byte_source.ts";
import { parseJsonObject } from "../format/json.ts";
import type { Gpu } from "../gpu/device.ts";
import { parseProcessorConfig, type ProcessorConfig } from "../image/processor.ts";
import { loadTwoTowerModel, type TwoTowerModel } from "../models/load.ts";
import { readModelText } from "../models/model_texts.ts";
import { maxTextTokens, type TextConfig } from "../models/text.ts";
import { type CaptionTokenizer, loadTokenizer } from "../text/tokenizer.ts";
import { EMBEDDED_DECODER, EMBEDDED_ENCODER, openModelFolder } from "./model_folders.ts";

/** What CLIP's captions are said to be in CLIPScore; SigLIP's are given as they are. */
const CLIP_PREFIX = "A photo depicts ";

/** Options of {@linkcode ClipScorer.open}. */
export interface ClipScorerOptions {
  /** Folder, Hub id or `embedded:siglip`. */
  model: string;
  /** Images or texts in a batch. @default {16} */
  batchSize?: number;
  /** Written before every text. @default {"A photo depicts " for CLIP, as in CLIPScore, nothing for SigLIP} */
  prompt?: string;
}

interface ScorerParts {
  model: TwoTowerModel;
  embedder: TwoTowerEmbedder;
  tokenizer: CaptionTokenizer;
  processor: ProcessorConfig;
  prompt: string;
}

/** The model on the GPU, with all that texts and images need to become its embeddings. */
export class ClipScorer {
  readonly #parts: ScorerParts;

  private constructor(parts: ScorerParts) {
    this.#parts = parts;
  }

  /**
   * Loads the model and records its encoders; {@linkcode ClipScorer.compile} makes them ready, else the first batch does.
   *
   * @throws {UserError} If there is no such model, or its folder lacks a file
   */
  static async open(gpu: Gpu, options: ClipScorerOptions): Promise<ClipScorer> {
    const folder = await openModelFolder(options.model);
    const processor = await readModelText(folder, "preprocessor_config.json");
    // The embedded tower learnt from the tokens of the embedded decoder.
    const words = options.model === EMBEDDED_ENCODER ? await openModelFolder(EMBEDDED_DECODER) : folder;
    const tokenizer = await openTokenizer(words);
    const model = await loadTwoTowerModel(gpu, folder);
    return new ClipScorer({
      model,
      embedder: new TwoTowerEmbedder(gpu, model, options),
      tokenizer,
      processor: parseProcessorConfig(JSON.parse(processor.text)),
      prompt: options.prompt ?? (model.config.family === "clip" ? CLIP_PREFIX : ""),
    });
  }

  /** The model. */
  get model(): TwoTowerModel {
    return this.#parts.model;
  }

  /** How pictures become its pixel values. */
  get processor(): ProcessorConfig {
    return this.#parts.processor;
  }

  /** GPU memory of weights and activations in bytes; before {@linkcode ClipScorer.compile} what it will be. */
  get memoryBytes(): number {
    const { model, embedder } = this.#parts;
    return model.weights.sizeBytes + embedder.memoryBytes;
  }

  /** Takes the memory and compiles. @throws {DeviceError} when the memory is refused */
  async compile(): Promise<void> {
    await this.#parts.embedder.compile();
  }

  /** Embeddings [E] of captions, worded as the model's family was trained. */
  async embedTexts(texts: readonly string[]): Promise<Float32Array[]> {
    const { model: { config }, tokenizer, embedder, prompt } = this.#parts;
    return await embedder.embedTexts(
      texts.map((text) => tokensOf(`${prompt}${text}`, tokenizer, config.text)),
    );
  }

  /** Embeddings [E] of images. @param pixels Pixel values of its processor [C, I, I] each */
  async embedImages(pixels: readonly Float32Array[]): Promise<Float32Array[]> {
    return await this.#parts.embedder.embedImages(pixels);
  }

  /** Frees the model. */
  destroy(): void {
    this.#parts.embedder.destroy();
    this.#parts.model.weights.destroy();
  }
}

/** Reads a model's tokenizer. */
export async function openTokenizer(folder: FileFolder): Promise<CaptionTokenizer> {
  const [tokenizer, config] = [
    await readModelText(folder, "tokenizer.json"),
    await readModelText(folder, "tokenizer_config.json"),
  ];
  const parse = ({ name, text }: { name: string; text: string }) =>
    parseJsonObject(text, `${folder.name}/${name}`);
  return loadTokenizer(parse(tokenizer), parse(config));
}

/** Ids of a text with what begins and ends one, cut to what the encoder takes; the end stays. */
export function tokensOf(text: string, tokenizer: CaptionTokenizer, config: TextConfig): number[] {
  const ids = tokenizer.encodeWithSpecials(text);
  const end = config.endId ?? tokenizer.eosId;
  // BERT's texts end with a token that is not called their end.
  const isEnded = config.family === "bert" || ids.at(-1) === end;
  const ended = isEnded ? ids : [...ids, end];
  const most = maxTextTokens(config);
  return ended.length <= most ? ended : [...ended.slice(0, most - 1), ended.at(-1)!];
}
