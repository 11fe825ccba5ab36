/** Three thousand of ten thousand damaged files: configurations, each read to sizes a model can have or refused by an error that names it. */
import assert from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { readText } from "../../lib/format/byte_source.ts";
import type { JsonObject } from "../../lib/format/json.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import {
  type CaptionerFolderConfig,
  checkCaptionerConfig,
  formatCaptionerConfig,
  parseCaptionerConfig,
} from "../../lib/models/captioner_config.ts";
import { decoderSpecs } from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import { parseMergedConfig } from "../../lib/models/merged_captioner.ts";
import { DECODERS, ENCODERS } from "../../lib/models/presets.ts";
import { formatPythonConfig, parsePythonConfig } from "../../lib/models/python_captioner.ts";
import { parseText, textSpecs } from "../../lib/models/text.ts";
import { parseTwoTower, twoTowerSpecs } from "../../lib/models/two_tower.ts";
import { parseVision, visionSpecs, visionTokens } from "../../lib/models/vision.ts";
import type { WeightSpec } from "../../lib/nn/weights.ts";
import { CountedFolder, mutateBytes, mutateJson, readOrRefuse, wordsIn } from "../support/mutate.ts";

/** Asserts that every number in a parsed configuration is one, and that its tensors have shapes. */
function checkSizes(config: object, specs: readonly WeightSpec[]): void {
  for (const [key, value] of Object.entries(config)) {
    if (typeof value === "number") assert.ok(Number.isFinite(value), `${key} is ${value}`);
    assert.ok(typeof value !== "function", `${key} is a function`);
  }
  for (const { name, shape } of specs) {
    assert.ok(shape.every((n) => Number.isSafeInteger(n) && n > 0), `${name} has shape [${shape}]`);
  }
}

const siglip = ENCODERS[0]!.config;
const clip: JsonObject = {
  model_type: "clip",
  projection_dim: 512,
  vision_config: {
    model_type: "clip_vision_model",
    hidden_size: 768,
    num_attention_heads: 12,
    patch_size: 32,
  },
  text_config: {
    model_type: "clip_text_model",
    hidden_size: 512,
    num_attention_heads: 8,
    hidden_act: "quick_gelu",
  },
};
const visions: JsonObject[] = [siglip, siglip["vision_config"] as JsonObject, ENCODERS[2]!.config, clip];
const texts: JsonObject[] = [
  siglip,
  siglip["text_config"] as JsonObject,
  clip,
  { model_type: "bert", hidden_size: 384, num_attention_heads: 12, num_hidden_layers: 6, type_vocab_size: 2 },
  { model_type: "roberta", hidden_size: 768, num_attention_heads: 12, pad_token_id: 1, hidden_act: "gelu" },
];
const rotary = { ...DECODERS[0]!.config, sliding_window: 4096, head_dim: 64, eos_token_id: [0, 2] };
const decoders: JsonObject[] = [
  DECODERS[0]!.config,
  DECODERS[3]!.config,
  ...["mistral", "qwen2", "qwen3", "phi3"].map((model_type) => ({ ...rotary, model_type })),
  { ...rotary, rope_parameters: { rope_type: "default", rope_theta: 5e5 }, layer_types: ["full_attention"] },
  {
    model_type: "opt",
    hidden_size: 768,
    ffn_dim: 3072,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    vocab_size: 50272,
    activation_function: "relu",
    do_layer_norm_before: true,
  },
];
const settings: CaptionerFolderConfig = {
  encoder: { reference: "e" },
  decoder: { reference: "d" },
  projection: { type: "mlp", hiddenSize: 64, dropout: 0.1 },
  lora: {
    rank: 4,
    alpha: 8,
    dropout: 0.1,
    targetModules: ["q_proj"],
    rankPattern: { v_proj: 2 },
    alphaPattern: { v_proj: 3 },
    useRslora: true,
  },
  unfrozenVisionLayers: 1,
  maxLength: 30,
  appendEos: true,
};
const captioner = JSON.parse(formatCaptionerConfig(settings)) as JsonObject;
const python = formatPythonConfig(settings, { encoder: siglip, decoder: DECODERS[0]!.config });
const merged: JsonObject = {
  model_type: "llava",
  captioner: { projection: "mlp", max_length: 30, append_eos: true },
  vision_config: siglip,
  text_config: DECODERS[0]!.config,
};

const READERS: { base: JsonObject[]; read(json: JsonConfig): void }[] = [
  { base: decoders, read: (json) => checkSizes(parseDecoder(json), decoderSpecs(parseDecoder(json))) },
  {
    base: visions,
    read: (json) => {
      const config = parseVision(json);
      checkSizes(config, visionSpecs(config));
      assert.ok(visionTokens(config) >= 1);
    },
  },
  { base: texts, read: (json) => checkSizes(parseText(json), textSpecs(parseText(json))) },
  {
    base: [siglip, clip],
    read: (json) => checkSizes(parseTwoTower(json), twoTowerSpecs(parseTwoTower(json))),
  },
  {
    base: [captioner],
    read: (json) => {
      // What is written again says the same.
      const text = formatCaptionerConfig(parseCaptionerConfig(json));
      assert.equal(formatCaptionerConfig(parseCaptionerConfig(JsonConfig.parse(text, "again"))), text);
    },
  },
  { base: [python], read: (json) => checkCaptionerConfig(parsePythonConfig(json, "here")) },
  { base: [merged], read: (json) => checkCaptionerConfig(parseMergedConfig(json, "here")) },
];

Deno.test("3000 damaged configurations are read to possible sizes or refused", async () => {
  // Activations and the like are looked up in tables, which a name such as "toString" must not find more in.
  const words = [
    ...wordsIn([...visions, ...texts, ...decoders, captioner, python, merged]),
    "toString",
    "constructor",
  ];
  const good = READERS.map(() => 0);
  for (let i = 0; i < 3000; i++) {
    const rng = new Rng(i);
    const which = i % READERS.length;
    const { base, read } = READERS[which]!;
    const config = rng.pick(base);
    const text = rng.int(8) === 0 ? JSON.stringify(config) : mutateJson(rng, config, words);
    let bytes: Uint8Array<ArrayBuffer> = new TextEncoder().encode(text);
    if (rng.int(8) === 0) bytes = mutateBytes(rng, bytes);
    const folder = new CountedFolder("damaged", new Map([["config.json", bytes]]));
    const isGood = readOrRefuse(folder, "damaged/config.json", async () => {
      const file = (await folder.open("config.json"))!;
      read(JsonConfig.parse(await readText(file), file.name));
    });
    if (await isGood.catch((cause) => Promise.reject(new Error(`case ${i}`, { cause })))) good[which]!++;
  }
  assert.ok(good.every((count) => count > 30 && count < 400), `${good} were good`);
});
