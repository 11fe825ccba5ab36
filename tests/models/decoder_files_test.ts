/** Decoders' files as they are published: other beginnings of names, buffers, Conv1D, tied heads; and what is refused. */
import assert from "node:assert/strict";
import { encodeBf16 } from "../../lib/base/half.ts";
import { type FileFolder, memoryFolder } from "../../lib/format/byte_source.ts";
import type { JsonObject } from "../../lib/format/json.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { readF32, readTensors } from "../../lib/gpu/tensor.ts";
import { type DecoderFamilyName, decoderLinears, decoderSpecs } from "../../lib/models/decoder.ts";
import { DECODER_FAMILIES, defaultLoraTargets, parseDecoder } from "../../lib/models/decoder_families.ts";
import { loadDecoderModel } from "../../lib/models/load.ts";
import { type LoraConfig, loraModules, resolveLora } from "../../lib/models/lora.ts";
import { transpose } from "../../lib/nn/weights.ts";
import { randomValues, testGpu } from "../support/gpu.ts";

type Tensors = Map<string, TensorData>;

const CONFIGS: Record<"gpt2" | "opt" | "llama", JsonObject> = {
  llama: {
    model_type: "llama",
    vocab_size: 11,
    hidden_size: 12,
    intermediate_size: 9,
    num_hidden_layers: 2,
    num_attention_heads: 3,
    max_position_embeddings: 16,
    tie_word_embeddings: true,
  },
  gpt2: { model_type: "gpt2", vocab_size: 11, n_embd: 12, n_layer: 2, n_head: 3, n_positions: 16 },
  opt: {
    model_type: "opt",
    vocab_size: 11,
    hidden_size: 12,
    ffn_dim: 9,
    num_hidden_layers: 2,
    num_attention_heads: 3,
    max_position_embeddings: 16,
  },
};

/** Files of a model, its tensors stored as published: Conv1D matrices the other way round. */
function folderOf(
  fields: JsonObject,
  change: (tensors: Tensors) => Tensors = (t) => t,
  half = false,
): FileFolder {
  const specs = decoderSpecs(parseDecoder(new JsonConfig(fields, "config.json")));
  const tensors: Tensors = new Map(specs.map(({ name, shape, transposed = false }, i) => {
    const values = randomValues(shape.reduce((product, n) => product * n, 1), i + 1);
    const stored = transposed ? transpose(values, shape.toReversed()) : values;
    const dims = transposed ? shape.toReversed() : shape;
    return [
      name,
      half
        ? { dtype: "BF16", shape: dims, data: encodeBf16(stored) }
        : { dtype: "F32", shape: dims, data: stored },
    ];
  }));
  return memoryFolder(
    "m",
    new Map([
      ["config.json", new TextEncoder().encode(JSON.stringify(fields))],
      ["model.safetensors", writeSafetensors(change(tensors))],
    ]),
  );
}

const load = async (folder: FileFolder, maxPositions = 8) =>
  await loadDecoderModel(await testGpu(), folder, { maxPositions });

const renamed = (tensors: Tensors, rename: (name: string) => string): Tensors =>
  new Map([...tensors].map(([name, tensor]) => [rename(name), tensor]));

/** Every weight, to be compared. */
async function weightsOf(folder: FileFolder): Promise<Map<string, Float32Array>> {
  const gpu = await testGpu();
  const model = await load(folder);
  const values = new Map<string, Float32Array>();
  for (const { name } of decoderSpecs(model.config)) {
    values.set(name, await readF32(gpu, model.weights.get(name)));
  }
  model.destroy();
  return values;
}

const BARE: Record<keyof typeof CONFIGS, RegExp[]> = {
  llama: [/^model\./],
  gpt2: [/^transformer\./],
  opt: [/^model\./, /^model\.decoder\./],
};

for (const family of ["llama", "gpt2", "opt"] as const) {
  Deno.test(`${family}: a file without the head's prefix, with buffers and a tied head, is the same model`, async () => {
    const want = await weightsOf(folderOf(CONFIGS[family]));
    const embed = [...want.keys()][0]!;
    for (const prefix of BARE[family]) {
      assert.deepEqual(
        await weightsOf(
          folderOf(CONFIGS[family], (tensors) => renamed(tensors, (name) => name.replace(prefix, ""))),
        ),
        want,
      );
    }
    const extra: TensorData = { dtype: "F32", shape: [1], data: new Float32Array(1) };
    const buffers = family === "gpt2"
      ? ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"]
      : family === "llama"
      ? ["model.layers.0.self_attn.rotary_emb.inv_freq"]
      : [];
    const whole = folderOf(
      CONFIGS[family],
      (tensors) =>
        new Map([
          ...tensors,
          ["lm_head.weight", tensors.get(embed)!],
          ...buffers.map((name): [string, TensorData] => [name, extra]),
        ]),
    );
    assert.deepEqual(await weightsOf(whole), want);
    await assert.rejects(
      load(folderOf(CONFIGS[family], (tensors) => new Map([...tensors, ["adapter.weight", extra]]))),
      /^RangeError: Cannot load "m\/model.safetensors": the model has no place for "adapter.weight"/,
    );
  });
}

Deno.test("a head that is neither tied nor there is missed", async () => {
  const untied = { ...CONFIGS.llama, tie_word_embeddings: false };
  const folder = folderOf(untied, (tensors) => (tensors.delete("lm_head.weight"), tensors));
  await assert.rejects(load(folder), /1 of \d+ tensors are missing, "lm_head.weight"/);
});

Deno.test("Conv1D matrices are turned round at load, in bf16 too, and one of the wrong way round is misshapen", async () => {
  const gpu = await testGpu();
  const folder = folderOf(CONFIGS.gpt2, (tensors) => tensors, true);
  const model = await load(folder);
  const specs = decoderSpecs(model.config);
  const at = specs.findIndex(({ name }) => name === "transformer.h.1.attn.c_attn.weight");
  const [N, K] = specs[at]!.shape as [number, number];
  assert.deepEqual([N, K], [36, 12]);
  const [bytes] = await readTensors(gpu, [model.weights.get(specs[at]!.name)]);
  assert.deepEqual(new Uint16Array(bytes!.buffer), encodeBf16(randomValues(N * K, at + 1)));
  model.destroy();
  const turned = folderOf(CONFIGS.gpt2, (tensors) => {
    const name = "transformer.h.1.attn.c_attn.weight";
    const { shape, ...rest } = tensors.get(name)!;
    return tensors.set(name, { ...rest, shape: shape.toReversed() });
  });
  await assert.rejects(load(turned), {
    name: "TypeError",
    message: /tensor "transformer\.h\.1\.attn\.c_attn\.weight" has shape \[36, 12\], expected \[12, 36\]$/,
  });
});

Deno.test("another family's file is missed by its names", async () => {
  const gpt2 = await folderOf(CONFIGS.gpt2).open("model.safetensors");
  const files = new Map([
    ["config.json", new TextEncoder().encode(JSON.stringify(CONFIGS.llama))],
    ["model.safetensors", await gpt2!.read(0, gpt2!.size)],
  ]);
  await assert.rejects(load(memoryFolder("m", files)), /tensors are missing, "model\.embed_tokens\.weight"/);
});

Deno.test("a sliding window shorter than the sequence is refused, a longer one is none", async () => {
  const base = { ...CONFIGS.llama, max_position_embeddings: 64 };
  const mistral = (window: number | null): JsonObject => ({
    ...base,
    model_type: "mistral",
    sliding_window: window,
  });
  for (const [fields, positions] of [[mistral(20), 20], [mistral(null), 50]] as const) {
    (await load(folderOf(fields), positions)).destroy();
  }
  await assert.rejects(load(folderOf(mistral(20)), 21), {
    name: "RangeError",
    message: /^Cannot run "m" on 21 positions .* see only the last 20 \("sliding_window"\)/,
  });
  const window = (fields: JsonObject): number | undefined =>
    parseDecoder(new JsonConfig({ ...base, model_type: "qwen2", sliding_window: 9, ...fields }, "c"))
      .slidingWindow;
  assert.equal(window({}), undefined);
  assert.equal(window({ use_sliding_window: true }), 9);
  assert.equal(window({ layer_types: ["full_attention", "sliding_attention"] }), 9);
  assert.equal(window({ layer_types: ["full_attention"] }), undefined);
  const published: JsonObject = { ...base, model_type: "mistral" };
  assert.equal(parseDecoder(new JsonConfig(published, "c")).slidingWindow, 4096);
});

Deno.test("what a family's own settings ask for and is not done is refused by name", () => {
  const cases: [keyof typeof CONFIGS, JsonObject, RegExp][] = [
    ["gpt2", { activation_function: "swish" }, /activation_function "swish"/],
    ["gpt2", { scale_attn_weights: false }, /scale_attn_weights false/],
    ["gpt2", { scale_attn_by_inverse_layer_idx: true }, /scale_attn_by_inverse_layer_idx/],
    ["gpt2", { add_cross_attention: true }, /add_cross_attention/],
    ["gpt2", { n_head: 5 }, /a head width of 2\.4 \(wanted a whole one up to 256\)/],
    ["gpt2", { n_layer: 5000 }, /"n_layer" is 5000, expected 1 to 1024/],
    ["opt", { do_layer_norm_before: false }, /do_layer_norm_before false/],
    ["opt", { word_embed_proj_dim: 6 }, /word_embed_proj_dim 6 beside hidden_size 12/],
    ["opt", { layer_norm_elementwise_affine: false }, /layer_norm_elementwise_affine false/],
    ["opt", { _remove_final_layer_norm: true }, /_remove_final_layer_norm/],
  ];
  for (const [family, fields, message] of cases) {
    const json = new JsonConfig({ ...CONFIGS[family], ...fields }, "config.json");
    assert.throws(() => parseDecoder(json), { name: "RangeError", message });
  }
});

const sizesOf = (family: DecoderFamilyName): JsonObject => ({
  ...(family === "gpt2" || family === "opt" ? CONFIGS[family] : CONFIGS.llama),
  model_type: family,
  head_dim: 4,
});

Deno.test("every family adapts what PEFT and the Python project adapt, and all-linear every linear of its blocks", () => {
  const lora: LoraConfig = { rank: 2, alpha: 2, dropout: 0, targetModules: ["all-linear"] };
  const wanted: Record<DecoderFamilyName, [perLayer: number, all: number]> = {
    llama: [4, 7],
    mistral: [4, 7],
    qwen2: [2, 7],
    qwen3: [2, 7],
    phi3: [2, 4],
    gpt2: [3, 4],
    opt: [2, 6],
  };
  for (const family of DECODER_FAMILIES) {
    const config = parseDecoder(new JsonConfig(sizesOf(family), family));
    const usual = loraModules(config, { ...lora, targetModules: defaultLoraTargets(family) });
    const all = loraModules(config, lora);
    assert.deepEqual([usual.length / 2, all.length / 2], wanted[family], family);
    assert.equal(all.length, decoderLinears(config).length);
    assert.ok(!resolveLora(config, lora).targetModules.includes("all-linear"));
  }
  const llama = parseDecoder(new JsonConfig(sizesOf("llama"), "llama"));
  assert.throws(() => resolveLora(llama, { ...lora, targetModules: ["c_attn"] }), {
    name: "RangeError",
    message: /^Cannot add LoRA to "c_attn": the decoder has "q_proj", "k_proj"/,
  });
  assert.throws(
    () => resolveLora(llama, { ...lora, rankPattern: { "layers.9.self_attn.q_proj": 3 } }),
    RangeError,
  );
});
