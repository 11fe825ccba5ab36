/**
 * What runs a captioner: the kernels of this project, or onnxruntime on an exported folder.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { ImageCaptioner } from "../generate/caption_images.ts";
import { OnnxCaptioner, type OnnxCaptionerOptions } from "../generate/onnx_captioner.ts";
import { NoAdapterError, openGpu } from "../gpu/device.ts";
import { openConfig } from "../models/model_source.ts";
import { isOnnxFolder, type OnnxVariant } from "../models/onnx_layouts.ts";
import { Captioner } from "./captioner.ts";
import { openModelFolder } from "./model_folders.ts";
import { decodeImage } from "./decode.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";

/** What can be asked for. */
export const RUNTIMES = ["auto", "webgpu-kernels", "onnx-wasm", "onnx-webgpu"] as const;
/** One of them. */
export type RuntimeChoice = typeof RUNTIMES[number];

/** A captioner, what runs it, and why where nobody asked. */
export interface LoadedCaptioner {
  captioner: ImageCaptioner;
  runtime: Exclude<RuntimeChoice, "auto">;
  /** For the user; empty where the runtime was asked for. */
  reason: string;
}

/**
 * Loads a captioner for a runtime. `auto` takes the kernels for whatever has weights; for an exported folder WebGPU where there is a GPU,
 * else WebAssembly.
 *
 * @throws {UserError} when the runtime cannot run such a folder
 */
export async function loadCaptioner(
  model: string,
  { runtime, dtype }: { runtime: RuntimeChoice; dtype?: OnnxVariant | undefined },
): Promise<LoadedCaptioner> {
  const isExported = isOnnxFolder(await openConfig(await openModelFolder(model)));
  if (!isExported) {
    if (runtime !== "auto" && runtime !== "webgpu-kernels") {
      throw new UserError(
        `Cannot run "${model}" with ${runtime}: it is not exported; run deno task export --model-dir ${model} --output-dir onnx, ` +
          "then give --model onnx/web-llava",
      );
    }
    if (dtype !== undefined) {
      throw new UserError(`Cannot run "${model}" in ${dtype}: the kernels take weights as they are stored`);
    }
    const captioner = await Captioner.load(model);
    return { captioner, runtime: "webgpu-kernels", reason: runtime === "auto" ? "it is not exported" : "" };
  }
  if (runtime === "webgpu-kernels") {
    throw new UserError(
      `Cannot run "${model}" with webgpu-kernels: it is exported, and the kernels take the captioner that it was made from`,
    );
  }
  const choice = runtime === "auto" ? await chooseProvider() : { runtime, reason: "" };
  const captioner = await loadOnnxCaptioner(model, {
    provider: choice.runtime === "onnx-wasm" ? "wasm" : "webgpu",
    ...(dtype === undefined ? {} : { dtype }),
  });
  return { captioner, ...choice };
}

/**
 * Loads a folder of `deno task export` for onnxruntime.
 *
 * @param model folder or Hub id
 * @throws {RangeError | SyntaxError | TypeError | UserError} when a file is missing or damaged, or the precision was not exported
 */
export async function loadOnnxCaptioner(
  model: string,
  options: Omit<OnnxCaptionerOptions, "decode" | "wasmBinary">,
): Promise<OnnxCaptioner> {
  if (options.provider === "webgpu") prepareDriverEnvironment();
  return await OnnxCaptioner.load(await openModelFolder(model), { ...options, decode: decodeImage });
}

async function chooseProvider(): Promise<Omit<LoadedCaptioner, "captioner">> {
  prepareDriverEnvironment();
  try {
    const gpu = await openGpu();
    const { software, info } = gpu;
    gpu.destroy();
    const name = info.description || info.device || info.vendor || "a GPU";
    return software
      ? { runtime: "onnx-wasm", reason: `it is exported, and ${name} is a software adapter` }
      : { runtime: "onnx-webgpu", reason: `it is exported, and there is ${name}` };
  } catch (error) {
    if (!(error instanceof NoAdapterError)) throw error;
    return { runtime: "onnx-wasm", reason: "it is exported, and there is no WebGPU adapter" };
  }
}
