/** Captioners written in other forms and read back: the same features, logits and captions; and what a form cannot hold. */
import assert from "node:assert/strict";
import {
  planDecoderFolder,
  planIdefics3Folder,
  planLlavaFolder,
  type PlannedFolder,
  planPythonFolder,
} from "../../lib/export/merged_captioner.ts";
import { type FileFolder, memoryFolder } from "../../lib/format/byte_source.ts";
import { CaptionGenerator } from "../../lib/generate/generator.ts";
import { type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { type CaptionerConfig, prefixTokens, trainableSpecs } from "../../lib/models/captioner.ts";
import { readCaptionerConfig, readTrainedOf, type TrainedTensors } from "../../lib/models/captioner_files.ts";
import { type CaptionerSource, openCaptionerSource } from "../../lib/models/captioner_source.ts";
import { loadDecoderModel, loadVisionModel } from "../../lib/models/load.ts";
import { FrozenWeights } from "../../lib/nn/weights.ts";
import {
  type CaptionerFolders,
  captionerFolders,
  type FoldersOptions,
  SMALL_LLAMA,
  SMALL_SIGLIP,
} from "../support/captioner_folders.ts";
import { LLAMA, LORA, ofFamily } from "../support/every_family.ts";
import { collectFiles } from "../support/collect_files.ts";
import { randomValues, testGpu } from "../support/gpu.ts";

const open = ({ folder, openModel }: CaptionerFolders): Promise<CaptionerSource> =>
  openCaptionerSource(folder, openModel);

async function asFolder(planned: PlannedFolder, name: string): Promise<FileFolder> {
  const texts = [...planned.texts].map(([file, text]) => [file, new TextEncoder().encode(text)] as const);
  return memoryFolder(name, new Map([...await collectFiles(planned.plan.files()), ...texts]));
}

/** Ids and log-probabilities of two images' captions with three beams. */
async function captions(
  parts: { encoder: FileFolder; decoder: FileFolder; config: CaptionerConfig; trained: TrainedTensors },
): Promise<{ ids: readonly number[]; logProb: number }[]> {
  const gpu = await testGpu();
  const { config } = parts;
  const vision = await loadVisionModel(gpu, parts.encoder);
  const decoder = await loadDecoderModel(gpu, parts.decoder, { maxPositions: prefixTokens(config) + 9 });
  const trainable = new FrozenWeights(
    "trained",
    new Map([...parts.trained].map(([name, { shape, data }]): [string, Tensor] => [
      name,
      tensorFrom(gpu, new Float32Array(data), { shape, label: name }),
    ])),
  );
  const generator = await CaptionGenerator.create(gpu, {
    config,
    weights: { vision: vision.weights, decoder: decoder.weights, rope: decoder.rope, trainable },
    batchSize: 2,
    numBeams: 3,
    maxNewTokens: 9,
    features: false,
  });
  const found = await generator.generate(randomValues(2 * 3 * 15 * 15, 99, 1.5), 2, { eosIds: [2] });
  generator.destroy();
  for (const weights of [vision.weights, decoder, trainable]) weights.destroy();
  return found.map(([best]) => ({ ids: best!.ids, logProb: best!.logProb }));
}

async function captionsOf(folders: CaptionerFolders) {
  return await captions({
    ...folders,
    encoder: await folders.openModel("encoder"),
    decoder: await folders.openModel("decoder"),
  });
}

async function captionsOfFolder(folder: FileFolder, config: CaptionerConfig) {
  const settings = await readCaptionerConfig(folder);
  const { lora, projection, unfrozenVisionLayers } = settings;
  const whole: CaptionerConfig = { ...config, lora, projection, unfrozenVisionLayers };
  const trained = await readTrainedOf(folder, settings, trainableSpecs(whole));
  return { settings, found: await captions({ encoder: folder, decoder: folder, config: whole, trained }) };
}

function assertSame(
  got: readonly { ids: readonly number[]; logProb: number }[],
  want: readonly { ids: readonly number[]; logProb: number }[],
  tolerance = 1e-4,
): void {
  assert.deepEqual(got.map(({ ids }) => ids), want.map(({ ids }) => ids));
  assert.ok(new Set(want.map(({ ids }) => ids.join())).size > 1, "the images have different captions");
  for (const [i, { logProb }] of got.entries()) {
    assert.ok(Math.abs(logProb - want[i]!.logProb) < tolerance, `${logProb}, expected ${want[i]!.logProb}`);
  }
}

const TRAINED_VISION: FoldersOptions = { ...LLAMA, unfrozenVisionLayers: 1 };
const WIDE_MLP: FoldersOptions = { ...LLAMA, projection: { type: "mlp", hiddenSize: 28, dropout: 0.1 } };

for (
  const [name, plan, options] of [
    ["Llava", planLlavaFolder, TRAINED_VISION],
    ["Llava with an MLP as wide as the decoder", planLlavaFolder, WIDE_MLP],
    ["Idefics3", planIdefics3Folder, TRAINED_VISION],
    ["the Python project's form", planPythonFolder, TRAINED_VISION],
    ["the Python project's form with an MLP", planPythonFolder, {
      ...LLAMA,
      projection: { type: "mlp", hiddenSize: 19, dropout: 0.1 },
    }],
  ] as const
) {
  Deno.test(`a captioner written as ${name} captions as it did`, async () => {
    const folders = captionerFolders(options);
    const folder = await asFolder(plan(await open(folders)), "written");
    const { settings, found } = await captionsOfFolder(folder, folders.config);
    assertSame(found, await captionsOf(folders));
    assert.equal(settings.maxLength, 12);
  });
}

const MODELS: [name: string, FoldersOptions][] = [
  ["tied llama, LoRA by patterns", {
    decoder: { ...SMALL_LLAMA, tie_word_embeddings: true },
    lora: { ...LORA, rankPattern: { q_proj: 5 }, alphaPattern: { v_proj: 2 }, useRslora: true },
  }],
  ...["qwen3", "phi3", "gpt2", "opt"].map((name): [string, FoldersOptions] => [name, ofFamily(name)]),
];

for (const [name, options] of MODELS) {
  Deno.test(`LoRA folded into ${name} gives the same captions, alone and in Idefics3's and the Python project's form`, async () => {
    const folders = captionerFolders(options);
    const source = await open(folders);
    const want = await captionsOf(folders);
    const none: CaptionerConfig = {
      ...folders.config,
      lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] },
    };
    const merged = await captions({
      encoder: await folders.openModel("encoder"),
      decoder: await asFolder(planDecoderFolder(source), "merged"),
      config: none,
      trained: new Map([...folders.trained].filter(([name]) => name.startsWith("projection."))),
    });
    assertSame(merged, want);
    assertSame((await captionsOfFolder(await asFolder(planIdefics3Folder(source), "i"), none)).found, want);
    if (options.lora.useRslora !== true) {
      const python = await asFolder(planPythonFolder(source), "p");
      assertSame((await captionsOfFolder(python, folders.config)).found, want, 1e-6);
    }
  });
}

Deno.test("a merged decoder keeps the precision of its base, or takes the one asked for", async () => {
  const folders = captionerFolders({ ...LLAMA, dtype: "BF16" });
  const source = await open(folders);
  const dtypes = (
    planned: PlannedFolder,
  ): string[] => [
    ...new Set(
      [...planned.plan.specs.values()].filter(({ shape }) => shape.length > 1).map(({ dtype }) => dtype),
    ),
  ];
  const kept = planDecoderFolder(source);
  assert.deepEqual(dtypes(kept), ["BF16"]);
  assert.equal(JSON.parse(kept.texts.get("config.json")!).torch_dtype, "bfloat16");
  const wide = planDecoderFolder(source, { dtype: "f32" });
  assert.deepEqual(dtypes(wide), ["F32"]);
  assert.equal(JSON.parse(wide.texts.get("config.json")!).torch_dtype, "float32");
});

Deno.test("Llava and Idefics3 have the keys and settings that stock Python reads", async () => {
  const source = await open(captionerFolders(LLAMA));
  const llava = planLlavaFolder(source);
  const config = JSON.parse(llava.texts.get("config.json")!);
  assert.equal(config.image_token_index, 60);
  assert.equal(config.vision_feature_select_strategy, "full");
  assert.equal(config.projector_hidden_act, "linear");
  assert.equal(config.vision_config.model_type, "siglip_vision_model");
  assert.equal(config.vision_config.vision_use_head, false);
  assert.equal(config.text_config.model_type, "llama");
  const names = [...llava.plan.specs.keys()];
  for (
    const name of [
      "vision_tower.vision_model.embeddings.patch_embedding.weight",
      "vision_tower.vision_model.post_layernorm.bias",
      "multi_modal_projector.linear_1.weight",
      "multi_modal_projector.linear_2.bias",
      "language_model.model.embed_tokens.weight",
      "language_model.lm_head.weight",
    ]
  ) assert.ok(names.includes(name), name);
  assert.ok(!names.some((name) => name.includes("lora")));
  const idefics = planIdefics3Folder(source);
  const keys = [...idefics.plan.specs.keys()];
  for (
    const name of [
      "model.vision_model.embeddings.position_embedding.weight",
      "model.connector.modality_projection.proj.weight",
      "model.text_model.layers.1.mlp.down_proj.weight",
      "lm_head.weight",
    ]
  ) assert.ok(keys.includes(name), name);
  assert.equal(JSON.parse(idefics.texts.get("config.json")!).scale_factor, 1);
  const { added_tokens } = JSON.parse(llava.texts.get("tokenizer.json")!);
  assert.deepEqual(added_tokens.at(-1), {
    id: 60,
    content: "<image>",
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
});

Deno.test("what a form cannot hold is refused with the reason", async () => {
  const refuses = async (
    plan: (source: CaptionerSource) => PlannedFolder,
    options: FoldersOptions,
    message: RegExp,
  ): Promise<void> => {
    const source = await open(captionerFolders(options));
    assert.throws(() => plan(source), { name: "RangeError", message });
  };
  const mlp: FoldersOptions = { ...LLAMA, projection: { type: "mlp", hiddenSize: 19, dropout: 0.1 } };
  await refuses(
    planLlavaFolder,
    mlp,
    /its projection is 19 wide inside, Llava's must be as wide as the decoder, 28$/,
  );
  await refuses(planIdefics3Folder, mlp, /its projection is an MLP/);
  const narrow = { ...SMALL_SIGLIP, hidden_size: 18 };
  await refuses(
    planIdefics3Folder,
    { ...LLAMA, vision: narrow },
    /the decoder is wider \(28\) than the encoder \(18\)$/,
  );
  const vit = { ...SMALL_SIGLIP, model_type: "vit" };
  await refuses(planLlavaFolder, { ...LLAMA, vision: vit }, /Llava takes no ViT/);
  await refuses(planIdefics3Folder, { ...LLAMA, vision: vit }, /its encoder is a ViT, Idefics3's a SigLIP$/);
  await refuses(planPythonFolder, { ...LLAMA, lora: { ...LORA, useRslora: true } }, /rank-stabilised/);
  await refuses(
    planPythonFolder,
    { ...LLAMA, lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] } },
    /it has no LoRA/,
  );
  const stranger = memoryFolder(
    "chat",
    new Map([["config.json", new TextEncoder().encode('{"model_type":"llava"}')]]),
  );
  await assert.rejects(readCaptionerConfig(stranger), /it is a llava model with no "captioner" in it/);
});
