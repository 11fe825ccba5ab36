/**
 * Makes random checkpoints with the exact shapes and names of a preset's published models.
 *
 * deno task make-random --preset default models/random
 *
 * @module
 */

import { createCommand, Option, parseInteger, runTask } from "../lib/host/arguments.ts";
import { makeRandomModels } from "../lib/host/make_random.ts";
import { formatBytes, formatTable } from "../lib/host/terminal.ts";
import { PRESET_NAMES } from "../lib/models/presets.ts";

await runTask(async () => {
  const command = createCommand("make-random", "Make random checkpoints of a preset's exact shapes and names")
    .argument("<dir>", "gets encoder/ and decoder/")
    .addOption(new Option("--preset <name>", "which pair").choices(PRESET_NAMES).default("default" as const))
    .addOption(
      new Option("--dtype <type>", "precision of weights").choices(["f32", "bf16", "f16"] as const).default(
        "bf16" as const,
      ),
    )
    .option("--seed <number>", "of the numbers", parseInteger({ min: 0 }), 1)
    .option("--json", "print one JSON object", false)
    .parse();
  const { json, ...options } = command.opts();
  const made = await makeRandomModels({ ...options, outputDir: command.args[0]! });
  console.log(
    json
      ? JSON.stringify(made)
      : formatTable(made.map(({ path, model, bytes }) => [model, formatBytes(bytes), path]), {
        header: ["shapes of", "size", ""],
      }),
  );
});
