/**
 * How large a captioner's weights are.
 *
 * @module
 */

import { readCaptionerConfig } from "../models/captioner_files.ts";
import { openConfig } from "../models/model_source.ts";
import {
  defaultVariant,
  dtypeOf,
  isOnnxFolder,
  onnxComponents,
  onnxPath,
  type OnnxVariant,
  parseOnnxFolder,
} from "../models/onnx_layouts.ts";
import { filesBelow, stat } from "./files.ts";
import { openModelFolder, resolveModelFolder } from "./model_folders.ts";
import type { RuntimeChoice } from "./runtimes.ts";

/** Bytes of a captioner's weights, its base models' included; of an exported folder those of a precision. */
export async function weightBytes(
  model: string,
  { runtime, dtype }: { runtime: RuntimeChoice; dtype: OnnxVariant | undefined },
): Promise<{ modelBytes?: number }> {
  const folder = await openModelFolder(model);
  const config = await openConfig(folder);
  const paths: string[] = [];
  if (isOnnxFolder(config)) {
    if (dtype === undefined && runtime === "auto") return {};
    const own = parseOnnxFolder(config);
    const used = dtype ?? defaultVariant(runtime === "onnx-wasm" ? "wasm" : "webgpu", own);
    const graphs = onnxComponents(own.layout).map((component) =>
      onnxPath(own.layout, component, dtypeOf(used, component, own.mix))
    );
    const root = await resolveModelFolder(model);
    // Weights that do not fit into a graph lie beside it.
    const weights = (await filesBelow(root)).filter(({ path }) =>
      graphs.some((graph) => path === graph || path.startsWith(`${graph}_data`))
    );
    paths.push(...weights.map(({ path }) => `${root}/${path}`));
  } else {
    const { encoder, decoder } = await readCaptionerConfig(folder);
    for (const reference of new Set([model, encoder.reference, decoder.reference])) {
      const root = await resolveModelFolder(reference);
      const weights = (await filesBelow(root)).filter(({ path }) =>
        /^(adapter\/)?[^/]*\.safetensors$/.test(path) && !path.startsWith("optimizer")
      );
      paths.push(...weights.map(({ path }) => `${root}/${path}`));
    }
  }
  let modelBytes = 0;
  for (const path of paths) modelBytes += (await stat(path))?.size ?? 0;
  return { modelBytes };
}
