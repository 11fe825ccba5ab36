/** Folders on disk that do not fit together or were damaged: one clear error that names file and tensor, and an exit code. */
import assert from "node:assert/strict";
import type { JsonObject } from "../../lib/format/json.ts";
import { encodeAdapter, loraTensorName } from "../../lib/format/peft.ts";
import { openSafetensors, type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { openFile } from "../../lib/host/files.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { testGpu } from "../support/gpu.ts";
import { LLAMA, run, SIGLIP, withModels } from "../support/tiny_run.ts";

const isolated = { sanitizeOps: false, sanitizeResources: false };
const SHARDS = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const;

async function readTensors(path: string): Promise<Map<string, TensorData>> {
  const file = await openSafetensors(await openFile(path));
  const tensors = new Map<string, TensorData>();
  for (const [name, { dtype, shape }] of file.tensors) {
    tensors.set(name, { dtype, shape, data: await file.read(name) });
  }
  return tensors;
}

/** Puts a model into two shards; `extra` is what the index says besides. */
async function shard(folder: string, extra: Record<string, string> = {}): Promise<void> {
  const tensors = [...await readTensors(`${folder}/model.safetensors`)];
  const half = tensors.length >> 1;
  await Deno.remove(`${folder}/model.safetensors`);
  for (const [i, part] of [tensors.slice(0, half), tensors.slice(half)].entries()) {
    await Deno.writeFile(`${folder}/${SHARDS[i]}`, writeSafetensors(new Map(part)));
  }
  const weight_map = {
    ...Object.fromEntries(tensors.map(([name], i) => [name, SHARDS[i < half ? 0 : 1]])),
    ...extra,
  };
  await Deno.writeTextFile(`${folder}/model.safetensors.index.json`, JSON.stringify({ weight_map }));
}

async function cutInHalf(path: string): Promise<void> {
  await Deno.truncate(path, (await Deno.stat(path)).size >> 1);
}

const refused = (root: string, flags: string, name: string, message: RegExp): Promise<void> =>
  assert.rejects(run(root, "runs", `--max-steps 1 ${flags}`.trim()), { name, message });

/** Runs a program of the project; gives its exit code and what it said of errors. */
async function spawn(...args: string[]): Promise<{ code: number; err: string }> {
  const { code, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", ...args],
    cwd: projectPath(""),
  }).output();
  return { code, err: new TextDecoder().decode(stderr) };
}

Deno.test(
  "half a shard, and an index that names a tensor which is not there, are refused",
  isolated,
  () =>
    withModels(async (root) => {
      const llama = `${root}/llama`;
      await shard(llama);
      assert.equal((await run(root, "runs", "--max-steps 1")).ended, "completed");
      await cutInHalf(`${llama}/${SHARDS[1]}`);
      await refused(
        root,
        "",
        "SyntaxError",
        /llama\/model-00002-of-00002\.safetensors": tensor ".+" lies at bytes/,
      );
      // The command line says the same in one line, and ends with 1.
      const { code, err } = await spawn(
        projectPath("tasks/train.ts"),
        ...["--encoder-model", `${root}/siglip`, "--decoder-model", llama],
        ...["--dataset", `${root}/images`, "--save-dir", `${root}/cli`, "--max-steps", "1"],
      );
      assert.equal(code, 1);
      assert.match(err, /^.*Cannot load ".+llama\/model-00002-of-00002\.safetensors"/m);
      assert.doesNotMatch(err, /\n\s+at /);
    }),
);

Deno.test(
  "an index that names a tensor which no shard has is refused",
  isolated,
  () =>
    withModels(async (root) => {
      await shard(`${root}/llama`, { "model.layers.1.mlp.up_proj.weight": SHARDS[0] });
      await refused(
        root,
        "",
        "SyntaxError",
        /llama": the index says that tensor "model\.layers\.1\.mlp\.up_proj\.weight" is in "model-00001-of-00002\.safetensors", which/,
      );
    }),
);

Deno.test(
  "a configuration that contradicts its weights is refused by the first tensor that does not fit",
  isolated,
  () =>
    withModels(async (root) => {
      const cases: [string, JsonObject, string, RegExp][] = [
        [
          "llama",
          { ...LLAMA, hidden_size: 36, head_dim: 16 },
          "TypeError",
          /llama\/model.safetensors": tensor "model\.embed_tokens\.weight" has shape \[512, 32\], expected \[512, 36\]/,
        ],
        [
          "llama",
          { ...LLAMA, vocab_size: 513 },
          "TypeError",
          /tensor "model\.embed_tokens\.weight" has shape \[512, 32\], expected \[513, 32\]/,
        ],
        [
          "llama",
          { ...LLAMA, num_hidden_layers: 2 },
          "RangeError",
          /llama\/model.safetensors": 9 of 20 tensors are missing, "model\.layers\.1\./,
        ],
        [
          "llama",
          { ...LLAMA, num_attention_heads: 4 },
          "TypeError",
          /tensor "model\.layers\.0\.self_attn\.k_proj\.weight" has shape \[16, 32\], expected \[8, 32\]/,
        ],
        [
          "llama",
          { ...LLAMA, num_key_value_heads: 2 },
          "TypeError",
          /k_proj\.weight" has shape \[16, 32\], expected \[32, 32\]/,
        ],
        [
          "llama",
          { ...LLAMA, intermediate_size: 64 },
          "TypeError",
          /mlp\.gate_proj\.weight" has shape \[48, 32\], expected \[64, 32\]/,
        ],
        [
          "llama",
          { ...LLAMA, tie_word_embeddings: false },
          "RangeError",
          /1 of 12 tensors are missing, "lm_head\.weight"/,
        ],
        [
          "siglip",
          { ...SIGLIP, vision_config: { ...SIGLIP.vision_config, image_size: 30 } },
          "UserError",
          /siglip\/preprocessor_config\.json": it gives 20x20 pixels, the encoder takes 30x30/,
        ],
        [
          "siglip",
          { ...SIGLIP, vision_config: { ...SIGLIP.vision_config, patch_size: 5 } },
          "TypeError",
          /siglip\/model\.safetensors": tensor "vision_model\.embeddings\.patch_embedding\.weight" has shape \[24, 3, 10, 10\], expected \[24, 3, 5, 5\]/,
        ],
      ];
      for (const [folder, config, name, message] of cases) {
        const path = `${root}/${folder}/config.json`;
        const whole = await Deno.readTextFile(path);
        await Deno.writeTextFile(path, JSON.stringify(config));
        await refused(root, "", name, message);
        await Deno.writeTextFile(path, whole);
      }
      // The processor agrees with the configuration, the weights do not.
      const processor = `${root}/siglip/preprocessor_config.json`;
      await Deno.writeTextFile(processor, (await Deno.readTextFile(processor)).replaceAll("20", "30"));
      const vision_config = { ...SIGLIP.vision_config, image_size: 30 };
      await Deno.writeTextFile(`${root}/siglip/config.json`, JSON.stringify({ ...SIGLIP, vision_config }));
      await refused(
        root,
        "",
        "TypeError",
        /position_embedding\.weight" has shape \[4, 24\], expected \[9, 24\]/,
      );
      // None of these left a run behind.
      await assert.rejects(Deno.stat(`${root}/runs`), Deno.errors.NotFound);
    }),
);

/** Writes an adapter of rank 2 for modules of given widths. */
async function writeAdapter(
  folder: string,
  modules: Record<string, [inWidth: number, outWidth: number]>,
  stored = 2,
): Promise<void> {
  const tensor = (...shape: number[]): TensorData => ({
    dtype: "F32",
    shape,
    data: new Float32Array(shape[0]! * shape[1]!),
  });
  const files = encodeAdapter(
    {
      baseModel: "other",
      rank: 2,
      alpha: 4,
      dropout: 0,
      targetModules: [...new Set(Object.keys(modules).map((path) => path.split(".").at(-1)!))],
      useRslora: false,
      modulesToSave: null,
      taskType: "CAUSAL_LM",
    },
    new Map(
      Object.entries(modules).flatMap(([path, [inWidth, outWidth]]) => [
        [loraTensorName(path, "A"), tensor(stored, inWidth)],
        [loraTensorName(path, "B"), tensor(outWidth, stored)],
      ]),
    ),
  );
  await Deno.mkdir(folder, { recursive: true });
  for (const [name, bytes] of files) await Deno.writeFile(`${folder}/${name}`, bytes);
}

Deno.test(
  "an adapter of another model is refused by its first module that does not fit",
  isolated,
  () =>
    withModels(async (root) => {
      const adapter = `${root}/adapter`;
      const flags = `--adapter ${adapter}`;
      const q = (layer: number): string => `model.layers.${layer}.self_attn.q_proj`;
      await writeAdapter(adapter, { [q(0)]: [32, 32] });
      assert.equal((await run(root, "runs", `--max-steps 1 ${flags}`)).ended, "completed");
      await writeAdapter(adapter, { [q(0)]: [32, 32] }, 3);
      await refused(
        root,
        flags,
        "TypeError",
        /adapter_model\.safetensors": tensor ".+q_proj\.lora_A\.weight" has shape \[3, 32\], expected \[2, in\]/,
      );
      await writeAdapter(adapter, { [q(0)]: [48, 32] });
      await refused(
        root,
        flags,
        "RangeError",
        /adapter_model\.safetensors": .+q_proj\.lora_A\.weight" is \[2, 48\], expected \[2, 32\]/,
      );
      await writeAdapter(adapter, { [q(0)]: [32, 32], [q(1)]: [32, 32] });
      await refused(
        root,
        flags,
        "RangeError",
        /adapter_model\.safetensors": its model has no place for .+layers\.1\./,
      );
      await writeAdapter(adapter, { "transformer.h.0.attn.c_attn": [32, 96] });
      await refused(
        root,
        flags,
        "RangeError",
        /adapter_model\.safetensors": .+"c_attn": the decoder has "q_proj"/,
      );
    }),
);

Deno.test(
  "another model's tokenizer, and what is none, are refused by name",
  isolated,
  () =>
    withModels(async (root) => {
      const llama = `${root}/llama`;
      await Deno.writeTextFile(`${llama}/config.json`, JSON.stringify({ ...LLAMA, eos_token_id: 7 }));
      await refused(root, "", "UserError", /llama".* ends texts with token 0, its "config\.json" with 7/);
      await Deno.writeTextFile(`${llama}/config.json`, JSON.stringify(LLAMA));
      const path = `${llama}/tokenizer.json`;
      const whole = await Deno.readTextFile(path);
      await Deno.writeTextFile(path, whole.slice(0, 1000));
      await refused(root, "", "SyntaxError", /llama\/tokenizer\.json": it is not JSON/);
      await Deno.writeTextFile(path, `{"model":{"type":"Nonsense"}}`);
      await refused(root, "", "UserError", /Cannot use ".+llama\/tokenizer\.json"/);
      await Deno.writeTextFile(path, whole);
      await Deno.remove(`${llama}/tokenizer_config.json`);
      await refused(root, "", "UserError", /llama": it has no "tokenizer_config\.json"/);
    }),
);

Deno.test(
  "a captioner whose files or base models were damaged is refused, by the command line too",
  isolated,
  () =>
    withModels(async (root) => {
      const { path } = await run(root, "runs", "--max-steps 1");
      const image = projectPath("data/sample/test/0000.png");
      const load = async (): Promise<Captioner> => await Captioner.load(path, { gpu: await testGpu() });
      (await load())[Symbol.dispose]();
      // The decoder has been exchanged for a wider one since.
      const config = `${root}/llama/config.json`;
      await Deno.writeTextFile(config, JSON.stringify({ ...LLAMA, hidden_size: 36, head_dim: 16 }));
      await assert.rejects(load(), {
        name: "RangeError",
        message:
          /siglip-llama-lora": trained tensor "projection\.projection\.weight" is \[32, 24\], expected \[36, 24\]/,
      });
      await Deno.writeTextFile(config, JSON.stringify(LLAMA));
      await cutInHalf(`${root}/llama/model.safetensors`);
      await assert.rejects(load(), { name: "SyntaxError", message: /llama\/model\.safetensors"/ });
      await cutInHalf(`${path}/projection.safetensors`);
      const { code, err } = await spawn(projectPath("mod.ts"), "caption", "--model", path, image);
      assert.equal(code, 1);
      assert.match(err, /^.*Cannot load ".+projection\.safetensors"/m);
      assert.doesNotMatch(err, /\n\s+at /);
    }),
);
