import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { logSoftmax, penalizeRepetition, sampleToken, topCandidates } from "../../lib/generate/sampling.ts";

const PROBABILITIES = [0.15, 0.5, 0.05, 0.3];
/** Logits of these probabilities, shifted: only differences count. */
const LOGITS = Float32Array.from(PROBABILITIES, (p) => Math.log(p) + 3);

/** Shares of each token in many draws. */
function shares(options: { temperature: number; topP: number }, draws = 20_000): number[] {
  const rng = new Rng(7);
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < draws; i++) counts[sampleToken(LOGITS, { ...options, rng }).id]! += 1;
  return counts.map((count) => count / draws);
}

function assertShares(got: readonly number[], want: readonly number[]): void {
  for (const [id, share] of want.entries()) {
    // Five standard deviations of 20,000 draws.
    const allowed = 5 * Math.sqrt(share * (1 - share) / 20_000);
    assert.ok(Math.abs(got[id]! - share) <= allowed, `token ${id}: ${got[id]}, expected ${share}`);
  }
}

Deno.test("log-softmax sums to one, whatever the size of the logits", () => {
  for (const shift of [0, 1e4, -1e4]) {
    const logProbs = logSoftmax(LOGITS.map((value) => value + shift));
    for (const [id, p] of PROBABILITIES.entries()) {
      assert.ok(Math.abs(Math.exp(logProbs[id]!) - p) < (shift === 0 ? 1e-6 : 1e-3));
    }
    assert.ok(Math.abs(logProbs.reduce((sum, value) => sum + Math.exp(value), 0) - 1) < 1e-12);
  }
  assert.deepEqual([...logSoftmax([-Infinity, 0])], [-Infinity, 0]);
});

Deno.test("candidates come best first, equal ones by id, at most the vocabulary", () => {
  assert.deepEqual(topCandidates([1, 3, 3, 2, 3], 4), { ids: [1, 2, 4, 3], logProbs: [3, 3, 3, 2] });
  assert.deepEqual(topCandidates([5, 6], 9).ids, [1, 0]);
});

Deno.test("repeated tokens lose score whichever its sign, once however often they occurred", () => {
  const scores = Float32Array.of(2, -2, 0, 4);
  penalizeRepetition(scores, [0, 1, 0, 2, 0], 2);
  assert.deepEqual([...scores], [1, -4, 0, 4]);
  penalizeRepetition(scores, [3], 1);
  assert.deepEqual([...scores], [1, -4, 0, 4]);
});

Deno.test("tokens are drawn with their probabilities, at a temperature", () => {
  assertShares(shares({ temperature: 1, topP: 1 }), PROBABILITIES);
  const squared = PROBABILITIES.map((p) => p * p);
  const sum = squared.reduce((a, b) => a + b);
  assertShares(shares({ temperature: 0.5, topP: 1 }), squared.map((p) => p / sum));
  assertShares(shares({ temperature: 1e-4, topP: 1 }, 100), [0, 1, 0, 0]);
  assertShares(shares({ temperature: 1e6, topP: 1 }), [0.25, 0.25, 0.25, 0.25]);
});

Deno.test("the nucleus is the smallest set that reaches its mass, at least one token", () => {
  assertShares(shares({ temperature: 1, topP: 0.79 }), [0, 0.5 / 0.8, 0, 0.3 / 0.8]);
  assertShares(shares({ temperature: 1, topP: 0.81 }), [0.15 / 0.95, 0.5 / 0.95, 0, 0.3 / 0.95]);
  for (const topP of [0.49, 1e-9, 0]) assertShares(shares({ temperature: 1, topP }, 100), [0, 1, 0, 0]);
});

Deno.test("a draw says the token's own log-probability, and the seed decides it", () => {
  const draw = (seed: number) => {
    const rng = new Rng(seed);
    return Array.from({ length: 20 }, () => sampleToken(LOGITS, { temperature: 0.7, topP: 0.9, rng }));
  };
  for (const { id, logProb } of draw(1)) assert.ok(Math.abs(logProb - Math.log(PROBABILITIES[id]!)) < 1e-6);
  assert.deepEqual(draw(1), draw(1));
  assert.notDeepEqual(draw(1), draw(2));
});
