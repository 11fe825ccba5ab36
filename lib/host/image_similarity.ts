/**
 * How alike captions and images of a data set are to a CLIP or SigLIP, each image being embedded once.
 *
 * @module
 */

import { cosine } from "../evaluate/similarity.ts";
import type { ProcessorConfig } from "../image/processor.ts";
import type { BatchRow } from "../train/engine_types.ts";
import type { RewardedCaption } from "../train/self_critical.ts";
import type { ClipScorer } from "./clip_scorer.ts";
import type { DataRow } from "./train_data.ts";

/** Of embeddings that are kept: 125 000 images of 512 numbers. */
const MAX_BYTES = 256e6;

/** Gives pixel values [C, I, I] of a row's image. */
export type LoadPixels = (row: DataRow, processor: ProcessorConfig) => Promise<Float32Array>;

/** Embeddings of images by the hash of their content, and cosines of captions with them. */
export class ImageSimilarity {
  readonly #scorer: ClipScorer;
  readonly #loadPixels: LoadPixels;
  readonly #maxBytes: number;
  /** In the order of last use: the oldest is dropped first. */
  readonly #embeddings = new Map<string, Promise<Float32Array>>();

  /** @param scorer Stays the caller's */
  constructor(scorer: ClipScorer, loadPixels: LoadPixels, options: { maxBytes?: number } = {}) {
    this.#scorer = scorer;
    this.#loadPixels = loadPixels;
    this.#maxBytes = options.maxBytes ?? MAX_BYTES;
  }

  /** Embeds the images of rows while they can be read, for {@linkcode score}; those of the last calls are kept. */
  async prepare(rows: readonly DataRow[]): Promise<void> {
    const missing = rows.filter((row, i) =>
      !this.#embeddings.has(row.sha256) && rows.findIndex(({ sha256 }) => sha256 === row.sha256) === i
    );
    if (missing.length > 0) {
      const all = this.#embed(missing);
      for (const [i, { sha256 }] of missing.entries()) {
        const one = all.then((embeddings) => embeddings[i]!);
        one.catch(() => this.#embeddings.delete(sha256)); // told to whoever waits for it; the next may fare better
        this.#embeddings.set(sha256, one);
      }
    }
    const wanted = rows.map(({ sha256 }) => {
      const embedding = this.#embeddings.get(sha256)!;
      this.#embeddings.delete(sha256);
      this.#embeddings.set(sha256, embedding);
      return embedding;
    });
    await Promise.all(wanted);
    const bytes = 4 * this.#scorer.model.config.embeddingSize;
    const oldest = this.#embeddings.keys();
    while (this.#embeddings.size > rows.length && this.#embeddings.size * bytes > this.#maxBytes) {
      this.#embeddings.delete(oldest.next().value!);
    }
  }

  /**
   * Cosine of every caption with its image, in [-1, 1].
   *
   * @throws {RangeError} If an image was not prepared
   */
  score = async (captions: readonly RewardedCaption[]): Promise<number[]> => {
    const texts = await this.#scorer.embedTexts(captions.map(({ text }) => text));
    return await Promise.all(captions.map(async ({ row }, i) => cosine(await this.#imageOf(row), texts[i]!)));
  };

  #imageOf({ id, sha256 }: BatchRow): Promise<Float32Array> {
    const embedding = this.#embeddings.get(sha256);
    if (embedding === undefined) {
      throw new RangeError(`Cannot compare a caption with "${id}": its image was not prepared`);
    }
    return embedding;
  }

  async #embed(rows: readonly DataRow[]): Promise<Float32Array[]> {
    const { processor } = this.#scorer;
    return await this.#scorer.embedImages(
      await Promise.all(rows.map((row) => this.#loadPixels(row, processor))),
    );
  }
}
