/**
 * Prompts for synthetic pictures of objects that a data set has too few of.
 *
 * @module
 */

import { createCommand, Option, parseInteger, runTask } from "../lib/host/arguments.ts";
import { writeFileAtomically } from "../lib/host/files.ts";
import { readRareObjects } from "../lib/host/rare_objects.ts";
import { formatPrompts, PROMPT_FORMATS } from "../lib/quality/prompt_formats.ts";
import { generatePrompts } from "../lib/quality/prompts.ts";

await runTask(async () => {
  const count = parseInteger({ min: 0, max: 1_000_000 });
  const { rareObjects, output, format, imageSize: size, imageModel, json, ...options } = createCommand(
    "generate-prompts",
    "Make neutral prompts for pictures of rare objects, for Stable Diffusion, DALL-E and others",
  )
    .requiredOption("--rare-objects <file>", "CSV of the quality report: objects_below_N.csv")
    .option("--output <file>", "where to write", "synthetic_prompts.jsonl")
    .addOption(
      new Option(
        "--format <name>",
        "layout; with stable-diffusion and dall-e the rows go to a .jsonl beside it, for import-synthetic",
      ).choices(PROMPT_FORMATS).default("jsonl" as const),
    )
    .option("--prompts-per-object <count>", "prompts for each object", count, 5)
    .option("--max-count <count>", "only objects that the data set has so often or less", count)
    .option("--include-combinations", "prompts with two or three objects too", true)
    .option("--no-include-combinations", "no such prompts")
    .option("--combination-count <count>", "how many (default: twice the objects, at most 100)", count)
    .option("--seed <number>", "of the choices", parseInteger({ min: 0, max: 2 ** 32 - 1 }), 42)
    .option(
      "--image-size <pixels>",
      "side of the pictures (default: 512, of dall-e 1024)",
      parseInteger({ min: 64 }),
    )
    .option("--image-model <name>", "model that dall-e's requests name", "dall-e-3")
    .option("--json", "print the result as one JSON object", false)
    .parse().opts();
  const { prompts, objects, skipped } = generatePrompts(await readRareObjects(rareObjects), options);
  await writeFileAtomically(output, formatPrompts(prompts, { format, size, imageModel }));
  const isForGenerator = format === "stable-diffusion" || format === "dall-e";
  const rows = isForGenerator ? `${output.replace(/\.\w+$/, "")}.rows.jsonl` : output;
  if (isForGenerator) await writeFileAtomically(rows, formatPrompts(prompts, { format: "jsonl" }));
  const single = prompts.filter(({ type }) => type === "single_object").length;
  if (json) {
    console.log(
      JSON.stringify({ output, rows, prompts: prompts.length, single, objects: objects.length, skipped }),
    );
    return;
  }
  console.log(
    `${prompts.length} prompts for ${objects.length} objects: ${single} of one object, ${
      prompts.length - single
    } combinations\nwritten to ${output}${isForGenerator ? ` and ${rows}` : ""}`,
  );
  for (const { object, reason } of skipped.slice(0, 10)) {
    console.log(`left out ${JSON.stringify(object)}: ${reason}`);
  }
  if (skipped.length > 10) console.log(`left out ${skipped.length - 10} more`);
});
