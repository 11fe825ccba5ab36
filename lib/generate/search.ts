/**
 * Captions searched by beams or sampled, whatever runs the model.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import { BeamSearch, type Candidates, type Hypothesis, type NextRow } from "./beam_search.ts";
import { logSoftmax, penalizeRepetition, sampleToken, topCandidates } from "./sampling.ts";
import type { Scores, Stepper } from "./stepper.ts";

/** How one batch is searched. */
export interface SearchOptions {
  /** Tokens that end a caption. */
  eosIds: readonly number[];
  /** Above 0 samples at this temperature (one beam); 0 searches. @default {0} */
  temperature?: number;
  /** Nucleus of sampling. @default {1} */
  topP?: number;
  /**
   * Above 1 makes repeated tokens unlikelier. As in Hugging Face, greedy search and sampling penalise logits; beam search
   * penalises log-probabilities, which its scores then add up. @default {1}
   */
  repetitionPenalty?: number;
  /** Exponent of the length in a beam's score. @default {1} */
  lengthPenalty?: number;
  /** Seed of sampling. @default {42} */
  seed?: number;
  /** Most tokens of a caption, fewer than the stepper's. @default {the stepper's} */
  maxNewTokens?: number;
  /** Told after every token the ids of the likeliest caption of each image so far, finished or not. */
  onStep?(captions: readonly (readonly number[])[]): void;
}

/** One image's next tokens, whatever the method. */
interface Search {
  readonly done: boolean;
  step(rows: readonly Candidates[]): NextRow[];
  /** Ids of the likeliest caption so far. */
  readonly leading: readonly number[];
  readonly results: readonly Hypothesis[];
}

/**
 * Captions `count` images with `stepper`: each image's hypotheses, best first.
 *
 * @throws {RangeError} for sampling with beams, or when the model's scores are not numbers
 */
export async function searchCaptions(
  stepper: Stepper,
  images: Float32Array,
  options: SearchOptions & { count: number },
): Promise<(readonly Hypothesis[])[]> {
  const { numBeams, batchSize } = stepper;
  const maxNewTokens = Math.min(options.maxNewTokens ?? Infinity, stepper.maxNewTokens);
  const isSampled = (options.temperature ?? 0) > 0;
  if (isSampled && numBeams > 1) {
    throw new RangeError(`Cannot sample with ${numBeams} beams; use 1 beam or temperature 0`);
  }
  const rng = new Rng(options.seed ?? 42);
  const searches = Array.from(
    { length: options.count },
    (): Search =>
      isSampled
        ? new SampleSearch(options.eosIds, maxNewTokens)
        : new BeamSearch({ ...options, numBeams, maxNewTokens }),
  );
  const sequences: number[][] = Array.from({ length: batchSize * numBeams }, () => []);
  let scores = await stepper.prefill(images, options.count);
  let rowsPerImage = 1;
  const tokens = new Uint32Array(batchSize * numBeams);
  for (let n = 0; n < maxNewTokens; n++) {
    const rows = await candidatesOf(scores, {
      ...options,
      numBeams,
      rng,
      sequenceOf: (row) => sequences[rowsPerImage === 1 ? row * numBeams : row]!,
      isLive: (row) => searches[Math.floor(row / rowsPerImage)]?.done === false,
    });
    const parents = Uint32Array.from(tokens, (_, row) => row);
    const previous = [...sequences];
    for (const [b, search] of searches.entries()) {
      if (search.done) continue;
      const mine = rows.slice(b * rowsPerImage, (b + 1) * rowsPerImage);
      for (const [j, { token, parent }] of search.step(mine).entries()) {
        const [row, from] = [b * numBeams + j, b * numBeams + parent];
        [tokens[row], parents[row]] = [token, from];
        sequences[row] = [...previous[from]!, token];
      }
    }
    options.onStep?.(searches.map(({ leading }) => leading));
    const live = searches.map((search) => !search.done);
    if (!live.includes(true)) break;
    scores = await stepper.step({ tokens, parents, live });
    rowsPerImage = numBeams;
  }
  return searches.map((search) => search.results);
}

/** How a given caption fares. */
export interface CaptionScore {
  /** Tokens that are the likeliest after those before. */
  agreeing: number;
  /** Sum of the tokens' log-probabilities. */
  logProb: number;
}

/** How a caption of every image fares, given token by token. @param stepper of one beam */
export async function scoreCaptions(
  stepper: Stepper,
  images: Float32Array,
  captions: readonly (readonly number[])[],
): Promise<CaptionScore[]> {
  const found = captions.map((): CaptionScore => ({ agreeing: 0, logProb: 0 }));
  let scores = await stepper.prefill(images, captions.length);
  const longest = Math.max(...captions.map(({ length }) => length));
  for (let n = 0; n < longest; n++) {
    const rows = await scores.logits();
    for (const [b, ids] of captions.entries()) {
      if (n >= ids.length) continue;
      const logProbs = logSoftmax(rows[b]!);
      refuseNan(logProbs);
      if (topCandidates(logProbs, 1).ids[0] === ids[n]) found[b]!.agreeing++;
      found[b]!.logProb += logProbs[ids[n]!]!;
    }
    if (n + 1 === longest) break;
    const tokens = new Uint32Array(stepper.batchSize);
    for (const [b, ids] of captions.entries()) tokens[b] = ids[n] ?? 0;
    const live = captions.map((ids) => n + 1 < ids.length);
    scores = await stepper.step({ tokens, parents: Uint32Array.from(tokens, (_, row) => row), live });
  }
  return found;
}

/** Candidates of every row. Only what changes single scores needs all of them on the host. */
async function candidatesOf(
  scores: Scores,
  options: SearchOptions & {
    numBeams: number;
    rng: Rng;
    sequenceOf(row: number): readonly number[];
    isLive(row: number): boolean;
  },
): Promise<Candidates[]> {
  const { numBeams, rng, temperature = 0, topP = 1, repetitionPenalty: penalty = 1 } = options;
  if (temperature === 0 && penalty === 1) {
    const rows = await scores.candidates();
    for (const [row, { logProbs }] of rows.entries()) if (options.isLive(row)) refuseNan(logProbs);
    return rows;
  }
  // As many as a row of candidates may need: all of a beam's end tokens may be among the best.
  const count = (1 + Math.max(1, options.eosIds.length)) * numBeams;
  return (await scores.logits()).map((values, row) => {
    if (!options.isLive(row)) return { ids: [], logProbs: [] };
    refuseNan(values);
    if (numBeams > 1) {
      const logProbs = logSoftmax(values);
      penalizeRepetition(logProbs, options.sequenceOf(row), penalty);
      return topCandidates(logProbs, count);
    }
    penalizeRepetition(values, options.sequenceOf(row), penalty);
    if (temperature === 0) return topCandidates(logSoftmax(values), 1);
    const { id, logProb } = sampleToken(values, { temperature, topP, rng });
    return { ids: [id], logProbs: [logProb] };
  });
}

/** @throws {RangeError} when a score is not a number: nothing can be chosen */
export function refuseNan(scores: ArrayLike<number>): void {
  if (Array.prototype.some.call(scores, Number.isNaN)) {
    throw new RangeError(
      "Cannot caption: the model's scores are not numbers; its weights or the image's values are damaged",
    );
  }
}

/** Sampling as a search: one row, the drawn token is the only candidate. */
class SampleSearch implements Search {
  #ids: number[] = [];
  #logProb = 0;
  #done = false;

  constructor(readonly eosIds: readonly number[], readonly maxNewTokens: number) {}

  get done(): boolean {
    return this.#done;
  }

  step([row]: readonly Candidates[]): NextRow[] {
    const token = row!.ids[0]!;
    this.#ids.push(token);
    this.#logProb += row!.logProbs[0]!;
    this.#done = this.eosIds.includes(token) || this.#ids.length === this.maxNewTokens;
    return this.#done ? [] : [{ token, parent: 0 }];
  }

  get leading(): readonly number[] {
    return this.#ids;
  }

  get results(): Hypothesis[] {
    return [{ ids: this.#ids, logProb: this.#logProb, score: this.#logProb / this.#ids.length }];
  }
}
