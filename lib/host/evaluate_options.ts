/**
 * The flags that `deno task evaluate` and `deno task compare` share.
 *
 * @module
 */

import { type Split, SPLITS } from "../datasets/rows.ts";
import { ONNX_VARIANTS, type OnnxVariant } from "../models/onnx_layouts.ts";
import { METRIC_NAMES, type MetricName, type MetricTokenizer } from "../text/metrics/corpus.ts";
import { type Command, Option, parseInteger, parseNumber } from "./arguments.ts";
import { type RuntimeChoice, RUNTIMES } from "./runtimes.ts";

/** What the flags come to. */
export interface EvaluateFlags {
  /** How captions are cut. */
  tokenizer: MetricTokenizer;
  /** Samples of the bootstrap. */
  bootstrapSamples: number;
  /** Of the bootstrap, of splits and of sampling. */
  seed: number;
  /** What captions are sorted by. */
  sortBy: MetricName;
  /** COCO annotations. */
  references?: string;
  /** Data sets that models caption. */
  dataset: string[];
  /** Which part of them. */
  split: Split;
  /** At most so many images of every data set. */
  sample?: number;
  /** Column of captions. */
  captionColumn?: string;
  /** What runs models. */
  runtime: RuntimeChoice;
  /** Precision of exported folders. */
  dtype?: OnnxVariant;
  /** Images in flight together. */
  batchSize: number;
  /** Beams; 1 is greedy. */
  numBeams: number;
  /** Most tokens of a caption. */
  maxNewTokens?: number;
  /** Above 0 samples. */
  temperature: number;
  /** Share of images that may fail. */
  maxBadRows: number;
  /** Print one JSON object. */
  json?: true;
}

/** Adds the flags. */
export function addEvaluateOptions<Options extends Record<string, unknown>>(
  command: Command<[], Options>,
): Command<[], Options & EvaluateFlags> {
  return command
    .option("--references <file>", "COCO annotations of predictions that are COCO results")
    .addOption(
      new Option("--tokenizer <name>", "how captions are cut: as the COCO evaluation does, or at spaces")
        .choices(["ptb", "simple"] as const).default("ptb" as const),
    )
    .option(
      "--bootstrap-samples <count>",
      "samples behind the intervals",
      parseInteger({ min: 10, max: 1e6 }),
      1000,
    )
    .option(
      "--seed <number>",
      "seed of the bootstrap, of splits and of sampling",
      parseInteger({ min: 0 }),
      42,
    )
    .addOption(
      new Option("--sort-by <metric>", "metric the page is sorted by").choices(METRIC_NAMES).default(
        "cider_d" as const,
      ),
    )
    .option("--dataset <names...>", "data sets that a model captions", ["sample"])
    .addOption(
      new Option("--split <name>", "part of the data sets").choices(SPLITS).default("test" as const),
    )
    .option("--sample <count>", "at most so many images of every data set", parseInteger({ min: 1 }))
    .option("--caption-column <name>", "column of captions (default: the first usual name there is)")
    .addOption(
      new Option("--runtime <runtime>", "what runs models: onnx-* run folders of deno task export").choices(
        RUNTIMES,
      )
        .default("auto" as const),
    )
    .addOption(new Option("--dtype <type>", "precision of exported folders").choices(ONNX_VARIANTS))
    .option("--batch-size <count>", "images in flight together", parseInteger({ min: 1, max: 256 }), 4)
    .option("--num-beams <count>", "beams; 1 is greedy", parseInteger({ min: 1, max: 16 }), 3)
    .option(
      "--max-new-tokens <count>",
      "most tokens of a caption (default: as trained)",
      parseInteger({ min: 1 }),
    )
    .option("--temperature <value>", "above 0 samples instead of searching", parseNumber({ min: 0 }), 0)
    .option("--max-bad-rows <share>", "share of images that may fail", parseNumber({ min: 0, max: 1 }), 0.1)
    .option("--json", "print one JSON object") as unknown as Command<[], Options & EvaluateFlags>;
}
