/**
 * Finding a model's thresholds, and keeping them with it.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { drawNonPhotograph, type NonPhotograph } from "../datasets/non_photographs.ts";
import type { Split } from "../datasets/rows.ts";
import { isError } from "../evaluate/coverage.ts";
import { formatPercent } from "../evaluate/coverage_page.ts";
import type { ScoredRow } from "../evaluate/report.ts";
import { findThresholds, type FoundThresholds, type ThresholdGoal } from "../evaluate/thresholds.ts";
import type { CaptionOptions, ImageCaptioner } from "../generate/caption_images.ts";
import type { JsonObject } from "../format/json.ts";
import { encodeBmp } from "../image/bmp.ts";
import { hashTrainedFiles, reasonToAbstain } from "../models/calibration.ts";
import type { OnnxVariant } from "../models/onnx_layouts.ts";
import { type CalibrateFlags, DEFAULT_TARGET_ERROR } from "./calibrate_options.ts";
import { calibrationFolder, openCalibration, writeCalibration } from "./calibration.ts";
import { openModelFolder } from "./model_folders.ts";
import { startProgress } from "./progress.ts";
import { loadCaptioner, type RuntimeChoice } from "./runtimes.ts";

/** Pictures captioned between two steps of the progress. */
const CHUNK = 8;

/** Options of {@linkcode calibrateModel}. */
export interface CalibrateOptions extends CalibrateFlags, CaptionOptions {
  model: string;
  runtime: RuntimeChoice;
  dtype?: OnnxVariant;
  dataset: readonly string[];
  split: Split;
  /** Ends between two batches. */
  signal: AbortSignal;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** Thresholds that were found and kept. */
export interface KeptThresholds extends FoundThresholds {
  /** The file. */
  readonly path: string;
}

/** Refuses what cannot end well before anything is captioned. @throws {UserError} */
export async function checkCalibration(
  { model, temperature = 0 }: { model?: string; temperature?: number },
): Promise<void> {
  if (model === undefined) {
    throw new UserError("Cannot calibrate predictions: give --model DIR, whose captions are then judged");
  }
  if (temperature > 0) {
    throw new UserError("Cannot calibrate sampled captions: leave --temperature out");
  }
  await calibrationFolder(model);
}

/**
 * Finds thresholds on scored captions of a model and on its captions of drawn pictures, and writes `confidence.json` into its folder.
 *
 * @throws {UserError} If captions lack their confidence, are too few, or the goal cannot be reached
 */
export async function calibrateModel(
  rows: readonly ScoredRow[],
  options: CalibrateOptions,
): Promise<KeptThresholds> {
  const { model, errorMetric: metric, errorBelow: below, maxFalseCaptions: maxFalse } = options;
  const goal: ThresholdGoal = options.targetCoverage === undefined
    ? { targetError: options.targetError ?? DEFAULT_TARGET_ERROR, maxFalse }
    : { targetCoverage: options.targetCoverage, maxFalse };
  const judged = rows.map((row) => {
    if (row.confidence === undefined) {
      throw new UserError(
        `Cannot calibrate: the caption of "${row.id}" was written without its confidence; write captions again (--restart)`,
      );
    }
    return { ...row.confidence, isError: isError(row, { metric, below }) };
  });
  const found = await blame(async () => {
    // Too few captions are refused before pictures are drawn.
    findThresholds(judged, {}, { targetCoverage: 0, maxFalse: 1 });
    return findThresholds(judged, await captionNonPhotographs(options), goal);
  });
  const path = await writeCalibration(model, {
    thresholds: found.thresholds,
    trainedFiles: await hashTrainedFiles(await openModelFolder(model)),
    foundOn: describe(found, { ...options, goal, captions: rows.length }),
  });
  return { ...found, path };
}

/** Thresholds as facts of an evaluation. */
export function describeCalibration(
  calibrated: KeptThresholds | undefined,
): [name: string, value: string][] {
  if (calibrated === undefined) return [];
  const { thresholds, coverage, error, falseCaptions, path } = calibrated;
  const least = (value: number | null) => value === null ? "not asked" : `at least ${value.toFixed(4)}`;
  return [
    ["Log-probability per token", least(thresholds.logProbPerToken)],
    ["Gain of the image per token", least(thresholds.imageGainPerToken)],
    ["Captions kept", `${formatPercent(coverage)}, of which ${formatPercent(error)} wrong`],
    describeFalse(falseCaptions),
    ["Thresholds kept in", path],
  ];
}

/** What a model's thresholds come to on captions that they were not found on. */
export interface CheckedThresholds {
  /** Share of the captions that are kept. */
  readonly coverage: number;
  /** Share of these that are wrong; absent where none is kept. */
  readonly error?: number;
  /** Share of drawn pictures that get a caption, by kind, where they were asked for. */
  readonly falseCaptions?: Readonly<Record<string, number>>;
}

/** Pictures of a check are others than those of a calibration. */
const CHECK_SEED = 1_000_000;

/**
 * What a model's thresholds come to; `undefined` where it has none or some caption does not say how sure the model was.
 *
 * @param options.draws whether pictures without a photograph are drawn and captioned, too
 */
export async function checkThresholds(
  rows: readonly ScoredRow[],
  options: CalibrateOptions & { draws: boolean },
): Promise<CheckedThresholds | undefined> {
  const thresholds = (await openCalibration(options.model))?.thresholds;
  if (thresholds === undefined || rows.some(({ confidence }) => confidence === undefined)) return undefined;
  const kept = rows.filter(({ confidence }) => reasonToAbstain(confidence!, thresholds) === undefined);
  const rule = { metric: options.errorMetric, below: options.errorBelow };
  const others = options.draws ? await captionNonPhotographs(options, CHECK_SEED) : undefined;
  return {
    coverage: kept.length / rows.length,
    ...(kept.length > 0 && { error: kept.filter((row) => isError(row, rule)).length / kept.length }),
    ...(others && {
      falseCaptions: Object.fromEntries(
        Object.entries(others).map(([kind, list]) => [
          kind,
          list.filter((one) => reasonToAbstain(one, thresholds) === undefined).length / list.length,
        ]),
      ),
    }),
  };
}

/** Checked thresholds as `summary.json` has them. */
export function summarizeCheck({ coverage, error, falseCaptions }: CheckedThresholds): JsonObject {
  return {
    coverage,
    ...(error !== undefined && { error }),
    ...(falseCaptions && { false_captions: { ...falseCaptions } }),
  };
}

/** Thresholds as `summary.json` has them. */
export function summarizeCalibration(
  { thresholds, coverage, error, falseCaptions, path }: KeptThresholds,
): JsonObject {
  return {
    min_log_probability_per_token: thresholds.logProbPerToken,
    min_image_gain_per_token: thresholds.imageGainPerToken,
    coverage,
    error,
    false_captions: { ...falseCaptions },
    path,
  };
}

/** Checked thresholds as facts of an evaluation. */
export function describeCheck(checked: CheckedThresholds | undefined): [name: string, value: string][] {
  if (checked === undefined) return [];
  const { coverage, error, falseCaptions } = checked;
  return [
    [
      "Kept by the thresholds",
      `${formatPercent(coverage)}${error === undefined ? "" : `, of which ${formatPercent(error)} wrong`}`,
    ],
    ...(falseCaptions ? [describeFalse(falseCaptions)] : []),
  ];
}

function describeFalse(falseCaptions: Readonly<Record<string, number>>): [name: string, value: string] {
  return [
    "Drawn pictures captioned",
    Object.entries(falseCaptions).map(([kind, share]) => `${kind} ${formatPercent(share)}`).join(", "),
  ];
}

/** Confidences of a captioner's captions of drawn pictures, by kind. */
async function captionNonPhotographs(options: CalibrateOptions, firstSeed = 0) {
  const { model, runtime, dtype, nonPhotographs, nonPhotographCount: count, signal } = options;
  const { captioner: loaded } = await loadCaptioner(model, { runtime, dtype });
  using captioner = loaded;
  using progress = startProgress({
    label: "draw and caption",
    total: nonPhotographs.length * count,
    quiet: options.quiet ?? false,
  });
  const others: Record<string, Confidences> = {};
  for (const [k, kind] of nonPhotographs.entries()) {
    others[kind] = await confidencesOf(captioner, kind, {
      ...options,
      count,
      firstSeed,
      onProgress: (done) => {
        signal.throwIfAborted();
        progress.update(k * count + done);
      },
    });
  }
  return others;
}

type Confidences = { logProbPerToken: number; imageGainPerToken: number }[];

/** How sure a captioner is of its captions of drawn pictures of a kind. @param options.firstSeed of the first. @default {0} */
export async function confidencesOf(
  captioner: ImageCaptioner,
  kind: NonPhotograph,
  { count, firstSeed = 0, onProgress, numBeams, maxNewTokens, batchSize }: CaptionOptions & {
    count: number;
    firstSeed?: number;
    onProgress?(done: number): void;
  },
): Promise<Confidences> {
  const search = {
    ...(numBeams !== undefined && { numBeams }),
    ...(maxNewTokens !== undefined && { maxNewTokens }),
    ...(batchSize !== undefined && { batchSize }),
  };
  const found: Confidences = [];
  while (found.length < count) {
    onProgress?.(found.length);
    const images = Array.from(
      { length: Math.min(CHUNK, count - found.length) },
      (_, i) => encodeBmp(drawNonPhotograph(kind, firstSeed + found.length + i)),
    );
    const captions = await captioner.captionAll(images, search);
    found.push(...captions.map(({ confidence }) => confidence!));
  }
  return found;
}

function describe(
  { coverage, error, falseCaptions }: FoundThresholds,
  options: CalibrateOptions & { goal: ThresholdGoal; captions: number },
): JsonObject {
  const { goal, dataset, split, captions, errorMetric, errorBelow, nonPhotographCount } = options;
  return {
    datasets: [...dataset],
    split,
    captions,
    num_beams: options.numBeams ?? 3,
    error_metric: errorMetric,
    error_below: errorBelow,
    ...(goal.targetCoverage === undefined
      ? { target_error: goal.targetError! }
      : { target_coverage: goal.targetCoverage }),
    max_false_captions: goal.maxFalse,
    coverage,
    error,
    non_photographs: nonPhotographCount,
    false_captions: { ...falseCaptions },
  };
}

async function blame<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UserError(describeError(error), { cause: error });
  }
}
