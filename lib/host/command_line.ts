/**
 * `deno run -A mod.ts caption img.jpg …`: captions on the command line.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { CaptionOptions } from "../generate/caption_images.ts";
import { ONNX_VARIANTS, type OnnxVariant } from "../models/onnx_layouts.ts";
import { createCommand, EXIT_CODES, Option, parseInteger, parseNumber, runTask } from "./arguments.ts";
import { openCalibration, requireCalibration } from "./calibration.ts";
import { captionFiles, scoreFiles } from "./caption_files.ts";
import { expandImages } from "./image_paths.ts";
import { EMBEDDED_CAPTIONER } from "./model_folders.ts";
import { findNewestCaptioner } from "./run_folder.ts";
import { loadCaptioner, type RuntimeChoice, RUNTIMES } from "./runtimes.ts";

/** Reads the arguments, runs the command and ends the process. */
export async function runCommandLine(): Promise<never> {
  return await runTask(async () => {
    let exitCode: number = EXIT_CODES.ok;
    const program = createCommand("mod.ts", "Caption images with models that run on WebGPU");
    program.command("caption")
      .description("write one caption for every image: the newest run, else the embedded captioner")
      .argument("<images...>", "image files, or folders of images")
      .option(
        "--model <dir>",
        "run folder, exported folder or embedded:captioner (default: newest run below --save-dir)",
      )
      .addOption(
        new Option("--runtime <runtime>", "what runs it: onnx-* run a folder of deno task export")
          .choices(RUNTIMES).default("auto" as const),
      )
      .addOption(
        new Option("--dtype <type>", "precision of an exported folder (default: q8 on wasm, q4 on WebGPU)")
          .choices(ONNX_VARIANTS),
      )
      .option("--save-dir <dir>", "where runs are looked for", "runs")
      .option("--num-beams <count>", "beams; 1 is greedy", parseInteger({ min: 1, max: 16 }), 3)
      .option(
        "--max-new-tokens <count>",
        "most tokens of a caption (default: as trained)",
        parseInteger({ min: 1 }),
      )
      .option("--temperature <value>", "above 0 samples instead of searching", parseNumber({ min: 0 }), 0)
      .option(
        "--top-p <share>",
        "sample from the likeliest tokens of this mass",
        parseNumber({ min: 0, max: 1 }),
        1,
      )
      .option("--repetition-penalty <factor>", "above 1 avoids repetition", parseNumber({ min: 0.1 }), 1)
      .option("--seed <number>", "seed of sampling", parseInteger({ min: 0 }), 42)
      .option("--batch-size <count>", "images in flight together", parseInteger({ min: 1, max: 256 }), 4)
      .option(
        "--abstain",
        "no caption where the model is less sure than its thresholds (deno task evaluate --calibrate); exit code 3",
      )
      .addOption(
        new Option(
          "--score <text>",
          "write no captions: say how well a text fits each image; exit code 3 where it is below the thresholds",
        ).conflicts("abstain"),
      )
      .option("--json", "one JSON object a line")
      .exitOverride()
      .action(async (images, options) => {
        exitCode = await runCaption(images, options);
      });
    await program.parseAsync();
    return exitCode;
  });
}

async function runCaption(
  images: readonly string[],
  options: CaptionOptions & {
    model?: string;
    saveDir: string;
    runtime: RuntimeChoice;
    dtype?: OnnxVariant;
    abstain?: true;
    score?: string;
    json?: true;
  },
): Promise<number> {
  const paths = await expandImages(images);
  if (paths.length === 0) throw new UserError(`Cannot caption: there is no image in ${images.join(", ")}`);
  const model = options.model ?? await findNewestCaptioner(options.saveDir) ?? EMBEDDED_CAPTIONER;
  const { abstain, score: text } = options;
  // What takes no time is refused before what does.
  const calibration = abstain
    ? await requireCalibration(model)
    : text === undefined
    ? undefined
    : await openCalibration(model);
  const { captioner: loaded, runtime, reason } = await loadCaptioner(model, options);
  using captioner = loaded;
  if (runtime !== "webgpu-kernels" && reason !== "") console.error(`Runs with ${runtime}: ${reason}`);
  const asked = options.maxNewTokens ?? 0;
  if (asked > captioner.maxLength) {
    throw new UserError(
      `Cannot caption with ${asked} new tokens: "${model}" was trained for ${captioner.maxLength}`,
    );
  }
  const lines = { ...options, thresholds: calibration?.thresholds };
  if (text === undefined) return await captionFiles(captioner, paths, lines);
  if (calibration === undefined) {
    console.error(`Note: no verdict, as "${model}" has no thresholds (deno task evaluate --calibrate)`);
  }
  return await scoreFiles(captioner, paths, { ...lines, text });
}
