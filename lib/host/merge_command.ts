/**
 * The flags of `deno task merge-datasets`, and what it says at the end.
 *
 * @module
 */

import { createCommand, parseInteger, parseNumber } from "./arguments.ts";
import { DATASET_NAMES, parseSample } from "./dataset_options.ts";
import type { MergeOptions, MergeResult } from "./merge_datasets.ts";
import { sumOf } from "./merge_report.ts";

/** What the flags come to. */
export type MergeCommandOptions = Omit<MergeOptions, "signal" | "quiet"> & {
  /** Repository to push to. */
  pushToHub?: string;
  /** Whether a repository that has to be made is private. */
  private: boolean;
  /** Print the result for machines. */
  json: boolean;
};

/** Reads a command line of `deno task merge-datasets`. */
export function parseMergeArguments(args: readonly string[]): MergeCommandOptions {
  const { debug: _, shardMb, ...options } = createCommand(
    "merge-datasets",
    "Merge data sets into one: shuffled, without duplicates, as parquet that Python opens with images",
  )
    .option(
      "--datasets <names...>",
      `data sets: ${DATASET_NAMES}, ids of the Hub (org/name[@revision]), folders or files`,
      ["coco", "flickr", "pexels", "docornot", "validation"],
    )
    .option(
      "--sample <counts>",
      "at most so many rows of every data set, or of some: coco=500,flickr=100",
      parseSample,
    )
    .option("--caption-column <name>", "column of captions (default: the first usual name there is)")
    .option("--image-column <name>", "column of images (default: the first usual name there is)")
    .option("--save-path <folder>", "folder that is made", "merged_dataset")
    .option("--seed <number>", "of splits and order", parseInteger({ min: 0, max: 2 ** 32 - 1 }), 42)
    .option("--max-bad-rows <share>", "share of rows that may be bad", parseNumber({ min: 0, max: 1 }), 0.05)
    .option(
      "--shard-mb <size>",
      "a file is closed when it has so many megabytes of images",
      parseNumber({ min: 1 }),
      500,
    )
    .option("--push-to-hub <org/name>", "push the result, or what is in --save-path already, file by file")
    .option("--private", "a repository that has to be made is private", false)
    .option("--json", "print the result as one JSON object", false)
    .parse(args as string[], { from: "user" }).opts();
  return { ...options, shardBytes: shardMb * 1e6 };
}

/** What was merged, for people. */
export function describeMerge(result: MergeResult): string {
  const { path, shards, taken, duplicates, leaks, badRows } = result;
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts).map(([name, count]) => `${name}: ${count}`).join("; ");
  const lines = Object.entries(taken).map(([split, sources]) =>
    `${split.padEnd(10)} ${sumOf(sources)} rows in ${
      shards[split as keyof typeof shards]?.length ?? 0
    } files (${list(sources)})`
  );
  if (sumOf(duplicates) > 0) lines.push(`left out as duplicates of another source: ${list(duplicates)}`);
  if (sumOf(leaks) > 0) {
    lines.push(`images of the train split that are in another, too (kept): ${list(leaks)}`);
  }
  if (badRows.length > 0) {
    const shown = badRows.slice(0, 10).map(({ id, reason }) => `${id}: ${reason}`);
    lines.push(`skipped ${badRows.length} bad rows: ${shown.join("; ")}`);
  }
  return [...lines, `merged into ${path}`].join("\n");
}
