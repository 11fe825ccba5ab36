/**
 * Pretrains the embedded tiny models (data/tiny) on freshly drawn scenes.
 *
 * @module
 */

import { createCommand, parseInteger, parseNumber, runTask } from "../lib/host/arguments.ts";
import { pretrainTiny } from "../lib/host/pretrain_tiny.ts";

await runTask(async () => {
  const count = parseInteger({ min: 1 });
  const options = createCommand(
    "pretrain-tiny",
    "Pretrain the embedded tiny SigLIP and Llama on drawn scenes",
  )
    .option("--output-dir <dir>", "folder for siglip/ and llama/; llama/ holds the tokenizer", "data/tiny")
    .option("--steps <count>", "optimizer steps", count, 4000)
    .option("--batch-size <count>", "images a step", count, 32)
    .option("--learning-rate <rate>", "peak of the cosine schedule", parseNumber({ min: 0 }), 1e-3)
    .option("--scenes <count>", "scenes drawn", count, 60000)
    .option("--seed <number>", "seed of scenes, weights and order", parseInteger(), 1)
    .option("--save-steps <count>", "steps between saves", count, 500)
    .option("--continue", "start from the models in the folder")
    .parse().opts();
  await pretrainTiny(options);
});
