import assert from "node:assert/strict";
import { TextStates, TwoTowerEmbedder } from "../../lib/evaluate/encoders.ts";
import { bertScore, clipScore, cosine, refClipScore, siglipScore } from "../../lib/evaluate/similarity.ts";
import { openSafetensors } from "../../lib/format/safetensors.ts";
import { openFile, openFileFolder } from "../../lib/host/files.ts";
import { readTexts } from "../../lib/host/parity_text.ts";
import { loadTextModel, loadTwoTowerModel } from "../../lib/models/load.ts";
import golden from "../golden/parity/roberta/bertscore.json" with { type: "json" };
import { testGpu } from "../support/gpu.ts";

const GOLDEN = new URL("../golden/parity", import.meta.url).pathname;
const near = (actual: number, expected: number, tolerance: number, what: string) =>
  assert.ok(Math.abs(actual - expected) < tolerance, `${what}: ${actual}, expected ${expected}`);

Deno.test("BERTScore of RoBERTa's states equals the authors' program", async () => {
  const gpu = await testGpu();
  const model = await loadTextModel(gpu, await openFileFolder(`${GOLDEN}/roberta/model`));
  const texts = await readTexts(
    await openSafetensors(await openFile(`${GOLDEN}/roberta/inputs.safetensors`)),
  );
  // Three in a batch: the last is not full.
  const encoder = new TextStates(gpu, model, { layer: golden.layer, batchSize: 3 });
  const states = await encoder.states(texts);
  for (const [i, row] of golden.candidate_rows.entries()) {
    const { precision, recall, f1 } = bertScore(states[row]!, states[golden.reference_rows[i]!]!);
    near(precision, golden.precision[i]!, 1e-5, "precision");
    near(recall, golden.recall[i]!, 1e-5, "recall");
    near(f1, golden.f1[i]!, 1e-5, "F1");
  }
  assert.throws(() => new TextStates(gpu, model, { layer: model.config.layers + 1 }), /layer/);
  encoder.destroy();
  model.weights.destroy();
});

for (const name of ["clip", "siglip-two-tower-odd"]) {
  Deno.test(`embeddings of ${name} equal transformers', in batches that are not full`, async () => {
    const gpu = await testGpu();
    const open = async (file: string) =>
      await openSafetensors(await openFile(`${GOLDEN}/${name}/${file}.safetensors`));
    const [inputs, expected] = [await open("inputs"), await open("expected")];
    const model = await loadTwoTowerModel(gpu, await openFileFolder(`${GOLDEN}/${name}/model`));
    const embedder = new TwoTowerEmbedder(gpu, model, { batchSize: 2 });
    const all = await inputs.readF32("pixel_values");
    const { channels, imageSize } = model.config.vision;
    const size = channels * imageSize ** 2;
    const images = Array.from({ length: all.length / size }, (_, b) => all.slice(b * size, (b + 1) * size));
    const found = [
      ["image", await embedder.embedImages(images)],
      ["text", await embedder.embedTexts(await readTexts(inputs))],
    ] as const;
    for (const [key, embeddings] of found) {
      const name = `${key}_${expected.tensors.has("image_embeds") ? "embeds" : "features"}`;
      const wanted = await expected.readF32(name);
      const width = model.config.embeddingSize;
      for (const [b, embedding] of embeddings.entries()) {
        near(cosine(embedding, wanted.slice(b * width, (b + 1) * width)), 1, 1e-5, `${key} ${b}`);
      }
    }
    embedder.destroy();
    model.weights.destroy();
  });
}

Deno.test("scores from cosines are those of their papers", () => {
  near(clipScore(0.3), 0.75, 1e-12, "CLIPScore");
  assert.equal(clipScore(-0.3), 0);
  near(refClipScore(0.75, [0.2, 0.5]), 2 * 0.75 * 0.5 / 1.25, 1e-12, "RefCLIPScore");
  assert.equal(refClipScore(0, [-1]), 0);
  near(siglipScore(0.1, { logScale: Math.log(10), bias: -1 }), 0.5, 1e-12, "SigLIP");
  assert.equal(cosine([0, 0], [1, 0]), 0);
});

Deno.test("BERTScore counts the tokens that are weighted, and texts without any score 0", () => {
  const text = (values: number[], weights?: number[]) => ({ values, width: 2, ...(weights && { weights }) });
  const same = bertScore(text([9, 9, 1, 0, 0, 1, 9, 9]), text([1, 1, 0, 2, 3, 0, 1, 1]));
  near(same.f1, 1, 1e-12, "same states in another order");
  assert.deepEqual(bertScore(text([1, 0, 0, 1]), text([1, 0, 0, 1])), { precision: 0, recall: 0, f1: 0 });
  near(bertScore(text([1, 0], [1]), text([3, 4], [1])).precision, 0.6, 1e-12, "one token");
  assert.throws(() => bertScore(text([1, 0]), { values: [1], width: 1 }), RangeError);
});
