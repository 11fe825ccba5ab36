/**
 * Vision features of images, each computed once: kept in memory as far as there is room, and in a cache that outlives the run.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";

/** Float arrays by key that may be forgotten at any time. */
export interface FeatureBlobs {
  /** The array under a key, or `undefined`. */
  get(key: string): Promise<Float32Array | undefined>;
  /** Keeps an array; `false` where it could not. */
  put(key: string, values: Float32Array): Promise<boolean>;
}

/** An image whose features are wanted. */
export interface FeatureImage {
  /** What messages call it. */
  readonly id: string;
  /** Hash of the file's content, hexadecimal. */
  readonly sha256: string;
  /** Decodes and preprocesses it: [3, I, I]. */
  pixelValues(): Promise<Float32Array>;
}

/** Options of {@linkcode Features}. */
export interface FeaturesOptions {
  /** Features [count, P, Dv] of pixelValues [count, 3, I, I], count at most `batchSize`. */
  encode(pixelValues: Float32Array, count: number): Promise<Float32Array>;
  /** Images encoded at once. */
  batchSize: number;
  /** Hash of all that decides features besides the image: encoder weights, preprocessing, adapter. */
  identity: string;
  /** Where features outlive the run. @default nothing is kept beyond the run */
  cache?: FeatureBlobs;
  /** Features kept in memory. @default {1e9} */
  maxMemoryBytes?: number;
}

/** Options of {@linkcode Features.prepare}. */
export interface PrepareOptions {
  /** Told of images that cannot be read or decoded. */
  onBad(image: FeatureImage, reason: string): void;
  /** Told how many images are done. */
  onProgress?(done: number): void;
  /** Ends the preparation between two images. */
  signal?: AbortSignal;
}

/** Images that are looked up or decoded while others are encoded. */
const AHEAD = 16;

/** Computes and hands out features by the hash of the image's content. */
export class Features {
  readonly #options: FeaturesOptions;
  readonly #memory = new Map<string, Float32Array>();
  readonly #images = new Map<string, FeatureImage>();
  #memoryBytes = 0;
  /** The encoder works on one batch at a time. */
  #encoding: Promise<unknown> = Promise.resolve();

  /** Starts empty. */
  constructor(options: FeaturesOptions) {
    this.#options = options;
  }

  /**
   * Sees to it that the features of all images are at hand. Images that fail are reported and left out.
   *
   * @returns How many images had to be encoded
   * @throws {DOMException} AbortError when the signal ended it
   */
  async prepare(images: readonly FeatureImage[], options: PrepareOptions): Promise<number> {
    const { batchSize } = this.#options;
    type Found = { image: FeatureImage; features?: Float32Array; pixels?: Float32Array; error?: unknown };
    const find = async (image: FeatureImage): Promise<Found> => {
      try {
        const features = this.#memory.get(image.sha256) ?? await this.#cached(image.sha256);
        return features ? { image, features } : { image, pixels: await image.pixelValues() };
      } catch (error) {
        return { image, error };
      }
    };
    const ahead: Promise<Found>[] = [];
    let pending: { image: FeatureImage; pixels: Float32Array }[] = [];
    let encoded = 0;
    const flush = async () => {
      if (pending.length === 0) return;
      encoded += pending.length;
      await this.#encode(pending);
      pending = [];
    };
    for (const done of images.keys()) {
      options.signal?.throwIfAborted();
      while (ahead.length < AHEAD && done + ahead.length < images.length) {
        ahead.push(find(images[done + ahead.length]!));
      }
      const { image, features, pixels, error } = await ahead.shift()!;
      if (features) {
        this.#images.set(image.sha256, image);
        this.#remember(image.sha256, features);
      } else if (pixels) {
        this.#images.set(image.sha256, image);
        pending.push({ image, pixels });
        if (pending.length === batchSize) await flush();
      } else {
        options.onBad(image, describeError(error));
      }
      options.onProgress?.(done + 1);
    }
    await flush();
    return encoded;
  }

  /**
   * Features of prepared images, [hashes.length, P, Dv]. What memory and cache have dropped meanwhile is computed again.
   *
   * @throws {RangeError} If an image was not prepared
   */
  async get(hashes: readonly string[]): Promise<Float32Array> {
    const found = await Promise.all(hashes.map((hash) => this.#one(hash)));
    const size = found[0]?.length ?? 0;
    const joined = new Float32Array(size * found.length);
    found.forEach((features, i) => joined.set(features, i * size));
    return joined;
  }

  /**
   * Features of images that need no preparation, at most a batch of them: for streams, whose images come once in a long while. Nothing
   * of them is kept in memory beyond what is kept of features.
   *
   * @returns For each image its features [P, Dv], or why it has none
   */
  async load(images: readonly FeatureImage[]): Promise<(Float32Array | { error: string })[]> {
    const pending: { image: FeatureImage; pixels: Float32Array }[] = [];
    const places: number[] = [];
    const found = await Promise.all(
      images.map(async (image): Promise<Float32Array | { pixels: Float32Array } | { error: string }> => {
        try {
          const features = this.#memory.get(image.sha256) ?? await this.#cached(image.sha256);
          return features ?? { pixels: await image.pixelValues() };
        } catch (error) {
          return { error: describeError(error) };
        }
      }),
    );
    const results = found.map((one, i): Float32Array | { error: string } => {
      if (!("pixels" in one)) return one;
      places.push(i);
      pending.push({ image: images[i]!, pixels: one.pixels });
      return one.pixels;
    });
    const encoded = pending.length === 0 ? [] : await this.#encode(pending);
    encoded.forEach((features, i) => results[places[i]!] = features);
    return results;
  }

  async #one(hash: string): Promise<Float32Array> {
    const kept = this.#memory.get(hash) ?? await this.#cached(hash);
    if (kept) return kept;
    const image = this.#images.get(hash);
    if (image === undefined) {
      throw new RangeError(`Cannot give features of image ${hash}: it was not prepared`);
    }
    const [features] = await this.#encode([{ image, pixels: await image.pixelValues() }]);
    return features!;
  }

  async #cached(hash: string): Promise<Float32Array | undefined> {
    return await this.#options.cache?.get(this.#keyOf(hash));
  }

  #encode(batch: readonly { image: FeatureImage; pixels: Float32Array }[]): Promise<Float32Array[]> {
    const run = async (): Promise<Float32Array[]> => {
      const size = batch[0]!.pixels.length;
      const pixels = new Float32Array(size * batch.length);
      batch.forEach((entry, i) => pixels.set(entry.pixels, i * size));
      const features = await this.#options.encode(pixels, batch.length);
      const each = features.length / batch.length;
      const parts = batch.map((_, i) => features.slice(i * each, (i + 1) * each));
      for (const [i, { image }] of batch.entries()) {
        this.#remember(image.sha256, parts[i]!);
        await this.#options.cache?.put(this.#keyOf(image.sha256), parts[i]!);
      }
      return parts;
    };
    const result = this.#encoding.then(run);
    this.#encoding = result.catch(() => {}); // reported to the caller of this batch
    return result;
  }

  #remember(hash: string, features: Float32Array): void {
    const { maxMemoryBytes = 1e9 } = this.#options;
    if (this.#memory.has(hash) || this.#memoryBytes + features.byteLength > maxMemoryBytes) return;
    this.#memory.set(hash, features);
    this.#memoryBytes += features.byteLength;
  }

  #keyOf(hash: string): string {
    return `features|${this.#options.identity}|${hash}`;
  }
}
