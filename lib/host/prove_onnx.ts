/**
 * The proof that an exported captioner captions like its model: its files are run by onnxruntime-web beside the engine's captions.
 *
 * @module
 */

import { type CaptionPair, comparePairs, type Parity } from "../export/onnx/parity.ts";
import { OnnxStepper } from "../generate/onnx_stepper.ts";
import { openOnnxRuntime } from "../generate/onnxruntime.ts";
import { scoreCaption, searchCaptions } from "../generate/search.ts";
import type { Gpu } from "../gpu/device.ts";
import { parseProcessorConfig, preprocess } from "../image/processor.ts";
import type { CaptionerSource } from "../models/captioner_source.ts";
import type { OnnxDtype, OnnxLayout } from "../models/onnx_layouts.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { Captioner } from "./captioner.ts";
import { decodeImage } from "./decode.ts";
import { openOnnxSessions } from "./onnx_sessions.ts";

/** An image as the encoder takes it, and the engine's greedy caption of it. */
export interface ReferenceCaption {
  pixelValues: Float32Array;
  wanted: { ids: readonly number[]; logProb: number };
}

/** The engine's greedy captions of encoded images. */
export async function referenceCaptions(
  model: string,
  { captioner, images, gpu }: { captioner: CaptionerSource; images: readonly Uint8Array[]; gpu: Gpu },
): Promise<ReferenceCaption[]> {
  if (images.length === 0) return [];
  using engine = await Captioner.load(model, { gpu });
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
  const sessions = await openOnnxSessions(runtime, options);
  try {
    const stepper = new OnnxStepper(runtime, {
      layout,
      sessions,
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
    const pairs: CaptionPair[] = [];
    for (const { pixelValues, wanted } of references) {
      const [found] = await searchCaptions(stepper, pixelValues, { eosIds, count: 1 });
      const best = found![0]!;
      const isSame = best.ids.join() === wanted.ids.join();
      const score = isSame
        ? { agreeing: wanted.ids.length, logProb: best.logProb }
        : await scoreCaption(stepper, pixelValues, wanted.ids);
      pairs.push({ wanted, found: { ids: best.ids, ...score } });
    }
    return comparePairs(pairs);
  } finally {
    for (const session of sessions.values()) await session.release();
  }
}
