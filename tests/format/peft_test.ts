import assert from "node:assert/strict";
import { type FileFolder, memoryFolder } from "../../lib/format/byte_source.ts";
import {
  type AdapterConfig,
  encodeAdapter,
  formatAdapterConfig,
  loraScale,
  loraTensorName,
  openAdapter,
  parseAdapterConfig,
} from "../../lib/format/peft.ts";
import type { TensorData } from "../../lib/format/safetensors.ts";

const golden = new URL("../golden/parity/siglip-llama/peft_adapter/", import.meta.url);

function goldenFolder(): FileFolder {
  const files = new Map<string, Uint8Array>();
  for (const { name } of Deno.readDirSync(golden)) files.set(name, Deno.readFileSync(new URL(name, golden)));
  return memoryFolder("peft_adapter", files);
}

const config: AdapterConfig = {
  baseModel: "decoder",
  rank: 2,
  alpha: 8,
  dropout: 0.1,
  targetModules: ["q_proj"],
  useRslora: false,
  modulesToSave: null,
  taskType: "CAUSAL_LM",
};

const matrix = (rows: number, columns: number): TensorData => ({
  dtype: "F32",
  shape: [rows, columns],
  data: new Float32Array(rows * columns),
});

const module = "model.layers.0.self_attn.q_proj";
const pair = { [loraTensorName(module, "A")]: matrix(2, 5), [loraTensorName(module, "B")]: matrix(3, 2) };

const open = (changes: Partial<AdapterConfig> = {}, tensors: Record<string, TensorData> = pair) =>
  openAdapter(
    memoryFolder("run", encodeAdapter({ ...config, ...changes }, new Map(Object.entries(tensors)))),
  );

Deno.test("openAdapter opens an adapter that PEFT wrote", async () => {
  const adapter = await openAdapter(goldenFolder());
  assert.equal(adapter.config.rank, 4);
  assert.equal(adapter.config.alpha, 8);
  assert.equal(adapter.config.baseModel, "decoder");
  assert.equal(adapter.config.modulesToSave, null);
  assert.deepEqual([...adapter.config.targetModules].sort(), ["k_proj", "o_proj", "q_proj", "v_proj"]);
  assert.deepEqual(adapter.unknownKeys, []);
  assert.deepEqual(adapter.modules.get("model.layers.0.self_attn.k_proj"), {
    inFeatures: 48,
    outFeatures: 16,
  });
  assert.deepEqual(adapter.modules.get("model.layers.1.self_attn.o_proj"), {
    inFeatures: 48,
    outFeatures: 48,
  });
  assert.equal(adapter.modules.size, adapter.tensors.tensors.size / 2);
  assert.deepEqual(adapter.savedTensors, []);
  const a = await adapter.tensors.readF32(loraTensorName(module, "A"));
  assert.ok(a.length === 4 * 48 && a.every(Number.isFinite) && a.some((value) => value !== 0));
});

Deno.test("an adapter written here has every key PEFT wrote, and opens again", async () => {
  const text = formatAdapterConfig(config);
  const written = Object.keys(JSON.parse(text));
  const theirs = Object.keys(JSON.parse(Deno.readTextFileSync(new URL("adapter_config.json", golden))));
  assert.deepEqual(theirs.filter((key) => !written.includes(key)), []);
  assert.deepEqual(written, [...written].sort());
  assert.equal(written.length, 33);
  const whole = { ...config, rankPattern: {}, alphaPattern: {}, fanInFanOut: false };
  assert.deepEqual(parseAdapterConfig(text, "c"), { config: whole, unknownKeys: [] });
  const patterned = {
    ...whole,
    rankPattern: { q_proj: 3 },
    alphaPattern: { "^a.b": 2.5 },
    fanInFanOut: true,
  };
  assert.deepEqual(parseAdapterConfig(formatAdapterConfig(patterned), "c").config, patterned);
  const adapter = await open();
  assert.deepEqual(adapter.modules.get(module), { inFeatures: 5, outFeatures: 3 });
  assert.equal(adapter.tensors.metadata.get("format"), "pt");
});

Deno.test("loraScale follows the two rules", () => {
  assert.equal(loraScale(config), 4);
  assert.equal(loraScale({ ...config, rank: 4, useRslora: true }), 4);
});

Deno.test("openAdapter refuses tensors that are not what the settings promise", async () => {
  const { [loraTensorName(module, "B")]: b, ...onlyA } = pair;
  await assert.rejects(open({}, onlyA), /lora_B\.weight" is missing/);
  await assert.rejects(open({}, { [loraTensorName(module, "B")]: b! }), /lora_A\.weight" is missing/);
  await assert.rejects(open({ rank: 3 }), /has shape \[2, 5\], expected \[3, in\]/);
  await assert.rejects(
    open({}, { ...pair, [loraTensorName(module, "B")]: matrix(3, 4) }),
    /expected \[out, 2\]/,
  );
  await assert.rejects(open({ targetModules: ["q_proj", "v_proj"] }), /no tensor adapts "v_proj"/);
  await assert.rejects(open({ targetModules: ["proj"] }), RangeError);
  await assert.rejects(
    open({}, { ...pair, "base_model.model.lm_head.weight": matrix(1, 1) }),
    /neither LoRA pairs/,
  );
  await assert.rejects(
    open({}, { ...pair, "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight": matrix(2, 1) }),
    RangeError,
  );
});

Deno.test("openAdapter holds every pair against the rank that its pattern gives", async () => {
  assert.equal((await open({ rank: 9, rankPattern: { "self_attn.q_proj": 2 } })).modules.size, 1);
  await assert.rejects(
    open({ rank: 2, rankPattern: { q_proj: 9 } }),
    /has shape \[2, 5\], expected \[9, in\]/,
  );
});

Deno.test("openAdapter accepts modules saved whole", async () => {
  const name = "base_model.model.multi_modal_projector.linear.weight";
  const adapter = await open({ modulesToSave: ["multi_modal_projector"] }, { ...pair, [name]: matrix(2, 2) });
  assert.deepEqual(adapter.savedTensors, [name]);
});

Deno.test("openAdapter says which file is missing", async () => {
  await assert.rejects(openAdapter(memoryFolder("run", new Map())), /"run": it has no "adapter_config.json"/);
  const files = new Map([["adapter_config.json", new TextEncoder().encode(formatAdapterConfig(config))]]);
  await assert.rejects(openAdapter(memoryFolder("run", files)), /neither "adapter_model.safetensors" nor/);
});

Deno.test("parseAdapterConfig refuses settings that would be computed wrongly, and lists unknown ones", () => {
  const changed = (fields: Record<string, unknown>) =>
    parseAdapterConfig(JSON.stringify({ ...JSON.parse(formatAdapterConfig(config)), ...fields }), "a.json");
  assert.throws(() => changed({ use_dora: true }), /"use_dora" is the boolean true, only false is supported/);
  assert.throws(
    () => changed({ rank_pattern: { "layers\\.[0-3].*": 8 } }),
    /"rank_pattern" has the expression "layers.*", only module names are supported/,
  );
  assert.throws(
    () => changed({ rank_pattern: { q_proj: 0 } }),
    /the rank of "q_proj" is 0, expected at least 1/,
  );
  assert.throws(() => changed({ alpha_pattern: { q_proj: "8" } }), TypeError);
  assert.throws(() => changed({ bias: "all" }), RangeError);
  assert.throws(() => changed({ peft_type: "IA3" }), /"IA3", expected one of LORA/);
  assert.throws(() => changed({ r: 0 }), /"r" is 0, expected at least 1/);
  assert.throws(() => changed({ lora_dropout: 1 }), RangeError);
  assert.throws(() => changed({ target_modules: "all-linear" }), TypeError);
  assert.deepEqual(changed({ monteclora_config: null, runtime_config: {} }).unknownKeys, [
    "monteclora_config",
    "runtime_config",
  ]);
});
