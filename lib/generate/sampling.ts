/**
 * Choosing tokens on the host from a row of logits: repetition penalty, temperature, nucleus sampling.
 *
 * @module
 */

import type { Rng } from "../base/rng.ts";
import type { Candidates } from "./beam_search.ts";

/**
 * Divides positive and multiplies negative scores (logits or log-probabilities) of tokens seen before, each once.
 *
 * Source: Keskar et al. 2019, arXiv:1909.05858, section 4.1.
 */
export function penalizeRepetition(
  scores: Float32Array | Float64Array,
  seen: readonly number[],
  penalty: number,
): void {
  for (const id of new Set(seen)) {
    scores[id] = scores[id]! > 0 ? scores[id]! / penalty : scores[id]! * penalty;
  }
}

/** Log-probabilities of a row of logits, in f64. */
export function logSoftmax(logits: ArrayLike<number>): Float64Array {
  const offset = logSumExp(logits);
  return Float64Array.from(logits, (value) => value - offset);
}

/** Log-probability of one token by a row of logits, in f64. */
export function logProbOf(logits: ArrayLike<number>, id: number): number {
  return logits[id]! - logSumExp(logits);
}

function logSumExp(logits: ArrayLike<number>): number {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) max = Math.max(max, logits[i]!);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - max);
  return max + Math.log(sum);
}

/** The k likeliest tokens, best first, equal ones by id. */
export function topCandidates(logProbs: ArrayLike<number>, k: number): Candidates {
  if (k === 1) { // greedy search, at every step
    let best = 0;
    for (let id = 1; id < logProbs.length; id++) if (logProbs[id]! > logProbs[best]!) best = id;
    return { ids: [best], logProbs: [logProbs[best]!] };
  }
  const ids = Array.from({ length: logProbs.length }, (_, id) => id);
  ids.sort((a, b) => logProbs[b]! - logProbs[a]! || a - b);
  ids.length = Math.min(k, ids.length);
  return { ids, logProbs: ids.map((id) => logProbs[id]!) };
}

/**
 * Draws a token at a temperature from the smallest set of likeliest tokens whose probability reaches `topP`, at least one. The
 * log-probability is the token's own, before temperature and nucleus.
 *
 * Source: Holtzman et al. 2019, arXiv:1904.09751, section 3.1 (nucleus sampling).
 */
export function sampleToken(
  logits: Float32Array,
  options: { temperature: number; topP: number; rng: Rng },
): { id: number; logProb: number } {
  const logProbs = logSoftmax(logits);
  const tempered = logSoftmax(logProbs.map((value) => value / options.temperature));
  // Without a nucleus the order does not matter, and sorting a vocabulary takes longer than all else.
  const ids = options.topP >= 1 ? tempered.keys().toArray() : topCandidates(tempered, tempered.length).ids;
  const kept: number[] = [];
  let mass = 0;
  for (let i = 0; i < ids.length && (i === 0 || mass < options.topP); i++) {
    kept.push(ids[i]!);
    mass += Math.exp(tempered[ids[i]!]!);
  }
  let point = options.rng.next() * mass;
  const id = kept.find((candidate) => (point -= Math.exp(tempered[candidate]!)) < 0) ?? kept.at(-1)!;
  return { id, logProb: logProbs[id]! };
}
