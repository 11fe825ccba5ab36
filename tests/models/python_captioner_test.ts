/** A captioner as the Python project saves it, opened as a base model, as a captioner, and damaged. */
import assert from "node:assert/strict";
import { type FileFolder, memoryFolder } from "../../lib/format/byte_source.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { openSafetensors, type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { readCaptionerConfig, readTrainedOf } from "../../lib/models/captioner_files.ts";
import { type CaptionerConfig, trainableSpecs } from "../../lib/models/captioner.ts";
import { openDecoderConfig, openVisionConfig } from "../../lib/models/load.ts";
import { openPart } from "../../lib/models/model_source.ts";
import { parsePythonConfig } from "../../lib/models/python_captioner.ts";

const GOLDEN = new URL("../golden/parity/siglip-llama/", import.meta.url);
const read = (path: string): Uint8Array<ArrayBuffer> => Deno.readFileSync(new URL(path, GOLDEN));

/** The golden checkpoint in memory after `change` has had its way with tensors and settings. */
async function checkpoint(
  change: (tensors: Map<string, TensorData>) => Map<string, TensorData> = (tensors) => tensors,
  fields: object = {},
): Promise<FileFolder> {
  const bytes = read("python_checkpoint/model.safetensors");
  const file = await openSafetensors({
    name: "model.safetensors",
    size: bytes.length,
    read: (start, end) => Promise.resolve(bytes.slice(start, end)),
  });
  const tensors = new Map<string, TensorData>();
  for (const [name, { shape }] of file.tensors) {
    tensors.set(name, { dtype: "F32", shape, data: await file.readF32(name) });
  }
  const config = {
    ...JSON.parse(new TextDecoder().decode(read("python_checkpoint/config.json"))),
    ...fields,
  };
  return memoryFolder(
    "python",
    new Map([
      ["config.json", new TextEncoder().encode(JSON.stringify(config))],
      ["model.safetensors", writeSafetensors(change(tensors))],
    ]),
  );
}

async function open(folder: FileFolder) {
  const settings = await readCaptionerConfig(folder);
  const config: CaptionerConfig = {
    ...settings,
    vision: await openVisionConfig(folder),
    decoder: await openDecoderConfig(folder),
  };
  return { settings, config, trained: await readTrainedOf(folder, settings, trainableSpecs(config)) };
}

Deno.test("the Python project's settings are read, its captions having no end token", async () => {
  const { settings, config } = await open(await checkpoint());
  assert.deepEqual(settings, {
    encoder: { reference: "python" },
    decoder: { reference: "python" },
    projection: { type: "linear" },
    lora: { rank: 4, alpha: 8, dropout: 0.1, targetModules: ["q_proj", "v_proj", "k_proj", "o_proj"] },
    unfrozenVisionLayers: 0,
    maxLength: 9,
    appendEos: false,
  });
  assert.equal(config.decoder.family, "llama");
});

Deno.test("trained tensors and base models are those the case began with, under `module.` too", async () => {
  const bytes = read("trainable_init.safetensors");
  const start = await openSafetensors({
    name: "init",
    size: bytes.length,
    read: (from, to) => Promise.resolve(bytes.slice(from, to)),
  });
  const wrapped = (tensors: Map<string, TensorData>) =>
    new Map([...tensors].map(([name, tensor]) => [`module.${name}`, tensor]));
  for (const folder of [await checkpoint(), await checkpoint(wrapped)]) {
    const { trained } = await open(folder);
    assert.equal(trained.size, start.tensors.size);
    for (const name of start.tensors.keys()) {
      assert.deepEqual(trained.get(name.replace(".default.", "."))!.data, await start.readF32(name), name);
    }
    const { tensors } = await openPart(folder, "decoder");
    const base = read("decoder/model.safetensors");
    const decoder = await openSafetensors({
      name: "decoder",
      size: base.length,
      read: (from, to) => Promise.resolve(base.slice(from, to)),
    });
    for (const name of decoder.tensors.keys()) {
      assert.deepEqual(await tensors.readF32(name), await decoder.readF32(name), name);
    }
    assert.equal([...tensors.tensors.keys()].filter((name) => name.includes("lora")).length, 0);
  }
});

Deno.test("unfrozen layers are read from the encoder, whole encoders as all their layers", async () => {
  const { trained } = await open(await checkpoint(undefined, { vision_unfreeze_layers: 1 }));
  const vision = [...trained.keys()].filter((name) => name.startsWith("vision_encoder."));
  assert.equal(vision.length, 16);
  assert.ok(vision.every((name) => name.includes(".layers.1.")));
  assert.equal(
    (await open(await checkpoint(undefined, { freeze_vision_encoder: false }))).config.unfrozenVisionLayers,
    2,
  );
});

Deno.test("targets that Python left to be found are the family's", () => {
  const parse = (type: string) =>
    parsePythonConfig(
      new JsonConfig({
        model_type: "prefix_conditioning_vlm",
        lora_r: 2,
        lora_alpha: 2,
        text_config: { model_type: type },
      }, "c"),
      "p",
    ).lora.targetModules;
  assert.deepEqual(parse("gpt2"), ["c_attn", "c_proj"]);
  assert.deepEqual(parse("opt"), ["q_proj", "v_proj"]);
});

Deno.test("what is missing, misshapen or foreign in a Python checkpoint is named", async () => {
  const a = "language_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight";
  await assert.rejects(open(await checkpoint((t) => (t.delete(a), t))), {
    name: "RangeError",
    message:
      /^Cannot load "python": trained tensor "language_model.*q_proj\.lora_A\.weight" is missing, expected \[4, 48\]$/,
  });
  await assert.rejects(
    open(await checkpoint(undefined, { lora_r: 3 })),
    /lora_A\.weight" is \[4, 48\], expected \[3, 48\]/,
  );
  await assert.rejects(
    open(await checkpoint(undefined, { lora_target_modules: ["q_proj"] })),
    /has no place for trained "language_model/,
  );
  await assert.rejects(
    open(await checkpoint(undefined, { projection_type: "mlp" })),
    /"projection\.projection\.0\.weight" is missing/,
  );
  const stray: TensorData = { dtype: "F32", shape: [1], data: new Float32Array(1) };
  await assert.rejects(
    open(await checkpoint((t) => t.set("optimizer.step", stray))),
    /"optimizer\.step" belong to no captioner/,
  );
});
