/**
 * The flags of `deno task train` that say what evaluations are judged by, under the names of the Hugging Face Trainer.
 *
 * @module
 */

import { describeNames, suggest, UserError } from "../base/errors.ts";
import { METRIC_NAMES } from "../text/metrics/corpus.ts";
import { type BestMetric, bestMetricOf, USUAL_METRICS } from "../train/best_metric.ts";
import { type CommandUnknownOpts, parseInteger, parseNames, parseNumber } from "./arguments.ts";

/** Metrics that can be asked for: those of captions, and the likeness to the image. */
export const EVAL_METRICS = [...METRIC_NAMES, "clip"] as const;

/** A metric that can be asked for. */
export type EvalMetric = typeof EVAL_METRICS[number];

/** What the flags come to. */
export interface EvalFlags {
  /** Rows that captions are written for at an evaluation. */
  evalCaptions: number;
  /** Metrics of those captions, beside the usual. @default {none} */
  evalMetrics?: string[];
  /** What evaluations are compared by. */
  metricForBestModel: string;
  /** Evaluations without progress before it stops; 0 never does. */
  earlyStoppingPatience: number;
  /** By how much an evaluation must be better to be progress. */
  earlyStoppingThreshold: number;
}

/** Adds the flags. Apart, because the types of one chain of so many options are too deep for the compiler. */
export function addEvalOptions(command: CommandUnknownOpts): void {
  command
    .option(
      "--eval-captions <count>",
      "validation rows captioned at an evaluation",
      parseInteger({ min: 0 }),
      32,
    )
    .option(
      "--eval-metrics <names>",
      `metrics of those captions, separated by commas: ${
        EVAL_METRICS.join(", ")
      } (clip needs --clip-model, or its default)`,
      parseNames,
    )
    .option(
      "--metric-for-best-model <name>",
      `what the best model is chosen by, and early stopping: ${
        USUAL_METRICS.join(", ")
      } or any of --eval-metrics`,
      "loss",
    )
    .option(
      "--early-stopping-patience <count>",
      "evaluations without a better one; 0 never stops",
      parseInteger({ min: 0 }),
      3,
    )
    .option(
      "--early-stopping-threshold <difference>",
      "by how much an evaluation must be better to count",
      parseNumber({ min: 0 }),
      0,
    );
}

/** The values of those flags, once parsed. */
export function readEvalOptions(command: CommandUnknownOpts): EvalFlags {
  const flags = command.opts() as unknown as EvalFlags;
  const { evalCaptions, evalMetrics, metricForBestModel } = flags;
  const { earlyStoppingPatience, earlyStoppingThreshold } = flags;
  return {
    evalCaptions,
    metricForBestModel,
    earlyStoppingPatience,
    earlyStoppingThreshold,
    ...(evalMetrics && { evalMetrics }),
  };
}

/** What a run's evaluations compute, and what they are compared by. */
export interface EvalPlan {
  /** Without repeats, in the order of {@linkcode EVAL_METRICS}. */
  metrics: readonly EvalMetric[];
  /** What evaluations are compared by. */
  best: BestMetric;
}

/**
 * Makes sense of the flags. A metric that the best model is chosen by is computed, asked for or not.
 *
 * @throws {UserError} If there is no such metric, or it needs captions and none are written
 */
export function planEvaluations(
  { evalMetrics = [], metricForBestModel, earlyStoppingThreshold, evalCaptions }: Omit<
    EvalFlags,
    "earlyStoppingPatience"
  >,
): EvalPlan {
  const bare = metricForBestModel.replace(/^eval_/, "").replace(/^clip_score$/, "clip");
  const isKnown = (name: string): name is EvalMetric => (EVAL_METRICS as readonly string[]).includes(name);
  const wrong = evalMetrics.find((name) => !isKnown(name));
  if (wrong !== undefined) throw unknownMetric("--eval-metrics", wrong, EVAL_METRICS);
  if (!isKnown(bare) && !USUAL_METRICS.includes(bare)) {
    throw unknownMetric("--metric-for-best-model", metricForBestModel, [...USUAL_METRICS, ...EVAL_METRICS]);
  }
  // The usual ROUGE-L, without a stemmer, is there in any case.
  const wanted = isKnown(bare) && !USUAL_METRICS.includes(bare) ? [...evalMetrics, bare] : evalMetrics;
  const metrics = EVAL_METRICS.filter((name) => wanted.includes(name));
  if (evalCaptions === 0 && (metrics.length > 0 || bare !== "loss")) {
    throw new UserError(
      `Cannot evaluate by ${
        [...metrics, ...(metrics.length > 0 ? [] : [bare])].join(", ")
      } with --eval-captions 0: it is computed ` +
        "from captions; give --eval-captions a number above 0",
    );
  }
  const name = bare === "clip" ? "clip_score" : bare;
  return { metrics, best: bestMetricOf(name, { threshold: earlyStoppingThreshold }) };
}

function unknownMetric(flag: string, name: string, known: readonly string[]): UserError {
  const near = suggest(name, known);
  return new UserError(
    `Cannot use ${flag} "${name}": there is no such metric` +
      (near === undefined
        ? `; there are ${describeNames(known, known.length)}`
        : `; did you mean "${near}"?`),
  );
}
