/**
 * The flags of `deno task evaluate` that are about confidence.
 *
 * @module
 */

import { NON_PHOTOGRAPHS, type NonPhotograph } from "../datasets/non_photographs.ts";
import { ERROR_METRICS, type ErrorMetric } from "../evaluate/coverage.ts";
import { type Command, Option, parseInteger, parseNumber } from "./arguments.ts";

/** What the flags come to. */
// No interface: those have no index signature, which the parser's types ask for.
export type CalibrateFlags = {
  /** Find thresholds. */
  calibrate?: true;
  /** Largest share of wrong captions among those kept. */
  targetError?: number;
  /** Smallest share of captions kept. */
  targetCoverage?: number;
  /** Largest share of pictures of a kind that get a caption and should not. */
  maxFalseCaptions: number;
  /** Kinds of such pictures. */
  nonPhotographs: readonly NonPhotograph[];
  /** Pictures of a kind. */
  nonPhotographCount: number;
  /** What an error is told by. */
  errorMetric: ErrorMetric;
  /** Below it a caption is wrong. */
  errorBelow: number;
};

/** Share of wrong captions that is aimed at where no other goal is given. */
export const DEFAULT_TARGET_ERROR = 0.1;

/** Adds the flags. */
export function addCalibrateOptions<Options extends Record<string, unknown>>(
  command: Command<[], Options>,
): Command<[], Options & CalibrateFlags> {
  return command
    .addOption(
      new Option("--error-metric <metric>", "a caption is wrong by this metric; exact: equal to no reference")
        .choices(ERROR_METRICS).default("rougeL" as const),
    )
    .option("--error-below <value>", "a caption is wrong below it", parseNumber({ min: 0 }), 0.5)
    .option(
      "--calibrate",
      "find thresholds below which caption --abstain says nothing, and keep them with the model (of --split validation)",
    )
    .option(
      "--target-error <share>",
      `keep as many captions as possible with at most so many wrong (default: ${DEFAULT_TARGET_ERROR})`,
      parseNumber({ min: 0, max: 1 }),
    )
    .addOption(
      new Option("--target-coverage <share>", "keep so many captions with as few wrong as possible")
        .argParser(parseNumber({ min: 0, max: 1 })).conflicts("targetError"),
    )
    .option(
      "--max-false-captions <share>",
      "most pictures of any kind that get a caption although they show nothing",
      parseNumber({ min: 0, max: 1 }),
      0.05,
    )
    .addOption(
      new Option(
        "--non-photographs <kind...>",
        "pictures drawn for the calibration that should get no caption",
      )
        .choices(NON_PHOTOGRAPHS).default([...NON_PHOTOGRAPHS]),
    )
    .option(
      "--non-photograph-count <count>",
      "pictures of each kind",
      parseInteger({ min: 10, max: 10_000 }),
      40,
    ) as unknown as Command<[], Options & CalibrateFlags>;
}
