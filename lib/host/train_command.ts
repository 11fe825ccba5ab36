/**
 * The flags of `deno task train`: the Python project's names and defaults.
 *
 * @module
 */

import { type JsonObject, parseJsonObject } from "../format/json.ts";
import { UserError } from "../base/errors.ts";
import {
  applyConfig,
  camelCase,
  type CommandUnknownOpts,
  createCommand,
  Option,
  parseInteger,
  parseNames,
  parseNumber,
  parsePattern,
} from "./arguments.ts";
import { PRESET_NAMES, PRESETS } from "../models/presets.ts";
import { addDatasetOptions, checkDatasetFlags } from "./dataset_options.ts";
import { openFile } from "./files.ts";
import type { TrainRunOptions } from "./train_options.ts";
import { addEvalOptions, readEvalOptions } from "./train_eval_options.ts";
import { addRewardOptions, readRewardOptions } from "./train_reward_options.ts";
import { addPushOptions, readPushOptions } from "./train_push.ts";
import { DEVICES } from "./train_gpu.ts";
import { AUTOTUNE } from "./tuning.ts";

/** Hidden width of an MLP projection, as in the Python project, and its dropout. */
const MLP = { type: "mlp", hiddenSize: 2048, dropout: 0.1 } as const;

/** Variables that set options, as they did for the Python project's make: each with its option. */
const VARIABLES = {
  ENCODER: "encoderModel",
  DECODER: "decoderModel",
  DATASET: "dataset",
  EPOCHS: "numTrainEpochs",
  SAMPLE: "sample",
  MAX_LENGTH: "maxLength",
};

/** Flags that are a sweep's, not a run's. */
const WHOLE_SWEEP = ["sweep", "config", "saveDir", "checkpointsDir", "json", "debug", "pushToHub", "modelId"];

/** Sets the flags of a run of a sweep. */
function applySweep(command: CommandUnknownOpts, fields: JsonObject): void {
  const name = command.opts()["sweep"] as string ?? "the sweep";
  const before = new Set(
    command.options.map((option) => option.attributeName())
      .filter((attribute) => command.getOptionValueSource(attribute) === "cli"),
  );
  if (command.opts()["pushToHub"]) {
    throw new UserError(
      "Cannot use --push-to-hub with --sweep: push the best run when it is known, with deno task upload",
    );
  }
  for (const [flag, value] of Object.entries(fields)) {
    const attribute = camelCase(flag);
    if (WHOLE_SWEEP.includes(attribute)) {
      throw new UserError(
        `Cannot sweep by "${name}": "${flag}" is the same for all runs; give it on the command line`,
      );
    }
    if (before.has(attribute)) {
      throw new UserError(
        `Cannot sweep by "${name}": "${flag}" is on the command line too; give it in one of the two`,
      );
    }
    applyConfig(command, { fields: { [flag]: value! }, name });
  }
}

/** Options that the environment sets; `DATASET` may name several sets, apart by spaces. */
function environmentFields(environment: Readonly<Record<string, string>>): JsonObject {
  return Object.fromEntries(
    Object.entries(VARIABLES).flatMap(([variable, option]) => {
      const value = environment[variable]?.trim() ?? "";
      if (value === "") return [];
      return [[option, variable === "DATASET" ? value.split(/\s+/) : value]];
    }),
  );
}

/**
 * Reads a command line of `deno task train`. What it leaves open is set by the file of `--config`, then by variables of the
 * environment (`ENCODER`, `DECODER`, `DATASET`, `EPOCHS`, `SAMPLE`, `MAX_LENGTH`), then by `--preset`.
 *
 * @param settings `own`: what the task sets of itself, where nothing else does. `sweep`: flags of a run of `--sweep`, by their names
 * @throws {UserError} If the file of `--config` or the sweep has another option, a value is refused, or a flag of the sweep is on the
 *   command line too
 */
export async function parseTrainArguments(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  { own = {}, sweep }: { own?: JsonObject; sweep?: JsonObject } = {},
): Promise<TrainRunOptions> {
  const count = parseInteger({ min: 1 });
  const command = addDatasetOptions(createCommand(
    "train",
    "Fine-tune a captioner: projection and LoRA over a frozen encoder and decoder",
  ))
    .option("--max-bad-rows <share>", "share of rows that may be bad", parseNumber({ min: 0, max: 1 }), 0.05)
    .option("--num-train-epochs <count>", "passes over the data", parseNumber({ min: 0.001 }), 3)
    .option("--max-steps <count>", "optimizer steps, instead of epochs", count)
    .option(
      "--encoder-model <model>",
      "vision encoder: Hub id, folder or embedded:siglip",
      PRESETS.default.encoder,
    )
    .option(
      "--decoder-model <model>",
      "language model: Hub id, folder or embedded:llama",
      PRESETS.default.decoder,
    )
    .option("--feature-extractor-model <model>", "model of preprocessor_config.json (default: the encoder)")
    .option(
      "--base-model <captioner>",
      "captioner to train on from; brings its own encoder, decoder and shape",
    )
    .option("--max-length <tokens>", "longest caption", parseInteger({ min: 2 }), 30)
    .option(
      "--no-append-eos",
      "captions do not end with the end token (such a captioner never learns to stop)",
    )
    .option("--lora-r <rank>", "rank of LoRA; 0 for none", parseInteger({ min: 0 }), 16)
    .option("--lora-alpha <alpha>", "scale of LoRA is alpha / rank", parseNumber({ min: 0 }), 16)
    .option("--lora-dropout <rate>", "dropout before LoRA", parseNumber({ min: 0, max: 0.99 }), 0.1)
    .option(
      "--lora-target-modules <names>",
      'adapted modules, or "all-linear" (default: what is usual for the decoder\'s family)',
      parseNames,
    )
    .option("--lora-rank-pattern <ranks>", "other ranks by module: q_proj=8,mlp.up_proj=4", parsePattern)
    .option("--lora-alpha-pattern <alphas>", "other alphas by module", parsePattern)
    .option("--use-rslora", "scale LoRA by alpha / sqrt(rank)", false)
    .option("--adapter <folder>", "PEFT adapter of the decoder to start from; brings its own LoRA settings")
    .addOption(
      new Option("--projection-type <type>", "projection").choices(["linear", "mlp"] as const).default(
        "linear" as const,
      ),
    )
    .option("--projection-lr <rate>", "peak learning rate of the projection", parseNumber({ min: 0 }), 3e-4)
    .option("--lora-lr <rate>", "peak learning rate of LoRA", parseNumber({ min: 0 }), 1e-4)
    .option(
      "--unfreeze-vision-layers <count>",
      "last vision layers to train too",
      parseInteger({ min: 0 }),
      0,
    )
    .option("--batch-size <count>", "images of a micro-batch", count, 8)
    .option("--gradient-accumulation-steps <count>", "micro-batches of a step", count, 4)
    .option(
      "--warmup-steps <count>",
      "steps of the warm-up (default: 200, or a tenth of all)",
      parseInteger({ min: 0 }),
    )
    .option("--weight-decay <rate>", "of AdamW", parseNumber({ min: 0 }), 0.01)
    .option("--max-grad-norm <norm>", "gradients are clipped to it", parseNumber({ min: 1e-6 }), 1)
    .option("--eval-steps <count>", "steps between evaluations", count, 100)
    .option("--save-steps <count>", "steps between checkpoints", count, 100)
    .option("--save-total-limit <count>", "checkpoints kept, newest and best in any case", count, 3)
    .option("--seed <number>", "of everything random", parseInteger({ min: 0, max: 2 ** 32 - 1 }), 42)
    .option("--save-dir <folder>", "folder of runs", "runs")
    .option("--checkpoints-dir <folder>", "folder of checkpoints (default: the run's)")
    .option("--delete-old-checkpoints", "start over", false)
    .option("--cache-dir <folder>", "cached features (default: below the user's cache folder)")
    .option("--no-cache-features", "do not keep features on disk")
    .option("--max-cache-gb <size>", "size of the feature cache", parseNumber({ min: 0 }), 20)
    .option("--prune-cache", "empty the feature cache first", false)
    .addOption(
      new Option("--autotune <when>", "measure matmul kernels once per adapter; auto does on GPUs")
        .choices(AUTOTUNE).default("auto" as const),
    )
    .addOption(new Option("--device <kind>", "adapter").choices(DEVICES).default("auto" as const))
    .addOption(
      new Option("--preset <name>", "models and longest caption that go together").choices(PRESET_NAMES),
    )
    .option("--json", "print the result as one JSON object", false)
    .option("--config <file>", "JSON with options; the command line wins")
    .option(
      "--sweep <file>",
      "train several runs in sequence: JSON of flags with lists of values, or a list of runs; other flags are those of all",
    );
  addEvalOptions(command);
  addRewardOptions(command);
  addPushOptions(command);
  command.parse(args as string[], { from: "user" });
  if (sweep !== undefined) applySweep(command, sweep);
  const { config } = command.opts();
  // What is applied first wins: each fills only what is still at its default.
  if (config !== undefined) {
    const { size, name, read } = await openFile(config);
    const text = new TextDecoder().decode(await read(0, size));
    applyConfig(command, { fields: parseJsonObject(text, name), name });
  }
  applyConfig(command, { fields: environmentFields(environment), name: "the environment" });
  const { preset } = command.opts();
  if (preset !== undefined) {
    const { encoder, decoder, maxLength } = PRESETS[preset];
    applyConfig(command, {
      fields: { encoderModel: encoder, decoderModel: decoder, maxLength },
      name: preset,
    });
  }
  applyConfig(command, { fields: own, name: "the task's own settings" });
  const { loraR, loraAlpha, loraDropout, projectionType, config: _, debug: __, preset: ___, ...others } =
    command.opts();
  const { loraTargetModules, loraRankPattern, loraAlphaPattern, useRslora, ...rest } = others;
  if (rest.adapter !== undefined && rest.baseModel !== undefined) {
    throw new UserError(
      "Cannot start from --adapter and --base-model together: each brings its own LoRA; give one",
    );
  }
  checkDatasetFlags(rest);
  return {
    ...rest,
    ...readEvalOptions(command),
    ...readRewardOptions(command),
    ...readPushOptions(command),
    lora: {
      rank: loraR,
      alpha: loraAlpha,
      dropout: loraDropout,
      ...(loraTargetModules && { targetModules: loraTargetModules }),
      ...(loraRankPattern && { rankPattern: loraRankPattern }),
      ...(loraAlphaPattern && { alphaPattern: loraAlphaPattern }),
      ...(useRslora && { useRslora }),
    },
    projection: projectionType === "mlp" ? MLP : { type: "linear" },
  };
}
