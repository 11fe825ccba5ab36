/**
 * A pool of workers that decode and preprocess images ahead of the GPU.
 *
 * @module
 */

import type { ImageFacts } from "../quality/image_facts.ts";
import type { ProcessorConfig } from "../image/processor.ts";
import type { ImageAnswer, ImageRequest } from "./image_worker.ts";

/** Options of {@linkcode ImageWorkers}. */
export interface ImageWorkersOptions {
  /** How pictures become pixel values. @default {they do not, and are only inspected} */
  readonly config?: ProcessorConfig | undefined;
  /** Number of workers. @default the processor's cores less one, at least 1 and at most 8 */
  readonly workerCount?: number;
  /** Images that {@linkcode ImageWorkers.map} works on ahead of its consumer. @default four a worker */
  readonly ahead?: number;
}

/** A preprocessed image. */
export interface PreparedImage {
  /** `[3, height, width]`. */
  readonly pixelValues: Float32Array<ArrayBuffer>;
  /** Of the image file's bytes, hexadecimal. */
  readonly sha256: string;
}

/** An image that was looked at. */
export interface InspectedImage {
  /** What its pixels tell. */
  readonly facts: ImageFacts;
  /** `[3, height, width]`; absent in a pool without a configuration. */
  readonly pixelValues?: Float32Array<ArrayBuffer> | undefined;
  /** Of the image file's bytes, hexadecimal. */
  readonly sha256: string;
}

/** What became of one image: prepared, or why not. Others go on. */
export type ImageOutcome =
  | { readonly index: number; readonly image: PreparedImage; readonly error?: undefined }
  | { readonly index: number; readonly image?: undefined; readonly error: string };

/** Path of an image file, or its bytes. Bytes are copied to the worker. */
export type ImageInput = string | Uint8Array;

type GoodAnswer = Extract<ImageAnswer, { error?: undefined }>;

interface PoolMember {
  readonly worker: Worker;
  readonly waiting: Map<number, PromiseWithResolvers<GoodAnswer>>;
}

/** Decodes and preprocesses images in parallel. Close it when done. */
export class ImageWorkers {
  readonly #config: ProcessorConfig | undefined;
  readonly #ahead: number;
  readonly #members: PoolMember[];
  #nextId = 0;
  #closed: Error | undefined;

  /** Starts the workers. @throws {RangeError} If a count is not an integer >= 1 */
  constructor(options: ImageWorkersOptions) {
    const cores = navigator.hardwareConcurrency;
    const { workerCount = Math.min(8, Math.max(1, cores - 1)), ahead = 4 * workerCount } = options;
    for (const [name, value] of [["workerCount", workerCount], ["ahead", ahead]] as const) {
      if (!Number.isInteger(value) || value < 1) {
        throw new RangeError(`Cannot start image workers: ${name} is ${value}, expected an integer >= 1`);
      }
    }
    this.#config = options.config;
    this.#ahead = ahead;
    this.#members = Array.from({ length: workerCount }, () => this.#start());
  }

  /**
   * Prepares one image.
   *
   * @param config How the picture becomes pixel values. @default {the pool's}
   * @throws {Error} If it cannot be read, decoded or resized, or the pool is closed
   */
  async prepare(input: ImageInput, config = this.#config): Promise<PreparedImage> {
    if (config === undefined) throw new RangeError("Cannot prepare images: the pool has no configuration");
    const { pixelValues, sha256 } = await this.#ask(input, { config, inspect: false });
    return { pixelValues: pixelValues!, sha256 };
  }

  /**
   * Looks at one image, and prepares it where the pool knows how.
   *
   * @throws {Error} If it cannot be read, decoded or resized, or the pool is closed
   */
  async inspect(input: ImageInput): Promise<InspectedImage> {
    const { facts, pixelValues, sha256 } = await this.#ask(input, { config: this.#config, inspect: true });
    return { facts: facts!, pixelValues, sha256 };
  }

  #ask(input: ImageInput, wanted: Pick<ImageRequest, "config" | "inspect">): Promise<GoodAnswer> {
    if (this.#closed) return Promise.reject(this.#closed);
    const member = this.#members.reduce((least, other) =>
      other.waiting.size < least.waiting.size ? other : least
    );
    const id = this.#nextId++;
    const pending = Promise.withResolvers<GoodAnswer>();
    member.waiting.set(id, pending);
    // A copy of the bytes is handed over: posting a view would copy the whole buffer behind it.
    const handed = typeof input === "string" ? input : input.slice();
    const request: ImageRequest = { id, input: handed, ...wanted };
    member.worker.postMessage(request, typeof handed === "string" ? [] : [handed.buffer as ArrayBuffer]);
    return pending.promise;
  }

  /**
   * Prepares images in the order they are given, some ahead of the consumer. An image that fails gives its error; the others go on.
   *
   * @throws {Error} If the pool is closed or a worker breaks down
   */
  async *map(inputs: Iterable<ImageInput> | AsyncIterable<ImageInput>): AsyncGenerator<ImageOutcome> {
    const running: Promise<ImageOutcome>[] = [];
    let index = 0;
    for await (const input of inputs) {
      running.push(this.#outcome(index++, input));
      if (running.length >= this.#ahead) {
        yield await this.#unlessClosed(running.shift() as Promise<ImageOutcome>);
      }
    }
    for (const outcome of running) yield await this.#unlessClosed(outcome);
  }

  /** Stops the workers; images under way fail. Closing twice is allowed. */
  close(): void {
    this.#fail(new Error("Cannot prepare images: the image workers are closed"));
  }

  /** Closes the pool at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #outcome(index: number, input: ImageInput): Promise<ImageOutcome> {
    try {
      return { index, image: await this.prepare(input) };
    } catch (error) {
      return { index, error: error instanceof Error ? error.message : String(error) };
    }
  }

  /** A pool that broke down says nothing about the images it had not finished: they are not bad. */
  async #unlessClosed(outcome: Promise<ImageOutcome>): Promise<ImageOutcome> {
    const result = await outcome;
    if (this.#closed && result.error !== undefined) throw this.#closed;
    return result;
  }

  #start(): PoolMember {
    const worker = new Worker(new URL("./image_worker.ts", import.meta.url), { type: "module" });
    const member: PoolMember = { worker, waiting: new Map() };
    worker.onmessage = ({ data }: MessageEvent<ImageAnswer>) => {
      const pending = member.waiting.get(data.id);
      member.waiting.delete(data.id);
      if (data.error !== undefined) pending?.reject(new Error(data.error));
      else pending?.resolve(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.#fail(new Error(`Cannot prepare images: a worker broke down: ${event.message}`));
    };
    return member;
  }

  #fail(error: Error): void {
    if (this.#closed) return;
    this.#closed = error;
    for (const { worker, waiting } of this.#members) {
      worker.terminate();
      for (const pending of waiting.values()) pending.reject(error);
      waiting.clear();
    }
  }
}
