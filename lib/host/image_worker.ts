/**
 * One worker of the pool in `image_workers.ts`: reads, decodes and preprocesses images off the main thread.
 *
 * @module
 */

/// <reference lib="deno.worker" />

import { describeError } from "../base/errors.ts";
import { preprocess, type ProcessorConfig } from "../image/processor.ts";
import { decodeImage } from "./decode.ts";
import { readBounded } from "./file_source.ts";

/** What a worker is asked. */
export interface ImageRequest {
  readonly id: number;
  /** Path on disk, or the bytes of an image file. */
  readonly input: string | Uint8Array;
  readonly config: ProcessorConfig;
}

/** What it answers: pixel values, or why there are none. */
export type ImageAnswer =
  | { readonly id: number; readonly pixelValues: Float32Array<ArrayBuffer>; readonly sha256: string }
  | { readonly id: number; readonly error: string };

/** Largest image file that is read, bytes. */
export const MAX_IMAGE_BYTES = 256 * 2 ** 20;

self.onmessage = async ({ data: { id, input, config } }: MessageEvent<ImageRequest>) => {
  try {
    const bytes = typeof input === "string" ? await readBounded(input, MAX_IMAGE_BYTES) : input;
    const pixelValues = preprocess(await decodeImage(bytes), config);
    const answer: ImageAnswer = { id, pixelValues, sha256: await sha256(bytes) };
    self.postMessage(answer, [pixelValues.buffer]);
  } catch (error) {
    const answer: ImageAnswer = { id, error: describeError(error) };
    self.postMessage(answer);
  }
};

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
