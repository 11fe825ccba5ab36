/** Vision encoders of every family at odd sizes, forward and backward, against plain f64 forwards. */
import assert from "node:assert/strict";
import { decodeBf16, decodeF16, encodeBf16, encodeF16 } from "../../lib/base/half.ts";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import { writeSafetensors } from "../../lib/format/safetensors.ts";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { tensorFrom } from "../../lib/gpu/tensor.ts";
import { encodeImages, trainableSpecs, VISION_PREFIX } from "../../lib/models/captioner.ts";
import { loadVisionModel } from "../../lib/models/load.ts";
import { type VisionConfig, visionSpecs, visionTokens } from "../../lib/models/vision.ts";
import { ParameterSet } from "../../lib/nn/parameters.ts";
import { ImageEncoder } from "../../lib/train/image_encoder.ts";
import { referenceVision } from "../reference/encoders.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, runOnce, testGpu } from "../support/gpu.ts";
import { drawWeights, freezeWeights, storeWeights } from "../support/weights.ts";
import { ODD_CONFIG } from "./tiny_captioner.ts";

/** 3 layers, 3 heads of 12, 9 patches of 14 pixels. */
const ODD: VisionConfig = {
  family: "siglip",
  hiddenSize: 36,
  intermediateSize: 47,
  layers: 3,
  heads: 3,
  imageSize: 42,
  patchSize: 14,
  channels: 3,
  eps: 1e-5,
  gelu: "tanh",
  qkvBias: true,
  dropout: 0,
};

const CASES: Record<string, VisionConfig> = {
  "SigLIP": ODD,
  "SigLIP, exact GELU, pixels beyond the last patch": { ...ODD, gelu: "erf", imageSize: 45 },
  "ViT": { ...ODD, family: "vit", gelu: "erf", eps: 1e-12 },
  "ViT without biases of q, k, v, patches of 7": {
    ...ODD,
    family: "vit",
    gelu: "erf",
    qkvBias: false,
    patchSize: 7,
    imageSize: 21,
  },
  "CLIP": { ...ODD, family: "clip", gelu: "quick" },
  "CLIP, one channel, odd width": {
    ...ODD,
    family: "clip",
    gelu: "erf",
    channels: 1,
    hiddenSize: 33,
    heads: 3,
  },
};

const B = 3;

const flat = (rows: readonly Float64Array[]): number[] => rows.flatMap((row) => [...row]);

for (const [name, vision] of Object.entries(CASES)) {
  Deno.test(`features and gradients of the last layers are those of the numbers: ${name}`, async () => {
    const gpu = await testGpu();
    const config = { ...ODD_CONFIG, vision, unfrozenVisionLayers: 2 };
    const specs = visionSpecs(vision);
    const start = drawWeights(specs);
    const trained = trainableSpecs(config).filter(({ group }) => group === "vision");
    const { imageSize: I, channels: C, hiddenSize: D } = vision;
    const P = visionTokens(vision);
    const area = C * I * I;
    const pixels = randomValues(B * area, 7, 1.5);
    const dFeatures = randomValues(B * P * D, 8);
    const frozen = freezeWeights(gpu, specs, start);
    const set = new ParameterSet(gpu, [{
      name: "vision",
      weightDecay: 0,
      tensors: trained.map(({ name, shape }) => ({
        name,
        shape,
        data: start.get(name.slice(VISION_PREFIX.length))!,
      })),
    }]);
    const { features } = await runOnce(gpu, (r: Recorder) => {
      const images = tensorFrom(gpu, pixels, { shape: [B, C, I, I] });
      const weights = { vision: frozen, decoder: frozen, trainable: set, rope: undefined };
      const features = encodeImages(r, weights, images, config);
      assert.deepEqual(features.shape, [B, P, D]);
      r.seedGradient(features, tensorFrom(gpu, dFeatures, { shape: features.shape }));
      r.backward();
      return { features };
    }, { training: true });

    const numbers = new Map([...start].map(([name, data]) => [name, Float64Array.from(data)]));
    const forward = (): number[] =>
      Array.from({ length: B }, (_, b) =>
        flat(referenceVision(
          (name) => numbers.get(name)!,
          pixels.subarray(b * area, (b + 1) * area),
          vision,
        ))).flat();
    assertClose(features, forward(), { relative: 1e-5, label: "features" });

    const gradients = await set.readGradients();
    const biases = vision.qkvBias ? 16 : 13;
    assert.equal(gradients.size, 2 * biases);
    const loss = (): number => forward().reduce((sum, value, i) => sum + value * dFeatures[i]!, 0);
    const largest = (values: Float32Array): number =>
      values.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
    const rounding = 1e-6 * Math.max(...[...gradients.values()].map(largest));
    for (const [i, [tensor, gradient]] of [...gradients].entries()) {
      const values = numbers.get(tensor.slice(VISION_PREFIX.length))!;
      const at = (i * 7919 + 13) % values.length;
      const [value, step] = [values[at]!, 1e-5];
      values[at] = value + step;
      const above = loss();
      values[at] = value - step;
      const wanted = (above - loss()) / (2 * step);
      values[at] = value;
      const scale = largest(gradient);
      // A key's bias has no gradient: softmax does not see a constant.
      if (/(k_proj|key)\.bias$/.test(tensor)) assert.ok(scale < 10 * rounding, `${tensor}: ${scale}`);
      else assert.ok(scale > 100 * rounding, `${tensor} has no gradient`);
      assert.ok(
        Math.abs(gradient[at]! - wanted) <= 1e-4 * scale + rounding,
        `gradient of ${tensor}[${at}]: ${gradient[at]}, expected ${wanted}, scale ${scale}`,
      );
    }
    frozen.destroy();
    set.destroy();
  });
}

Deno.test("unfrozen layers carry the family's own names", () => {
  const names = (family: VisionConfig["family"]): string[] =>
    trainableSpecs({ ...ODD_CONFIG, vision: { ...ODD, family }, unfrozenVisionLayers: 1 })
      .filter(({ group }) => group === "vision").map(({ name }) => name);
  assert.ok(names("vit").includes("vision_encoder.encoder.layer.2.attention.attention.query.weight"));
  for (const family of ["siglip", "clip"] as const) {
    assert.ok(names(family).includes("vision_encoder.vision_model.encoder.layers.2.self_attn.q_proj.weight"));
  }
  assert.throws(
    () => trainableSpecs({ ...ODD_CONFIG, vision: { ...ODD, dropout: 0.1 }, unfrozenVisionLayers: 1 }),
    { name: "RangeError", message: /asks for a dropout of 0\.1 in training, which is not supported/ },
  );
  trainableSpecs({ ...ODD_CONFIG, vision: { ...ODD, dropout: 0.1 }, unfrozenVisionLayers: 0 });
});

const CONFIGS = {
  siglip: { model_type: "siglip_vision_model", hidden_act: "gelu_pytorch_tanh", layer_norm_eps: 1e-5 },
  vit: { model_type: "vit", hidden_act: "gelu_new", layer_norm_eps: 1e-5 },
  clip: { model_type: "clip_vision_model", hidden_act: "gelu_new", layer_norm_eps: 1e-5 },
};

for (const family of ["siglip", "vit", "clip"] as const) {
  for (
    const [dtype, round] of [
      ["F16", (data: Float32Array) => decodeF16(encodeF16(data))],
      ["BF16", (data: Float32Array) => decodeBf16(encodeBf16(data))],
    ] as const
  ) {
    Deno.test(`a ${dtype} checkpoint gives what its rounded numbers give, patches of 7 pixels: ${family}`, async () => {
      const vision: VisionConfig = { ...ODD, family, hiddenSize: 33, patchSize: 7, imageSize: 21 };
      const specs = visionSpecs(vision);
      const values = drawWeights(specs);
      const config = {
        ...CONFIGS[family],
        hidden_size: 33,
        intermediate_size: 47,
        num_hidden_layers: 3,
        num_attention_heads: 3,
        image_size: 21,
        patch_size: 7,
      };
      const folder = memoryFolder(
        "m",
        new Map([
          ["config.json", new TextEncoder().encode(JSON.stringify(config))],
          ["model.safetensors", writeSafetensors(storeWeights(specs, values, dtype))],
        ]),
      );
      const gpu = await testGpu();
      const model = await loadVisionModel(gpu, folder);
      assert.deepEqual(model.config, vision);
      const encoder = await ImageEncoder.create(gpu, model, { batchSize: 2 });
      const pixels = randomValues(2 * 3 * 21 * 21, 7);
      const got = await encoder.encode(pixels, 2);
      const rounded = new Map([...values].map(([name, data]) => [name, Float64Array.from(round(data))]));
      const want = [0, 1].flatMap((b) =>
        flat(referenceVision((name) => rounded.get(name)!, pixels.subarray(b * 1323, (b + 1) * 1323), vision))
      );
      assertClose(got, want, { relative: 1e-5 });
      encoder.destroy();
      model.weights.destroy();
    });
  }
}

/** google/siglip-so400m-patch14-384 with one layer. */
const SO400M: VisionConfig = {
  ...ODD,
  hiddenSize: 1152,
  intermediateSize: 4304,
  layers: 1,
  heads: 16,
  imageSize: 384,
  eps: 1e-6,
};

Deno.test("729 patches and heads of 72, as in so400m-patch14-384, give the numbers", async () => {
  const vision: VisionConfig = { ...SO400M, hiddenSize: 144, intermediateSize: 269, heads: 2 };
  assert.equal(visionTokens(vision), 729);
  const gpu = await testGpu();
  const specs = visionSpecs(vision);
  const values = drawWeights(specs);
  const weights = freezeWeights(gpu, specs, values);
  const encoder = await ImageEncoder.create(gpu, { config: vision, weights }, { batchSize: 1 });
  const pixels = randomValues(3 * 384 * 384, 5);
  const want = referenceVision((name) => Float64Array.from(values.get(name)!), pixels, vision);
  assertClose(await encoder.encode(pixels, 1), flat(want), { relative: 1e-5 });
  encoder.destroy();
  weights.destroy();
});

Deno.test("the whole widths of so400m-patch14-384 run", async () => {
  const gpu = await testGpu();
  const specs = visionSpecs(SO400M);
  const values = drawWeights(specs);
  const weights = freezeWeights(gpu, specs, values);
  const encoder = await ImageEncoder.create(gpu, { config: SO400M, weights }, { batchSize: 1 });
  const features = await encoder.encode(randomValues(3 * 384 * 384, 5), 1);
  assert.equal(features.length, 729 * 1152);
  // Numbers are compared above; here every row has to have come through: after the final norm, mean 0 and variance 1.
  const [scale, shift] = ["weight", "bias"].map((name) => values.get(`vision_model.post_layernorm.${name}`)!);
  for (let row = 0; row < 729; row += 91) {
    const normed = Array.from(
      { length: 1152 },
      (_, c) => (features[row * 1152 + c]! - shift![c]!) / scale![c]!,
    );
    const mean = normed.reduce((sum, value) => sum + value, 0) / 1152;
    const variance = normed.reduce((sum, value) => sum + (value - mean) ** 2, 0) / 1152;
    assert.ok(Math.abs(mean) < 1e-3 && Math.abs(variance - 1) < 1e-3, `row ${row}: ${mean}, ${variance}`);
  }
  encoder.destroy();
  weights.destroy();
});
