/**
 * How far a score would move with other images of the same kind: bootstrap over images, and over pairs for two models.
 *
 * Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993 (percentile intervals); Koehn, "Statistical Significance
 * Tests for Machine Translation Evaluation", 2004 (paired)
 *
 * @module
 */

import { Rng } from "../../base/rng.ts";
import { bleuScores } from "./bleu.ts";
import { type ImageScores, METRIC_NAMES, type MetricName, type MetricValues } from "./corpus.ts";
import { MAX_ORDER } from "./ngrams.ts";

/** Options of {@linkcode bootstrapIntervals} and {@linkcode pairedBootstrap}. */
export interface BootstrapOptions {
  /** Samples drawn. @default {1000} */
  samples?: number;
  /** Of the drawing. @default {42} */
  seed?: number;
  /** Share of samples inside an interval. @default {0.95} */
  confidence?: number;
}

/** Bounds that hold the share of samples that was asked for. */
export interface Interval {
  /** Lower bound. */
  readonly low: number;
  /** Upper bound. */
  readonly high: number;
}

/** A difference between two models on the same images. */
export interface PairedDifference extends Interval {
  /** Value of the second minus value of the first. */
  readonly difference: number;
  /**
   * Share of samples on the other side of 0, twice: how likely a difference of this size is if neither is better. At least one in the
   * number of samples, for no more can be said.
   */
  readonly pValue: number;
}

/** Intervals of every metric. CIDEr's weights stay those of the whole set. @throws {RangeError} If there are no images */
export function bootstrapIntervals(
  images: readonly ImageScores[],
  options: BootstrapOptions = {},
): Readonly<Record<MetricName, Interval>> {
  const drawn = drawValues([images], options).map(([values]) => values!);
  return byMetric((name) => intervalOf(drawn.map((values) => values[name]), options));
}

/** Interval of the mean of any scores. @throws {RangeError} If there are none */
export function meanInterval(scores: readonly number[], options: BootstrapOptions = {}): Interval {
  return intervalOf(drawMeans(scores, options), options);
}

function drawMeans(scores: readonly number[], options: BootstrapOptions): number[] {
  const { samples = 1000, seed = 42 } = options;
  if (scores.length === 0) throw new RangeError("Cannot draw scores: there are none");
  const rng = new Rng(seed);
  return Array.from({ length: samples }, () => {
    let sum = 0;
    for (let i = 0; i < scores.length; i++) sum += scores[rng.int(scores.length)]!;
    return sum / scores.length;
  });
}

/**
 * Differences of every metric between two models, each sample with the same images for both.
 *
 * @param before Scores of the first model
 * @param after Scores of the second, of the same images in the same order
 * @throws {RangeError} If there are none, or the images are not the same
 */
export function pairedBootstrap(
  before: readonly ImageScores[],
  after: readonly ImageScores[],
  options: BootstrapOptions = {},
): Readonly<Record<MetricName, PairedDifference>> {
  if (before.length !== after.length || before.some(({ id }, i) => id !== after[i]!.id)) {
    throw new RangeError("Cannot compare scores: they are not of the same images in the same order");
  }
  const all = Uint32Array.from(before, (_, i) => i);
  const [first, second] = [valuesOf(before, all), valuesOf(after, all)];
  const drawn = drawValues([before, after], options);
  return byMetric((name) => {
    return describeDifference(second[name] - first[name], {
      ...options,
      drawn: drawn.map(([one, other]) => other![name] - one![name]),
    });
  });
}

/**
 * The difference of the means of any scores of two models, each sample with the same images for both.
 *
 * @param before Scores of the first model
 * @param after Scores of the second, of the same images in the same order
 * @throws {RangeError} If there are none, or not as many
 */
export function pairedDifference(
  before: readonly number[],
  after: readonly number[],
  options: BootstrapOptions = {},
): PairedDifference {
  if (before.length !== after.length) {
    throw new RangeError(`Cannot compare ${before.length} scores with ${after.length}`);
  }
  const differences = after.map((value, i) => value - before[i]!);
  return describeDifference(differences.reduce((sum, value) => sum + value, 0) / differences.length, {
    ...options,
    drawn: drawMeans(differences, options),
  });
}

function describeDifference(
  difference: number,
  { drawn, ...options }: BootstrapOptions & { drawn: readonly number[] },
): PairedDifference {
  const below = drawn.filter((value) => value <= 0).length / drawn.length;
  const above = drawn.filter((value) => value >= 0).length / drawn.length;
  return {
    difference,
    pValue: Math.min(1, Math.max(2 * Math.min(below, above), 1 / drawn.length)),
    ...intervalOf(drawn, options),
  };
}

/** Values of each model on each sample of images. */
function drawValues(
  models: readonly (readonly ImageScores[])[],
  options: BootstrapOptions,
): MetricValues[][] {
  const { samples = 1000, seed = 42 } = options;
  const count = models[0]!.length;
  if (count === 0) throw new RangeError("Cannot draw images: there are none");
  const rng = new Rng(seed);
  const chosen = new Uint32Array(count);
  const columns = models.map(columnsOf);
  return Array.from({ length: samples }, () => {
    for (let i = 0; i < count; i++) chosen[i] = rng.int(count);
    return columns.map((of) => valuesOfColumns(of, chosen));
  });
}

/** Numbers of each image, side by side, so that a sample is read quickly. */
interface Columns {
  /** Metrics that are means, [images] each. */
  readonly means: readonly (readonly [MetricName, Float64Array])[];
  /** Candidate length, reference length, correct and guessed n-grams, [images, 2 + 2 * MAX_ORDER]. */
  readonly bleu: Float64Array;
}

const BLEU_WIDTH = 2 + 2 * MAX_ORDER;

function columnsOf(images: readonly ImageScores[]): Columns {
  return {
    means: METRIC_NAMES.slice(MAX_ORDER).map((
      name,
    ) => [name, Float64Array.from(images, ({ values }) => values[name])]),
    bleu: Float64Array.from(
      images.flatMap(({ bleu }) => [
        bleu.candidateLength,
        bleu.referenceLength,
        ...bleu.correct,
        ...bleu.guessed,
      ]),
    ),
  };
}

function valuesOf(images: readonly ImageScores[], chosen: Uint32Array): MetricValues {
  return valuesOfColumns(columnsOf(images), chosen);
}

function valuesOfColumns({ means, bleu }: Columns, chosen: Uint32Array): MetricValues {
  const values: Partial<Record<MetricName, number>> = {};
  const sums = new Float64Array(BLEU_WIDTH);
  for (const image of chosen) {
    for (let c = 0; c < BLEU_WIDTH; c++) sums[c]! += bleu[image * BLEU_WIDTH + c]!;
  }
  bleuScores({
    candidateLength: sums[0]!,
    referenceLength: sums[1]!,
    correct: [...sums.subarray(2, 2 + MAX_ORDER)],
    guessed: [...sums.subarray(2 + MAX_ORDER)],
  }).forEach((value, n) => values[METRIC_NAMES[n]!] = value);
  for (const [name, column] of means) {
    let sum = 0;
    for (const image of chosen) sum += column[image]!;
    values[name] = sum / chosen.length;
  }
  return values as MetricValues;
}

function intervalOf(values: readonly number[], { confidence = 0.95 }: BootstrapOptions): Interval {
  const sorted = Float64Array.from(values).sort();
  const outside = (1 - confidence) / 2 * (sorted.length - 1);
  return {
    low: sorted[Math.round(outside)]!,
    high: sorted[Math.round(sorted.length - 1 - outside)]!,
  };
}

function byMetric<T>(make: (name: MetricName) => T): Record<MetricName, T> {
  return Object.fromEntries(METRIC_NAMES.map((name) => [name, make(name)])) as Record<MetricName, T>;
}
