/**
 * onnxruntime-web: graphs run as WebAssembly, or on WebGPU. The only file that imports it; nothing is loaded before it is asked for.
 *
 * @module
 */

import { detachOnnxWeights } from "../format/onnx_read.ts";
import type { env as Env, InferenceSession, Tensor } from "onnxruntime-web/wasm";

export type { InferenceSession, Tensor };

/** Where graphs run: WebAssembly on the processor, or onnxruntime's own WebGPU kernels. */
export type OnnxProvider = "wasm" | "webgpu";

/** The parts of the package that are used. */
export interface OnnxRuntime {
  provider: OnnxProvider;
  InferenceSession: typeof InferenceSession;
  Tensor: typeof Tensor;
  env: typeof Env;
}

/**
 * Loads the package's build for a provider.
 *
 * @param options.wasmBinary its WebAssembly, for a page that keeps it; else it is looked for beside the script
 */
export async function openOnnxRuntime(
  provider: OnnxProvider,
  { wasmBinary }: { wasmBinary?: Uint8Array } = {},
): Promise<OnnxRuntime> {
  const { InferenceSession, Tensor, env } = provider === "wasm"
    ? await import("onnxruntime-web/wasm")
    : await import("onnxruntime-web/webgpu");
  env.logLevel = "error";
  // One thread: more need shared memory, which pages get with special headers only.
  env.wasm.numThreads = 1;
  if (wasmBinary !== undefined) env.wasm.wasmBinary = wasmBinary as Uint8Array<ArrayBuffer>;
  return { provider, InferenceSession, Tensor, env };
}

/** A graph's file, and the files of weights beside it, by name. */
export interface OnnxModelFiles {
  graph: Uint8Array;
  weights: ReadonlyMap<string, Uint8Array>;
}

/** Largest file that is given to the runtime whole. */
const MAX_WHOLE_BYTES = 16e6;
/** What a file is called whose graph was taken apart from its weights. */
const OWN_FILE = "graph.onnx";

/** A graph ready to run. */
export async function openOnnxSession(
  { InferenceSession, provider }: OnnxRuntime,
  { graph, weights }: OnnxModelFiles,
): Promise<InferenceSession> {
  // Of weights inside a file the runtime makes three copies while it opens it, of weights beside it one.
  const isLarge = graph.length > MAX_WHOLE_BYTES;
  const beside = isLarge ? new Map([...weights, [OWN_FILE, graph]]) : weights;
  return await InferenceSession.create(isLarge ? await detachOnnxWeights(graph, OWN_FILE) : graph, {
    executionProviders: [provider],
    // Errors alone: that small nodes of shapes run beside the GPU is as it should be.
    logSeverityLevel: 3,
    externalData: [...beside].map(([path, data]) => ({ path, data })),
  });
}
