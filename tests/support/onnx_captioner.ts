/** A captioner exported in memory and run with onnxruntime-web, beside the same one on the kernels. */
import { onnxComponentFiles, planOnnxWeights } from "../../lib/export/onnx/layouts.ts";
import { type OnnxRuntime, openOnnxRuntime, openOnnxSession } from "../../lib/generate/onnxruntime.ts";
import { OnnxStepper } from "../../lib/generate/onnx_stepper.ts";
import { CaptionGenerator } from "../../lib/generate/generator.ts";
import { type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  encodeImages,
  prefixTokens,
} from "../../lib/models/captioner.ts";
import { type CaptionerSource, openCaptionerSource } from "../../lib/models/captioner_source.ts";
import { loadDecoderModel, loadVisionModel } from "../../lib/models/load.ts";
import {
  type OnnxComponent,
  onnxComponents,
  type OnnxDtype,
  type OnnxLayout,
} from "../../lib/models/onnx_layouts.ts";
import { FrozenWeights } from "../../lib/nn/weights.ts";
import type { CaptionerFolders } from "./captioner_folders.ts";
import { collectFiles } from "./collect_files.ts";
import { runOnce, testGpu } from "./gpu.ts";

let shared: Promise<OnnxRuntime> | undefined;

/** The runtime of this test process. */
export function testRuntime(): Promise<OnnxRuntime> {
  return shared ??= openOnnxRuntime("wasm");
}

/** Files of one component. */
export async function componentFiles(
  source: CaptionerSource,
  options: { layout: OnnxLayout; component: OnnxComponent; dtype: OnnxDtype; maxInlineBytes?: number },
): Promise<{ graph: Uint8Array; weights: Map<string, Uint8Array>; files: Map<string, Uint8Array> }> {
  const files = await collectFiles(
    onnxComponentFiles(planOnnxWeights(source), { ...options, version: "0" }),
  );
  const [[, graph], ...rest] = [...files] as [[string, Uint8Array], ...[string, Uint8Array][]];
  return { graph, weights: new Map(rest.map(([path, data]) => [path.split("/").at(-1)!, data])), files };
}

/** Sessions of a layout's components. */
export async function openLayout(
  source: CaptionerSource,
  options: { layout: OnnxLayout; dtype: OnnxDtype; maxInlineBytes?: number },
): Promise<Map<OnnxComponent, Awaited<ReturnType<typeof openOnnxSession>>>> {
  const sessions = new Map();
  for (const component of onnxComponents(options.layout)) {
    const files = await componentFiles(source, { ...options, component });
    sessions.set(component, await openOnnxSession(await testRuntime(), files));
  }
  return sessions;
}

/** A stepper of a layout over onnxruntime. */
export async function onnxStepper(
  folders: CaptionerFolders,
  options: {
    layout: OnnxLayout;
    dtype?: OnnxDtype;
    batchSize?: number;
    numBeams?: number;
    maxNewTokens: number;
  },
): Promise<OnnxStepper> {
  const { layout, dtype = "fp32", batchSize = 1, numBeams = 1, maxNewTokens } = options;
  const source = await openCaptionerSource(folders.folder, folders.openModel);
  const { channels, imageSize } = folders.config.vision;
  const sessions = await openLayout(source, { layout, dtype });
  return new OnnxStepper(await testRuntime(), {
    layout,
    sessions: { get: (component) => Promise.resolve(sessions.get(component)!) },
    batchSize,
    numBeams,
    maxNewTokens,
    candidates: 3 * numBeams,
    image: { channels, size: imageSize },
  });
}

/** What the graph `vision_encoder` of the four parts makes of one image. */
export async function onnxFeatures(folders: CaptionerFolders, pixels: Float32Array): Promise<Float32Array> {
  const source = await openCaptionerSource(folders.folder, folders.openModel);
  const { channels, imageSize } = folders.config.vision;
  const runtime = await testRuntime();
  const session = await openOnnxSession(
    runtime,
    await componentFiles(source, { layout: "parts", component: "vision_encoder", dtype: "fp32" }),
  );
  const pixel_values = new runtime.Tensor("float32", pixels, [1, channels, imageSize, imageSize]);
  const { last_hidden_state } = await session.run({ pixel_values });
  await session.release();
  return last_hidden_state!.data as Float32Array;
}

/** The same captioner on the kernels. */
export async function kernelGenerator(
  folders: CaptionerFolders,
  options: { batchSize?: number; numBeams?: number; maxNewTokens: number },
): Promise<{
  generator: CaptionGenerator;
  config: CaptionerConfig;
  weights: CaptionerWeights;
  features(pixels: Float32Array<ArrayBuffer>): Promise<Float32Array>;
  destroy(): void;
}> {
  const gpu = await testGpu();
  const { config } = folders;
  const vision = await loadVisionModel(gpu, await folders.openModel("encoder"));
  const decoder = await loadDecoderModel(gpu, await folders.openModel("decoder"), {
    maxPositions: prefixTokens(config) + options.maxNewTokens,
  });
  const trainable = new FrozenWeights(
    "trained",
    new Map([...folders.trained].map(([name, { shape, data }]): [string, Tensor] => [
      name,
      tensorFrom(gpu, new Float32Array(data), { shape, label: name }),
    ])),
  );
  const weights = { vision: vision.weights, decoder: decoder.weights, rope: decoder.rope, trainable };
  const generator = await CaptionGenerator.create(gpu, {
    config,
    weights,
    batchSize: 1,
    features: false,
    numBeams: 1,
    ...options,
  });
  return {
    generator,
    config,
    weights,
    features: async (pixels) => {
      const { channels, imageSize } = config.vision;
      const shape = [1, channels, imageSize, imageSize];
      const input = tensorFrom(gpu, pixels, { shape, label: "pixelValues" });
      return (await runOnce(gpu, (r) => ({ features: encodeImages(r, weights, input, config) }))).features;
    },
    destroy: () => {
      generator.destroy();
      for (const weights of [vision.weights, decoder, trainable]) weights.destroy();
    },
  };
}
