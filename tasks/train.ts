/**
 * Fine-tunes a captioner: a projection and LoRA over a frozen vision encoder and language model.
 *
 * deno task train --dataset my-images --num-train-epochs 3
 * deno task train-modern --dataset my-images
 * DATASET="my-images others" EPOCHS=5 deno task train --encoder-model google/siglip-so400m-patch14-384
 *
 * An interrupted run is continued by the same command. Ctrl-C saves first.
 *
 * @module
 */

import { EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { confirmDownloads } from "../lib/host/dataset_options.ts";
import { parseTrainArguments } from "../lib/host/train_command.ts";
import { preparePush } from "../lib/host/train_push.ts";
import { runTraining } from "../lib/host/train_run.ts";
import { describeResult, resultToJson } from "../lib/host/train_summary.ts";

await runTask(async ({ handleInterrupt }) => {
  const options = await parseTrainArguments(Deno.args, Deno.env.toObject());
  confirmDownloads(options, Deno.stdin.isTerminal() ? confirm : undefined);
  const push = await preparePush(options);
  const result = await runTraining(options, {
    signal: handleInterrupt(),
    say: (line) => console.error(line),
  });
  console.log(options.json ? resultToJson(result) : describeResult(result));
  if (result.ended === "interrupted") return EXIT_CODES.interrupted;
  return await push?.(result.path) ?? EXIT_CODES.ok;
});
