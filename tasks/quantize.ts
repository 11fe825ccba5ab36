/**
 * Adds precisions to a captioner that was exported, made from its fp32 graphs and checked against them.
 *
 * deno task quantize --model-dir onnx/web-llava --dtype q8,q4
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runQuantizeCommand } from "../lib/host/quantize_command.ts";

await runTask(async ({ handleInterrupt }) => {
  await runQuantizeCommand(Deno.args, handleInterrupt());
});
