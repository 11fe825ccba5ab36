/**
 * Writes a captioner as ONNX: four graphs for any runtime, and folders that transformers.js loads, each checked against the model.
 *
 * deno task export --model-dir runs/mine --output-dir onnx
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runExportCommand } from "../lib/host/export_command.ts";

await runTask(async ({ handleInterrupt }) => await runExportCommand(Deno.args, handleInterrupt()));
