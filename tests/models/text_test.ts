/** Text encoders of every family at odd sizes against plain f64 forwards: hidden states, pooled states, padding. */
import assert from "node:assert/strict";
import { openFileFolder } from "../../lib/host/files.ts";
import { readTexts } from "../../lib/host/parity_text.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { openFile } from "../../lib/host/files.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { readF32, tensorFrom } from "../../lib/gpu/tensor.ts";
import { loadTextModel } from "../../lib/models/load.ts";
import {
  maxTextTokens,
  pooledText,
  type TextConfig,
  textHiddenStates,
  textSpecs,
} from "../../lib/models/text.ts";
import {
  createTextInputs,
  destroyTextInputs,
  packTexts,
  type TextBatch,
  writeTextInputs,
} from "../../lib/models/text_batch.ts";
import {
  imageEmbeddings,
  logitsPerImage,
  textEmbeddings,
  type TwoTowerConfig,
  twoTowerSpecs,
} from "../../lib/models/two_tower.ts";
import { type VisionConfig, visionEncoder } from "../../lib/models/vision.ts";
import {
  type Get,
  referenceImageEmbedding,
  referenceText,
  referenceTextEmbedding,
  referenceVision,
} from "../reference/encoders.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, runOnce, testGpu } from "../support/gpu.ts";
import { drawWeights, freezeWeights } from "../support/weights.ts";

/** 3 layers, heads of 12, vocabulary 103. */
const SIZES = {
  hiddenSize: 36,
  intermediateSize: 47,
  layers: 3,
  heads: 3,
  vocabSize: 103,
  eps: 1e-5,
  qkvBias: true,
};
const CONFIGS: Record<TextConfig["family"], TextConfig> = {
  siglip: { ...SIZES, family: "siglip", gelu: "tanh", maxPositions: 11, typeVocabSize: 0, padId: 1 },
  clip: { ...SIZES, family: "clip", gelu: "quick", maxPositions: 13, typeVocabSize: 0, padId: 1, endId: 99 },
  roberta: { ...SIZES, family: "roberta", gelu: "erf", maxPositions: 17, typeVocabSize: 1, padId: 5 },
  bert: { ...SIZES, family: "bert", gelu: "erf", maxPositions: 11, typeVocabSize: 3, padId: 0 },
};

/** The second is as long as every encoder takes; the third has RoBERTa's padding inside; all have an end token, 99. */
const TEXTS = [
  [7, 44, 99],
  [102, 3, 60, 71, 8, 12, 99, 31, 17, 99, 2],
  [20, 5, 33, 99, 41],
];

/** Hidden states by the reference, for every text; padding included. */
function referenceStates(get: Get, batch: TextBatch, config: TextConfig) {
  const T = batch.length;
  const row = (values: Uint32Array, b: number): number[] => [...values.subarray(b * T, (b + 1) * T)];
  return Array.from({ length: batch.size }, (_, b) =>
    referenceText(get, {
      ids: row(batch.inputIds, b),
      types: row(batch.tokenTypeIds, b),
      mask: row(batch.keyMask, b),
    }, config));
}

for (const config of Object.values(CONFIGS)) {
  Deno.test(`hidden states of every layer are those of the numbers: ${config.family}`, async () => {
    const gpu = await testGpu();
    const specs = textSpecs(config);
    const values = drawWeights(specs);
    const weights = freezeWeights(gpu, specs, values);
    const types = config.typeVocabSize > 1 ? TEXTS.map((text) => text.map((_, t) => t % 3)) : [];
    const batch = packTexts(TEXTS, { config, tokenTypeIds: types });
    assert.equal(batch.length, 11);
    const inputs = createTextInputs(gpu, batch);
    const r = new Recorder(gpu);
    const states = textHiddenStates(r, weights, inputs, { config }).map((state) => r.keep(state));
    assert.equal(states.length, config.layers + 1);
    const plan = await r.compile();
    // The second time with the texts in another order.
    for (const order of [[0, 1, 2], [2, 0, 1]]) {
      const other = packTexts(order.map((b) => TEXTS[b]!), {
        config,
        tokenTypeIds: types.length > 0 ? order.map((b) => types[b]!) : [],
      });
      writeTextInputs(gpu, inputs, other);
      plan.run();
      const want = referenceStates((name) => Float64Array.from(values.get(name)!), other, config);
      for (const [layer, state] of states.entries()) {
        const got = await readF32(gpu, state);
        for (let b = 0; b < other.size; b++) {
          const length = config.family === "siglip" ? other.length : TEXTS[order[b]!]!.length;
          const start = b * other.length * config.hiddenSize;
          const rows = want[b]![layer]!.slice(0, length).flatMap((row) => [...row]);
          const label = `layer ${layer} of text ${b}`;
          assertClose(got.subarray(start, start + rows.length), rows, { relative: 1e-5, label });
        }
      }
    }
    plan.destroy({ arena: true });
    destroyTextInputs(inputs);

    // A lower layer alone is the same, and padding to another length changes nothing.
    if (config.family !== "siglip") {
      const [short, long] = [
        packTexts([TEXTS[0]!], { config }),
        packTexts([TEXTS[0]!], { config, length: 9 }),
      ];
      assert.deepEqual([short.length, long.length], [3, 9]);
      const results = [];
      for (const one of [short, long]) {
        const tensors = createTextInputs(gpu, one);
        const { state } = await runOnce(gpu, (r) => {
          const states = textHiddenStates(r, weights, tensors, { config, layers: 2 });
          assert.equal(states.length, 3);
          return { state: states.at(-1)! };
        });
        results.push(state.slice(0, 3 * config.hiddenSize));
        destroyTextInputs(tensors);
      }
      assertClose(results[0]!, results[1]!, { relative: 1e-6 });
    }
    weights.destroy();
  });
}

const VISION: VisionConfig = {
  ...SIZES,
  family: "siglip",
  imageSize: 42,
  patchSize: 14,
  channels: 3,
  gelu: "tanh",
  dropout: 0,
};
const TOWERS: Record<string, TwoTowerConfig> = {
  "SigLIP": { family: "siglip", vision: VISION, text: CONFIGS.siglip, embeddingSize: 36 },
  "SigLIP, one patch": {
    family: "siglip",
    vision: { ...VISION, imageSize: 20 },
    text: CONFIGS.siglip,
    embeddingSize: 36,
  },
  "CLIP": {
    family: "clip",
    vision: { ...VISION, family: "clip", gelu: "quick", hiddenSize: 33 },
    text: CONFIGS.clip,
    embeddingSize: 29,
  },
};

for (const [name, config] of Object.entries(TOWERS)) {
  Deno.test(`embeddings of images and texts are those of the numbers: ${name}`, async () => {
    const gpu = await testGpu();
    const { vision, text } = config;
    const specs = twoTowerSpecs(config);
    const values = drawWeights(specs);
    const weights = freezeWeights(gpu, specs, values);
    const batch = packTexts(TEXTS, { config: text });
    const inputs = createTextInputs(gpu, batch);
    const area = 3 * vision.imageSize ** 2;
    const pixels = randomValues(2 * area, 3, 1.5);
    const got = await runOnce(gpu, (r) => {
      const shape = [2, 3, vision.imageSize, vision.imageSize];
      const states = visionEncoder(r, weights, tensorFrom(gpu, pixels, { shape }), vision);
      return {
        images: imageEmbeddings(r, weights, states, config),
        texts: textEmbeddings(r, weights, inputs, config),
      };
    });
    const get: Get = (name) => Float64Array.from(values.get(name)!);
    const images = [0, 1].flatMap((b) => {
      const states = referenceVision(get, pixels.subarray(b * area, (b + 1) * area), vision);
      return [...referenceImageEmbedding(get, states, vision)];
    });
    assertClose(got.images, images, { relative: 1e-5, label: "images" });
    // SigLIP reads the last position, CLIP the first end token.
    const positions = config.family === "siglip" ? [10, 10, 10] : [2, 6, 3];
    const texts = referenceStates(get, batch, text).flatMap((states, b) => [
      ...referenceTextEmbedding(get, { last: states.at(-1)!, position: positions[b]! }, text),
    ]);
    assertClose(got.texts, texts, { relative: 1e-5, label: "texts" });
    assert.deepEqual([...batch.pooledRows], positions.map((position, b) => b * 11 + position));
    weights.destroy();
    destroyTextInputs(inputs);
  });
}

Deno.test("scores are scaled cosines with a bias, images by rows", () => {
  const scores = logitsPerImage([[1, 0, 0.6, 0.8], [0, 1, 1, 0, 0.8, 0.6]], {
    width: 2,
    logScale: Math.log(10),
    bias: -1,
  });
  assertClose(scores, [-1, 9, 7, 7, 5, 8.6], { relative: 1e-12 });
});

Deno.test("texts are packed as their family wants them", () => {
  const { roberta, clip, bert, siglip } = CONFIGS;
  const packed = packTexts([[7, 5, 8], [9]], { config: roberta, length: 4 });
  assert.deepEqual([...packed.inputIds], [7, 5, 8, 5, 9, 5, 5, 5]);
  assert.deepEqual([...packed.keyMask], [1, 1, 1, 0, 1, 0, 0, 0]);
  assert.deepEqual([...packed.positionIds], [6, 5, 7, 5, 6, 5, 5, 5]);
  assert.equal(maxTextTokens(roberta), 11);
  assert.equal(maxTextTokens(bert), 11);
  assert.equal(packTexts([[7]], { config: siglip }).length, 11);
  // The legacy end id stands for the largest id of a text, its first place.
  const legacy = packTexts([[7, 102, 3, 102]], { config: { ...clip, endId: 2 } });
  assert.deepEqual([...legacy.pooledRows], [1]);
  const cases: [number[][], TextConfig, RegExp][] = [
    [[[7, 8]], clip, /^Cannot pack text 0: it has no end token, 99$/],
    [[[7], []], bert, /^Cannot pack text 1: it has 0 tokens, expected 1 to 1$/],
    [[Array<number>(12).fill(7)], roberta, /^Cannot pack 1 texts into 12 tokens each: .* 1 to 11 tokens$/],
    [[Array<number>(12).fill(7)], siglip, /^Cannot pack text 0: it has 12 tokens, expected 1 to 11$/],
    [[[7, 103]], bert, /text 0 has token 103, expected 0 to 102$/],
    [[[7, -1]], bert, /text 0 has token -1/],
    [[], bert, /^Cannot pack 0 texts/],
  ];
  for (const [texts, config, message] of cases) {
    assert.throws(() => packTexts(texts, { config }), { name: "RangeError", message });
  }
  assert.throws(() => packTexts([[7]], { config: bert, tokenTypeIds: [[3]] }), {
    name: "RangeError",
    message: /text 0 has token type 3, expected 0 to 2$/,
  });
  assert.throws(() => packTexts([[7]], { config: bert, tokenTypeIds: [[0, 1]] }), RangeError);
});

Deno.test("inputs that a family needs, too many tokens or layers and states that it has not are refused", async () => {
  const gpu = await testGpu();
  const { roberta, clip } = CONFIGS;
  const r = new Recorder(gpu);
  const ids = r.tensor([1, 3], "ids", "u32");
  const specs = textSpecs(roberta);
  const weights = freezeWeights(gpu, specs, drawWeights(specs));
  assert.throws(() => textHiddenStates(r, weights, { inputIds: ids }, { config: roberta }), {
    name: "TypeError",
    message: 'Cannot encode texts: RoBERTa needs "positionIds"',
  });
  const long = r.tensor([1, 12], "ids", "u32");
  assert.throws(() => textHiddenStates(r, weights, { inputIds: long }, { config: roberta }), {
    name: "RangeError",
    message: "Cannot encode texts of 12 tokens: RoBERTa takes 11",
  });
  assert.throws(
    () => textHiddenStates(r, weights, { inputIds: ids }, { config: roberta, layers: 4 }),
    { name: "RangeError", message: /up to layer 4: RoBERTa has 3$/ },
  );
  const state = r.tensor([1, 3, 36], "state");
  const inputs = { inputIds: ids };
  assert.throws(() => pooledText(r, weights, state, { config: roberta, inputs }), TypeError);
  const tower = textSpecs(clip);
  const other = freezeWeights(gpu, tower, drawWeights(tower));
  assert.throws(() => pooledText(r, other, state, { config: clip, inputs }), {
    name: "TypeError",
    message: /a CLIP text tower needs "pooledRows"$/,
  });
  weights.destroy();
  other.destroy();
});

Deno.test("hidden layer 2 of RoBERTa gives the BERTScore that was computed from it elsewhere", async () => {
  const gpu = await testGpu();
  const folder = new URL("../golden/parity/roberta", import.meta.url).pathname;
  const wanted = JSON.parse(await Deno.readTextFile(`${folder}/bertscore.json`));
  const { config, weights } = await loadTextModel(gpu, await openFileFolder(`${folder}/model`));
  const texts = await readTexts(await openSafetensors(await openFile(`${folder}/inputs.safetensors`)));
  const batch = packTexts(texts, { config });
  const inputs = createTextInputs(gpu, batch);
  const { state } = await runOnce(gpu, (r) => ({
    state: textHiddenStates(r, weights, inputs, { config, layers: wanted.layer }).at(-1)!,
  }));
  const D = config.hiddenSize;
  /** States of a text's tokens, each of length 1. */
  const tokens = (b: number): Float64Array[] =>
    texts[b]!.map((_, t) => {
      const row = Float64Array.from(
        state.subarray((b * batch.length + t) * D, (b * batch.length + t + 1) * D),
      );
      const length = Math.hypot(...row);
      return row.map((value) => value / length);
    });
  /** Mean over the inner tokens of `from` of the best cosine with any token of `to`. */
  const best = (from: Float64Array[], to: Float64Array[]): number => {
    const cosines = from.slice(1, -1).map((a) =>
      Math.max(...to.map((b) => a.reduce((sum, value, c) => sum + value * b[c]!, 0)))
    );
    return cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
  };
  for (const [i, candidate] of wanted.candidate_rows.entries()) {
    const [theirs, ours] = [tokens(wanted.reference_rows[i]), tokens(candidate)];
    const [precision, recall] = [best(ours, theirs), best(theirs, ours)];
    const f1 = 2 * precision * recall / (precision + recall);
    assertClose([precision, recall, f1], [wanted.precision[i], wanted.recall[i], wanted.f1[i]], {
      relative: 0,
      absolute: 1e-4,
    });
  }
  weights.destroy();
  destroyTextInputs(inputs);
});
