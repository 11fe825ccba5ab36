import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { findThresholds, type Sureness, type ThresholdGoal } from "../../lib/evaluate/thresholds.ts";

const sureness = (logProbPerToken: number, imageGainPerToken: number): Sureness => ({
  logProbPerToken,
  imageGainPerToken,
});
const caption = (logProb: number, gain: number, isError: boolean) => ({
  ...sureness(logProb, gain),
  isError,
});

/** 40 captions, one a tenth of a nat; every fourth of the less sure half is wrong. */
const CAPTIONS = Array.from({ length: 40 }, (_, i) => caption(-i / 10, 5 - i / 100, i >= 20 && i % 4 === 0));

/** Everything by trying every pair. */
function bruteForce(
  captions: typeof CAPTIONS,
  others: Record<string, Sureness[]>,
  { targetError = 1, targetCoverage = 0, maxFalse }: ThresholdGoal,
): { right: number; error: number } | undefined {
  let best: { right: number; error: number } | undefined;
  for (
    const low of captions.flatMap((a) =>
      captions.map((b) => sureness(a.logProbPerToken, b.imageGainPerToken))
    )
  ) {
    const keeps = (one: Sureness) =>
      one.logProbPerToken >= low.logProbPerToken && one.imageGainPerToken >= low.imageGainPerToken;
    const kept = captions.filter(keeps);
    const wrong = kept.filter(({ isError }) => isError).length;
    const error = wrong / kept.length;
    const isFalse = Object.values(others).some((list) => list.filter(keeps).length / list.length > maxFalse);
    if (
      kept.length < 10 || error > targetError || kept.length / captions.length < targetCoverage || isFalse
    ) continue;
    const right = kept.length - wrong;
    const isBetter = best === undefined || (targetCoverage > 0 ? error < best.error : right > best.right);
    if (isBetter) best = { right, error };
  }
  return best;
}

Deno.test("as many captions as possible are kept below the error, and each threshold lies halfway to what is refused", () => {
  // Wrong are 20, 24, 28, 32, 36: of 39 captions 5 are wrong (12.8 %), of 36 4 (11.1 %), of 32 3 (9.4 %).
  const found = findThresholds(CAPTIONS, {}, { targetError: 0.1, maxFalse: 0 });
  assert.equal(found.coverage, 32 / 40);
  assert.equal(found.error, 3 / 32);
  assert.ok(Math.abs(found.thresholds.logProbPerToken! - -3.15) < 1e-9);
  assert.ok(Math.abs(found.thresholds.imageGainPerToken! - (5 - 0.315)) < 1e-9);
});

Deno.test("pictures that show nothing are kept out by either figure", () => {
  const others = {
    // As sure as the captions, but the image adds nothing.
    blank: Array.from({ length: 20 }, (_, i) => sureness(-i / 10, 0.1 * (i % 3))),
    noise: Array.from({ length: 20 }, (_, i) => sureness(-20 - i, 4.9)),
  };
  const found = findThresholds(CAPTIONS, others, { targetError: 0.5, maxFalse: 0 });
  assert.equal(found.coverage, 1);
  assert.deepEqual(found.falseCaptions, { blank: 0, noise: 0 });
  assert.ok(found.thresholds.imageGainPerToken! > 0.2 && found.thresholds.imageGainPerToken! < 4.61);
  assert.ok(found.thresholds.logProbPerToken! > -20 && found.thresholds.logProbPerToken! < -3.9);
});

Deno.test("the pairs that are found are as good as the best of all pairs", () => {
  const rng = new Rng(3);
  let [found, refused] = [0, 0];
  for (let round = 0; round < 30; round++) {
    const captions = Array.from({ length: 30 + rng.int(20) }, () => {
      const isError = rng.next() < 0.4;
      // Rounded, so that there are ties.
      return caption(
        Math.round(10 * (rng.normal() - Number(isError))) / 10,
        Math.round(10 * rng.normal()) / 10,
        isError,
      );
    });
    const others = {
      a: Array.from({ length: 10 }, () => sureness(rng.normal() - 1, rng.normal() - 1)),
      b: Array.from({ length: 13 }, () => sureness(rng.normal() - 1, rng.normal())),
    };
    for (const goal of [{ targetError: 0.25, maxFalse: 0.2 }, { targetCoverage: 0.4, maxFalse: 0.5 }]) {
      const wanted = bruteForce(captions, others, goal);
      if (wanted === undefined) {
        refused++;
        assert.throws(() => findThresholds(captions, others, goal), /Cannot find thresholds with/);
        continue;
      }
      found++;
      const got = findThresholds(captions, others, goal);
      if ("targetError" in goal) {
        assert.equal(Math.round(got.coverage * captions.length * (1 - got.error)), wanted.right);
      } else assert.ok(Math.abs(got.error - wanted.error) < 1e-12);
      // The thresholds keep exactly what was counted.
      const { logProbPerToken: low, imageGainPerToken: gain } = got.thresholds;
      const keeps = (one: Sureness) =>
        (low === null || one.logProbPerToken >= low) && (gain === null || one.imageGainPerToken >= gain);
      assert.equal(captions.filter(keeps).length / captions.length, got.coverage);
      for (const kind of ["a", "b"] as const) {
        assert.equal(others[kind].filter(keeps).length / others[kind].length, got.falseCaptions[kind]);
      }
    }
  }
  assert.ok(found > 10 && refused > 0, `${found} found, ${refused} refused`);
});

Deno.test("where nothing need be refused, what is less sure than all that was seen is", () => {
  const right = CAPTIONS.map((one) => ({ ...one, isError: false }));
  const { thresholds, coverage } = findThresholds(right, {}, { targetError: 0, maxFalse: 0 });
  assert.equal(coverage, 1);
  assert.deepEqual(thresholds, { logProbPerToken: -3.9, imageGainPerToken: null });
});

Deno.test("too few captions, goals out of reach and figures that are no numbers are refused with what to do", () => {
  const goal = { targetError: 0.1, maxFalse: 0.05 };
  assert.throws(
    () => findThresholds(CAPTIONS.slice(0, 29), {}, goal),
    /Cannot calibrate on 29 captions: expected at least 30; take a larger split/,
  );
  const wrong = CAPTIONS.map((one) => ({ ...one, isError: true }));
  assert.throws(
    () => findThresholds(wrong, {}, goal),
    /an error of at most 10\.0 % .+: the least is 100\.0 % .+--target-error.+--max-false-captions/,
  );
  const sure = { noise: Array.from({ length: 10 }, () => sureness(0, 9)) };
  assert.throws(
    () => findThresholds(CAPTIONS, sure, { targetCoverage: 0.9, maxFalse: 0.05 }),
    /no threshold that keeps 10 captions leaves out so many of every kind/,
  );
  assert.throws(
    () => findThresholds([...CAPTIONS, caption(NaN, 0, false)], {}, goal),
    /a confidence is not a number/,
  );
  assert.throws(() => findThresholds(CAPTIONS, { x: [sureness(0, Infinity)] }, goal), /is not a number/);
});
