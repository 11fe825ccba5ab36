/**
 * The flags of `deno task review`.
 *
 * @module
 */

import type { Split } from "../datasets/rows.ts";
import { createCommand, Option, parseInteger, parseNumber } from "./arguments.ts";
import { CURATED_FORMATS } from "./curated_dataset.ts";
import { SINGLE_DATASET_NAMES } from "./dataset_options.ts";
import type { ReviewChoice, ReviewExport, ReviewOptions } from "./review.ts";

/** What the flags come to. */
export interface ReviewCommandOptions extends ReviewOptions {
  /** 0 takes a free one. */
  port: number;
  /** Export and end, without a page. */
  export: boolean;
  /** Print the result of an export for machines. */
  json: boolean;
}

/** Reads a command line of `deno task review`. */
export function parseReviewArguments(args: readonly string[]): ReviewCommandOptions {
  const { debug: _, ...options } = createCommand(
    "review",
    "Accept, edit or reject pairs of image and caption at a page on this machine, and export the result",
  )
    .option(
      "--dataset <name>",
      `data set: ${SINGLE_DATASET_NAMES}, an id of the Hub (org/name[@revision]), a folder or a file`,
      "sample",
    )
    .addOption(
      new Option("--split <name>", "the split that is reviewed").choices(
        ["train", "validation", "test", "all"] as const,
      ).default("all" as Split | "all"),
    )
    .option("--sample <count>", "at most so many rows of every split", parseInteger({ min: 1 }))
    .option("--caption-column <name>", "column of captions (default: the first usual name there is)")
    .option("--image-column <name>", "column of images (default: the first usual name there is)")
    .addOption(
      new Option("--show <which>", "all pairs, those with protected terms, or those that were changed")
        .choices(["all", "terms", "changed"] as const).default("all" as ReviewChoice),
    )
    .option("--decisions <file>", "SQLite file of decisions", "review.db")
    .option("--output-dir <folder>", "folder that the export makes", "reviewed")
    .addOption(
      new Option("--format <name>", "how the export is laid out").choices(CURATED_FORMATS).default(
        "image-folder" as const,
      ),
    )
    .addOption(
      new Option("--undecided <what>", "pairs that nobody decided are exported or left out").choices(
        ["keep", "drop"] as const,
      ).default("keep" as const),
    )
    .option("--port <number>", "0 takes a free one", parseInteger({ min: 0, max: 65_535 }), 8008)
    .option("--export", "export what is decided and end, without the page", false)
    .option("--max-bad-rows <share>", "share of rows that may be bad", parseNumber({ min: 0, max: 1 }), 0.05)
    .option(
      "--seed <number>",
      "of splits that no folder names",
      parseInteger({ min: 0, max: 2 ** 32 - 1 }),
      42,
    )
    .option("--json", "print the result of --export as one JSON object", false)
    .parse(args as string[], { from: "user" }).opts();
  return options;
}

/** What was exported, for people. */
export function describeExport({ path, rows, rejected, undecided }: ReviewExport): string {
  return `exported ${rows} pairs to ${path}; ${rejected} rejected ones left out, ${undecided} undecided`;
}
