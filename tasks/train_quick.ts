/**
 * Trains the embedded models on the embedded pictures, in minutes on two CPU cores, and compares captions before and after on
 * pictures that were never trained on.
 *
 * deno task train-quick [flags of train]
 *
 * @module
 */

import { EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { parseTrainArguments } from "../lib/host/train_command.ts";
import { preparePush } from "../lib/host/train_push.ts";
import { runTraining } from "../lib/host/train_run.ts";
import { describeResult, resultToJson } from "../lib/host/train_summary.ts";

/** The projection starts from random numbers and the data are few: higher rates than for large models, and small steps. */
const QUICK = [
  ["--encoder-model", "embedded:siglip"],
  ["--decoder-model", "embedded:llama"],
  ["--dataset", "sample"],
  ["--num-train-epochs", "10"],
  ["--batch-size", "16"],
  ["--gradient-accumulation-steps", "1"],
  ["--projection-lr", "5e-3"],
  ["--lora-lr", "3e-4"],
  ["--lora-dropout", "0.05"],
  ["--eval-steps", "95"],
  ["--save-steps", "95"],
  ["--eval-captions", "16"],
].flat();

await runTask(async ({ handleInterrupt }) => {
  // A flag given twice counts as given last.
  const options = await parseTrainArguments([...QUICK, ...Deno.args]);
  const push = await preparePush(options);
  const result = await runTraining(options, {
    signal: handleInterrupt(),
    say: (line) => console.error(line),
  });
  console.log(options.json ? resultToJson(result) : describeResult(result));
  if (result.ended === "interrupted") return EXIT_CODES.interrupted;
  return await push?.(result.path) ?? EXIT_CODES.ok;
});
