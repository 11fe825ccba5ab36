/**
 * Beam search over rows of candidates, for one image: pure bookkeeping, no GPU. Behaves as Hugging Face's
 * `generate(num_beams=K, early_stopping=False)`; with one beam it is greedy search.
 *
 * Source: https://huggingface.co/docs/transformers/internal/generation_utils (BeamSearchScorer).
 *
 * @module
 */

/** The best next tokens of one row, best first. */
export interface Candidates {
  /** Token ids [k]. */
  ids: ArrayLike<number>;
  /** Log-probabilities [k]. */
  logProbs: ArrayLike<number>;
}

/** A finished caption. */
export interface Hypothesis {
  /** Generated ids, the end token included when there is one. */
  ids: number[];
  /** Sum of the log-probabilities of `ids`, penalties included. */
  logProb: number;
  /** `logProb` / length ** lengthPenalty: what hypotheses are ranked by. */
  score: number;
}

/** Options of {@linkcode BeamSearch}. */
export interface BeamSearchOptions {
  /** K, at least 1. */
  numBeams: number;
  /** Tokens after which a caption ends. */
  eosIds: readonly number[];
  /** Most tokens generated. */
  maxNewTokens: number;
  /** Exponent of the length in the score. @default {1} */
  lengthPenalty?: number;
}

interface Beam {
  ids: number[];
  logProb: number;
}

/** A row to run next: the last token of a beam and the row that it continues. */
export interface NextRow {
  token: number;
  /** Row (0 to K - 1) whose sequence this one continues. */
  parent: number;
}

/** The search for one image. */
export class BeamSearch {
  readonly #options: Required<BeamSearchOptions>;
  #beams: Beam[] = [{ ids: [], logProb: 0 }];
  #finished: Hypothesis[] = [];
  #done = false;

  constructor(options: BeamSearchOptions) {
    this.#options = { lengthPenalty: 1, ...options };
  }

  /** Whether nothing better can be found. */
  get done(): boolean {
    return this.#done;
  }

  /**
   * Takes the candidates of every live row (one row at first, then K): of each at least K for every end token and K more, unless
   * the vocabulary is smaller (one is enough for greedy search). Says which rows to run next; empty when done.
   */
  step(rows: readonly Candidates[]): NextRow[] {
    const { numBeams, eosIds, maxNewTokens, lengthPenalty } = this.#options;
    const all: { row: number; token: number; logProb: number }[] = [];
    for (const [row, beam] of this.#beams.entries()) {
      const { ids, logProbs } = rows[row]!;
      for (let i = 0; i < ids.length; i++) {
        all.push({ row, token: ids[i]!, logProb: beam.logProb + logProbs[i]! });
      }
    }
    // Equal scores: the earlier row, then the lower id, as a flat top-k over [rows x V] gives them.
    all.sort((a, b) => b.logProb - a.logProb || a.row - b.row || a.token - b.token);
    const best = all.slice(0, numBeams * Math.max(2, 1 + eosIds.length));
    const length = this.#beams[0]!.ids.length + 1;
    const next: Beam[] = [];
    const rowsNext: NextRow[] = [];
    for (const [rank, { row, token, logProb }] of best.entries()) {
      const ids = [...this.#beams[row]!.ids, token];
      if (eosIds.includes(token)) {
        if (rank < numBeams) this.#finish({ ids, logProb, score: logProb / length ** lengthPenalty });
      } else if (next.length < numBeams) {
        next.push({ ids, logProb });
        rowsNext.push({ token, parent: row });
      }
      if (next.length === numBeams) break;
    }
    const attainable = best[0]!.logProb / length ** lengthPenalty;
    this.#done = next.length === 0 || numBeams === 1 && this.#finished.length > 0 ||
      this.#finished.length >= numBeams && this.#finished.at(-1)!.score >= attainable;
    if (this.#done) return [];
    this.#beams = next;
    if (length < maxNewTokens) return rowsNext;
    for (const { ids, logProb } of next) {
      this.#finish({ ids, logProb, score: logProb / length ** lengthPenalty });
    }
    this.#done = true;
    return [];
  }

  /** Ids of the likeliest caption so far, finished or not, by the scores that rank hypotheses. */
  get leading(): readonly number[] {
    const [best] = this.#finished;
    const { ids, logProb } = this.#beams[0]!;
    const score = logProb / ids.length ** this.#options.lengthPenalty;
    return best !== undefined && (this.#done || best.score >= score) ? best.ids : ids;
  }

  /** The hypotheses found, best first. */
  get results(): readonly Hypothesis[] {
    return this.#finished;
  }

  /** Of equal scores the later one counts more, except that it does not displace when all places are taken, as in Hugging Face. */
  #finish(hypothesis: Hypothesis): void {
    const isFull = this.#finished.length === this.#options.numBeams;
    if (isFull && hypothesis.score <= this.#finished.at(-1)!.score) return;
    if (isFull) this.#finished.pop();
    const place = this.#finished.findIndex(({ score }) => score <= hypothesis.score);
    this.#finished.splice(place < 0 ? this.#finished.length : place, 0, hypothesis);
  }
}
