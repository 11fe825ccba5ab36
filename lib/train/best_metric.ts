/**
 * Which evaluation is the best, by any metric, and when there have been enough that are not.
 *
 * Source: `Trainer._determine_best_metric` and `EarlyStoppingCallback` of Hugging Face transformers.
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import type { BestEvaluation } from "./trainer_state.ts";

/** What evaluations are compared by. */
export interface BestMetric {
  /** Its name in the log, with `eval_`. */
  name: string;
  /** Whether more is better: so it is with every metric but the loss. */
  greaterIsBetter: boolean;
  /** By how much an evaluation must be better than the best one to keep training from stopping. */
  threshold: number;
}

/** The validation loss. */
export const BEST_LOSS: BestMetric = { name: "eval_loss", greaterIsBetter: false, threshold: 0 };

/** Names of metrics that an evaluation with captions always has. */
export const USUAL_METRICS: readonly string[] = ["loss", "rougeL", "exact_match", "object_accuracy"];

/** A metric by its name, with or without `eval_`. */
export function bestMetricOf(name: string, options: { threshold?: number } = {}): BestMetric {
  const bare = name.replace(/^eval_/, "");
  return { name: `eval_${bare}`, greaterIsBetter: bare !== "loss", threshold: options.threshold ?? 0 };
}

/**
 * Compares an evaluation with the best one before it.
 *
 * @returns The best one now, and whether it counts as progress: better by more than the threshold
 * @throws {UserError} If the evaluation lacks the metric, or it is NaN or infinite
 */
export function compareEvaluation(
  { step, metrics }: { step: number; metrics: Readonly<Record<string, number>> },
  best: BestEvaluation | undefined,
  { name, greaterIsBetter, threshold }: BestMetric,
): { best: BestEvaluation; isBest: boolean; isProgress: boolean } {
  const value = metrics[name];
  if (value === undefined) {
    const found = Object.keys(metrics).map((key) => key.replace(/^eval_/, ""));
    throw new UserError(
      `Cannot choose the best model by ${
        name.replace(/^eval_/, "")
      }: the evaluation after step ${step} has none, but ` +
        `${describeNames(found)}; choose one of these with --metric-for-best-model`,
    );
  }
  if (!Number.isFinite(value)) {
    throw new UserError(
      `Cannot train on: after step ${step} the validation ${
        name.replace(/^eval_/, "").replaceAll("_", " ")
      } is ${value}; ` +
        "use lower learning rates",
    );
  }
  const gain = best === undefined ? Infinity : greaterIsBetter ? value - best.value : best.value - value;
  const isBest = gain > 0;
  return {
    best: isBest ? { step, value } : best!,
    isBest,
    isProgress: isBest && gain > threshold,
  };
}
