import { deepStrictEqual, ok, rejects, strictEqual, throws } from "node:assert/strict";
import { CaptionGenerator } from "../../lib/generate/generator.ts";
import { logSoftmax } from "../../lib/generate/sampling.ts";
import { ciderReward } from "../../lib/train/cider_reward.ts";
import { createTrainingEngine } from "../../lib/train/engine.ts";
import type { BatchRow, PolicyBatch, TrainBatch, TrainingEngine } from "../../lib/train/engine_types.ts";
import { guardPenalty } from "../../lib/train/reward_guard.ts";
import {
  type SampledCaption,
  SelfCritical,
  type SelfCriticalOptions,
} from "../../lib/train/self_critical.ts";
import { scoreCorpus } from "../../lib/text/metrics/corpus.ts";
import { type CaptionerConfig, prefixTokens } from "../../lib/models/captioner.ts";
import { referenceFeatures, referencePrefix } from "../reference/captioner.ts";
import { referenceLogits } from "../reference/decoders.ts";
import type { ReferenceWeights } from "../reference/layers.ts";
import { createTinyCaptioner, ODD_CONFIG } from "../models/tiny_captioner.ts";
import { randomValues, testGpu } from "../support/gpu.ts";
import { fakeEngine } from "./fake_engine.ts";

const padBatch: SelfCriticalOptions["padBatch"] = (captions, { length }) => {
  const inputIds = new Int32Array(captions.length * length).fill(1);
  const labels = new Int32Array(captions.length * length).fill(-100);
  for (const [b, ids] of captions.entries()) {
    inputIds.set(ids, b * length);
    labels.set(ids, b * length);
  }
  return { inputIds, labels };
};

/** Log-probabilities of all tokens at the place of each given one, by the reference. */
function logProbabilities(
  w: ReferenceWeights,
  features: Float64Array[],
  { ids, config }: { ids: readonly number[]; config: CaptionerConfig },
): Float64Array[] {
  const logits = referenceLogits(w, { prefix: referencePrefix(w, features, config), ids }, config);
  const P = prefixTokens(config);
  return ids.map((_, t) => logSoftmax(logits[P + t - 1]!));
}

/** No dropout: the cross-entropy's numbers are then those of the reference. */
const CONFIG: CaptionerConfig = {
  ...ODD_CONFIG,
  decoder: { ...ODD_CONFIG.decoder, eosIds: Array.from({ length: 12 }, (_, i) => 2 + 8 * i) },
  projection: { type: "mlp", hiddenSize: 29, dropout: 0 },
  lora: { ...ODD_CONFIG.lora, dropout: 0 },
};
const { channels, imageSize: I } = CONFIG.vision;
const IMAGE = channels * I * I;

/** Compares each tensor's gradient, at one of its elements, with the central difference of a loss. */
function checkGradients(
  values: Map<string, Float64Array>,
  gradients: ReadonlyMap<string, Float32Array>,
  lossNow: () => number,
): void {
  const largest = (g: Float32Array) => g.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  const rounding = 2e-6 * Math.max(...[...gradients.values()].map(largest));
  ok(rounding > 0, "there are gradients");
  for (const [i, [name, gradient]] of [...gradients].entries()) {
    const numbers = values.get(name)!;
    const at = (i * 7919 + 5) % numbers.length;
    const start = numbers[at]!;
    const lossAt = (value: number): number => {
      numbers[at] = value;
      const loss = lossNow();
      numbers[at] = start;
      return loss;
    };
    const wanted = (lossAt(start + 1e-5) - lossAt(start - 1e-5)) / 2e-5;
    ok(
      Math.abs(gradient[at]! - wanted) <= 2e-4 * largest(gradient) + rounding,
      `gradient of ${name}[${at}]: ${gradient[at]}, expected ${wanted}`,
    );
  }
}

Deno.test("the gradient of cross-entropy and rewarded samples together is that of the numbers", async () => {
  const gpu = await testGpu();
  const [B, T, accumulation, weight, samples] = [2, 6, 2, 0.7, 2];
  const captioner = createTinyCaptioner(gpu, CONFIG);
  const { values, weights } = captioner;
  const engine = await createTrainingEngine(gpu, {
    config: CONFIG,
    models: weights,
    modelBytes: 0,
    start: new Map([...values].map(([name, numbers]) => [name, Float32Array.from(numbers)])),
    batchSize: B,
    textLength: T,
    accumulation,
    features: false,
    policyWeight: weight,
  });
  const generator = await CaptionGenerator.create(gpu, {
    config: CONFIG,
    weights: { ...weights, trainable: engine.parameters },
    batchSize: B,
    numBeams: 1,
    maxNewTokens: T,
    features: false,
  });
  const pixelValues = randomValues(B * IMAGE, 77, 1.5);
  const rows: BatchRow[] = Array.from({ length: B }, (_, b) => ({
    id: `image ${b}`,
    sha256: String(b),
    captions: ["1 2 3"],
  }));
  const wanted = [[5, 102, 17, 2], [99, 3, 60, 71, 8, 2]];
  const batch: TrainBatch = { size: B, pixelValues, rows, ...padBatch(wanted, { length: T }) };
  const eosIds = CONFIG.decoder.eosIds;
  const rounds: SampledCaption[][] = [];
  const selfCritical = new SelfCritical({
    weight,
    samples,
    seed: 3,
    guard: 0.5,
    emptyReward: 0,
    isEnded: true,
    padBatch,
    async sampleCaptions(_, { seed }) {
      const found = await generator.generate(pixelValues, B, {
        eosIds,
        ...(seed !== undefined && { seed, temperature: 1 }),
      });
      const captions = found.map(([best]) => ({
        ids: best!.ids,
        text: best!.ids.join(" "),
        logProb: best!.logProb,
        isFinished: eosIds.includes(best!.ids.at(-1)!),
      }));
      rounds.push(captions);
      return captions;
    },
    reward: (captions) =>
      Promise.resolve(
        captions.map(({ text }) => text.split(" ").reduce((sum, id) => sum + Number(id), 0) / 100),
      ),
  });
  const stats = await selfCritical.step(engine, batch, { seedStep: 4 });
  engine.microStep(batch, { seedStep: 4 });

  const net = rounds.map((captions) =>
    captions.map(({ ids, text, isFinished }, b) =>
      ids.reduce((sum, id) => sum + id, 0) / 100 -
      0.5 * guardPenalty(text, { references: rows[b]!.captions, isFinished })
    )
  );
  const sampled = rounds.slice(1);
  const tokens = sampled.flat().reduce((sum, { ids }) => sum + ids.length, 0);
  ok(new Set(rounds.flat().map(({ text }) => text)).size > 3, "the samples differ");
  const sumOf = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
  let policyLoss = 0;
  const combined = (): number => {
    const features = rows.map((_, b) =>
      referenceFeatures(values, pixelValues.subarray(b * IMAGE, (b + 1) * IMAGE), CONFIG.vision)
    );
    const losses = (b: number, ids: readonly number[]) =>
      logProbabilities(values, features[b]!, { ids, config: CONFIG }).map((row, t) => -row[ids[t]!]!);
    const crossEntropy = sumOf(wanted.flatMap((ids, b) => losses(b, ids))) /
      sumOf(wanted.map((ids) => ids.length));
    policyLoss = sumOf(
      sampled.flatMap((captions, k) =>
        captions.map(({ ids }, b) => (net[k + 1]![b]! - net[0]![b]!) / tokens * sumOf(losses(b, ids)))
      ),
    );
    return (crossEntropy + weight * policyLoss) / accumulation;
  };
  combined();
  ok(
    Math.abs(stats.policy_loss - policyLoss) < 1e-4 * Math.abs(policyLoss),
    `${stats.policy_loss}, ${policyLoss}`,
  );
  checkGradients(values, await engine.parameters.readGradients(), combined);
  generator.destroy();
  engine.destroy();
  captioner.destroy();
});

Deno.test("over all captions there are, the policy gradient is that of the expected reward", async () => {
  const gpu = await testGpu();
  const config: CaptionerConfig = { ...CONFIG, projection: { type: "linear" }, unfrozenVisionLayers: 0 };
  const captioner = createTinyCaptioner(gpu, config);
  const { values, weights } = captioner;
  const V = config.decoder.vocabSize;
  const engine = await createTrainingEngine(gpu, {
    config,
    models: weights,
    modelBytes: 0,
    start: new Map([...values].map(([name, numbers]) => [name, Float32Array.from(numbers)])),
    batchSize: 1,
    textLength: 1,
    accumulation: 1,
    features: true,
    policyWeight: 1,
  });
  const features = referenceFeatures(values, randomValues(IMAGE, 77, 1.5), config.vision);
  const flat = Float32Array.from(features.flatMap((row) => [...row]));
  const rewards = randomValues(V, 8);
  // Captions of one token: every one of them is a sample, as often as it is likely.
  const likelihoods = () => logProbabilities(values, features, { ids: [0], config })[0]!.map(Math.exp);
  const expected = () => -likelihoods().reduce((sum, p, id) => sum + p * rewards[id]!, 0);
  for (const [id, p] of likelihoods().entries()) {
    const ids = Int32Array.of(id);
    const baseline = 0.3; // changes nothing on average
    const advantages = Float32Array.of(p * (rewards[id]! - baseline));
    engine.policyStep({ size: 1, features: flat, inputIds: ids, labels: ids, weights: advantages });
  }
  checkGradients(values, await engine.parameters.readGradients(), expected);
  throws(() =>
    engine.policyStep({
      size: 1,
      features: flat,
      inputIds: new Int32Array(1),
      labels: new Int32Array(1),
      weights: new Float32Array(2),
    }), TypeError);
  engine.destroy();
  captioner.destroy();
});

/** An engine that keeps what it is given. */
function listeningEngine(): TrainingEngine & { policies: PolicyBatch[] } {
  const policies: PolicyBatch[] = [];
  return { ...fakeEngine(), policies, policyStep: (batch) => void policies.push(batch) };
}

const ROWS: BatchRow[] = [
  { id: "a.png", sha256: "a", captions: ["a red bus"] },
  { id: "b.png", sha256: "b", captions: ["two blue cats", "blue cats"] },
];
const BATCH: TrainBatch = {
  size: 2,
  features: new Float32Array(8),
  rows: ROWS,
  ...padBatch([[1], [2]], { length: 5 }),
};

const caption = (text: string, ids: number[], isFinished = true): SampledCaption => ({
  ids,
  text,
  logProb: -ids.length,
  isFinished,
});

/** Rounds of given captions: the greedy ones, then samples. */
function selfCritical(
  rounds: readonly (readonly SampledCaption[])[],
  changes: Partial<SelfCriticalOptions> = {},
): { selfCritical: SelfCritical; seeds: (number | undefined)[] } {
  const seeds: (number | undefined)[] = [];
  return {
    seeds,
    selfCritical: new SelfCritical({
      weight: 2,
      samples: rounds.length - 1,
      seed: 42,
      guard: 0,
      emptyReward: -1,
      isEnded: true,
      padBatch,
      sampleCaptions: (_, { seed }) => Promise.resolve(rounds[seeds.push(seed) - 1]!),
      reward: (captions) => Promise.resolve(captions.map(({ text }) => text.length / 100)),
      ...changes,
    }),
  };
}

Deno.test("tokens weigh what their caption was rewarded more than the greedy one, by all tokens", async () => {
  const engine = listeningEngine();
  const { selfCritical: trained, seeds } = selfCritical([
    [caption("a bus", [7, 0]), caption("two cats", [8, 0])],
    [caption("a red bus", [7, 6, 0]), caption("cats", [8, 0])],
    [caption("a bus", [7, 0]), caption("two cats", [8, 0])],
  ]);
  const stats = await trained.step(engine, BATCH, { seedStep: 3 });
  strictEqual(engine.policies.length, 1, "captions like the greedy ones are left out");
  const { weights, labels, size } = engine.policies[0]!;
  strictEqual(size, 2);
  deepStrictEqual([...labels], [7, 6, 0, -100, -100, 8, 0, -100, -100, -100]);
  // 9 tokens were sampled; the first caption is 4 letters better, the second 4 worse.
  deepStrictEqual([...weights], [
    ...Float32Array.from([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], (b) => (b ? -0.04 : 0.04) / 9),
  ]);
  ok(Math.abs(stats.policy_loss - (0.04 * 3 - 0.04 * 2) / 9) < 1e-12);
  ok(Math.abs(stats.reward - (0.09 + 0.04 + 0.05 + 0.08) / 4) < 1e-12);
  ok(Math.abs(stats.reward_greedy - 0.065) < 1e-12);
  strictEqual(stats.sample_length, 9 / 4);
  const mean = 0.065;
  const variance = [0.09, 0.04, 0.05, 0.08].reduce((sum, r) => sum + (r - mean) ** 2 / 4, 0);
  ok(Math.abs(stats.reward_variance - variance) < 1e-12);

  // The greedy captions need no random numbers; the others have seeds of their own, the same ones every time.
  strictEqual(seeds[0], undefined);
  ok(seeds[1] !== seeds[2]);
  const again = selfCritical([BATCH, BATCH, BATCH].map(() => [caption("x", [1]), caption("y", [1])]));
  await again.selfCritical.step(engine, BATCH, { seedStep: 3 });
  deepStrictEqual(again.seeds, seeds);
  const next = selfCritical([BATCH, BATCH, BATCH].map(() => [caption("x", [1]), caption("y", [1])]));
  await next.selfCritical.step(engine, BATCH, { seedStep: 4 });
  ok(next.seeds[1] !== seeds[1]);
});

Deno.test("a step's log has the loss in its parts, and the variance of all its samples", () => {
  const { selfCritical: trained } = selfCritical([[]]);
  const one = { reward_greedy: 0, reward_guard: 0, sample_length: 5 };
  const entry = trained.describe([
    { ...one, reward: 1, reward_variance: 0, policy_loss: 0.5 },
    { ...one, reward: 3, reward_variance: 2, policy_loss: -0.1 },
  ], 4);
  strictEqual(entry["cross_entropy"], 4);
  strictEqual(entry["policy_loss"], 0.2);
  strictEqual(entry["loss"], 4.4);
  strictEqual(entry["reward"], 2);
  strictEqual(entry["reward_variance"], 2); // 1 within on average, 1 between
});

Deno.test("an empty caption has the least reward, is not judged, and the guard counts it as unfinished", async () => {
  const engine = listeningEngine();
  const judged: string[] = [];
  const { selfCritical: trained } = selfCritical(
    [[caption("", [0]), caption("cats", [8, 0])], [caption("a bus", [7, 0]), caption("", [0])]],
    {
      guard: 1,
      reward: (captions) => {
        judged.push(...captions.map(({ text }) => text));
        return Promise.resolve(captions.map(() => 0.5));
      },
    },
  );
  const stats = await trained.step(engine, BATCH, { seedStep: 0 });
  deepStrictEqual(judged, ["cats", "a bus"]);
  const { weights } = engine.policies[0]!;
  // a bus: 0.5 against -1 and a penalty of 1. The empty one: -1 - 1 against 0.5, and "cats" is less than half of "blue cats".
  strictEqual(weights[0], Math.fround(2.5 / 3));
  const short = guardPenalty("cats", { references: ROWS[1]!.captions, isFinished: true });
  ok(short > 0 && short < 1);
  strictEqual(weights[5], Math.fround((-2 - (0.5 - short)) / 3));
  strictEqual(stats.reward, -0.25);

  // Nothing at all: nothing is judged, nothing is better than anything.
  const silent = selfCritical([[caption("", [0]), caption("", [0])], [caption("", [0]), caption("", [0])]], {
    reward: () => Promise.reject(new Error("judged")),
  });
  const quiet = listeningEngine();
  strictEqual((await silent.selfCritical.step(quiet, BATCH, { seedStep: 0 })).reward, -1);
  strictEqual(quiet.policies.length, 0);
});

for (const bad of [NaN, Infinity, undefined]) {
  Deno.test(`a reward of ${bad} ends the training with the caption and its image`, async () => {
    const { selfCritical: trained } = selfCritical(
      [[caption("a bus", [7, 0]), caption("cats", [8, 0])], [
        caption("a bus", [7, 0]),
        caption("two", [8, 0]),
      ]],
      { reward: (captions) => Promise.resolve(captions.map(({ text }) => text === "two" ? bad! : 1)) },
    );
    const engine = listeningEngine();
    await rejects(trained.step(engine, BATCH, { seedStep: 0 }), {
      name: "UserError",
      message: new RegExp(`reward of "two" for b.png is ${bad}, expected a number.*--clip-model`),
    });
    strictEqual(engine.policies.length, 0);
  });
}

Deno.test("a batch that does not name its rows cannot be rewarded", async () => {
  const { rows: _, ...nameless } = BATCH;
  await rejects(
    selfCritical([[]]).selfCritical.step(listeningEngine(), nameless, { seedStep: 0 }),
    TypeError,
  );
});

Deno.test("the guard lets pass what is like the references, and takes from what is not", () => {
  const of = (text: string, isFinished = true, references = ["A red bus beside a blue car."]) =>
    guardPenalty(text, { references, isFinished });
  strictEqual(of("A red bus beside a blue car."), 0);
  strictEqual(of("A large red bus beside the small blue car there."), 0, "some words more");
  strictEqual(of("A red bus and car."), 0, "some words less");
  strictEqual(of(""), 1);
  strictEqual(of("  \n"), 1);
  strictEqual(of("A red bus beside a blue car.", false), 1, "it never ends");
  ok(of("bus") > 0.7 && of("bus") < 1, "too short");
  ok(of("red bus red bus red bus") > 0.4, "it repeats");
  ok(of("bus bus bus bus") > 0.7);
  const long = of(Array.from({ length: 100 }, (_, i) => `word${i}`).join(" "));
  strictEqual(long, 1, "too long, at most 1");
  // What a reference repeats may be repeated.
  strictEqual(
    of("a bus and a bus and a bus", true, ["a bus and a bus and a bus", "buses on a road and so on"]),
    0,
  );
  // Of several references the shortest and the longest count.
  strictEqual(of("bus", true, ["bus", "a very long caption of a bus"]), 0);
  strictEqual(of("赤い バス が いる", true, ["赤い バス が いる 所"]), 0);
  ok(of(Array.from({ length: 10_000 }, () => "bus").join(" ")) > 1.9);
});

Deno.test("CIDEr as a reward is that of the metric, whatever was asked before", async () => {
  const images = [["a red bus on grass", "the bus is red"], ["two blue cats"], ["a green tree in the snow"]];
  const row = (i: number): BatchRow => ({ id: String(i), sha256: String(i), captions: images[i]! });
  const candidates = ["a red bus is here", "two red dogs unheard of", "a green tree in snow"];
  const { images: scores } = await scoreCorpus(
    candidates.map((candidate, i) => ({ id: String(i), candidate, references: images[i]! })),
  );
  const reward = ciderReward(images);
  const captions = candidates.map((text, i) => ({ row: row(i), text }));
  const first = await reward(captions);
  for (const [i, value] of first.entries()) {
    ok(Math.abs(value - scores[i]!.values.cider_d) < 1e-12, `${i}: ${value}`);
  }
  ok(first[2]! > 1);
  await reward([{ row: row(0), text: "words never seen before" }, { row: row(1), text: "seen never words" }]);
  deepStrictEqual(await reward(captions), first, "to the last bit");
  // One reference only is enough, one image is not.
  strictEqual(
    (await ciderReward([["a cat"], ["a dog"]])([{ row: row(1), text: "two blue cats" }])).length,
    1,
  );
  throws(() => ciderReward([["a cat", "a dog"]]), {
    name: "UserError",
    message: /there are 1 images.*--reward clip/,
  });
});
