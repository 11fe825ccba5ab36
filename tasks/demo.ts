/**
 * The browser demo: builds the page, and serves it to this machine or writes it for any static host.
 *
 * deno task demo
 * deno task demo --model onnx/web-llava --build site
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runDemoCommand } from "../lib/host/demo_command.ts";

await runTask(async ({ handleInterrupt }) => {
  await runDemoCommand(Deno.args, handleInterrupt());
});
