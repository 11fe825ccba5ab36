/**
 * Serves a captioner over HTTP, with a page to try it.
 *
 * deno task serve --port 8000 --model runs/mine
 *
 * @module
 */

import {
  createCommand,
  Option,
  parseInteger,
  parseNumber,
  parseOrigin,
  runTask,
} from "../lib/host/arguments.ts";
import { EMBEDDED_CAPTIONER } from "../lib/host/model_folders.ts";
import { findNewestCaptioner } from "../lib/host/run_folder.ts";
import { startServer } from "../lib/host/serve.ts";

await runTask(async ({ handleInterrupt }) => {
  const count = parseInteger({ min: 1 });
  const { model, saveDir, ...options } = createCommand("serve", "Serve a captioner over HTTP")
    .option("--model <dir>", "run folder or embedded:captioner (default: newest below --save-dir)")
    .option("--save-dir <dir>", "where runs are looked for", "runs")
    .option("--host <address>", "address to listen on; 0.0.0.0 for every network", "127.0.0.1")
    .option("--port <number>", "port; 0 takes a free one", parseInteger({ min: 0, max: 65535 }), 8000)
    .option("--max-batch <count>", "most images that run together", parseInteger({ min: 1, max: 256 }), 8)
    .option("--max-wait-ms <ms>", "how long an image waits for others", parseNumber({ min: 0 }), 20)
    .option("--max-queue <count>", "most images that wait; further ones get 429", count, 64)
    .option("--max-body-mb <size>", "largest request", parseNumber({ min: 0.001 }), 32)
    .option("--max-images <count>", "most images of one request", count, 32)
    .option("--timeout <seconds>", "longest time of a request", parseNumber({ min: 0.1 }), 60)
    .addOption(new Option("--token <text>", "wanted as Authorization: Bearer TEXT").env("CAPTIONER_TOKEN"))
    .option("--allow-url", "fetch images by URL, never from private addresses", false)
    .option(
      "--cors-origin <origin>",
      "origin that browsers may ask from, or *",
      (text) => text === "*" ? text : parseOrigin(text),
    )
    .option("--quiet", "print no line for requests", false)
    .parse().opts();
  const chosen = model ?? await findNewestCaptioner(saveDir) ?? EMBEDDED_CAPTIONER;
  const { url, finished } = await startServer({ ...options, model: chosen }, handleInterrupt());
  console.error(`Serves ${chosen} at ${url} (Ctrl-C ends it)`);
  await finished;
});
