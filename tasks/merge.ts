/**
 * Folds LoRA into the decoder and writes ordinary Hugging Face folders: the decoder alone, the whole captioner as Llava and as Idefics3.
 *
 * deno task merge --model-dir runs/mine --output-dir merged
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runWriteCommand } from "../lib/host/write_command.ts";

await runTask(async () => {
  await runWriteCommand({
    name: "merge",
    description: "Fold LoRA into the decoder and write ordinary Hugging Face folders",
    flag: "--layout",
    forms: ["decoder", "llava", "idefics3"],
    defaults: ["decoder", "llava", "idefics3"],
  }, Deno.args);
});
