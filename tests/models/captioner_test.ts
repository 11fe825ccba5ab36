/** The captioner's graph, its gradients and its captions at odd sizes, against a plain f64 forward. */
import assert from "node:assert/strict";
import { CaptionGenerator, type SearchOptions } from "../../lib/generate/generator.ts";
import { candidateCount } from "../../lib/generate/generator_plans.ts";
import { logSoftmax } from "../../lib/generate/sampling.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { createTensor, readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import {
  type CaptionerConfig,
  decodeHidden,
  encodeImages,
  prefixTokens,
  projectFeatures,
} from "../../lib/models/captioner.ts";
import { decoderHead } from "../../lib/models/decoder.ts";
import { defaultLoraTargets } from "../../lib/models/decoder_families.ts";
import { lmHeadLoss, logits } from "../../lib/ops/lm_head_loss.ts";
import { gatherTextRows } from "../../lib/ops/prefix.ts";
import { referenceSearch } from "../reference/beam_search.ts";
import { referenceFeatures, referenceLoss, referencePrefix } from "../reference/captioner.ts";
import { referenceLogits } from "../reference/decoders.ts";
import type { ReferenceWeights } from "../reference/layers.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, testGpu } from "../support/gpu.ts";
import { createTinyCaptioner, ODD_CONFIG, oddDecoder, type TinyCaptioner } from "./tiny_captioner.ts";

const [B, T, I] = [3, 7, ODD_CONFIG.vision.imageSize];
const P = prefixTokens(ODD_CONFIG);
const IMAGE = 3 * I * I;
const PIXELS = randomValues(B * IMAGE, 77, 1.5);
const INPUT_IDS = [
  [5, 102, 17, 44, 2, 1, 1],
  [99, 3, 3, 60, 71, 8, 2],
  [2, 1, 1, 1, 1, 1, 1],
];
const LABELS = INPUT_IDS.map((row) => row.map((id) => id === 1 ? -100 : id));

const image = (b: number): Float32Array => PIXELS.subarray(b * IMAGE, (b + 1) * IMAGE);

/** Features, logits and loss by the reference. */
function reference(w: ReferenceWeights, config: CaptionerConfig) {
  const features = INPUT_IDS.map((_, b) => referenceFeatures(w, image(b), config.vision));
  return { features, ...referenceTail(w, features, config) };
}

function referenceTail(w: ReferenceWeights, features: Float64Array[][], config: CaptionerConfig) {
  const scores = features.map((rows, b) =>
    referenceLogits(w, { prefix: referencePrefix(w, rows, config), ids: INPUT_IDS[b]! }, config)
  );
  return { logits: scores, loss: referenceLoss(scores, LABELS) };
}

/** Runs the whole graph forward and backward; gradients are left in the set. */
async function runGraph({ weights, config }: TinyCaptioner) {
  const gpu = await testGpu();
  const r = new Recorder(gpu, true);
  const pixels = tensorFrom(gpu, PIXELS, { shape: [B, 3, I, I] });
  const ids = tensorFrom(gpu, Uint32Array.from(INPUT_IDS.flat()), { shape: [B, T] });
  const features = r.keep(encodeImages(r, weights, pixels, config));
  const prefix = projectFeatures(r, weights, features, { config });
  const hidden = decodeHidden(r, weights, { prefix, inputIds: ids }, { config });
  const head = decoderHead(weights.decoder, config.decoder);
  const scores = r.keep(logits(r, hidden.reshape(B * (P + T), config.decoder.hiddenSize), head));
  const lossOut = createTensor(gpu, [2]);
  const labels = tensorFrom(gpu, Int32Array.from(LABELS.flat()));
  lmHeadLoss(r, gatherTextRows(r, hidden, { prefixTokens: P }), head, labels, { lossOut });
  r.backward();
  const plan = await r.compile();
  plan.run();
  const results = {
    features: await readF32(gpu, features),
    logits: await readF32(gpu, scores),
    loss: await readF32(gpu, lossOut),
  };
  plan.destroy({ arena: true });
  return results;
}

const flat = (rows: readonly Float64Array[][]): Float64Array =>
  Float64Array.from(rows.flatMap((batch) => batch.flatMap((row) => [...row])));

/** A small vision tower and nothing trained in it: these cases are about the decoder. */
const PLAIN: CaptionerConfig = { ...ODD_CONFIG, projection: { type: "linear" }, unfrozenVisionLayers: 0 };

/** A decoder of every family, with its own head and a tied one. */
const FAMILIES = [
  {
    name: "llama with biases",
    decoder: oddDecoder("llama", { attention_bias: true, mlp_bias: true, tie_word_embeddings: true }),
  },
  {
    name: "mistral",
    decoder: oddDecoder("mistral", { head_dim: null, hidden_size: 60, num_key_value_heads: 3 }),
  },
  { name: "qwen2", decoder: oddDecoder("qwen2") },
  {
    name: "qwen3, LoRA on every linear",
    decoder: oddDecoder("qwen3", { tie_word_embeddings: true }),
    targetModules: ["all-linear"],
  },
  { name: "phi3", decoder: oddDecoder("phi3") },
  {
    name: "phi3, LoRA on every linear",
    decoder: oddDecoder("phi3", { num_key_value_heads: 6 }),
    targetModules: ["all-linear"],
  },
  { name: "gpt2", decoder: oddDecoder("gpt2") },
  {
    name: "gpt2 with its own head, LoRA on every linear",
    decoder: oddDecoder("gpt2", { tie_word_embeddings: false }),
    targetModules: ["all-linear"],
  },
  { name: "opt", decoder: oddDecoder("opt") },
  {
    name: "opt without biases",
    decoder: oddDecoder("opt", { enable_bias: false, tie_word_embeddings: false }),
    targetModules: ["all-linear"],
  },
].map(({ targetModules, ...rest }) => ({
  ...rest,
  targetModules: targetModules ?? defaultLoraTargets(rest.decoder.family),
}));

/** Configurations that differ in what the graph is made of. */
const VARIANTS: Record<string, CaptionerConfig> = {
  "mlp projection, own head, LoRA on attention, one unfrozen layer": ODD_CONFIG,
  "linear projection, tied head, LoRA on every linear, two unfrozen layers, exact GELU": {
    ...ODD_CONFIG,
    vision: { ...ODD_CONFIG.vision, gelu: "erf" },
    decoder: { ...ODD_CONFIG.decoder, tied: true, kvHeads: 1, headDim: 14 },
    projection: { type: "linear" },
    lora: {
      ...ODD_CONFIG.lora,
      rank: 5,
      targetModules: ["q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    },
    unfrozenVisionLayers: 2,
  },
  "ranks and factors by pattern, rank-stabilised": {
    ...PLAIN,
    lora: {
      ...ODD_CONFIG.lora,
      rankPattern: { "layers.1.self_attn.q_proj": 6, v_proj: 1 },
      alphaPattern: { "^model.layers.0.self_attn.k_proj": 9 },
      useRslora: true,
    },
  },
  ...Object.fromEntries(
    FAMILIES.map(({ name, decoder, targetModules }) => [
      name,
      { ...PLAIN, decoder, lora: { ...ODD_CONFIG.lora, targetModules } },
    ]),
  ),
};

for (const [name, config] of Object.entries(VARIANTS)) {
  Deno.test(`features, logits, loss and gradients are those of the numbers: ${name}`, async () => {
    const captioner = createTinyCaptioner(await testGpu(), config);
    const { values, set } = captioner;
    const got = await runGraph(captioner);
    const want = reference(values, config);
    assertClose(got.features, flat(want.features), { relative: 1e-5, label: "features" });
    assertClose(got.logits, flat(want.logits), { relative: 1e-5, label: "logits" });
    assertClose(got.loss, [want.loss, LABELS.flat().filter((label) => label !== -100).length], {
      relative: 1e-6,
      label: "loss and count",
    });
    const gradients = await set.readGradients();
    const largest = (values: Float32Array): number =>
      values.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
    const rounding = 1e-6 * Math.max(...[...gradients.values()].map(largest));
    let checked = 0;
    for (const [i, [tensor, gradient]] of [...gradients].entries()) {
      const numbers = values.get(tensor)!;
      const isVision = tensor.startsWith("vision_encoder.");
      const at = (i * 7919 + 13) % numbers.length;
      const step = 1e-5;
      const lossAt = (value: number): number => {
        const start = numbers[at]!;
        numbers[at] = value;
        const { loss } = isVision ? reference(values, config) : referenceTail(values, want.features, config);
        numbers[at] = start;
        return loss;
      };
      const wanted = (lossAt(numbers[at]! + step) - lossAt(numbers[at]! - step)) / (2 * step);
      const scale = largest(gradient);
      // A key's bias has no gradient: softmax does not see a constant.
      if (tensor.endsWith("k_proj.bias")) assert.ok(scale < rounding, `${tensor}: ${scale}`);
      else assert.ok(scale > 100 * rounding, `${tensor} has no gradient`);
      assert.ok(
        Math.abs(gradient[at]! - wanted) <= 1e-4 * scale + rounding,
        `gradient of ${tensor}[${at}]: ${gradient[at]}, expected ${wanted}, scale ${scale}`,
      );
      checked++;
    }
    assert.equal(checked, set.names.length);
    captioner.destroy();
  });
}

/** Captions by the generator. */
async function captionAll(
  { weights, config }: TinyCaptioner,
  pixels: Float32Array,
  options: { numBeams: number } & Partial<SearchOptions>,
) {
  const gpu = await testGpu();
  const count = pixels.length / IMAGE;
  const generator = await CaptionGenerator.create(gpu, {
    config,
    weights,
    batchSize: count,
    numBeams: options.numBeams,
    maxNewTokens: MAX_NEW_TOKENS,
    features: false,
  });
  const found = await generator.generate(pixels, count, { eosIds: EOS_IDS, ...options });
  generator.destroy();
  return found.map(([best]) => best!);
}

/** Enough for tokens to be repeated. */
const MAX_NEW_TOKENS = 9;
/** Several, so that captions end early and beams need more candidates. */
const EOS_IDS = Array.from({ length: 12 }, (_, i) => 2 + 8 * i);
const GENERATING: CaptionerConfig = {
  ...ODD_CONFIG,
  decoder: { ...ODD_CONFIG.decoder, eosIds: EOS_IDS },
};

Deno.test("greedy and beam search with a cache give the ids and log-probabilities of whole forwards", async () => {
  const captioner = createTinyCaptioner(await testGpu(), GENERATING);
  const { values, config } = captioner;
  const prefixes = Array.from(
    { length: B },
    (_, b) => referencePrefix(values, referenceFeatures(values, image(b), config.vision), config),
  );
  const known = new Map<string, Float64Array<ArrayBufferLike>>();
  /** Logits after a sequence by a forward over all of it; the searches ask for many sequences again. */
  const logitsAfter = (b: number, ids: readonly number[]): Float64Array => {
    const key = `${b}:${ids}`;
    const found = known.get(key) ?? referenceLogits(values, { prefix: prefixes[b]!, ids }, config).at(-1)!;
    known.set(key, found);
    return found;
  };
  let ended = 0;
  const unpenalized = new Map<number, string>();
  for (
    const { numBeams, eosIds, repetitionPenalty = 1, lengthPenalty = 1 } of [
      { numBeams: 1, eosIds: EOS_IDS },
      { numBeams: 3, eosIds: EOS_IDS, lengthPenalty: 0.5 },
      { numBeams: 1, eosIds: [2] },
      { numBeams: 4, eosIds: [2] },
      { numBeams: 1, eosIds: [2], repetitionPenalty: 1.8 },
      { numBeams: 4, eosIds: [2], repetitionPenalty: 1.6 },
    ]
  ) {
    const found = await captionAll(captioner, PIXELS, { numBeams, eosIds, repetitionPenalty, lengthPenalty });
    const all = found.map(({ ids }) => ids.join()).join(";");
    if (repetitionPenalty !== 1) {
      assert.notEqual(all, unpenalized.get(numBeams), `the penalty tells with ${numBeams} beams`);
    } else unpenalized.set(numBeams, all);
    for (const [b, { ids, logProb }] of found.entries()) {
      // Greedy search penalises logits, beam search log-probabilities.
      const next = (ids: readonly number[]): Float64Array => {
        const scores = logitsAfter(b, ids);
        return Float64Array.from(numBeams === 1 ? scores : logSoftmax(scores));
      };
      const options = { numBeams, eosIds, maxNewTokens: MAX_NEW_TOKENS };
      const wanted = referenceSearch(next, { ...options, repetitionPenalty, lengthPenalty });
      const label = `image ${b}, ${numBeams} beams, penalty ${repetitionPenalty}`;
      assert.deepEqual(ids, wanted.ids, label);
      assert.ok(Math.abs(logProb - wanted.sum) < 1e-4, `${label}: ${logProb}, expected ${wanted.sum}`);
      if (ids.length < MAX_NEW_TOKENS) ended++;
    }
  }
  assert.ok(ended > 0, "some captions end before the limit");
  captioner.destroy();
});

for (const { name, decoder, targetModules } of FAMILIES) {
  Deno.test(`greedy and beam search with a cache give what whole forwards give: ${name}`, async () => {
    const captioner = createTinyCaptioner(await testGpu(), {
      ...PLAIN,
      decoder: { ...decoder, eosIds: EOS_IDS },
      lora: { ...ODD_CONFIG.lora, targetModules },
    });
    const { values, config } = captioner;
    for (const numBeams of [1, 3]) {
      const found = await captionAll(captioner, PIXELS, { numBeams });
      for (const [b, { ids, logProb }] of found.entries()) {
        const prefix = referencePrefix(values, referenceFeatures(values, image(b), config.vision), config);
        const next = (ids: readonly number[]): Float64Array =>
          Float64Array.from(logSoftmax(referenceLogits(values, { prefix, ids }, config).at(-1)!));
        const options = { numBeams, eosIds: EOS_IDS, maxNewTokens: MAX_NEW_TOKENS };
        const wanted = referenceSearch(next, { ...options, repetitionPenalty: 1, lengthPenalty: 1 });
        assert.deepEqual(ids, wanted.ids, `image ${b}, ${numBeams} beams`);
        assert.ok(Math.abs(logProb - wanted.sum) < 1e-4, `image ${b}: ${logProb}, expected ${wanted.sum}`);
      }
    }
    captioner.destroy();
  });
}

Deno.test("a row has a candidate for every end token of every beam, and one for greedy search", () => {
  const count = (numBeams: number, eosIds: number[], vocabSize: number): number =>
    candidateCount({
      config: { ...ODD_CONFIG, decoder: { ...ODD_CONFIG.decoder, eosIds, vocabSize } },
      numBeams,
    });
  assert.equal(count(1, [2], 103), 1);
  assert.equal(count(3, [2], 103), 6);
  assert.equal(count(3, [], 103), 6);
  assert.equal(count(3, [0, 2], 103), 9);
  assert.equal(count(3, [0, 2], 7), 7);
});

Deno.test("a batch in another order has the same captions in that order, one image alone the same", async () => {
  const captioner = createTinyCaptioner(await testGpu(), GENERATING);
  const order = [2, 0, 1];
  const permuted = new Float32Array(PIXELS.length);
  for (const [to, from] of order.entries()) permuted.set(image(from), to * IMAGE);
  for (const numBeams of [1, 3]) {
    const straight = await captionAll(captioner, PIXELS, { numBeams });
    const other = await captionAll(captioner, permuted, { numBeams });
    assert.ok(new Set(straight.map(({ ids }) => ids.join())).size > 1, "the images differ");
    for (const [to, from] of order.entries()) {
      assert.deepEqual(other[to]!.ids, straight[from]!.ids);
      assert.ok(Math.abs(other[to]!.logProb - straight[from]!.logProb) < 1e-5);
    }
    const [alone] = await captionAll(captioner, image(1).slice(), { numBeams });
    assert.deepEqual(alone!.ids, straight[1]!.ids);
  }
  captioner.destroy();
});

Deno.test("LoRA with B = 0 is the base model, and with another B it is not", async () => {
  const gpu = await testGpu();
  const base = createTinyCaptioner(gpu, { ...ODD_CONFIG, lora: { ...ODD_CONFIG.lora, rank: 0 } });
  const start = createTinyCaptioner(gpu, ODD_CONFIG, { zeroLoraB: true });
  // The same seeds would fall on other tensors, so the base takes over what both have.
  base.set.write(
    new Map([...await start.set.read()].filter(([name]) => base.set.has(name))),
  );
  const want = await runGraph(base);
  const got = await runGraph(start);
  assertClose(got.logits, want.logits, { relative: 1e-6 });
  const b = [...(await start.set.readGradients())].filter(([name]) => name.endsWith("lora_B.weight"));
  assert.equal(b.length, 12);
  for (const [name, gradient] of b) assert.ok(gradient.some((g) => g !== 0), `${name} is never trained`);
  const trained = createTinyCaptioner(gpu, ODD_CONFIG);
  const other = await runGraph(trained);
  assert.ok(other.logits.some((value, i) => Math.abs(value - want.logits[i]!) > 0.01));
  for (const captioner of [base, start, trained]) captioner.destroy();
});

Deno.test("captions longer than the rotary table, scores that are no numbers and senseless counts are refused", async () => {
  const gpu = await testGpu();
  const captioner = createTinyCaptioner(gpu);
  const { weights, config, set } = captioner;
  const options = { config, weights, batchSize: 1, numBeams: 1, maxNewTokens: T, features: false };
  const most = config.decoder.maxPositions - P + 1;
  (await CaptionGenerator.create(gpu, { ...options, maxNewTokens: most })).destroy();
  await assert.rejects(CaptionGenerator.create(gpu, { ...options, maxNewTokens: most + 1 }), {
    name: "RangeError",
    message:
      "Cannot generate captions of 33 tokens after 9 image tokens: the decoder was loaded for 40 positions, " +
      "which leaves 32",
  });
  for (const [name, count] of [["batchSize", 0], ["numBeams", 1.5], ["maxNewTokens", NaN]] as const) {
    await assert.rejects(CaptionGenerator.create(gpu, { ...options, [name]: count }), {
      name: "RangeError",
      message: `Cannot generate captions: ${name} is ${count}, expected at least 1`,
    });
  }
  const bias = new Float32Array(config.decoder.hiddenSize).fill(NaN);
  set.write(new Map([...await set.read(), ["projection.projection.3.bias", bias]]));
  for (const repetitionPenalty of [1, 1.5]) {
    const generator = await CaptionGenerator.create(gpu, options);
    await assert.rejects(generator.generate(image(0).slice(), 1, { eosIds: [2], repetitionPenalty }), {
      name: "RangeError",
      message: /^Cannot caption: the model's scores are not numbers/,
    });
    await assert.rejects(generator.generate(image(0).subarray(1), 1, { eosIds: [2] }), TypeError);
    generator.destroy();
  }
  captioner.destroy();
});

Deno.test("a step that ran ahead is taken back when other tokens are asked for, and scores are read in time or not at all", async () => {
  const captioner = createTinyCaptioner(await testGpu(), GENERATING);
  const { weights, config } = captioner;
  const generator = await CaptionGenerator.create(await testGpu(), {
    config,
    weights,
    batchSize: 2,
    numBeams: 1,
    maxNewTokens: MAX_NEW_TOKENS,
    features: false,
  });
  const pixels = PIXELS.slice(0, 2 * IMAGE);
  const parents = Uint32Array.of(0, 1);
  const follow = async (readFirst: boolean, live: boolean[]): Promise<Float32Array[]> => {
    let scores = await generator.prefill(pixels, 2);
    for (const tokens of [Uint32Array.of(5, 9), Uint32Array.of(71, 44)]) {
      if (readFirst) await scores.candidates();
      scores = await generator.step({ tokens, parents, live });
    }
    return await scores.logits();
  };
  const want = await follow(false, [true, true]);
  assert.deepEqual(await follow(true, [true, true]), want);
  // Of an image whose caption has ended nobody asks anything.
  assert.deepEqual((await follow(true, [true, false]))[0], want[0]);
  const first = await generator.prefill(pixels, 2);
  await first.candidates();
  await assert.rejects(first.candidates(), { name: "TypeError", message: /read them once, in time/ });
  await assert.rejects(first.logits(), TypeError);
  generator.destroy();
  captioner.destroy();
});
