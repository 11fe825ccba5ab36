/**
 * The flags of `deno task quality-report`: the Python project's names and defaults, and more.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { SPLITS } from "../datasets/rows.ts";
import type { JsonObject } from "../format/json.ts";
import { RANKING_WEIGHTS } from "../quality/ranking.ts";
import { applyConfig, createCommand, Option, parseInteger, parseNumber } from "./arguments.ts";
import { DATASET_NAMES } from "./dataset_options.ts";
import type { QualityReportOptions } from "./quality_report.ts";
import { DEVICES } from "./train_gpu.ts";

/** Variables that set options, as they did for the Python project's make. */
const VARIABLES = {
  DATASET: "dataset",
  SPLIT: "split",
  MAX_SAMPLES: "maxSamples",
  OUTPUT_DIR: "outputDir",
  CLIP_MODEL: "clipModel",
};

/** What the flags come to. */
export type QualityCommandOptions = Omit<QualityReportOptions, "signal" | "gpu" | "quiet"> & {
  /** Print the summary as one JSON object. */
  json: boolean;
};

/**
 * Reads a command line of `deno task quality-report`. What it leaves open is set by the environment (`DATASET`, `SPLIT`, `MAX_SAMPLES`,
 * `OUTPUT_DIR`, `CLIP_MODEL`).
 *
 * @throws {UserError} If a value is refused
 */
export function parseQualityArguments(
  args: readonly string[],
  environment: Readonly<Record<string, string>> = {},
): QualityCommandOptions {
  const share = parseNumber({ min: 0, max: 1 });
  const command = createCommand(
    "quality-report",
    "Report on the quality of captioning data: alignment, fidelity, bias, objects, duplicates, faults",
  )
    .option(
      "--dataset <names...>",
      `data sets: ${DATASET_NAMES}, ids of the Hub (org/name[@revision]), folders or files`,
      ["sample"],
    )
    .addOption(
      new Option("--split <name>", "part of the data sets; all also finds leaks between splits")
        .choices([...SPLITS, "all"] as const).default("test" as const),
    )
    .option(
      "--max-samples <count>",
      "at most so many rows of every split (default: all)",
      parseInteger({ min: 1 }),
    )
    .option("--output-dir <dir>", "folder of the report", "./quality_reports")
    .option("--batch-size <count>", "rows in a batch of a model", parseInteger({ min: 1, max: 4096 }), 32)
    .addOption(new Option("--device <kind>", "adapter").choices(DEVICES).default("auto" as const))
    .option("--topk <count>", "worst pairs that are written out", parseInteger({ min: 0, max: 100_000 }), 300)
    .option("--rare-threshold <count>", "objects with fewer mentions are rare", parseInteger({ min: 0 }), 50)
    .option("--imbalance-gini-alert <value>", "Gini of objects from which on a warning is given", share, 0.5)
    .option(
      "--imbalance-topk-alert <share>",
      "share of the 5 and the 10 most frequent objects that gives a warning",
      share,
      0.5,
    )
    .option(
      "--w-clip <weight>",
      "weight of alignment in the ranking",
      parseNumber({ min: 0 }),
      RANKING_WEIGHTS.clip,
    )
    .option(
      "--w-bert <weight>",
      "weight of fidelity in the ranking",
      parseNumber({ min: 0 }),
      RANKING_WEIGHTS.bert,
    )
    .option("--w-obj <weight>", "weight of objects left out", parseNumber({ min: 0 }), RANKING_WEIGHTS.obj)
    .option("--plot", "also write the plots as SVG files", false)
    .option(
      "--clip-model <model>",
      "CLIP or SigLIP: Hub id, folder, embedded:siglip or none (default: openai/clip-vit-base-patch32; of the sample embedded:siglip)",
    )
    .option(
      "--bert-model <model>",
      "RoBERTa or BERT, or a text tower: Hub id, folder, embedded:siglip or none (default: FacebookAI/roberta-large; of the sample embedded:siglip)",
    )
    .option("--bert-layer <number>", "layer of it whose states are compared", parseInteger({ min: 0 }), 17)
    .option("--no-images", "look at texts alone")
    .addOption(
      new Option("--captions <which>", "of several captions look at the first, or at each")
        .choices(["first", "all"] as const).default("first" as const),
    )
    .option("--caption-column <name>", "column of captions (default: the first usual name there is)")
    .option(
      "--original-column <name>",
      "column of original captions (default: the first usual name there is)",
    )
    .option("--objects-column <name>", "column of objects (default: the first usual name there is)")
    .option("--image-column <name>", "column of images (default: the first usual name there is)")
    .option("--streaming", "read data of the Hub by range instead of downloading it", false)
    .option(
      "--duplicate-cosine <value>",
      "least cosine of embeddings of images that may be the same",
      parseNumber({ min: -1, max: 1 }),
      0.98,
    )
    .option("--write-back", "write scores into the metadata of image folders, for train --min-score", false)
    .option("--compare <dir>", "folder of another report to compare with")
    .option("--seed <number>", "of splits that no file names", parseInteger({ min: 0, max: 2 ** 32 - 1 }), 42)
    .option("--restart", "forget what a broken report has found", false)
    .option("--json", "print the summary as one JSON object", false);
  command.parse(args as string[], { from: "user" });
  applyConfig(command, { fields: environmentFields(environment), name: "the environment" });
  const { dataset, wClip, wBert, wObj, debug: _, ...options } = command.opts();
  if (wClip + wBert + wObj === 0) {
    throw new UserError("Cannot rank pairs: --w-clip, --w-bert and --w-obj are all 0; give one a weight");
  }
  return { ...options, datasets: dataset, weights: { clip: wClip, bert: wBert, obj: wObj } };
}

function environmentFields(environment: Readonly<Record<string, string>>): JsonObject {
  return Object.fromEntries(
    Object.entries(VARIABLES).flatMap(([variable, option]) => {
      const value = environment[variable]?.trim() ?? "";
      if (value === "") return [];
      return [[option, variable === "DATASET" ? value.split(/\s+/) : value]];
    }),
  );
}
