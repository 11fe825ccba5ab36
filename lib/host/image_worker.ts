/**
 * One worker of the pool in `image_workers.ts`: reads, decodes and preprocesses images off the main thread.
 *
 * @module
 */

/// <reference lib="deno.worker" />

import { describeError } from "../base/errors.ts";
import { type ImageFacts, inspectImage } from "../quality/image_facts.ts";
import { preprocess, type ProcessorConfig } from "../image/processor.ts";
import { decodeImage } from "./decode.ts";
import { readBounded } from "./file_source.ts";

/** What a worker is asked. */
export interface ImageRequest {
  readonly id: number;
  /** Path on disk, or the bytes of an image file. */
  readonly input: string | Uint8Array;
  /** How it becomes pixel values; without one it does not. */
  readonly config?: ProcessorConfig | undefined;
  /** Whether its facts are wanted. */
  readonly inspect: boolean;
}

/** What it answers: pixel values and facts as they were asked for, or why there are none. */
export type ImageAnswer =
  | {
    readonly id: number;
    readonly pixelValues?: Float32Array<ArrayBuffer> | undefined;
    readonly facts?: ImageFacts | undefined;
    readonly sha256: string;
    readonly error?: undefined;
  }
  | { readonly id: number; readonly error: string };

/** Largest image file that is read, bytes. */
export const MAX_IMAGE_BYTES = 256 * 2 ** 20;

self.onmessage = async ({ data: { id, input, config, inspect } }: MessageEvent<ImageRequest>) => {
  try {
    const bytes = typeof input === "string" ? await readBounded(input, MAX_IMAGE_BYTES) : input;
    const image = await decodeImage(bytes);
    const pixelValues = config && preprocess(image, config);
    const facts = inspect ? inspectImage(image) : undefined;
    const answer: ImageAnswer = { id, pixelValues, facts, sha256: await sha256(bytes) };
    self.postMessage(answer, pixelValues === undefined ? [] : [pixelValues.buffer]);
  } catch (error) {
    const answer: ImageAnswer = { id, error: describeError(error) };
    self.postMessage(answer);
  }
};

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
