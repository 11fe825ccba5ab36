/**
 * The flags of `export`, and what it prints.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { mixOf, ONNX_DTYPES, ONNX_LAYOUTS } from "../models/onnx_layouts.ts";
import { createCommand, EXIT_CODES, Option, parseInteger, parseNumber } from "./arguments.ts";
import { exportOnnx } from "./export_onnx.ts";
import { EMBEDDED_CAPTIONER } from "./model_folders.ts";
import { describeExported, parseDtypes } from "./onnx_options.ts";
import { readProofImages } from "./proof_images.ts";
import { findNewestCaptioner } from "./run_folder.ts";
import { preparePush } from "./train_push.ts";

/**
 * Parses the command line, exports, prints, and pushes; gives the exit code.
 *
 * @param signal stops it between graphs; what is half written is removed
 */
export async function runExportCommand(args: readonly string[], signal?: AbortSignal): Promise<number> {
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
      "precisions, separated by commas: fp32, fp16, q8 (for wasm), q4 (for WebGPU); or of components: encoder=fp16,decoder=q4 (default: all four)",
      parseDtypes,
    )
    .option("--images <paths...>", "images that both must caption alike (default: some of the embedded ones)")
    .option("--check <count>", "images compared; 0 skips the proof", parseInteger({ min: 0 }), 8)
    .option(
      "--min-agreement <share>",
      "share of the tokens that must agree with q8 or q4 in it; in fp32 and fp16 all must",
      parseNumber({ min: 0, max: 1 }),
      0.9,
    )
    .option("--push-to-hub", "push every layout to the Hugging Face Hub", false)
    .option(
      "--model-id <org/name>",
      "repository to push to; of several layouts each has its name added to it",
    )
    .option("--hub-private-repo", "a repository that has to be made is private", false)
    .option("--json", "print one JSON object", false)
    .parse(args as string[], { from: "user" }).opts();
  const model = options.modelDir ?? await findNewestCaptioner(options.saveDir) ?? EMBEDDED_CAPTIONER;
  const { dtypes, mix } = options.dtype ?? { dtypes: ONNX_DTYPES, mix: {} };
  const layouts = options.layout as typeof ONNX_LAYOUTS[number][];
  const { pushToHub, modelId, hubPrivateRepo } = options;
  if (pushToHub && modelId === undefined) {
    throw new UserError("Cannot push: say where to with --model-id org/name");
  }
  // Whether a push can work is found out before anything is written.
  const pushes = new Map<string, Awaited<ReturnType<typeof preparePush>>>();
  for (const layout of layouts) {
    const id = layouts.length === 1 ? modelId : `${modelId}-${layout}`;
    pushes.set(
      layout,
      await preparePush({ pushToHub, hubPrivateRepo, ...(id !== undefined && { modelId: id }) }),
    );
  }
  const images = await readProofImages(options);
  const exported = await exportOnnx({
    ...options,
    model,
    layouts,
    dtypes,
    mix: (layout) => Object.keys(mix).length === 0 ? undefined : mixOf(layout, mix),
    images,
    onProgress: (what) => {
      signal?.throwIfAborted();
      console.error(what);
    },
  });
  console.log(options.json ? JSON.stringify({ model, exported }) : describeExported(exported));
  let code: number = EXIT_CODES.ok;
  for (const { layout, path } of exported) {
    code = Math.max(code, await pushes.get(layout)?.(path) ?? EXIT_CODES.ok);
  }
  return code;
}
