import assert from "node:assert/strict";
import { BeamSearch, type BeamSearchOptions, type Hypothesis } from "../../lib/generate/beam_search.ts";
import { logSoftmax, topCandidates } from "../../lib/generate/sampling.ts";
import { type NextLogProbs, referenceSearch } from "../reference/beam_search.ts";
import { randomValues } from "../support/gpu.ts";

/** A model as a table: scores of the next token are drawn from the sequence itself; `grid` rounds them so that ties occur. */
function tableModel(vocabSize: number, seed: number, grid = 0): NextLogProbs {
  return (ids) => {
    const hash = ids.reduce((sum, id) => (sum * 31 + id + 1) % 1000003, seed);
    const logProbs = logSoftmax(randomValues(vocabSize, hash, 3));
    return grid === 0 ? logProbs : logProbs.map((value) => Math.round(value / grid) * grid);
  };
}

/** Runs a search as a generator does: one row at first, then a row for every beam. */
function search(
  next: NextLogProbs,
  options: BeamSearchOptions,
  candidates = Infinity,
): readonly Hypothesis[] {
  const beamSearch = new BeamSearch(options);
  let sequences: number[][] = [[]];
  for (let steps = 0; !beamSearch.done; steps++) {
    assert.ok(steps <= options.maxNewTokens, "the search ends");
    const rows = sequences.map((ids) => topCandidates(next(ids), candidates));
    sequences = beamSearch.step(rows).map(({ token, parent }) => [...sequences[parent]!, token]);
  }
  return beamSearch.results;
}

Deno.test("one beam takes the likeliest token at every step, until the end token or the limit", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const next = tableModel(7, seed);
    const options = { numBeams: 1, eosIds: [2], maxNewTokens: 6 };
    const ids: number[] = [];
    let sum = 0;
    while (ids.length < 6 && ids.at(-1) !== 2) {
      const logProbs = next(ids);
      const token = logProbs.indexOf(Math.max(...logProbs));
      sum += logProbs[token]!;
      ids.push(token);
    }
    for (const candidates of [1, 2, 7]) {
      const found = search(next, options, candidates);
      assert.equal(found.length, 1);
      assert.deepEqual(found[0]!.ids, ids);
      assert.ok(Math.abs(found[0]!.logProb - sum) < 1e-12);
      assert.ok(Math.abs(found[0]!.score - sum / ids.length) < 1e-12);
    }
  }
});

Deno.test("as many beams as there are sequences find the best of all sequences", () => {
  const [V, T, eos] = [3, 4, 0];
  for (let seed = 1; seed <= 25; seed++) {
    for (const lengthPenalty of [0, 0.6, 1, 2]) {
      const next = tableModel(V, seed);
      let best = { ids: [] as number[], score: -Infinity };
      const walk = (ids: number[], sum: number): void => {
        if (ids.at(-1) === eos || ids.length === T) {
          const score = sum / ids.length ** lengthPenalty;
          if (score > best.score) best = { ids, score };
          return;
        }
        for (const [id, logProb] of next(ids).entries()) walk([...ids, id], sum + logProb);
      };
      walk([], 0);
      const [found] = search(next, { numBeams: V ** T, eosIds: [eos], maxNewTokens: T, lengthPenalty });
      assert.deepEqual(found!.ids, best.ids, `seed ${seed}, length penalty ${lengthPenalty}`);
      assert.ok(Math.abs(found!.score - best.score) < 1e-12);
    }
  }
});

Deno.test("beams, end tokens, length penalties and ties as in a plain search over whole sequences", () => {
  let ended = 0;
  for (let seed = 1; seed <= 60; seed++) {
    for (const numBeams of [2, 3, 4]) {
      for (const [eosIds, lengthPenalty] of [[[2], 1], [[2], 0], [[0, 5], 1], [[2], 2.5], [[], 1]] as const) {
        // Rounded to quarters so that equal sums are common and exact.
        const next = tableModel(11, seed, seed % 2 === 0 ? 0.25 : 0);
        const options = { numBeams, eosIds, maxNewTokens: 6, lengthPenalty };
        const wanted = referenceSearch(next, options);
        const candidates = Math.max(2, 1 + eosIds.length) * numBeams;
        const [found] = search(next, options, candidates);
        const label = `seed ${seed}, ${numBeams} beams, ends ${eosIds}, penalty ${lengthPenalty}`;
        assert.deepEqual(found!.ids, wanted.ids, label);
        assert.ok(Math.abs(found!.logProb - wanted.sum) < 1e-12, label);
        if (eosIds.some((id) => id === found!.ids.at(-1)) && found!.ids.length < 6) ended++;
      }
    }
  }
  assert.ok(ended > 50, `${ended} captions ended by themselves`);
});

Deno.test("hypotheses come best first, are no more than the beams, and end at the end token or the limit", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const found = search(tableModel(9, seed), { numBeams: 3, eosIds: [4], maxNewTokens: 5 });
    assert.equal(found.length, 3);
    for (const [i, { ids, score, logProb }] of found.entries()) {
      if (i > 0) assert.ok(score <= found[i - 1]!.score);
      assert.ok(ids.length <= 5 && !ids.slice(0, -1).includes(4));
      assert.ok(ids.length === 5 || ids.at(-1) === 4);
      assert.ok(Math.abs(score - logProb / ids.length) < 1e-12);
    }
  }
});

Deno.test("equal scores: the lower id of the earlier row goes on", () => {
  const even: NextLogProbs = () => new Float64Array(6).fill(Math.log(1 / 6));
  const beamSearch = new BeamSearch({ numBeams: 2, eosIds: [5], maxNewTokens: 3 });
  const row = topCandidates(even([]), 4);
  assert.deepEqual(beamSearch.step([row]), [{ token: 0, parent: 0 }, { token: 1, parent: 0 }]);
  assert.deepEqual(beamSearch.step([row, row]), [{ token: 0, parent: 0 }, { token: 1, parent: 0 }]);
  assert.deepEqual(search(even, { numBeams: 1, eosIds: [5], maxNewTokens: 2 }, 1)[0]!.ids, [0, 0]);
});

Deno.test("of an end token below the first K candidates nothing is kept", () => {
  const start = Float64Array.of(0.4, 0.3, 0.2, 0.1).map(Math.log);
  const next: NextLogProbs = (ids) => ids.length === 0 ? start : new Float64Array(4).fill(Math.log(0.25));
  const options = { numBeams: 2, eosIds: [0, 2], maxNewTokens: 2, lengthPenalty: 0 };
  // [2] has 0.2, more than what goes on, but two candidates are better.
  assert.deepEqual(search(next, options).map(({ ids }) => ids), [[0], [1, 0]]);
});

Deno.test("with several end tokens all beams go on, although most candidates end", () => {
  const logProbs = Float64Array.of(0.3, 0.25, 0.2, 0.15, 0.1).map(Math.log);
  const beamSearch = new BeamSearch({ numBeams: 2, eosIds: [0, 1, 2], maxNewTokens: 9 });
  const rows = beamSearch.step([topCandidates(logProbs, 8)]);
  assert.deepEqual(rows, [{ token: 3, parent: 0 }, { token: 4, parent: 0 }]);
});

Deno.test("an end token is taken only among the first K", () => {
  const next: NextLogProbs = (ids) =>
    Float64Array.from(ids.length === 0 ? [0.4, 0.35, 0.2, 0.05] : [0.25, 0.25, 0.25, 0.25], Math.log);
  const [first] = search(next, { numBeams: 2, eosIds: [2], maxNewTokens: 1 });
  assert.deepEqual(first!.ids, [0]);
  const found = search(next, { numBeams: 3, eosIds: [2], maxNewTokens: 1 });
  assert.deepEqual(found.map(({ ids }) => ids), [[0], [1], [2]]);
});

Deno.test("a first token that ends the caption, one token at most, and a vocabulary below the candidates wanted", () => {
  const certain: NextLogProbs = () => Float64Array.of(Math.log(0.01), Math.log(0.98), Math.log(0.01));
  assert.deepEqual(search(certain, { numBeams: 1, eosIds: [1], maxNewTokens: 9 })[0]!.ids, [1]);
  assert.deepEqual(search(certain, { numBeams: 1, eosIds: [0], maxNewTokens: 1 })[0]!.ids, [1]);
  assert.deepEqual(search(certain, { numBeams: 4, eosIds: [1], maxNewTokens: 9 })[0]!.ids, [1]);
  // Everything ends: nothing goes on.
  assert.deepEqual(search(certain, { numBeams: 3, eosIds: [0, 1, 2], maxNewTokens: 9 })[0]!.ids, [1]);
});

Deno.test("what leads is the likeliest so far: a finished caption gives way to a better one alone", () => {
  for (let seed = 1; seed <= 40; seed++) {
    const next = tableModel(7, seed);
    const options = { numBeams: 3, eosIds: [2], maxNewTokens: 6 };
    const scoreOf = (ids: readonly number[]): number =>
      ids.reduce((sum, id, i) => sum + next(ids.slice(0, i))[id]!, 0) / ids.length;
    const beamSearch = new BeamSearch(options);
    let sequences: number[][] = [[]];
    while (!beamSearch.done) {
      sequences = beamSearch.step(sequences.map((ids) => topCandidates(next(ids), 7)))
        .map(({ token, parent }) => [...sequences[parent]!, token]);
      const finished = beamSearch.results.map(({ score }) => score);
      const best = Math.max(...finished, ...sequences.slice(0, 1).map(scoreOf));
      assert.ok(Math.abs(scoreOf(beamSearch.leading) - best) < 1e-9, `seed ${seed}`);
    }
    assert.deepEqual(beamSearch.leading, beamSearch.results[0]!.ids);
  }
});
