/**
 * The flags of `export`, and what it prints.
 *
 * @module
 */

import { formatShare } from "../export/onnx/parity.ts";
import {
  ONNX_DTYPES,
  ONNX_LAYOUTS,
  onnxComponents,
  type OnnxDtype,
  onnxPath,
} from "../models/onnx_layouts.ts";
import {
  createCommand,
  InvalidArgumentError,
  Option,
  parseInteger,
  parseNames,
  parseNumber,
} from "./arguments.ts";
import { type ExportedLayout, exportOnnx } from "./export_onnx.ts";
import { EMBEDDED_CAPTIONER } from "./model_folders.ts";
import { findNewestCaptioner } from "./run_folder.ts";
import { formatBytes, formatTable } from "./terminal.ts";
import { readProofImages } from "./write_command.ts";

/** Parses the command line, exports, and prints. */
export async function runExportCommand(args: readonly string[]): Promise<void> {
  const options = createCommand("export", "Write a captioner as ONNX, for browsers and any ONNX runtime")
    .option(
      "--model-dir <dir>",
      "captioner: run folder, Python project's folder, or embedded:captioner (default: newest run)",
    )
    .option("--save-dir <dir>", "where runs are looked for", "runs")
    .requiredOption("--output-dir <dir>", "gets a folder for every layout")
    .addOption(
      new Option("--layout <layout...>", "parts: four graphs; web-*: folders for transformers.js")
        .choices(ONNX_LAYOUTS).default([...ONNX_LAYOUTS]),
    )
    .option(
      "--dtype <types>",
      "precisions, separated by commas: fp32, fp16, q8 (for wasm), q4 (for WebGPU)",
      parseDtypes,
      [...ONNX_DTYPES],
    )
    .option("--images <paths...>", "images that both must caption alike (default: some of the embedded ones)")
    .option("--check <count>", "images compared; 0 skips the proof", parseInteger({ min: 0 }), 8)
    .option(
      "--min-agreement <share>",
      "share of the tokens that must agree in q8 and q4; in fp32 and fp16 all must",
      parseNumber({ min: 0, max: 1 }),
      0.9,
    )
    .option("--json", "print one JSON object", false)
    .parse(args as string[], { from: "user" }).opts();
  const model = options.modelDir ?? await findNewestCaptioner(options.saveDir) ?? EMBEDDED_CAPTIONER;
  const images = await readProofImages(options);
  const exported = await exportOnnx({
    ...options,
    model,
    layouts: options.layout as typeof ONNX_LAYOUTS[number][],
    dtypes: options.dtype,
    images,
    onProgress: (what) => console.error(what),
  });
  console.log(options.json ? JSON.stringify({ model, exported }) : describe(exported));
}

function parseDtypes(text: string): OnnxDtype[] {
  const names = [...new Set(parseNames(text))];
  const unknown = names.find((name) => !(ONNX_DTYPES as readonly string[]).includes(name));
  if (unknown !== undefined) {
    throw new InvalidArgumentError(`"${unknown}" is none of ${ONNX_DTYPES.join(", ")}.`);
  }
  return ONNX_DTYPES.filter((dtype) => names.includes(dtype));
}

/** Sizes of every file, then how the captions compare. */
function describe(exported: readonly ExportedLayout[]): string {
  const dtypes = exported[0]!.results.map(({ dtype }) => dtype);
  const sizes = exported.flatMap(({ layout, results }) =>
    onnxComponents(layout).map((component) => [
      `${layout}/${onnxPath(layout, component, "fp32")}`,
      ...results.map(({ bytes }) => formatBytes(bytes[component]!)),
    ])
  );
  const captions = exported.flatMap(({ layout, results }) =>
    results.map(({ dtype, parity }) =>
      parity === undefined ? [layout, dtype, "not compared"] : [
        layout,
        dtype,
        `${parity.sameCaptions} of ${parity.images}`,
        formatShare(parity.agreeingTokens, parity.tokens),
        parity.meanDrift.toExponential(1),
      ]
    )
  );
  return [
    formatTable(sizes, { header: ["size", ...dtypes] }),
    formatTable(captions, {
      header: ["layout", "precision", "same captions", "same tokens", "change of log-probability per token"],
    }),
    exported.map(({ path }) => `written: ${path}`).join("\n"),
  ].join("\n\n");
}
