/** How sure a model is of given captions: against whole forwards in f64, over kernels and over onnxruntime. */
import assert from "node:assert/strict";
import {
  blankPixelValues,
  CaptionScorer,
  confidenceOf,
  type TeacherForcing,
} from "../../lib/generate/confidence.ts";
import { ForcedDecoder } from "../../lib/generate/forced_decoder.ts";
import { OnnxForcing } from "../../lib/generate/onnx_forcing.ts";
import { logSoftmax } from "../../lib/generate/sampling.ts";
import { parseProcessorConfig } from "../../lib/image/processor.ts";
import { ONNX_LAYOUTS } from "../../lib/models/onnx_layouts.ts";
import { referenceFeatures, referencePrefix } from "../reference/captioner.ts";
import { referenceLogits } from "../reference/decoders.ts";
import { createTinyCaptioner, ODD_CONFIG, oddDecoder } from "../models/tiny_captioner.ts";
import { captionerFolders } from "../support/captioner_folders.ts";
import { LLAMA } from "../support/every_family.ts";
import { randomValues, testGpu } from "../support/gpu.ts";
import { kernelGenerator, onnxStepper } from "../support/onnx_captioner.ts";

Deno.test("the image's gain is the difference to the blank image, and both are taken per token", () => {
  assert.deepEqual(confidenceOf({ logProb: -3, blankLogProb: -9, tokens: 4 }), {
    logProb: -3,
    logProbPerToken: -0.75,
    imageGain: 6,
    imageGainPerToken: 1.5,
  });
  for (const tokens of [0, NaN]) {
    assert.throws(() => confidenceOf({ logProb: 0, blankLogProb: 0, tokens }), RangeError);
  }
});

Deno.test("the blank picture is what the processor subtracts, else mid-grey", () => {
  const image = { channels: 3, size: 2 };
  const clip = parseProcessorConfig({ image_processor_type: "CLIPImageProcessor" });
  assert.deepEqual([...blankPixelValues(clip, image)], Array(12).fill(0));
  const plain = parseProcessorConfig({ image_processor_type: "ViTImageProcessor", do_normalize: false });
  assert.ok(blankPixelValues(plain, image).every((value) => Math.abs(value - 0.5) < 1e-7));
});

/** Logits that depend on the image and on all tokens before. */
class TableForcing implements TeacherForcing {
  begun: Float32Array[] = [];
  constructor(readonly table: (image: number, ids: readonly number[]) => Float32Array) {}
  begin(pixelValues: Float32Array): Promise<Float32Array> {
    this.begun.push(pixelValues);
    return Promise.resolve(this.table(pixelValues[0]!, []));
  }
  follow(...[captions, onLogits]: Parameters<TeacherForcing["follow"]>): Promise<void> {
    const image = this.begun.at(-1)![0]!;
    for (const [caption, ids] of captions.entries()) {
      for (let at = ids.length - 1; at >= 1; at--) {
        onLogits(this.table(image, ids.slice(0, at)), { caption, at });
      }
    }
    return Promise.resolve();
  }
}

Deno.test("a caption's score is the sum of its tokens' log-probabilities; an image is begun once", async () => {
  const table = (image: number, ids: readonly number[]): Float32Array =>
    randomValues(7, 100 * image + ids.reduce((sum, id) => sum * 7 + id + 1, 1), 2);
  const forcing = new TableForcing(table);
  const blank = Float32Array.of(0), picture = Float32Array.of(1);
  const scorer = new CaptionScorer(forcing, { blank });
  const captions = [[3, 1, 4, 1, 5], [2], [6, 6]];
  const wanted = (image: number) =>
    captions.map((ids) =>
      ids.reduce((sum, id, at) => {
        const row = table(image, ids.slice(0, at));
        const total = row.reduce((all, value) => all + Math.exp(value), 0);
        return sum + Math.log(Math.exp(row[id]!) / total);
      }, 0)
    );
  for (const [i, score] of (await scorer.scoreBlank(captions)).entries()) {
    assert.ok(Math.abs(score - wanted(0)[i]!) < 1e-6);
  }
  await scorer.scoreBlank([[1]]);
  assert.equal(forcing.begun.length, 1);
  for (const [i, score] of (await scorer.score(picture, captions)).entries()) {
    assert.ok(Math.abs(score - wanted(1)[i]!) < 1e-6);
  }
  await scorer.scoreBlank([[1]]);
  assert.deepEqual(forcing.begun, [blank, picture, blank]);
});

Deno.test("scores that are not numbers are refused, at the first token and at later ones", async () => {
  const broken = (at: number) =>
    new CaptionScorer(
      new TableForcing((_, ids) => Float32Array.of(1, ids.length === at ? NaN : 0)),
      { blank: Float32Array.of(0) },
    );
  for (const at of [0, 1, 2]) {
    await assert.rejects(broken(at).scoreBlank([[1, 0, 1]]), /scores are not numbers/);
  }
});

const IMAGE = 3 * ODD_CONFIG.vision.imageSize ** 2;
/** More captions than slots of the cache, and together more tokens than a step has rows. */
const CAPTIONS = Array.from(
  { length: 7 },
  (_, i) => Array.from(randomValues([24, 1, 2, 24, 23, 7, 24][i]!, i + 9), (x) => Math.floor(51.5 * (1 + x))),
);

for (const family of ["llama", "gpt2", "opt"] as const) {
  Deno.test(`${family}: all tokens at once are judged as whole forwards in f64 judge them`, async () => {
    const gpu = await testGpu();
    const config = { ...ODD_CONFIG, decoder: oddDecoder(family), unfrozenVisionLayers: 0 };
    if (family !== "llama") {
      config.lora = { ...config.lora, targetModules: [family === "opt" ? "fc1" : "c_attn"] };
    }
    const captioner = createTinyCaptioner(gpu, config);
    const { values, weights } = captioner;
    const forced = await ForcedDecoder.create(gpu, { config, weights, maxNewTokens: 24 });
    const blank = new Float32Array(IMAGE);
    const scorer = new CaptionScorer(forced, { blank });
    const picture = randomValues(IMAGE, 77, 1.5);
    for (const pixels of [blank, picture, blank]) {
      const scores = pixels === blank
        ? await scorer.scoreBlank(CAPTIONS)
        : await scorer.score(pixels, CAPTIONS);
      const prefix = referencePrefix(values, referenceFeatures(values, pixels, config.vision), config);
      for (const [i, ids] of CAPTIONS.entries()) {
        const rows = referenceLogits(values, { prefix, ids }, config).slice(prefix.length - 1);
        const wanted = ids.reduce((sum, id, at) => sum + logSoftmax(rows[at]!)[id]!, 0);
        assert.ok(Math.abs(scores[i]! - wanted) < 1e-3, `caption ${i}: ${scores[i]}, expected ${wanted}`);
      }
    }
    await assert.rejects(scorer.scoreBlank([Array(25).fill(1)]), /caption of 25 tokens, expected at most 24/);
    await assert.rejects(scorer.score(new Float32Array(5), [[1]]), /image of 5 values/);
    forced.destroy();
    captioner.destroy();
  });
}

Deno.test("onnxruntime judges captions as the kernels do, in every layout", async () => {
  const folders = captionerFolders(LLAMA);
  const picture = randomValues(3 * 15 * 15, 99, 1.5);
  const blank = new Float32Array(picture.length);
  const captions = [[5, 60, 17, 44, 2], [2], [7, 7, 7, 7, 7, 7, 7, 7, 2], [33, 2]];
  const { config, weights, destroy } = await kernelGenerator(folders, { maxNewTokens: 9 });
  const forced = await ForcedDecoder.create(await testGpu(), { config, weights, maxNewTokens: 9 });
  const kernels = new CaptionScorer(forced, { blank });
  const wanted = [await kernels.scoreBlank(captions), await kernels.score(picture, captions)];
  forced.destroy();
  destroy();
  assert.ok(captions.every((_, i) => Math.abs(wanted[0]![i]! - wanted[1]![i]!) > 0.01));
  for (const layout of ONNX_LAYOUTS) {
    const scorer = new CaptionScorer(
      new OnnxForcing(await onnxStepper(folders, { layout, maxNewTokens: 9 })),
      { blank },
    );
    const found = [
      await scorer.scoreBlank(captions),
      await scorer.score(picture, captions),
      await scorer.scoreBlank(captions),
    ];
    for (const [i] of captions.entries()) {
      assert.ok(Math.abs(found[0]![i]! - wanted[0]![i]!) < 1e-3, layout);
      assert.ok(Math.abs(found[1]![i]! - wanted[1]![i]!) < 1e-3, layout);
      assert.equal(found[2]![i], found[0]![i]);
    }
  }
});
