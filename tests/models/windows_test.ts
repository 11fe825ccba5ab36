/** A captioner whose embedding and output head are larger than one binding computes what it does when they are not. */
import assert from "node:assert/strict";
import { encodeBf16 } from "../../lib/base/half.ts";
import { CaptionGenerator } from "../../lib/generate/generator.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { destroyTensor, readF32, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { prefixTokens } from "../../lib/models/captioner.ts";
import { FrozenWeights } from "../../lib/nn/weights.ts";
import { createTrainingEngine } from "../../lib/train/engine.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, testGpu } from "../support/gpu.ts";
import { createTinyCaptioner, ODD_CONFIG, oddDecoder } from "./tiny_captioner.ts";

const VOCAB = 1531, B = 2, T = 7;
const TABLES = /^(model\.embed_tokens|lm_head|transformer\.wte)\.weight$/;

/** Embedding and head in bf16, everything else as it is. */
async function packTables(gpu: Gpu, weights: { get(name: string): Tensor }, names: string[]) {
  const tensors = new Map<string, Tensor>();
  for (const name of names) {
    const tensor = weights.get(name);
    if (!TABLES.test(name)) tensors.set(name, tensor);
    else {
      const data = encodeBf16(await readF32(gpu, tensor));
      tensors.set(name, tensorFrom(gpu, data, { shape: tensor.shape, dtype: "bf16", label: name }));
    }
  }
  return new FrozenWeights("packed", tensors);
}

for (
  const { family, tied, packed } of [
    { family: "llama", tied: true, packed: false },
    { family: "llama", tied: false, packed: true },
    { family: "gpt2", tied: true, packed: true },
  ] as const
) {
  const what = `${family}, ${tied ? "tied" : "two"} ${packed ? "bf16" : "f32"}`;
  Deno.test(`tables beyond one binding train and caption as whole ones do: ${what}`, async () => {
    const whole = await testGpu();
    const decoder = oddDecoder(family, { vocab_size: VOCAB, tie_word_embeddings: tied });
    const config = {
      ...ODD_CONFIG,
      decoder,
      lora: { ...ODD_CONFIG.lora, targetModules: family === "gpt2" ? ["c_attn"] : ["q_proj", "v_proj"] },
    };
    const tiny = createTinyCaptioner(whole, config);
    const names = [...tiny.values.keys()].filter((name) => (tiny.weights.decoder as FrozenWeights).has(name));
    const weights = {
      ...tiny.weights,
      decoder: packed ? await packTables(whole, tiny.weights.decoder, names) : tiny.weights.decoder,
    };
    const table = weights.decoder.get(names.find((name) => TABLES.test(name))!);
    // Everything else fits: the pictures are 42 KB, the scores of three beams 18 KB.
    const narrow = { ...whole, maxBindingBytes: 65536 };
    assert.ok(table.sizeBytes > 2 * narrow.maxBindingBytes);

    const train = async (gpu: Gpu) => {
      const engine = await createTrainingEngine(gpu, {
        config,
        models: { ...weights, vision: undefined },
        modelBytes: 0,
        start: new Map([...tiny.values].map(([name, data]) => [name, Float32Array.from(data)])),
        batchSize: B,
        textLength: T,
        accumulation: 1,
        features: true,
      });
      const features = randomValues(B * prefixTokens(config) * config.vision.hiddenSize, 3);
      // Ids from every window, the first and last rows of the table among them.
      const inputIds = Int32Array.of(0, 1530, 700, 699, 1, 1023, 1024, 350, 351, 1400, 2, 1200, 512, 0);
      const labels = inputIds.map((id, i) => i % 5 === 4 ? -100 : id);
      engine.microStep({ size: B, features, inputIds, labels }, { seedStep: 1 });
      const gradients = await engine.parameters.readGradients();
      const { loss } = await engine.evaluateLoss({ size: B, features, inputIds, labels });
      const dispatches = engine.microPlan.dispatchCount;
      engine.destroy();
      return { gradients, loss, dispatches };
    };
    const [wanted, found] = [await train(whole), await train(narrow)];
    assert.ok(found.dispatches > wanted.dispatches);
    assertClose([found.loss], [wanted.loss], { label: "loss" });
    for (const [name, gradient] of wanted.gradients) {
      assertClose(found.gradients.get(name)!, gradient, { label: name, relative: 1e-4 });
    }

    const caption = async (gpu: Gpu) => {
      const generator = await CaptionGenerator.create(gpu, {
        config,
        weights,
        batchSize: 1,
        numBeams: 3,
        maxNewTokens: 8,
        features: false,
      });
      const [hypotheses] = await generator.generate(randomValues(3 * 42 * 42, 9), 1, { eosIds: [] });
      generator.destroy();
      return hypotheses![0]!;
    };
    const [best, windowed] = [await caption(whole), await caption(narrow)];
    assert.deepEqual(windowed.ids, best.ids);
    assert.equal(best.ids.length, 8);
    assertClose([windowed.logProb], [best.logProb], { label: "log-probability" });
    if (packed) {
      for (const name of names.filter((name) => TABLES.test(name))) {
        destroyTensor(weights.decoder.get(name));
      }
    }
    tiny.destroy();
  });
}
