/** Greedy and beam search over whole sequences, written out plainly: every step asks for the next scores of every sequence anew. */

/** Log-probabilities of the next token after `ids`. */
export type NextLogProbs = (ids: readonly number[]) => Float64Array;

/** As `BeamSearchOptions`, and a repetition penalty. */
export interface ReferenceSearchOptions {
  numBeams: number;
  eosIds: readonly number[];
  maxNewTokens: number;
  lengthPenalty?: number;
  repetitionPenalty?: number;
}

function penalized(scores: Float64Array, ids: readonly number[], penalty: number): Float64Array {
  return scores.map((score, id) => !ids.includes(id) ? score : score < 0 ? score * penalty : score / penalty);
}

/**
 * The best hypothesis of transformers 4.46's `generate(num_beams=K, early_stopping=False)`: greedy for one beam.
 *
 * Source: https://huggingface.co/docs/transformers/internal/generation_utils (BeamSearchScorer, BeamHypotheses).
 */
export function referenceSearch(
  next: NextLogProbs,
  options: ReferenceSearchOptions,
): { ids: number[]; sum: number } {
  const { numBeams: K, eosIds, maxNewTokens, lengthPenalty = 1, repetitionPenalty = 1 } = options;
  if (K === 1) {
    const ids: number[] = [];
    let sum = 0;
    do {
      // Greedy search penalises logits; log-probabilities are logits shifted by a constant, so callers pass logits here.
      const scores = penalized(next(ids), ids, repetitionPenalty);
      const token = scores.indexOf(scores.reduce((a, b) => Math.max(a, b)));
      sum += scores[token]! - Math.log(scores.reduce((total, score) => total + Math.exp(score), 0));
      ids.push(token);
    } while (ids.length < maxNewTokens && !eosIds.includes(ids.at(-1)!));
    return { ids, sum };
  }
  interface Sequence {
    ids: number[];
    sum: number;
  }
  let finished: (Sequence & { score: number })[] = [];
  const finish = (sequence: Sequence): void => {
    const score = sequence.sum / sequence.ids.length ** lengthPenalty;
    const worst = Math.min(...finished.map((other) => other.score));
    if (finished.length === K && score <= worst) return;
    finished.push({ ...sequence, score });
    if (finished.length <= K) return;
    const first = finished.findIndex((other) => other.score === worst);
    finished = finished.filter((_, i) => i !== first);
  };
  let beams: Sequence[] = [{ ids: [], sum: 0 }];
  let isDone = false;
  for (let length = 1; length <= maxNewTokens && !isDone; length++) {
    const all = beams.flatMap(({ ids, sum }) =>
      [...penalized(next(ids), ids, repetitionPenalty)].map((score, id) => ({
        ids: [...ids, id],
        sum: sum + score,
      }))
    );
    // A stable sort keeps the order of the flat scores among equals.
    const best = all.toSorted((a, b) => b.sum - a.sum).slice(0, Math.max(2, 1 + eosIds.length) * K);
    const going: Sequence[] = [];
    for (const [rank, sequence] of best.entries()) {
      if (going.length === K) break;
      if (!eosIds.includes(sequence.ids.at(-1)!)) going.push(sequence);
      else if (rank < K) finish(sequence);
    }
    const worst = Math.min(...finished.map((other) => other.score));
    isDone = going.length === 0 || finished.length === K && worst >= best[0]!.sum / length ** lengthPenalty;
    beams = going;
  }
  if (!isDone) beams.forEach(finish);
  // Among equal scores the one that was finished last.
  return finished.reduce((best, other) => other.score >= best.score ? other : best);
}
