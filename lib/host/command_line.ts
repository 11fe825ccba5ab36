/**
 * `deno run -A mod.ts caption img.jpg …`: captions on the command line.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import type { Caption, CaptionOptions, ImageCaptioner } from "../generate/caption_images.ts";
import { ONNX_VARIANTS, type OnnxVariant } from "../models/onnx_layouts.ts";
import { createCommand, EXIT_CODES, Option, parseInteger, parseNumber, runTask } from "./arguments.ts";
import { readBounded } from "./file_source.ts";
import { expandImages } from "./image_paths.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { EMBEDDED_CAPTIONER } from "./model_folders.ts";
import { startProgress } from "./progress.ts";
import { findNewestCaptioner } from "./run_folder.ts";
import { loadCaptioner, type RuntimeChoice, RUNTIMES } from "./runtimes.ts";

/** Images captioned between two lines of output. */
const CHUNK = 16;

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
      .option("--json", "one JSON object a line")
      .exitOverride()
      .action(async (images, options) => {
        exitCode = await captionFiles(images, options);
      });
    await program.parseAsync();
    return exitCode;
  });
}

async function captionFiles(
  images: readonly string[],
  options: CaptionOptions & {
    model?: string;
    saveDir: string;
    runtime: RuntimeChoice;
    dtype?: OnnxVariant;
    json?: true;
  },
): Promise<number> {
  const paths = await expandImages(images);
  if (paths.length === 0) throw new UserError(`Cannot caption: there is no image in ${images.join(", ")}`);
  const model = options.model ?? await findNewestCaptioner(options.saveDir) ?? EMBEDDED_CAPTIONER;
  const { captioner: loaded, runtime, reason } = await loadCaptioner(model, options);
  using captioner = loaded;
  if (runtime !== "webgpu-kernels" && reason !== "") console.error(`Runs with ${runtime}: ${reason}`);
  const asked = options.maxNewTokens ?? 0;
  if (asked > captioner.maxLength) {
    throw new UserError(
      `Cannot caption with ${asked} new tokens: "${model}" was trained for ${captioner.maxLength}`,
    );
  }
  const progress = startProgress({ label: "caption", total: paths.length, quiet: paths.length <= CHUNK });
  let warned = false;
  let failed = 0;
  for (let start = 0; start < paths.length; start += CHUNK) {
    const chunk = paths.slice(start, start + CHUNK);
    const read = await Promise.all(chunk.map(readImage));
    const good = read.filter((one) => one.bytes !== undefined);
    const results = await captionGood(captioner, good.map(({ bytes }) => bytes!), options);
    for (const { path, error, bytes } of read) {
      const result = bytes === undefined ? error! : results.shift()!;
      if (typeof result === "string") {
        failed++;
        console.error(`${path}: ${result}`);
      } else if (options.json) {
        const { caption, logProb, tokens, timeMs } = result;
        console.log(
          JSON.stringify({
            image: path,
            caption,
            log_probability: logProb,
            tokens,
            time_ms: Math.round(timeMs),
          }),
        );
      } else console.log(paths.length === 1 ? result.caption : `${path}\t${result.caption}`);
      if (typeof result !== "string" && result.outOfDomain && !warned) {
        warned = true;
        console.error(
          `Note: "${path}" looks like a photograph, and the embedded captioner knows drawn scenes only. ` +
            `Train one on photographs (deno task train --encoder-model google/siglip-base-patch16-224 ` +
            `--decoder-model HuggingFaceTB/SmolLM-135M --dataset FOLDER) and name it with --model DIR`,
        );
      }
    }
    progress.update(Math.min(start + CHUNK, paths.length));
  }
  progress.stop();
  if (failed > 0) console.error(`${failed} of ${paths.length} images could not be captioned`);
  return failed > 0 ? EXIT_CODES.error : EXIT_CODES.ok;
}

/** Captions together; when an image spoils the batch, one by one, so that the others get theirs. */
async function captionGood(
  captioner: ImageCaptioner,
  images: readonly Uint8Array[],
  options: CaptionOptions,
): Promise<(Caption | string)[]> {
  if (images.length === 0) return [];
  try {
    return await captioner.captionAll(images, options);
  } catch (error) {
    if (images.length === 1) return [describeError(error)];
    const results: (Caption | string)[] = [];
    for (const image of images) results.push(...await captionGood(captioner, [image], options));
    return results;
  }
}

interface ReadImage {
  path: string;
  bytes?: Uint8Array;
  error?: string;
}

async function readImage(path: string): Promise<ReadImage> {
  try {
    return { path, bytes: await readBounded(path, MAX_IMAGE_BYTES) };
  } catch (error) {
    return { path, error: describeError(error) };
  }
}
