/**
 * The proof that an exported captioner captions like its model: its files are run by onnxruntime-web beside the engine's captions.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { type CaptionPair, comparePairs, type Parity } from "../export/onnx/parity.ts";
import { OnnxStepper } from "../generate/onnx_stepper.ts";
import { openOnnxRuntime, openOnnxSession } from "../generate/onnxruntime.ts";
import { scoreCaption, searchCaptions } from "../generate/search.ts";
import type { Gpu } from "../gpu/device.ts";
import { parseProcessorConfig, preprocess } from "../image/processor.ts";
import type { CaptionerSource } from "../models/captioner_source.ts";
import {
  type OnnxComponent,
  onnxComponents,
  type OnnxDtype,
  type OnnxLayout,
  onnxPath,
} from "../models/onnx_layouts.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { Captioner } from "./captioner.ts";
import { decodeImage } from "./decode.ts";
import { stat } from "./files.ts";

/** What WebAssembly can address; a layout's graphs lie there together. */
const MAX_WASM_BYTES = 4e9;

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
  const sessions = await openSessions(options);
  try {
    const stepper = new OnnxStepper(sessions.runtime, {
      layout,
      sessions: sessions.byComponent,
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
    for (const session of sessions.byComponent.values()) await session.release();
  }
}

async function openSessions({ path, layout, dtype }: ProveOnnxOptions) {
  const runtime = await openOnnxRuntime("wasm");
  const files = new Map<OnnxComponent, string[]>();
  let total = 0;
  for (const component of onnxComponents(layout)) {
    const graph = `${path}/${onnxPath(layout, component, dtype)}`;
    const names = [graph];
    for (let i = 0; await stat(dataName(graph, i)) !== undefined; i++) names.push(dataName(graph, i));
    for (const name of names) total += (await Deno.stat(name)).size;
    files.set(component, names);
  }
  if (total > MAX_WASM_BYTES) {
    throw new UserError(
      `Cannot check "${layout}" in ${dtype}: its graphs have ${
        (total / 1e9).toFixed(1)
      } GB together, WebAssembly holds ` +
        `${MAX_WASM_BYTES / 1e9} GB; leave ${dtype} out with --dtype, or skip the proof with --check 0`,
    );
  }
  const byComponent = new Map<OnnxComponent, Awaited<ReturnType<typeof openOnnxSession>>>();
  for (const [component, [graph, ...beside]] of files) {
    const weights = new Map<string, Uint8Array>();
    for (const name of beside) weights.set(name.slice(name.lastIndexOf("/") + 1), await Deno.readFile(name));
    byComponent.set(
      component,
      await openOnnxSession(runtime, { graph: await Deno.readFile(graph!), weights }),
    );
  }
  return { runtime, byComponent };
}

const dataName = (graph: string, i: number): string => `${graph}_data${i === 0 ? "" : `_${i}`}`;
