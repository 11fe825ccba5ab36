/**
 * Writes a captioner as the Python project distilvit saves it, LoRA apart.
 *
 * deno task convert --model-dir runs/mine --to distilvit --output-dir converted
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runWriteCommand } from "../lib/host/write_command.ts";

await runTask(async () => {
  await runWriteCommand({
    name: "convert",
    description: "Write a captioner in another program's form",
    flag: "--to",
    forms: ["distilvit", "llava", "idefics3", "decoder"],
    defaults: ["distilvit"],
  }, Deno.args);
});
