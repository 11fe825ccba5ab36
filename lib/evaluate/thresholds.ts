/**
 * Thresholds of confidence, found on captions of which it is known whether they are right, and on pictures that should get none.
 *
 * @module
 */

import type { Thresholds } from "../models/calibration.ts";

/** The two figures that thresholds are about. */
export interface Sureness {
  readonly logProbPerToken: number;
  readonly imageGainPerToken: number;
}

/** What is wanted of thresholds. */
export interface ThresholdGoal {
  /** Either: largest share of wrong captions among those that are kept, of which there shall be as many as possible. */
  readonly targetError?: number;
  /** Or: smallest share of captions that are kept, of which as few as possible shall be wrong. */
  readonly targetCoverage?: number;
  /** Largest share of pictures of any kind without a right caption that may get one. */
  readonly maxFalse: number;
}

/** Thresholds, and what they come to where they were found. */
export interface FoundThresholds {
  readonly thresholds: Thresholds;
  /** Share of the captions that are kept. */
  readonly coverage: number;
  /** Share of these that are wrong. */
  readonly error: number;
  /** Share of pictures that get a caption, by kind. */
  readonly falseCaptions: Readonly<Record<string, number>>;
}

/** Fewer captions say nothing about a share of errors. */
export const MIN_CAPTIONS = 30;
/** Thresholds that keep fewer were not found but made up. */
const MIN_KEPT = 10;
/** Thresholds of the gain that are tried: these many of the captions' own, evenly spread. */
const MAX_TRIED = 256;

/** A pair of lowest kept values, and what it keeps. */
interface Candidate {
  low: Sureness;
  kept: number;
  wrong: number;
  /** Kept pictures, the largest share of a kind first. */
  worstFalse: number;
}

/**
 * Finds the thresholds: pairs of lowest kept values are tried, and each threshold is then put halfway to the next value below, where
 * there is one; a figure that would refuse nothing is not asked (`null`).
 *
 * @param captions of pictures that should get a caption, and whether it is wrong
 * @param others captions of pictures that should get none, by kind
 * @throws {RangeError} If there are too few captions, a figure is no number, or no pair reaches the goal; the message says how near it gets
 */
export function findThresholds(
  captions: readonly (Sureness & { readonly isError: boolean })[],
  others: Readonly<Record<string, readonly Sureness[]>>,
  goal: ThresholdGoal,
): FoundThresholds {
  if (captions.length < MIN_CAPTIONS) {
    throw new RangeError(
      `Cannot calibrate on ${captions.length} captions: expected at least ${MIN_CAPTIONS}; take a larger split or data set`,
    );
  }
  const all = [...captions, ...Object.values(others).flat()];
  for (const { logProbPerToken, imageGainPerToken } of all) {
    if (!Number.isFinite(logProbPerToken) || !Number.isFinite(imageGainPerToken)) {
      throw new RangeError("Cannot calibrate: a confidence is not a number; the model's weights are damaged");
    }
  }
  const candidates = tryPairs(captions, others);
  const best = candidates.filter((one) => fits(one, captions.length, goal))
    .sort((a, b) => compareFor(goal, a, b))[0];
  if (best === undefined) throw unreachable(candidates, captions.length, goal);
  const { low } = best;
  const imageGainPerToken = halfwayBelow(low.imageGainPerToken, all.map((one) => one.imageGainPerToken));
  const logProbPerToken = halfwayBelow(low.logProbPerToken, all.map((one) => one.logProbPerToken));
  const thresholds: Thresholds = {
    // Where nothing had to be refused, what is less sure than all that was seen is.
    logProbPerToken: logProbPerToken ?? (imageGainPerToken === null ? low.logProbPerToken : null),
    imageGainPerToken,
  };
  return {
    thresholds,
    coverage: best.kept / captions.length,
    error: best.wrong / best.kept,
    falseCaptions: Object.fromEntries(
      Object.entries(others).map(([kind, list]) => [kind, shareKept(list, best.low)]),
    ),
  };
}

/** Every pair that keeps another set of captions, as far as gains are tried. */
function tryPairs(
  captions: readonly (Sureness & { readonly isError: boolean })[],
  others: Readonly<Record<string, readonly Sureness[]>>,
): Candidate[] {
  const gains = [...new Set(captions.map(({ imageGainPerToken }) => imageGainPerToken))].sort((a, b) =>
    a - b
  );
  const tried = gains.length <= MAX_TRIED
    ? gains
    : Array.from({ length: MAX_TRIED }, (_, i) => gains[Math.floor(i * gains.length / MAX_TRIED)]!);
  const sorted = [...captions].sort((a, b) => b.logProbPerToken - a.logProbPerToken);
  const candidates: Candidate[] = [];
  for (const imageGainPerToken of tried) {
    // Kept pictures of each kind, the surest last.
    const waiting = Object.values(others).map((list) => ({
      total: list.length,
      surenesses: list.filter((one) => one.imageGainPerToken >= imageGainPerToken)
        .map((one) => one.logProbPerToken).sort((a, b) => a - b),
      kept: 0,
    }));
    const passing = sorted.filter((one) => one.imageGainPerToken >= imageGainPerToken);
    let wrong = 0;
    for (const [i, { logProbPerToken, isError }] of passing.entries()) {
      wrong += Number(isError);
      if (passing[i + 1]?.logProbPerToken === logProbPerToken) continue;
      let worstFalse = 0;
      for (const kind of waiting) {
        while (kind.surenesses.length > 0 && kind.surenesses.at(-1)! >= logProbPerToken) {
          kind.surenesses.pop();
          kind.kept++;
        }
        worstFalse = Math.max(worstFalse, kind.kept / kind.total);
      }
      candidates.push({ low: { logProbPerToken, imageGainPerToken }, kept: i + 1, wrong, worstFalse });
    }
  }
  return candidates.filter(({ kept }) => kept >= MIN_KEPT);
}

function fits({ kept, wrong, worstFalse }: Candidate, total: number, goal: ThresholdGoal): boolean {
  const { targetError = 1, targetCoverage = 0, maxFalse } = goal;
  return wrong / kept <= targetError && kept / total >= targetCoverage && worstFalse <= maxFalse;
}

/** The better one first: more right captions where the error is given, fewer wrong ones where the coverage is; then the stricter one. */
function compareFor({ targetCoverage }: ThresholdGoal, a: Candidate, b: Candidate): number {
  const right = ({ kept, wrong }: Candidate) => kept - wrong;
  const error = ({ kept, wrong }: Candidate) => wrong / kept;
  return (targetCoverage === undefined ? right(b) - right(a) : 0) || error(a) - error(b) ||
    a.worstFalse - b.worstFalse || b.kept - a.kept ||
    b.low.imageGainPerToken - a.low.imageGainPerToken || b.low.logProbPerToken - a.low.logProbPerToken;
}

function unreachable(candidates: readonly Candidate[], total: number, goal: ThresholdGoal): RangeError {
  const { targetError, targetCoverage, maxFalse } = goal;
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  const wanted = targetError === undefined
    ? `${percent(targetCoverage!)} of the captions kept`
    : `an error of at most ${percent(targetError)}`;
  const lowestError = Math.min(...candidates.map(({ kept, wrong }) => wrong / kept));
  const possible = candidates.filter(({ worstFalse }) => worstFalse <= maxFalse);
  const reached = possible.length === 0
    ? `no threshold that keeps ${MIN_KEPT} captions leaves out so many of every kind`
    : targetError === undefined
    ? `at most ${percent(Math.max(...possible.map(({ kept }) => kept)) / total)} can be kept`
    : `the least is ${percent(Math.min(...possible.map(({ kept, wrong }) => wrong / kept)))}`;
  return new RangeError(
    `Cannot find thresholds with ${wanted} and at most ${
      percent(maxFalse)
    } of pictures that are none captioned: ` +
      `${reached} (without that limit the least error is ${
        percent(lowestError)
      }); give another --target-error, ` +
      `--target-coverage or --max-false-captions, or train the model further`,
  );
}

/** Between a value and the next one below; `null` where there is none. */
function halfwayBelow(value: number, all: readonly number[]): number | null {
  const below = all.filter((one) => one < value);
  return below.length === 0 ? null : (value + below.reduce((a, b) => Math.max(a, b))) / 2;
}

function shareKept(list: readonly Sureness[], low: Sureness): number {
  const kept = list.filter((one) =>
    one.logProbPerToken >= low.logProbPerToken && one.imageGainPerToken >= low.imageGainPerToken
  );
  return kept.length / list.length;
}
