/** Captioners on disk written in other forms, with the proof by captions. */
import assert from "node:assert/strict";
import { openSafetensors, writeSafetensors } from "../../lib/format/safetensors.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { openFile, stat } from "../../lib/host/files.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { openTrainModels } from "../../lib/host/train_models.ts";
import { writeCaptioner, type WriteCaptionerOptions } from "../../lib/host/write_captioner.ts";
import { testGpu } from "../support/gpu.ts";

const images = (count: number): Promise<Uint8Array[]> =>
  Promise.all(
    Array.from({ length: count }, (_, i) => Deno.readFile(projectPath(`data/sample/test/000${i}.png`))),
  );

async function options(
  outputDir: string,
  changes: Partial<WriteCaptionerOptions>,
): Promise<WriteCaptionerOptions> {
  return {
    model: "embedded:captioner",
    outputDir,
    forms: ["decoder", "llava", "idefics3", "distilvit"],
    dtype: "keep",
    images: await images(4),
    allowDifferences: false,
    gpu: await testGpu(),
    onProgress: () => {},
    ...changes,
  };
}

/** The embedded captioner with LoRA so strong that rounding the merged weights to bf16 changes captions. */
async function strongCaptioner(folder: string): Promise<void> {
  await Deno.mkdir(`${folder}/adapter`, { recursive: true });
  const from = projectPath("data/tiny/captioner");
  for (
    const name of [
      "config.json",
      "projection.safetensors",
      "tokenizer.json",
      "tokenizer_config.json",
      "preprocessor_config.json",
    ]
  ) {
    await Deno.copyFile(`${from}/${name}`, `${folder}/${name}`);
  }
  await Deno.copyFile(`${from}/adapter/adapter_config.json`, `${folder}/adapter/adapter_config.json`);
  const file = await openSafetensors(await openFile(`${from}/adapter/adapter_model.safetensors`));
  const tensors = new Map<string, { dtype: "F32"; shape: readonly number[]; data: Float32Array }>();
  for (const [name, { shape }] of file.tensors) {
    const data = await file.readF32(name);
    tensors.set(name, {
      dtype: "F32",
      shape,
      data: name.includes("lora_B") ? data.map((value) => value * 200) : data,
    });
  }
  await Deno.writeFile(`${folder}/adapter/adapter_model.safetensors`, writeSafetensors(tensors));
}

Deno.test("the embedded captioner is written in every form, each captioning as it does, and can be captioned with", async () => {
  const folder = await Deno.makeTempDir();
  const written = await writeCaptioner(await options(folder, {}));
  assert.deepEqual(written.map(({ form, same, images }) => [form, same, images]), [
    ["decoder", 4, 4],
    ["llava", 4, 4],
    ["idefics3", 4, 4],
    ["distilvit", 4, 4],
  ]);
  for (const { form, path, bytes } of written) {
    assert.equal(path, `${folder}/${form}`);
    let size = 0;
    for await (const { name } of Deno.readDir(path!)) size += (await Deno.stat(`${path}/${name}`)).size;
    assert.equal(bytes, size);
    assert.match(await Deno.readTextFile(`${path}/README.md`), /from_pretrained\("this-folder"/);
  }
  using captioner = await Captioner.load(`${folder}/distilvit`, { gpu: await testGpu() });
  const [image] = await images(1);
  assert.equal((await captioner.caption(image!)).caption, "Four red buses in the snow.");
  // A form written from a written one is the same model still.
  const again = await writeCaptioner(
    await options(`${folder}/again`, { model: `${folder}/distilvit`, forms: ["llava"] }),
  );
  assert.deepEqual(again.map(({ same }) => same), [4]);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("a form that captions otherwise is not written, unless that is allowed; in f32 it captions alike", async () => {
  const folder = await Deno.makeTempDir();
  await strongCaptioner(`${folder}/strong`);
  const common = { model: `${folder}/strong`, forms: ["decoder"] as const, images: await images(8) };
  await assert.rejects(writeCaptioner(await options(`${folder}/out`, common)), {
    name: "UserError",
    message:
      /^Cannot write ".*decoder": \d of 8 captions have other tokens .* use --dtype f32, or --allow-differences$/,
  });
  assert.deepEqual([...Deno.readDirSync(`${folder}/out`)], []);
  const [exact] = await writeCaptioner(await options(`${folder}/out`, { ...common, dtype: "f32" }));
  assert.equal(exact!.same, 8);
  const [rounded] = await writeCaptioner(
    await options(`${folder}/out`, { ...common, allowDifferences: true }),
  );
  assert.ok(rounded!.same < 8);
  assert.equal((await stat(`${folder}/out/decoder`))?.isDirectory, true);
  await Deno.remove(folder, { recursive: true });
});

Deno.test("training starts from a PEFT adapter with its ranks, and refuses one of another model", async () => {
  const train = (changes: object) =>
    openTrainModels({
      encoderModel: "embedded:siglip",
      decoderModel: "embedded:llama",
      projection: { type: "linear" },
      lora: { rank: 2, alpha: 2, dropout: 0.1 },
      unfrozenVisionLayers: 0,
      maxLength: 20,
      appendEos: true,
      seed: 1,
      ...changes,
    });
  const adapter = projectPath("data/tiny/captioner/adapter");
  const plain = await train({});
  const started = await train({ adapter });
  assert.equal(started.settings.lora.rank, 16);
  assert.notEqual(started.hash, plain.hash);
  const file = await openSafetensors(await openFile(`${adapter}/adapter_model.safetensors`));
  const module = "model.layers.1.self_attn.v_proj.lora_B.weight";
  assert.deepEqual(
    started.start.get(`language_model.base_model.model.${module}`),
    await file.readF32(`base_model.model.${module}`),
  );
  // The projection is not the adapter's: it starts as without one.
  assert.deepEqual(
    started.start.get("projection.projection.bias"),
    plain.start.get("projection.projection.bias"),
  );
  await assert.rejects(
    train({ adapter: new URL("../golden/parity/siglip-llama/peft_adapter", import.meta.url).pathname }),
    /^RangeError: Cannot load ".*adapter_model\.safetensors": trained tensor "language_model.*" is \[4, 48\], expected \[4, 128\]$/,
  );
});
