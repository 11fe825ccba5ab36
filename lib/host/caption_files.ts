/**
 * Image files captioned, or held against a text, line by line.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import type { Caption, CaptionOptions, ImageCaptioner, TextScore } from "../generate/caption_images.ts";
import { formatConfidence, reasonToAbstain, type Thresholds } from "../models/calibration.ts";
import { EXIT_CODES } from "./arguments.ts";
import { readBounded } from "./file_source.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { startProgress } from "./progress.ts";

/** Images captioned between two lines of output. */
const CHUNK = 16;

/** How lines are written. */
export interface LineOptions {
  /** One JSON object a line. */
  json?: true;
  /** Below them a caption is left out, or a text judged wrong; without them nothing is. */
  thresholds: Thresholds | undefined;
}

/**
 * Writes a caption for every image.
 *
 * @returns exit code: 1 where images failed, else 3 where a caption was left out
 */
export async function captionFiles(
  captioner: ImageCaptioner,
  paths: readonly string[],
  options: CaptionOptions & LineOptions,
): Promise<number> {
  const { json, thresholds, ...search } = options;
  let abstained = 0;
  const failed = await forEachImage(paths, {
    json,
    work: (images) =>
      captioner.captionAll(images, { ...search, confidence: json || thresholds !== undefined }),
    onResult(path, { caption, confidence, tokens, timeMs }: Caption) {
      const reason = thresholds && reasonToAbstain(confidence!, thresholds);
      if (reason !== undefined) abstained++;
      if (json) {
        writeJson({
          image: path,
          caption: reason === undefined ? caption : null,
          ...(reason !== undefined && { reason }),
          ...formatConfidence(confidence!),
          tokens,
          time_ms: Math.round(timeMs),
        });
        return;
      }
      const shown = reason === undefined ? caption : "";
      console.log(paths.length === 1 ? shown : `${path}\t${shown}`);
      if (reason !== undefined) console.error(`${path}: no caption: ${reason}`);
    },
  });
  if (failed > 0) return EXIT_CODES.error;
  return abstained > 0 ? EXIT_CODES.abstained : EXIT_CODES.ok;
}

/**
 * Writes for every image how well a text fits it.
 *
 * @returns exit code: 1 where images failed, else 3 where the text is below the thresholds
 * @throws {UserError} If the text cannot be scored
 */
export async function scoreFiles(
  captioner: ImageCaptioner,
  paths: readonly string[],
  { text, json, thresholds }: LineOptions & { text: string },
): Promise<number> {
  try {
    await captioner.scoreText([], text);
  } catch (error) {
    throw new UserError(describeError(error), { cause: error });
  }
  let refused = 0;
  const failed = await forEachImage(paths, {
    json,
    work: (images) => captioner.scoreText(images, text),
    onResult(path, { confidence, tokens, timeMs }: TextScore) {
      const reason = thresholds && reasonToAbstain(confidence, thresholds);
      if (reason !== undefined) refused++;
      if (json) {
        writeJson({
          image: path,
          text,
          ...formatConfidence(confidence),
          ...(thresholds && { accepted: reason === undefined }),
          ...(reason !== undefined && { reason }),
          tokens,
          time_ms: Math.round(timeMs),
        });
        return;
      }
      const { logProbPerToken, imageGainPerToken } = confidence;
      const verdict = thresholds === undefined ? "" : `\t${reason ?? "fits"}`;
      console.log(
        `${path}\t${logProbPerToken.toFixed(3)} per token\t${
          imageGainPerToken.toFixed(3)
        } by the image${verdict}`,
      );
    },
  });
  if (failed > 0) return EXIT_CODES.error;
  return refused > 0 ? EXIT_CODES.abstained : EXIT_CODES.ok;
}

function writeJson(value: unknown): void {
  console.log(JSON.stringify(value));
}

/** Reads images, works on them in chunks and tells of each; what fails is named and counted. */
async function forEachImage<T extends { outOfDomain: boolean }>(
  paths: readonly string[],
  { work, onResult, json }: {
    json?: true | undefined;
    work(images: readonly Uint8Array[]): Promise<T[]>;
    onResult(path: string, result: T): void;
  },
): Promise<number> {
  using progress = startProgress({ label: "caption", total: paths.length, quiet: paths.length <= CHUNK });
  let warned = false;
  let failed = 0;
  for (let start = 0; start < paths.length; start += CHUNK) {
    const read = await Promise.all(paths.slice(start, start + CHUNK).map(readImage));
    const good = read.filter((one) => one.bytes !== undefined);
    const results = await workOnGood(good.map(({ bytes }) => bytes!), work);
    for (const { path, error, bytes } of read) {
      const result = bytes === undefined ? error! : results.shift()!;
      if (typeof result === "string") {
        failed++;
        // Whoever reads the lines hears of every image.
        if (json) writeJson({ image: path, error: result });
        console.error(`${path}: ${result}`);
        continue;
      }
      onResult(path, result);
      if (result.outOfDomain && !warned) {
        warned = true;
        console.error(
          `Note: "${path}" looks like a photograph, and the embedded captioner knows drawn scenes only. ` +
            `Train one on photographs (deno task train --encoder-model google/siglip-base-patch16-224 ` +
            `--decoder-model HuggingFaceTB/SmolLM-135M --dataset FOLDER) and name it with --model DIR`,
        );
      }
    }
    progress.update(Math.min(start + CHUNK, paths.length));
  }
  progress.stop();
  if (failed > 0) console.error(`${failed} of ${paths.length} images could not be captioned`);
  return failed;
}

/** Results of images together; when an image spoils the batch, one by one, so that the others get theirs. */
async function workOnGood<T>(
  images: readonly Uint8Array[],
  work: (images: readonly Uint8Array[]) => Promise<T[]>,
): Promise<(T | string)[]> {
  if (images.length === 0) return [];
  try {
    return await work(images);
  } catch (error) {
    if (images.length === 1) return [describeError(error)];
    const results: (T | string)[] = [];
    for (const image of images) results.push(...await workOnGood([image], work));
    return results;
  }
}

interface ReadImage {
  path: string;
  bytes?: Uint8Array;
  error?: string;
}

async function readImage(path: string): Promise<ReadImage> {
  try {
    return { path, bytes: await readBounded(path, MAX_IMAGE_BYTES) };
  } catch (error) {
    return { path, error: describeError(error) };
  }
}
