import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { Rng } from "../../lib/base/rng.ts";
import { openSafetensors, type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { testGpu } from "../support/gpu.ts";
import { Captioner } from "../../lib/host/captioner.ts";
import { openFile } from "../../lib/host/files.ts";
import { findNewestCaptioner } from "../../lib/host/run_folder.ts";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import type { TrainRunResult } from "../../lib/host/train_options.ts";
import { runTraining } from "../../lib/host/train_run.ts";
import { describeResult } from "../../lib/host/train_summary.ts";
import { decoderSpecs } from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import { parseVision, visionSpecs } from "../../lib/models/vision.ts";
import type { WeightSpec } from "../../lib/nn/weights.ts";

const SIGLIP = {
  model_type: "siglip",
  vision_config: {
    model_type: "siglip_vision_model",
    hidden_size: 24,
    intermediate_size: 40,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    image_size: 20,
    patch_size: 10,
    hidden_act: "gelu_pytorch_tanh",
  },
};
const CLIP = {
  ...SIGLIP,
  model_type: "clip",
  vision_config: {
    ...SIGLIP.vision_config,
    model_type: "clip_vision_model",
    num_hidden_layers: 2,
    hidden_act: "quick_gelu",
  },
};
const VIT = { ...SIGLIP.vision_config, model_type: "vit", num_hidden_layers: 2, hidden_act: "gelu" };
const LLAMA = {
  model_type: "llama",
  vocab_size: 512,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  hidden_act: "silu",
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
  pad_token_id: 1,
};

const data = (path: string): URL => new URL(`../../data/${path}`, import.meta.url);

/** Random base models, and twelve images of the sample in every split. */
async function prepare(root: string): Promise<void> {
  const rng = new Rng(5);
  const random = (specs: readonly WeightSpec[]) =>
    writeSafetensors(
      new Map(specs.map(({ name, shape }): [string, TensorData] => {
        const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
        for (let i = 0; i < values.length; i++) {
          values[i] = /norm\d?\.weight$/.test(name) ? 1 : 0.2 * rng.normal();
        }
        return [name, { dtype: "F32", shape, data: values }];
      })),
    );
  const write = async (
    folder: string,
    config: unknown,
    specs: (json: JsonConfig) => readonly WeightSpec[],
  ) => {
    await Deno.mkdir(`${root}/${folder}`);
    await Deno.writeTextFile(`${root}/${folder}/config.json`, JSON.stringify(config));
    const json = JsonConfig.parse(JSON.stringify(config), folder);
    await Deno.writeFile(`${root}/${folder}/model.safetensors`, random(specs(json)));
  };
  await write("siglip", SIGLIP, (json) => visionSpecs(parseVision(json)));
  await write("clip", CLIP, (json) => visionSpecs(parseVision(json)));
  await write("vit", VIT, (json) => visionSpecs(parseVision(json)));
  await write("llama", LLAMA, (json) => decoderSpecs(parseDecoder(json)));
  const processors = {
    siglip: {
      image_processor_type: "SiglipImageProcessor",
      size: { height: 20, width: 20 },
      resample: 3,
      image_mean: [0.5, 0.5, 0.5],
      image_std: [0.5, 0.5, 0.5],
    },
    // Shortest edge and centre crop, with the mean and deviation of the class.
    clip: { image_processor_type: "CLIPImageProcessor", size: { shortest_edge: 23 }, crop_size: 20 },
    vit: { feature_extractor_type: "ViTFeatureExtractor", size: 20, resample: 2 },
  };
  for (const [folder, processor] of Object.entries(processors)) {
    await Deno.writeTextFile(`${root}/${folder}/preprocessor_config.json`, JSON.stringify(processor));
  }
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(data(`tiny/llama/${name}`), `${root}/llama/${name}`);
  }
  for (const split of ["train", "validation", "test"]) {
    await Deno.mkdir(`${root}/images/${split}`, { recursive: true });
    const rows = (await Deno.readTextFile(data(`sample/${split}/metadata.jsonl`))).split("\n").slice(0, 12);
    await Deno.writeTextFile(`${root}/images/${split}/metadata.jsonl`, rows.join("\n"));
    for (const row of rows) {
      const { file_name: name } = JSON.parse(row);
      await Deno.copyFile(data(`sample/${split}/${name}`), `${root}/images/${split}/${name}`);
    }
  }
}

/** Trains with flags; an interrupt comes once `interruptAfter` lines of metrics were written. */
async function run(
  root: string,
  saveDir: string,
  flags: string,
  interruptAfter?: number,
): Promise<TrainRunResult> {
  const options = await parseTrainArguments([
    ...[
      "--encoder-model",
      `${root}/siglip`,
      "--decoder-model",
      `${root}/llama`,
      "--dataset",
      `${root}/images`,
    ],
    ...["--save-dir", `${root}/${saveDir}`, "--cache-dir", `${root}/cache`],
    ..."--batch-size 4 --gradient-accumulation-steps 2 --max-length 12 --eval-captions 2".split(" "),
    ...flags.split(" "),
  ]);
  const stop = new AbortController();
  const watch = setInterval(async () => {
    const metrics = `${root}/${saveDir}/siglip-llama-lora/metrics.jsonl`;
    const text = await Deno.readTextFile(metrics).catch(() => "");
    if (text.split("\n").length > interruptAfter!) stop.abort();
  }, 5);
  if (interruptAfter === undefined) clearInterval(watch);
  try {
    return await runTraining(options, { signal: stop.signal, say() {}, quiet: true, gpu: await testGpu() });
  } finally {
    clearInterval(watch);
  }
}

async function withModels(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await prepare(root);
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

const isolated = { sanitizeOps: false, sanitizeResources: false };

Deno.test(
  "a run leaves a captioner, checkpoints, pages; interrupted and continued it is the same",
  isolated,
  () =>
    withModels(async (root) => {
      const flags =
        "--max-steps 24 --eval-steps 8 --save-steps 6 --save-total-limit 9 --early-stopping-patience 0";
      const whole = await run(root, "whole", flags);
      strictEqual(whole.ended, "completed");
      ok(whole.after!.metrics.eval_loss < whole.before!.metrics.eval_loss);
      const text = describeResult(whole);
      for (
        const wanted of [
          "Loss",
          "ROUGE-L",
          "Exact match",
          "Object words",
          "test split, 12 images",
          whole.path,
        ]
      ) {
        ok(text.includes(wanted), wanted);
      }
      const report = await Deno.readTextFile(`${whole.path}/report.html`);
      ok(report.includes("data:image/png;base64,") && report.includes("before training"));
      const manifest = JSON.parse(await Deno.readTextFile(`${whole.path}/manifest.json`));
      strictEqual(manifest.finished, true);
      strictEqual(manifest.seed, 42);
      strictEqual(await findNewestCaptioner(`${root}/whole`), whole.path);

      const first = await run(root, "parts", flags, 4);
      strictEqual(first.ended, "interrupted");
      ok(first.step < 24, `interrupted at ${first.step}`);
      ok(describeResult(first).includes("continue"));
      const second = await run(root, "parts", flags);
      strictEqual(second.path, first.path);
      strictEqual(second.ended, "completed");
      for (
        const file of [
          "metrics.jsonl",
          "projection.safetensors",
          "adapter/adapter_model.safetensors",
          "checkpoint-24/optimizer.safetensors",
          "checkpoint-24/trainer_state.json",
          "checkpoint-18/projection.safetensors",
        ]
      ) {
        deepStrictEqual(
          await Deno.readFile(`${second.path}/${file}`),
          await Deno.readFile(`${whole.path}/${file}`),
          file,
        );
      }
      deepStrictEqual(second.after, whole.after);
      // The same command again is a new run.
      ok((await run(root, "parts", `${flags} --max-steps 1`)).path.endsWith("-2"));
    }),
);

Deno.test(
  "an MLP and an unfrozen vision layer are trained, and a captioner is trained on from",
  isolated,
  () =>
    withModels(async (root) => {
      const base = await run(root, "runs", "--max-steps 2 --projection-type mlp --unfreeze-vision-layers 1");
      ok((await Deno.stat(`${base.path}/vision.safetensors`)).size > 0);
      const next = await run(root, "runs", `--max-steps 1 --base-model ${base.path}`);
      strictEqual(next.before!.metrics.eval_loss, base.after!.metrics.eval_loss);
    }),
);

for (
  const [encoder, layer] of [
    ["clip", "vision_model.encoder.layers.1.self_attn.q_proj.weight"],
    ["vit", "encoder.layer.1.attention.attention.query.weight"],
  ] as const
) {
  Deno.test(
    `a ${encoder} encoder is trained with, its last layer under its own names, and captioned with`,
    isolated,
    () =>
      withModels(async (root) => {
        const flags = `--encoder-model ${root}/${encoder}`;
        const frozen = await run(root, "runs", `${flags} --max-steps 2`);
        ok(frozen.after!.metrics.eval_loss < frozen.before!.metrics.eval_loss);
        const trained = await run(root, "runs", `${flags} --max-steps 2 --unfreeze-vision-layers 1`);
        const file = await openSafetensors(await openFile(`${trained.path}/vision.safetensors`));
        ok(file.tensors.has(`vision_encoder.${layer}`));
        strictEqual(file.tensors.size, 16);
        strictEqual(trained.before!.metrics.eval_loss, frozen.before!.metrics.eval_loss);
        using captioner = await Captioner.load(trained.path);
        const { caption } = await captioner.caption(await Deno.readFile(data("sample/test/0000.png")));
        strictEqual(typeof caption, "string");
      }),
  );
}

Deno.test(
  "a learning rate that makes the loss NaN stops at its step and leaves the checkpoint",
  isolated,
  () =>
    withModels(async (root) => {
      await rejects(
        run(
          root,
          "runs",
          "--max-steps 12 --save-steps 2 --warmup-steps 3 --projection-lr 1e30 --lora-lr 1e30",
        ),
        {
          name: "UserError",
          message: /at step 3 the .+ (NaN|Infinity), first seen in the gradient of ".+"; checkpoint-2 is/,
        },
      );
      ok((await Deno.stat(`${root}/runs/siglip-llama-lora/checkpoint-2/optimizer.safetensors`)).size > 0);
    }),
);

Deno.test(
  "damaged images are skipped and listed; a data set of nothing else is empty",
  isolated,
  () =>
    withModels(async (root) => {
      await Deno.writeTextFile(`${root}/images/train/0003.png`, "not an image");
      const result = await run(root, "runs", "--max-steps 1");
      ok(result.data.badRows.describe(3).includes("train/0003.png"));
      await rejects(run(root, "runs", "--max-steps 1 --max-bad-rows 0"), {
        name: "UserError",
        message: /0003\.png/,
      });
      for (let i = 0; i < 12; i++) {
        await Deno.writeTextFile(`${root}/images/train/${String(i).padStart(4, "0")}.png`, "");
      }
      await rejects(run(root, "runs", "--max-steps 1 --max-bad-rows 1"), {
        name: "UserError",
        message: /empty data set/,
      });
    }),
);

Deno.test(
  "a tokenizer with more ids than the embedding, and pictures of another size, are refused",
  isolated,
  () =>
    withModels(async (root) => {
      const small = { ...LLAMA, vocab_size: 500 };
      await Deno.writeTextFile(`${root}/llama/config.json`, JSON.stringify(small));
      await rejects(run(root, "runs", "--max-steps 1"), { name: "UserError", message: /509 ids.*500 rows/ });
      await Deno.writeTextFile(`${root}/llama/config.json`, JSON.stringify(LLAMA));
      const processor = `${root}/siglip/preprocessor_config.json`;
      await Deno.writeTextFile(processor, (await Deno.readTextFile(processor)).replaceAll("20", "22"));
      await rejects(run(root, "runs", "--max-steps 1"), { name: "UserError", message: /22x22.*20x20/ });
    }),
);
