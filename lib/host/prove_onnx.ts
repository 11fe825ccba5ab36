/**
 * The proof that an exported captioner captions like its model: its files are run by onnxruntime-web beside the engine's captions.
 *
 * @module
 */

import { comparePairs, type Parity } from "../export/onnx/parity.ts";
import { OnnxFolderSessions } from "../generate/onnx_sessions.ts";
import { OnnxStepper } from "../generate/onnx_stepper.ts";
import { openOnnxRuntime } from "../generate/onnxruntime.ts";
import { scoreCaptions, searchCaptions } from "../generate/search.ts";
import type { Gpu } from "../gpu/device.ts";
import { parseProcessorConfig, preprocess } from "../image/processor.ts";
import type { CaptionerSource } from "../models/captioner_source.ts";
import type { OnnxDtype, OnnxLayout } from "../models/onnx_layouts.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { Captioner } from "./captioner.ts";
import { decodeImage } from "./decode.ts";
import { openFileFolder } from "./files.ts";

/** An image as the encoder takes it, and the engine's greedy caption of it. */
export interface ReferenceCaption {
  pixelValues: Float32Array;
  wanted: { ids: readonly number[]; logProb: number };
}

/** The engine's greedy captions of encoded images. */
export async function referenceCaptions(
  model: string,
  { captioner, images, gpu }: { captioner: CaptionerSource; images: readonly Uint8Array[]; gpu?: Gpu },
): Promise<ReferenceCaption[]> {
  if (images.length === 0) return [];
  using engine = await Captioner.load(model, gpu === undefined ? {} : { gpu });
  const captions = await engine.captionAll(images, { numBeams: 1 });
  const processor = parseProcessorConfig(JSON.parse(captioner.texts.get("preprocessor_config.json")!));
  return await Promise.all(images.map(async (image, i) => ({
    pixelValues: preprocess(await decodeImage(image), processor),
    wanted: captions[i]!,
  })));
}

/** What is compared. */
export interface ProveOnnxOptions {
  /** The layout's folder. */
  path: string;
  layout: OnnxLayout;
  dtype: OnnxDtype;
  captioner: CaptionerSource;
  references: readonly ReferenceCaption[];
}

/**
 * Captions the images with a written layout and compares.
 *
 * @throws {UserError} when the graphs are too large for WebAssembly
 */
export async function proveOnnx(options: ProveOnnxOptions): Promise<Parity> {
  const { layout, captioner: { config, settings, texts }, references } = options;
  const runtime = await openOnnxRuntime("wasm");
  const sessions = await OnnxFolderSessions.find(runtime, await openFileFolder(options.path), {
    ...options,
    oneStage: true,
  });
  try {
    const stepper = new OnnxStepper(runtime, {
      layout,
      sessions,
      batchSize: references.length,
      numBeams: 1,
      maxNewTokens: settings.maxLength,
      candidates: 1,
      image: { channels: config.vision.channels, size: config.vision.imageSize },
    });
    const tokenizer = loadTokenizer(
      JSON.parse(texts.get("tokenizer.json")!),
      JSON.parse(texts.get("tokenizer_config.json")!),
    );
    const eosIds = [...new Set([...config.decoder.eosIds, tokenizer.eosId])];
    const found = await searchCaptions(stepper, joinImages(references), { eosIds, count: references.length });
    const pairs = references.map(({ wanted, pixelValues }, i) => {
      const best = found[i]![0]!;
      const isSame = best.ids.join() === wanted.ids.join();
      return { wanted, pixelValues, found: { ...best, agreeing: isSame ? best.ids.length : NaN } };
    });
    // Where captions differ, the engine's is given token by token.
    const different = pairs.filter(({ found }) => Number.isNaN(found.agreeing));
    if (different.length > 0) {
      const wanted = different.map(({ wanted }) => wanted.ids);
      const scores = await scoreCaptions(stepper, joinImages(different), wanted);
      for (const [i, pair] of different.entries()) Object.assign(pair.found, scores[i]);
    }
    return comparePairs(pairs);
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
