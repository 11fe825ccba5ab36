/**
 * The proof that an exported captioner captions like its model: its files are run by onnxruntime-web beside the engine's captions.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { comparePairs, type Parity } from "../export/onnx/parity.ts";
import { openConfig } from "../format/json_config.ts";
import type { ImageCaptioner } from "../generate/caption_images.ts";
import { imageOf, readOnnxTexts } from "../generate/onnx_captioner.ts";
import { type OnnxFolderOptions, OnnxFolderSessions } from "../generate/onnx_sessions.ts";
import { OnnxStepper } from "../generate/onnx_stepper.ts";
import { openOnnxRuntime } from "../generate/onnxruntime.ts";
import { scoreCaptions, searchCaptions } from "../generate/search.ts";
import { onnxComponents, parseOnnxFolder } from "../models/onnx_layouts.ts";
import { openFileFolder } from "./files.ts";
import type { ProofImage } from "./proof_images.ts";

/** An image as the encoder takes it, the greedy caption that is wanted of it, and what people wrote. */
export interface ReferenceCaption {
  pixelValues: Float32Array;
  wanted: { ids: readonly number[]; caption: string; logProb: number };
  references: readonly string[];
}

/** Greedy captions of encoded images by what the others are held against. @throws {UserError} when an image cannot be decoded */
export async function referenceCaptions(
  captioner: ImageCaptioner,
  images: readonly ProofImage[],
): Promise<ReferenceCaption[]> {
  const pixels: Float32Array[] = [];
  for (const { name, bytes } of images) {
    try {
      pixels.push((await captioner.prepare(bytes)).pixelValues);
    } catch (error) {
      throw new UserError(`Cannot compare captions of "${name}": ${describeError(error)}`, { cause: error });
    }
  }
  const captions = await captioner.captionAll(images.map(({ bytes }) => bytes), { numBeams: 1 });
  return images.map(({ references }, i) => ({ pixelValues: pixels[i]!, wanted: captions[i]!, references }));
}

/** What is compared. */
export interface ProveOnnxOptions extends OnnxFolderOptions {
  /** The layout's folder, its `config.json` and tokenizer included. */
  path: string;
  references: readonly ReferenceCaption[];
}

/**
 * Captions the images with a written layout and compares.
 *
 * @throws {UserError} when the graphs are too large for WebAssembly
 */
export async function proveOnnx(options: ProveOnnxOptions): Promise<Parity> {
  const { layout, references } = options;
  const folder = await openFileFolder(options.path);
  const { maxLength } = parseOnnxFolder(await openConfig(folder));
  const { tokenizer, eosIds } = await readOnnxTexts(folder);
  const runtime = await openOnnxRuntime("wasm");
  const sessions = await OnnxFolderSessions.find(runtime, folder, { ...options, oneStage: true });
  try {
    const stepper = new OnnxStepper(runtime, {
      layout,
      sessions,
      batchSize: references.length,
      numBeams: 1,
      maxNewTokens: maxLength,
      candidates: 1,
      image: imageOf(await sessions.get(onnxComponents(layout)[0]!)),
    });
    const found = await searchCaptions(stepper, joinImages(references), { eosIds, count: references.length });
    const pairs = references.map((reference, i) => {
      const best = found[i]![0]!;
      const isSame = best.ids.join() === reference.wanted.ids.join();
      const caption = tokenizer.decode(best.ids, { skipSpecialTokens: true }).trim();
      return { ...reference, found: { ...best, caption, agreeing: isSame ? best.ids.length : NaN } };
    });
    // Where captions differ, the one wanted is given token by token.
    const different = pairs.filter(({ found }) => Number.isNaN(found.agreeing));
    if (different.length > 0) {
      const wanted = different.map(({ wanted }) => wanted.ids);
      const scores = await scoreCaptions(stepper, joinImages(different), wanted);
      for (const [i, pair] of different.entries()) Object.assign(pair.found, scores[i]);
    }
    return await comparePairs(pairs);
  } finally {
    await sessions.release();
  }
}

function joinImages(images: readonly { pixelValues: Float32Array }[]): Float32Array {
  const width = images[0]!.pixelValues.length;
  const all = new Float32Array(images.length * width);
  for (const [i, { pixelValues }] of images.entries()) all.set(pixelValues, i * width);
  return all;
}
