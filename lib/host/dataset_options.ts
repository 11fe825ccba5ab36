/**
 * The flags of `deno task train` that say what is read of data sets.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { ALL_DATASETS, EMBEDDED_DATASET, NAMED_DATASETS } from "../datasets/registry.ts";
import { type Command, InvalidArgumentError, Option, parseInteger, parseNumber } from "./arguments.ts";
import type { SampleSizes } from "./train_data.ts";

/** Names of data sets, as help texts of commands that take one list them. */
export const SINGLE_DATASET_NAMES: string = [EMBEDDED_DATASET, ...NAMED_DATASETS.map(({ name }) => name)]
  .join(", ");

/** Names of data sets, as help texts of commands that take several list them. */
export const DATASET_NAMES = `${SINGLE_DATASET_NAMES}, ${ALL_DATASETS}`;

/** What the flags come to. */
export interface DatasetFlags {
  /** Names of the registry, ids of the Hub, folders or files. */
  dataset: string[];
  /** Column of captions. @default {the first usual name that a data set has} */
  captionColumn?: string;
  /** Column of images. @default {the first usual name that a data set has} */
  imageColumn?: string;
  /** The split of the data sets that is used, and then divided. @default {all} */
  split?: string;
  /** At most so many rows: of every data set, or by its name. */
  sample?: SampleSizes;
  /** What becomes of several captions: one is drawn every epoch, or each is a row to train on. @default {"one"} */
  captions?: "one" | "all";
  /** Read data while the run goes on, never the whole. */
  streaming?: true;
  /** Rows that wait, when streaming, while one is drawn to come next. @default {1000} */
  shuffleBuffer?: number;
  /** Data sets take turns, each spread evenly over the epoch. */
  interleave?: true;
  /** CSV of how often rows are wanted. @default {once an epoch each} */
  weights?: string;
  /** Rows of the train split with a lower score are left out. @default {none is} */
  minScore?: number;
  /** CSV or parquet file of scores. @default {a column of the data sets} */
  scores?: string;
  /** Column of scores. @default {"clip_score"} */
  scoreColumn?: string;
  /** Do not ask before downloading what fills a disk. */
  yes?: true;
}

/** What all data sets take on disk, as the Python project found. */
const ALL_NEEDS = "about 2 TB of disk";

/**
 * Says what downloading every data set needs, and asks. Rows that are streamed or sampled are read from afar: nothing is asked.
 *
 * @param ask on a terminal; `undefined` where there is none
 * @throws {UserError} When the answer is no, or nobody can be asked
 */
export function confirmDownloads(
  { dataset, sample, streaming, yes }: DatasetFlags,
  ask: ((question: string) => boolean) | undefined,
): void {
  if (!dataset.includes(ALL_DATASETS) || sample !== undefined || streaming || yes) return;
  const less = "--sample COUNT or --streaming read less";
  if (ask === undefined) {
    throw new UserError(
      `Training on all data sets downloads them whole, which needs ${ALL_NEEDS}: say --yes; ${less}`,
    );
  }
  if (!ask(`Training on all data sets downloads them whole, which needs ${ALL_NEEDS} (${less}). Go on?`)) {
    throw new UserError("Nothing was downloaded");
  }
}

/** Adds the flags. The type is stated, for the compiler cannot follow a chain of so many options. */
export function addDatasetOptions<Options extends Record<string, unknown>>(
  command: Command<[], Options>,
): Command<[], Options & DatasetFlags> {
  return command
    .option(
      "--dataset <names...>",
      `data sets: ${DATASET_NAMES}, ids of the Hub (org/name[@revision]), folders or files`,
      ["flickr"],
    )
    .option("--caption-column <name>", "column of captions (default: the first usual name there is)")
    .option("--image-column <name>", "column of images (default: the first usual name there is)")
    .option("--split <name>", "use this split of the data sets alone, and divide it")
    .option(
      "--sample <counts>",
      "at most so many rows of every data set, or of some: coco=500,flickr=100",
      parseSample,
    )
    .addOption(
      new Option("--captions <which>", "of several captions draw one every epoch, or train on all")
        .choices(["one", "all"] as const),
    )
    .option(
      "--streaming",
      "read the data while training, a group of rows at a time, from disk or from the Hub",
    )
    .option(
      "--shuffle-buffer <rows>",
      "rows in memory, when streaming, that the next one is drawn from (default: 1000)",
      parseInteger({ min: 1, max: 10_000_000 }),
    )
    .option("--interleave", "data sets take turns, each spread evenly over the epoch")
    .option("--yes", "do not ask before downloading what fills a disk")
    .option("--min-score <value>", "leave rows of the train split with a lower score out", parseNumber())
    .option(
      "--scores <file>",
      "file of scores, as the quality report's scores.parquet (default: a column of the data sets)",
    )
    .option("--score-column <name>", "column of scores (default: clip_score)")
    .option(
      "--weights <file>",
      "CSV of how often rows are wanted, as the quality report's reweighting_probs.csv",
    ) as unknown as Command<[], Options & DatasetFlags>;
}

/** @throws {UserError} If flags contradict each other */
export function checkDatasetFlags(flags: DatasetFlags): void {
  const { streaming, shuffleBuffer, captions, minScore, scores, scoreColumn } = flags;
  if (streaming && minScore !== undefined && scores === undefined) {
    throw new UserError(
      "Cannot use --min-score with a column of the data set when streaming: scores are not known before they are read; " +
        "name a file with --scores",
    );
  }
  if (minScore === undefined && (scores !== undefined || scoreColumn !== undefined)) {
    throw new UserError(
      `Cannot use ${
        scores === undefined ? "--score-column" : "--scores"
      } without --min-score: say how much a row needs`,
    );
  }
  if (streaming && captions === "all") {
    throw new UserError(
      "Cannot train on --captions all when streaming: how many captions there are is not known before they are read; " +
        "leave one of the two out",
    );
  }
  if (!streaming && shuffleBuffer !== undefined) {
    throw new UserError(
      "Cannot use --shuffle-buffer without --streaming: without it all rows are shuffled; add --streaming",
    );
  }
}

/** A parser of `--sample`: `500` for every data set, or `coco=500,flickr=100`. */
export function parseSample(text: string): SampleSizes {
  if (/^[1-9]\d*$/.test(text)) return Number(text);
  return Object.fromEntries(
    text.split(",").map((part) => {
      const [, name, count] = /^\s*(.+?)\s*=\s*([1-9]\d*)\s*$/.exec(part) ?? [];
      if (name === undefined) {
        throw new InvalidArgumentError(
          "Expected a whole number of at least 1, or name=number, separated by commas.",
        );
      }
      return [name, Number(count)];
    }),
  );
}
