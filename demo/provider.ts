/**
 * Where the model runs: chosen, and explained.
 *
 * @module
 */

import type { OnnxProvider } from "../lib/generate/onnxruntime.ts";

/** What can be asked for. */
export type ProviderChoice = "auto" | OnnxProvider;

/** For people. */
export const PROVIDER_NAMES: Readonly<Record<OnnxProvider, string>> = {
  wasm: "WebAssembly",
  webgpu: "WebGPU",
};

/** WebGPU where there is a graphics processor, else WebAssembly; and why, as a sentence. */
export async function chooseProvider(
  choice: ProviderChoice,
): Promise<{ provider: OnnxProvider; reason: string }> {
  if (choice !== "auto") return { provider: choice, reason: "You chose it." };
  if (!("gpu" in navigator)) return { provider: "wasm", reason: "This browser has no WebGPU." };
  const adapter = await navigator.gpu.requestAdapter().catch(() => null);
  if (adapter === null) return { provider: "wasm", reason: "WebGPU finds no graphics processor." };
  if (adapter.info.isFallbackAdapter) {
    return {
      provider: "wasm",
      reason: "WebGPU would run on the processor here, where WebAssembly is faster.",
    };
  }
  const name = adapter.info.description || adapter.info.vendor;
  return {
    provider: "webgpu",
    reason: `WebGPU finds a graphics processor${name === "" ? "" : ` (${name})`}.`,
  };
}
