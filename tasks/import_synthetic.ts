/**
 * Takes generated pictures into a data set, screened by how well they suit their captions, and into a training mix.
 *
 * @module
 */

import { openGpu } from "../lib/gpu/device.ts";
import { Argument, createCommand, parseInteger, parseNumber, runTask } from "../lib/host/arguments.ts";
import { importSynthetic } from "../lib/host/import_synthetic.ts";
import { describeMerge } from "../lib/host/merge_command.ts";
import { mergeDatasets } from "../lib/host/merge_datasets.ts";
import { EMBEDDED_ENCODER } from "../lib/host/model_folders.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";

await runTask(async ({ handleInterrupt }) => {
  const command = createCommand(
    "import-synthetic",
    "Take generated pictures into an image folder, screened by how well they suit their captions",
  )
    .addArgument(
      new Argument("<dir>", "folder of pictures, named by the id (p00001.png) or seed of their prompts"),
    )
    .option("--prompts <file>", "rows of generate-prompts (default: the one such .jsonl in the folder)")
    .option(
      "--model <dir>",
      "CLIP or SigLIP that looks at them: folder, Hub id or embedded:siglip",
      EMBEDDED_ENCODER,
    )
    .option(
      "--min-score <cosine>",
      "least cosine of picture and caption (default: none)",
      parseNumber({ min: -1, max: 1 }),
    )
    .option(
      "--min-rank <share>",
      "share of captions of other objects that must suit a picture less than its own",
      parseNumber({ min: 0, max: 1 }),
      0.5,
    )
    .option("--output-dir <folder>", "folder that is made; an earlier import is replaced", "synthetic")
    .option("--mix <names...>", "data sets to merge the pictures with, for training")
    .option("--mix-path <folder>", "folder that the merge makes", "training_mix")
    .option(
      "--max-bad-rows <share>",
      "share of pictures that may be unreadable",
      parseNumber({ min: 0, max: 1 }),
      0.05,
    )
    .option("--seed <number>", "of the merge's order", parseInteger({ min: 0, max: 2 ** 32 - 1 }), 42)
    .option("--json", "print the result as one JSON object", false)
    .parse();
  const [dir] = command.processedArgs;
  const { mix, mixPath, json, seed, ...options } = command.opts();
  const signal = handleInterrupt();
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const result = await importSynthetic(gpu, { ...options, dir, signal });
  const merged = mix && await mergeDatasets({
    datasets: [...mix, options.outputDir],
    savePath: mixPath,
    seed,
    maxBadRows: options.maxBadRows,
    signal,
  });
  if (json) {
    console.log(JSON.stringify({ ...result, ...(merged && { merged }) }));
    return;
  }
  const list = (what: string, names: readonly string[]) => {
    if (names.length > 0) {
      console.log(`${names.length} ${what}: ${names.slice(0, 5).join(", ")}${names.length > 5 ? ", …" : ""}`);
    }
  };
  console.log(
    `imported ${result.imported} pictures to ${result.path}, mean cosine ${result.meanScore.toFixed(3)}; ` +
      `${result.promptsWithoutImage} prompts have no picture`,
  );
  list(
    "left out as they do not show what their captions say",
    result.dropped.map(({ image, score, rank }) =>
      `${image} (cosine ${score.toFixed(3)}, rank ${rank.toFixed(2)})`
    ),
  );
  list("left out as copies", result.duplicates);
  list("left out as no prompt has their name", result.unmatched);
  list("left out as they cannot be read", result.badRows.map(({ id, reason }) => `${id}: ${reason}`));
  console.log(merged ? describeMerge(merged) : `train with: deno task train --dataset flickr ${result.path}`);
});
