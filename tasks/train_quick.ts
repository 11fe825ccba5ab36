/**
 * Trains the embedded models on the embedded pictures, in minutes on two CPU cores, and compares captions before and after on
 * pictures that were never trained on.
 *
 * deno task train-quick [flags of train]
 *
 * @module
 */

import { runTask } from "../lib/host/arguments.ts";
import { runTrainTask } from "../lib/host/train_task.ts";

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

await runTask(({ handleInterrupt }) => runTrainTask(Deno.args, { own: QUICK, handleInterrupt }));
