/** Damaged, foreign and unsupported models: each is one clear error that names file and tensor or key. */
import assert from "node:assert/strict";
import type { FileFolder } from "../../lib/format/byte_source.ts";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { encodeAdapter, loraTensorName } from "../../lib/format/peft.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { resolveModelFolder } from "../../lib/host/model_folders.ts";
import { formatCaptionerConfig } from "../../lib/models/captioner_config.ts";
import { readCaptionerConfig, readTrained } from "../../lib/models/captioner_files.ts";
import { decoderSpecs } from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import { loadDecoderModel, loadVisionModel, openDecoderConfig } from "../../lib/models/load.ts";
import { parseVision, visionSpecs } from "../../lib/models/vision.ts";
import type { WeightSpec } from "../../lib/nn/weights.ts";
import { countBuffers, randomValues, testGpu } from "../support/gpu.ts";

const LLAMA = {
  model_type: "llama",
  vocab_size: 11,
  hidden_size: 12,
  intermediate_size: 9,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  num_key_value_heads: 1,
  max_position_embeddings: 16,
  tie_word_embeddings: false,
};
const SIGLIP = {
  model_type: "siglip_vision_model",
  hidden_size: 6,
  intermediate_size: 7,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  image_size: 9,
  patch_size: 4,
};

const json = (fields: object, name = "m/config.json"): JsonConfig =>
  new JsonConfig(JSON.parse(JSON.stringify(fields)), name);
const bytesOf = (fields: object): Uint8Array => new TextEncoder().encode(JSON.stringify(fields));

type Tensors = Map<string, TensorData>;

function randomTensors(specs: readonly WeightSpec[]): Tensors {
  return new Map(specs.map(({ name, shape }, i) => {
    const size = shape.reduce((product, n) => product * n, 1);
    return [name, { dtype: "F32", shape, data: randomValues(size, i + 1) }];
  }));
}

/** A decoder's folder in memory, after `change` has had its way with the tensors. */
function decoderFolder(
  change: (tensors: Tensors) => void = () => {},
  damage: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array = (bytes) => bytes,
): FileFolder {
  const tensors = randomTensors(decoderSpecs(parseDecoder(json(LLAMA))));
  change(tensors);
  const files = [["config.json", bytesOf(LLAMA)], ["model.safetensors", damage(writeSafetensors(tensors))]];
  return memoryFolder("m", new Map(files as [string, Uint8Array][]));
}

const load = async (folder: FileFolder) =>
  await loadDecoderModel(await testGpu(), folder, { maxPositions: 8 });

/** Asserts that loading fails so, and that nothing stays on the GPU. */
async function refused(folder: FileFolder, name: string, message: string | RegExp): Promise<void> {
  const { made, freed } = await countBuffers(await testGpu(), async () => {
    await assert.rejects(load(folder), { name, message });
  });
  assert.equal(freed, made);
}

Deno.test("the small models that the other tests damage are whole", async () => {
  const decoder = await load(decoderFolder());
  assert.equal(decoder.config.headDim, 4);
  decoder.destroy();
  const vision = randomTensors(visionSpecs(parseVision(json(SIGLIP))));
  const files = new Map([["config.json", bytesOf(SIGLIP)], ["model.safetensors", writeSafetensors(vision)]]);
  const { config, weights } = await loadVisionModel(await testGpu(), memoryFolder("v", files));
  assert.equal(config.imageSize, 9);
  weights.destroy();
});

Deno.test("an unknown model folder says what to give", async () => {
  await assert.rejects(resolveModelFolder("no/such/folder"), {
    name: "UserError",
    message:
      /^Cannot find the model "no\/such\/folder": there is no such folder; give a folder with config.json/,
  });
  await assert.rejects(resolveModelFolder("embedded:lama"), {
    name: "UserError",
    message: 'Cannot find the model "embedded:lama": did you mean "embedded:llama"?',
  });
  await assert.rejects(load(memoryFolder("m", new Map())), {
    name: "RangeError",
    message: 'Cannot load "m": it has no "config.json"; name the folder of one model or run',
  });
  await refused(
    memoryFolder("m", new Map([["config.json", bytesOf(LLAMA)]])),
    "RangeError",
    'Cannot load "m": it has neither "model.safetensors" nor "model.safetensors.index.json"',
  );
});

Deno.test("missing, extra and misshapen tensors are named, with the shape wanted", async () => {
  const norm = "model.layers.1.input_layernorm.weight";
  await refused(
    decoderFolder((tensors) => tensors.delete(norm)),
    "RangeError",
    /^Cannot load "m\/model\.safetensors": 1 of 21 tensors are missing, "model\.layers\.1\.input_layernorm\.weight"/,
  );
  await refused(
    decoderFolder((tensors) => {
      tensors.set("model.layer.1.input_layernorm.weight", tensors.get(norm)!);
      tensors.delete(norm);
    }),
    "RangeError",
    /nearest to the first is "model\.layer\.1\.input_layernorm\.weight"$/,
  );
  await refused(
    decoderFolder((tensors) => tensors.set("model.layers.2.extra", tensors.get(norm)!)),
    "RangeError",
    'Cannot load "m/model.safetensors": the model has no place for "model.layers.2.extra"; ' +
      "is it another model's file?",
  );
  const name = "model.layers.0.mlp.gate_proj.weight";
  for (const shape of [[12, 9], [9 * 12], [9, 12, 1]]) {
    await refused(
      decoderFolder((tensors) => tensors.set(name, { ...tensors.get(name)!, shape })),
      "TypeError",
      `Cannot load "m/model.safetensors": tensor "${name}" has shape [${shape.join(", ")}], expected [9, 12]`,
    );
  }
  await refused(
    decoderFolder((tensors) =>
      tensors.set(name, { dtype: "I32", shape: [9, 12], data: new Int32Array(108) })
    ),
    "TypeError",
    `Cannot read tensor "${name}" of "m/model.safetensors" as float32: its dtype is I32`,
  );
});

Deno.test("NaN and infinite weights are reported with tensor, count and place, in every precision", async () => {
  const name = "model.layers.1.mlp.up_proj.weight";
  const expectBad = (change: (tensors: Tensors) => void, count: number, first: number) =>
    refused(
      decoderFolder(change),
      "RangeError",
      `Cannot load "m/model.safetensors": tensor "${name}" has ${count} values that are NaN or infinite, ` +
        `the first at element ${first}`,
    );
  await expectBad(
    (tensors) => {
      const data = tensors.get(name)!.data as Float32Array;
      [data[5], data[107]] = [NaN, -Infinity];
    },
    2,
    5,
  );
  for (const [dtype, bits] of [["BF16", 0x7f80], ["F16", 0x7e01]] as const) {
    await expectBad(
      (tensors) => {
        const data = new Uint16Array(108).fill(0x3c00);
        data[107] = bits;
        tensors.set(name, { dtype, shape: [9, 12], data });
      },
      1,
      107,
    );
  }
});

Deno.test("truncated and oversized files, and headers that promise what is not there", async () => {
  await refused(
    decoderFolder(undefined, (bytes) => bytes.subarray(0, -1)),
    "SyntaxError",
    /model\.safetensors/,
  );
  await refused(
    decoderFolder(undefined, (bytes) => bytes.subarray(0, 300)),
    "SyntaxError",
    /model\.safetensors/,
  );
  await refused(decoderFolder(undefined, () => new Uint8Array()), "SyntaxError", /model\.safetensors/);
  await refused(
    decoderFolder(undefined, (bytes) => {
      const longer = new Uint8Array(bytes.length + 4);
      longer.set(bytes);
      return longer;
    }),
    "SyntaxError",
    /model\.safetensors/,
  );
  await refused(
    decoderFolder(undefined, (bytes) => {
      new DataView(bytes.buffer).setBigUint64(0, 2n ** 40n, true);
      return bytes;
    }),
    "SyntaxError",
    /model\.safetensors/,
  );
});

Deno.test("an index that names a shard that is not there says what is lost with it", async () => {
  const tensors = [...randomTensors(decoderSpecs(parseDecoder(json(LLAMA))))];
  const shards = [tensors.slice(0, 9), tensors.slice(9)].map((part) => writeSafetensors(new Map(part)));
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const weight_map = Object.fromEntries(tensors.map(([name], i) => [name, names[i < 9 ? 0 : 1]]));
  const files = new Map([
    ["config.json", bytesOf(LLAMA)],
    ["model.safetensors.index.json", bytesOf({ weight_map })],
    [names[0]!, shards[0]!],
    [names[1]!, shards[1]!],
  ]);
  (await load(memoryFolder("m", files))).destroy();
  files.delete(names[1]!);
  await refused(
    memoryFolder("m", files),
    "RangeError",
    /^Cannot load "m": the shard "model-00002-of-00002\.safetensors" is missing, which holds "model\.layers\.1\./,
  );
});

Deno.test("what a decoder's configuration asks for and is not done is refused by name", () => {
  const cases: [object, RegExp][] = [
    [{ model_type: "gemma" }, /"model_type" is "gemma", expected one of llama, mistral, qwen2/],
    [{ rope_scaling: { rope_type: "llama3", factor: 8 } }, /: rope_scaling "llama3" is not supported$/],
    [{ rope_scaling: { factor: 8 } }, /: rope_scaling is not supported$/],
    [{ rope_parameters: { rope_type: "yarn", rope_theta: 5 } }, /: rope_parameters "yarn" is not supported$/],
    [{ partial_rotary_factor: 0.5 }, /: partial_rotary_factor is not supported$/],
    [{ num_local_experts: 8 }, /: num_local_experts is not supported$/],
    [{ alibi: true }, /: alibi is not supported$/],
    [
      { model_type: "qwen2", layer_types: ["chunked_attention"] },
      /: layer_types "chunked_attention" is not supported$/,
    ],
    [{ quantization_config: { bits: 4 } }, /: quantization_config is not supported$/],
    // Looked up in a table, which every object's own names must not be found in.
    [
      { model_type: "gpt2", n_embd: 12, n_head: 3, n_layer: 1, activation_function: "toString" },
      /activation_function "toString" is not supported$/,
    ],
    [{ hidden_act: "gelu" }, /: hidden_act "gelu" is not supported$/],
    [{ num_attention_heads: 4 }, /a head width of 3 \(wanted an even one up to 256\) is not supported$/],
    [{ num_attention_heads: 5 }, /a head width of 2\.4 /],
    [{ head_dim: 258 }, /a head width of 258 /],
    [{ head_dim: 0 }, /a head width of 0 /],
    [{ num_key_value_heads: 2 }, /3 heads over 2 key\/value heads is not supported$/],
    [{ num_key_value_heads: 0 }, /"num_key_value_heads" is 0, expected 1 to 16777216$/],
    [{ num_hidden_layers: 10 ** 9 }, /"num_hidden_layers" is 1000000000, expected 1 to 1024$/],
    [{ vocab_size: -1 }, /"vocab_size" is -1, expected 1 to 16777216$/],
    [{ rms_norm_eps: 0 }, /"rms_norm_eps" is 0, expected a number above 0$/],
    [{ rope_theta: -5 }, /"rope_theta" is -5, expected a number above 0$/],
    [{ eos_token_id: [2, -1] }, /"eos_token_id" has -1, expected token ids$/],
    [{ hidden_size: null }, /"hidden_size" is missing, expected a whole number$/],
  ];
  for (const [fields, message] of cases) {
    assert.throws(() => parseDecoder(json({ ...LLAMA, ...fields })), { name: "RangeError", message });
  }
  for (
    const fields of [{ hidden_size: "12" }, { hidden_size: 12.5 }, { eos_token_id: "2" }, { rope_scaling: 8 }]
  ) {
    assert.throws(() => parseDecoder(json({ ...LLAMA, ...fields })), {
      name: "TypeError",
      message: /config\.json/,
    });
  }
});

Deno.test("harmless spellings of a decoder's configuration are read", () => {
  const parse = (fields: object) => parseDecoder(json({ ...LLAMA, ...fields }));
  assert.equal(parse({}).headDim, 4);
  assert.equal(parse({ head_dim: 8 }).headDim, 8);
  assert.equal(parse({ head_dim: null }).headDim, 4);
  assert.deepEqual(parse({ rope_scaling: null }).positions, { type: "rotary", theta: 10000 });
  assert.deepEqual(parse({ rope_scaling: { type: "default" }, rope_theta: 7 }).positions, {
    type: "rotary",
    theta: 7,
  });
  assert.deepEqual(parse({ rope_parameters: { rope_type: "default", rope_theta: 5e5 } }).positions, {
    type: "rotary",
    theta: 5e5,
  });
  assert.deepEqual(parse({ eos_token_id: [2, 7] }).eosIds, [2, 7]);
  assert.deepEqual(parse({ eos_token_id: 0 }).eosIds, [0]);
  assert.deepEqual(parse({}).eosIds, []);
  assert.equal(parse({ num_key_value_heads: null }).kvHeads, 3);
});

Deno.test("more positions than the decoder was made for are refused before anything is loaded", async () => {
  const gpu = await testGpu();
  const { made } = await countBuffers(gpu, async () => {
    await assert.rejects(loadDecoderModel(gpu, decoderFolder(), { maxPositions: 17 }), {
      name: "RangeError",
      message: /^Cannot run "m" on 17 positions .* it was made for 16; use a shorter --max-length/,
    });
  });
  assert.equal(made, 0);
});

Deno.test("an adapter of another rank, alpha or module than the captioner says is refused", async () => {
  const decoder = await openDecoderConfig(decoderFolder());
  const config = {
    encoder: { reference: "e" },
    decoder: { reference: "d" },
    projection: { type: "linear" as const },
    lora: { rank: 2, alpha: 4, dropout: 0, targetModules: ["q_proj"] },
    unfrozenVisionLayers: 0,
    maxLength: 8,
    appendEos: true,
  };
  const folderWith = (rank: number, alpha: number, stored = rank): FileFolder => {
    const settings = {
      baseModel: "d",
      rank,
      alpha,
      dropout: 0,
      targetModules: ["q_proj"],
      useRslora: false,
      modulesToSave: null,
      taskType: "CAUSAL_LM",
    };
    const tensor = (shape: number[]): TensorData => ({
      dtype: "F32",
      shape,
      data: new Float32Array(shape[0]! * shape[1]!),
    });
    const module = "model.layers.0.self_attn.q_proj";
    const D = decoder.hiddenSize;
    const pair: Tensors = new Map([
      [loraTensorName(module, "A"), tensor([stored, D])],
      [loraTensorName(module, "B"), tensor([D, stored])],
    ]);
    const projection: Tensors = new Map([["projection.projection.weight", tensor([D, 6])]]);
    const files = new Map<string, Uint8Array>([
      ["config.json", new TextEncoder().encode(formatCaptionerConfig(config))],
      ["projection.safetensors", writeSafetensors(projection)],
    ]);
    for (const [name, bytes] of encodeAdapter(settings, pair)) files.set(`adapter/${name}`, bytes);
    return memoryFolder("run", files);
  };
  const read = async (folder: FileFolder) => await readTrained(folder, await readCaptionerConfig(folder));
  assert.equal((await read(folderWith(2, 4))).size, 3);
  await assert.rejects(read(folderWith(3, 4)), {
    name: "RangeError",
    message: 'Cannot load "run": its adapter has rank 3 and alpha 4, "config.json" says rank 2 and alpha 4',
  });
  await assert.rejects(read(folderWith(2, 8)), { name: "RangeError", message: /rank 2 and alpha 8/ });
  await assert.rejects(read(folderWith(2, 4, 5)), {
    name: "TypeError",
    message:
      /tensor "base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight" has shape \[5, 12\], expected \[2, in\]$/,
  });
});
