/**
 * The flags of `quantize`, and what it prints.
 *
 * @module
 */

import { basename } from "node:path";
import { UserError } from "../base/errors.ts";
import { mixOf, ONNX_LAYOUTS } from "../models/onnx_layouts.ts";
import { createCommand, parseInteger, parseNumber } from "./arguments.ts";
import type { ExportedLayout } from "./export_onnx.ts";
import { stat } from "./files.ts";
import { describeExported, parseDtypes } from "./onnx_options.ts";
import { readProofImages } from "./proof_images.ts";
import { quantizeOnnx } from "./quantize_onnx.ts";

/** Parses the command line, writes, and prints. @param signal stops it between graphs; what is half written is removed */
export async function runQuantizeCommand(args: readonly string[], signal?: AbortSignal): Promise<void> {
  const options = createCommand("quantize", "Add precisions to a captioner that was exported with fp32")
    .requiredOption(
      "--model-dir <dir>",
      "a layout's folder, or the folder of several, as deno task export wrote it",
    )
    .option(
      "--output-dir <dir>",
      "gets the layouts with what they had and what is new (default: where they are)",
    )
    .option(
      "--dtype <types>",
      "precisions, separated by commas: fp16, q8 (for wasm), q4 (for WebGPU); or of components: encoder=fp16,decoder=q4 (default: q8,q4)",
      parseDtypes,
    )
    .option("--images <paths...>", "images that all must caption alike (default: some of the embedded ones)")
    .option("--check <count>", "images compared; 0 skips the proof", parseInteger({ min: 0 }), 8)
    .option(
      "--min-agreement <share>",
      "share of the tokens that must agree with q8 or q4 in it; in fp16 all must",
      parseNumber({ min: 0, max: 1 }),
      0.9,
    )
    .option("--json", "print one JSON object", false)
    .parse(args as string[], { from: "user" }).opts();
  const { dtypes, mix } = options.dtype ?? parseDtypes("q8,q4");
  const images = await readProofImages(options);
  const written: ExportedLayout[] = [];
  for (const model of await findLayouts(options.modelDir)) {
    written.push(
      await quantizeOnnx({
        ...options,
        model,
        outputDir: options.outputDir === undefined ? model : `${options.outputDir}/${basename(model)}`,
        dtypes,
        mix: (layout) => Object.keys(mix).length === 0 ? undefined : mixOf(layout, mix),
        images,
        onProgress: (what) => {
          signal?.throwIfAborted();
          console.error(what);
        },
      }),
    );
  }
  console.log(options.json ? JSON.stringify({ written }) : describeExported(written));
}

/** The layout's folder itself, or those below it. @throws {UserError} when there is none */
async function findLayouts(path: string): Promise<string[]> {
  const folder = path.replace(/(?<=.)\/+$/, "");
  if (await stat(`${folder}/config.json`) !== undefined) return [folder];
  const found: string[] = [];
  for (const layout of ONNX_LAYOUTS) {
    if (await stat(`${folder}/${layout}/config.json`) !== undefined) found.push(`${folder}/${layout}`);
  }
  if (found.length > 0) return found;
  throw new UserError(
    `Cannot quantize "${path}": it is no exported captioner, and holds none of ${ONNX_LAYOUTS.join(", ")}; ` +
      "name a folder that deno task export wrote",
  );
}
