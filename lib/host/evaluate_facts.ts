/**
 * What came of an evaluation, for programs and for people.
 *
 * @module
 */

import { type Coverage, summarizeCoverage } from "../evaluate/coverage.ts";
import { describeCoverage } from "../evaluate/coverage_page.ts";
import type { PredictionRow } from "../evaluate/predictions.ts";
import { formatInterval, formatScore, MODEL_SCORE_TITLES } from "../evaluate/report.ts";
import type { Interval } from "../text/metrics/bootstrap.ts";
import {
  type CheckedThresholds,
  describeCalibration,
  describeCheck,
  type KeptThresholds,
  summarizeCalibration,
  summarizeCheck,
} from "./calibrate.ts";
import type { CaptionedDataset } from "./caption_dataset.ts";
import { describeTimes, type Evaluated } from "./evaluate.ts";
import type { EvaluateFlags } from "./evaluate_options.ts";
import { formatBytes } from "./terminal.ts";

/** Everything that an evaluation found out. */
export interface Evaluation extends Pick<EvaluateFlags, "tokenizer" | "dataset" | "split"> {
  /** The model, or the file of predictions. */
  model?: string;
  /** See above. */
  predictions?: string;
  rows: readonly PredictionRow[];
  evaluated: Evaluated;
  /** Means of other models' scores. */
  others: { values: Readonly<Record<string, number>>; intervals: Readonly<Record<string, Interval>> };
  /** Where a model captioned. */
  captioned: CaptionedDataset | undefined;
  coverage: Coverage | undefined;
  /** Thresholds that were found. */
  calibrated: KeptThresholds | undefined;
  /** Thresholds that the model had. */
  checked: CheckedThresholds | undefined;
  /** Stages of METEOR. */
  meteor: string;
}

/** The evaluation as `summary.json` and `--json` have it. */
export function summarizeEvaluation(evaluation: Evaluation) {
  const { rows, evaluated, others, captioned, coverage, calibrated, checked } = evaluation;
  const times = describeTimes(rows);
  return {
    ...evaluated.scores.values,
    ...others.values,
    count: rows.length,
    tokenizer: evaluation.tokenizer,
    meteor_stages: evaluation.meteor,
    intervals: { ...evaluated.intervals, ...others.intervals },
    diversity: evaluated.scores.diversity,
    ...(coverage && { coverage: summarizeCoverage(coverage) }),
    ...(calibrated && { calibration: summarizeCalibration(calibrated) }),
    ...(checked && { abstention: summarizeCheck(checked) }),
    ...(times && { time_ms: times }),
    ...(captioned?.memory && {
      peak_memory_bytes: captioned.memory.peakBytes,
      gpu_bytes: captioned.memory.gpuBytes,
    }),
    ...(captioned &&
      { failed: captioned.failed, model_bytes: captioned.modelBytes, resumed: captioned.resumed }),
  };
}

/** The evaluation as tables have it. */
export function describeEvaluation(evaluation: Evaluation): [name: string, value: string][] {
  const { model, predictions, rows, others, captioned } = evaluation;
  const { diversity } = evaluation.evaluated.scores;
  const times = describeTimes(rows);
  const size = (name: string, bytes: number | undefined): [string, string][] =>
    bytes === undefined ? [] : [[name, formatBytes(bytes)]];
  return [
    [
      "Captions",
      model === undefined
        ? predictions!
        : `${model} on ${evaluation.dataset.join(", ")}, ${evaluation.split}`,
    ],
    ["Images", `${rows.length}${captioned?.failed.length ? `, ${captioned.failed.length} failed` : ""}`],
    ["Tokenizer", evaluation.tokenizer],
    ["METEOR", evaluation.meteor],
    [
      "Words of a caption",
      `${diversity.meanLength.toFixed(1)} (${diversity.minLength} to ${diversity.maxLength})`,
    ],
    ["Vocabulary", `${diversity.vocabulary} words`],
    ["Distinct-1, -2", `${diversity.distinct1.toFixed(3)}, ${diversity.distinct2.toFixed(3)}`],
    ["Repetition", diversity.repetition.toFixed(3)],
    ["Duplicates", diversity.duplicates.toFixed(3)],
    ...Object.entries(others.values).map(([name, value]): [string, string] => [
      MODEL_SCORE_TITLES[name] ?? name,
      `${formatScore(value)} (${formatInterval(others.intervals[name]!)})`,
    ]),
    ...describeCoverage(evaluation.coverage),
    ...describeCalibration(evaluation.calibrated),
    ...describeCheck(evaluation.checked),
    ...(times
      ? [["Time of a caption", `median ${times.p50} ms, 95 % within ${times.p95} ms`] as [string, string]]
      : []),
    ...size("Weights", captioned?.modelBytes),
    ...size("Peak memory", captioned?.memory?.peakBytes),
    ...size("GPU buffers", captioned?.memory?.gpuBytes),
  ];
}
