/** Training runs of models so small that a test can afford several. */

import { Rng } from "../../lib/base/rng.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import type { TrainRunResult } from "../../lib/host/train_options.ts";
import { runTraining } from "../../lib/host/train_run.ts";
import { decoderSpecs } from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import { parseVision, visionSpecs } from "../../lib/models/vision.ts";
import type { WeightSpec } from "../../lib/nn/weights.ts";
import { testGpu } from "./gpu.ts";

/** Patches of 10 in pictures of 20. */
export const SIGLIP = {
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
/** Configuration of the language model. */
export const LLAMA = {
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

/** Files of a run of 24 steps in which every number shows. */
export const NUMBER_FILES = [
  "metrics.jsonl",
  "projection.safetensors",
  "adapter/adapter_model.safetensors",
  "checkpoint-24/optimizer.safetensors",
  "checkpoint-24/trainer_state.json",
];

/** A file of the embedded data. */
export const data = (path: string): URL => new URL(`../../data/${path}`, import.meta.url);

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
export async function run(
  root: string,
  saveDir: string,
  flags: string,
  interruptAfter?: number,
): Promise<TrainRunResult> {
  const options = await parseTrainArguments([
    ...["--encoder-model", `${root}/siglip`, "--decoder-model", `${root}/llama`],
    ...(flags.includes("--dataset") ? [] : ["--dataset", `${root}/images`]),
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

/** Gives a folder with the models and pictures for the time of a test. */
export async function withModels(test: (root: string) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir();
  try {
    await prepare(root);
    await test(root);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}
