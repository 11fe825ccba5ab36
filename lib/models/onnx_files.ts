/**
 * Which files of an exported folder a program needs that cannot look into it, such as a page.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { JsonConfig } from "../format/json_config.ts";
import {
  defaultVariant,
  dtypeOf,
  isOnnxFolder,
  onnxComponents,
  onnxPath,
  type OnnxVariant,
  parseOnnxFolder,
} from "./onnx_layouts.ts";

/** What lies beside the graphs. */
const TEXT_FILES = [
  "config.json",
  "generation_config.json",
  "preprocessor_config.json",
  "tokenizer.json",
  "tokenizer_config.json",
] as const;

/**
 * The precision that suits a device, and its files.
 *
 * @throws {UserError} for a folder that `deno task export` did not write for browsers
 */
export function onnxFolderFiles(
  config: JsonConfig,
  device: "wasm" | "webgpu",
): { dtype: OnnxVariant; files: string[] } {
  if (!isOnnxFolder(config)) {
    throw new UserError(
      `Cannot use "${config.name}": it is no exported captioner; write one with deno task export, and give its folder web-llava`,
    );
  }
  const own = parseOnnxFolder(config);
  const { layout } = own;
  if (layout === "parts") {
    throw new UserError(`Cannot use "${config.name}": it is of the layout parts; export it as web-llava`);
  }
  const dtype = defaultVariant(device, own);
  const beside = config.optionalObject("transformers.js_config")?.optionalObject("use_external_data_format");
  const graphs = onnxComponents(layout).flatMap((component) => {
    const path = onnxPath(layout, component, dtypeOf(dtype, component, own.mix));
    const count = beside?.optionalInteger(path.slice(path.lastIndexOf("/") + 1)) ?? 0;
    const weights = Array.from({ length: count }, (_, i) => `${path}_data${i === 0 ? "" : `_${i}`}`);
    return [path, ...weights];
  });
  return { dtype, files: [...TEXT_FILES, ...graphs] };
}
