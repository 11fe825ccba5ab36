/**
 * Captioning less and being wrong less: the error among the captions that a model is surest of, for every share of them.
 *
 * Source: Geifman and El-Yaniv 2017, arXiv:1705.08500 (selective classification); the area under the curve is that of
 * Geifman, Uziel and El-Yaniv 2019, arXiv:1805.08206.
 *
 * @module
 */

import { isExactMatch } from "../text/metrics/captions.ts";
import { METRIC_NAMES, type MetricName } from "../text/metrics/corpus.ts";
import type { ScoredRow } from "./report.ts";

/** What an error is told by. */
export const ERROR_METRICS = ["exact", ...METRIC_NAMES] as const;
/** One of them: a metric, or whether the caption equals a reference. */
export type ErrorMetric = "exact" | MetricName;

/** When a caption counts as wrong. */
export interface ErrorRule {
  /** What is looked at. */
  readonly metric: ErrorMetric;
  /** Below it a caption is wrong; of `exact`, which is 0 or 1, anything above 0 to 1 says the same. */
  readonly below: number;
}

/** Whether a caption is wrong. */
export function isError({ candidate, references, values }: ScoredRow, { metric, below }: ErrorRule): boolean {
  const value = metric === "exact" ? Number(isExactMatch(candidate, references)) : values[metric];
  return !(value >= below);
}

/** A caption by how sure the model was of it. */
export interface RankedCaption {
  readonly sureness: number;
  readonly isError: boolean;
}

/** A share of the captions, and how many of them are wrong. */
export interface CoveragePoint {
  /** Share of captions that are kept, above 0 to 1. */
  readonly coverage: number;
  /** Share of these that are wrong. */
  readonly error: number;
}

/** Shares at which tables show the curve. */
export const TABLE_COVERAGES: readonly number[] = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

/**
 * Error among the 1, 2, … surest captions. Of equally sure ones, as many errors are counted as a draw among them would give on average.
 *
 * @throws {RangeError} If there is no caption, or a sureness is no number
 */
export function coverageCurve(captions: readonly RankedCaption[]): CoveragePoint[] {
  if (captions.length === 0) {
    throw new RangeError("Cannot draw coverage against error: there are no captions");
  }
  if (captions.some(({ sureness }) => Number.isNaN(sureness))) {
    throw new RangeError("Cannot draw coverage against error: a confidence is not a number");
  }
  const sorted = [...captions].sort((a, b) => b.sureness - a.sureness);
  const points: CoveragePoint[] = [];
  let errors = 0;
  for (let start = 0; start < sorted.length;) {
    let end = start;
    let tied = 0;
    for (; end < sorted.length && sorted[end]!.sureness === sorted[start]!.sureness; end++) {
      tied += Number(sorted[end]!.isError);
    }
    for (let kept = start + 1; kept <= end; kept++) {
      const wrong = errors + tied * (kept - start) / (end - start);
      points.push({ coverage: kept / sorted.length, error: wrong / kept });
    }
    errors += tied;
    start = end;
  }
  return points;
}

/** Error at a coverage: among the least number of surest captions that is at least this share. */
export function errorAt(curve: readonly CoveragePoint[], coverage: number): number {
  // A share that is a whole number of captions must not be pushed past it by rounding.
  return curve.find((point) => point.coverage >= coverage - 1e-9)!.error;
}

/** Mean error over all coverages: the area under the curve. Equal to the error of all where sureness says nothing. */
export function areaUnder(curve: readonly CoveragePoint[]): number {
  return curve.reduce((sum, { error }) => sum + error, 0) / curve.length;
}

/** Both curves of an evaluation, by either figure of confidence. */
export interface Coverage {
  readonly rule: ErrorRule;
  /** Share of all captions that are wrong. */
  readonly error: number;
  /** Area under the curve of whoever knows which captions are wrong: nothing gets below. */
  readonly bestArea: number;
  readonly byLogProb: readonly CoveragePoint[];
  readonly byImageGain: readonly CoveragePoint[];
}

/** The curves of rows; `undefined` where some row does not say how sure the model was. */
export function coverageOf(rows: readonly ScoredRow[], rule: ErrorRule): Coverage | undefined {
  const judged = rows.flatMap(({ confidence }, i) =>
    confidence === undefined ? [] : [{ confidence, isError: isError(rows[i]!, rule) }]
  );
  if (judged.length === 0 || judged.length < rows.length) return undefined;
  const by = (sureness: (one: typeof judged[number]) => number) =>
    coverageCurve(judged.map((one) => ({ sureness: sureness(one), isError: one.isError })));
  const byLogProb = by(({ confidence }) => confidence.logProbPerToken);
  return {
    rule,
    error: byLogProb.at(-1)!.error,
    bestArea: areaUnder(by((one) => Number(!one.isError))),
    byLogProb,
    byImageGain: by(({ confidence }) => confidence.imageGainPerToken),
  };
}

/** The curves in numbers, as `summary.json` has them. */
export function summarizeCoverage({ rule, error, bestArea, byLogProb, byImageGain }: Coverage) {
  const describe = (curve: readonly CoveragePoint[]) => ({
    area: areaUnder(curve),
    error_at_80: errorAt(curve, 0.8),
    error_at: Object.fromEntries(TABLE_COVERAGES.map((share) => [share.toFixed(1), errorAt(curve, share)])),
  });
  return {
    error_metric: rule.metric,
    error_below: rule.below,
    error,
    best_area: bestArea,
    log_probability_per_token: describe(byLogProb),
    image_gain_per_token: describe(byImageGain),
  };
}
