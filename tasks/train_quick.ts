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
const QUICK = {
  encoderModel: "embedded:siglip",
  decoderModel: "embedded:llama",
  dataset: ["sample"],
  numTrainEpochs: 10,
  batchSize: 16,
  gradientAccumulationSteps: 1,
  projectionLr: 5e-3,
  loraLr: 3e-4,
  loraDropout: 0.05,
  evalSteps: 95,
  saveSteps: 95,
  evalCaptions: 16,
};

await runTask(async ({ handleInterrupt }) => {
  const options = await parseTrainArguments(Deno.args, {}, QUICK);
  const push = await preparePush(options);
  const result = await runTraining(options, {
    signal: handleInterrupt(),
    say: (line) => console.error(line),
  });
  console.log(options.json ? resultToJson(result) : describeResult(result));
  if (result.ended === "interrupted") return EXIT_CODES.interrupted;
  return await push?.(result.path) ?? EXIT_CODES.ok;
});
