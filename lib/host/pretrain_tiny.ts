/**
 * Makes the embedded models: draws scenes, pretrains, writes two Hugging Face folders in bf16 with model cards.
 *
 * @module
 */

import { encodeBf16 } from "../base/half.ts";
import { Rng } from "../base/rng.ts";
import { openSafetensors, writeSafetensors } from "../format/safetensors.ts";
import { JsonConfig } from "../format/json_config.ts";
import { openGpu } from "../gpu/device.ts";
import { parseProcessorConfig } from "../image/processor.ts";
import type { CaptionerConfig } from "../models/captioner.ts";
import { decoderSpecs } from "../models/decoder.ts";
import { parseDecoder } from "../models/decoder_families.ts";
import { parseTwoTower, twoTowerSpecs } from "../models/two_tower.ts";
import type { WeightSpec } from "../nn/weights.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { type PretrainBatch, type PretrainConfig, Pretrainer } from "../train/pretrain.ts";
import { rateFactor } from "../train/schedule.ts";
import { startProgress } from "./progress.ts";
import { openFile } from "./files.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";
import { renderTrainingScenes, type TinyScenes } from "./tiny_scenes.ts";

/** What the task is asked for. */
export interface PretrainTinyOptions {
  /** Folder that gets `siglip/` and `llama/`; the tokenizer is read from `llama/`. */
  outputDir: string;
  steps: number;
  batchSize: number;
  learningRate: number;
  /** Scenes drawn before training; epochs over them follow. */
  scenes: number;
  seed: number;
  /** Save after every so many steps as well as at the end. */
  saveSteps: number;
  /** Start from the models in the folder instead of random numbers; the projection and the optimizer start anew. */
  continue?: boolean;
}

const IMAGE_PX = 60;
const TEXT_POSITIONS = 20;

const SIGLIP_CONFIG = {
  architectures: ["SiglipModel"],
  model_type: "siglip",
  torch_dtype: "bfloat16",
  vision_config: {
    model_type: "siglip_vision_model",
    hidden_size: 128,
    intermediate_size: 384,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_channels: 3,
    image_size: IMAGE_PX,
    patch_size: 10,
    layer_norm_eps: 1e-6,
    hidden_act: "gelu_pytorch_tanh",
  },
  text_config: {
    model_type: "siglip_text_model",
    vocab_size: 0,
    hidden_size: 128,
    intermediate_size: 384,
    num_hidden_layers: 2,
    num_attention_heads: 4,
    max_position_embeddings: TEXT_POSITIONS,
    projection_size: 128,
    layer_norm_eps: 1e-6,
    hidden_act: "gelu_pytorch_tanh",
    bos_token_id: 0,
    eos_token_id: 0,
    pad_token_id: 1,
  },
};

const LLAMA_CONFIG = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  torch_dtype: "bfloat16",
  vocab_size: 0,
  hidden_size: 128,
  intermediate_size: 384,
  num_hidden_layers: 4,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 32,
  hidden_act: "silu",
  max_position_embeddings: 256,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  rope_scaling: null,
  attention_bias: false,
  mlp_bias: false,
  tie_word_embeddings: true,
  bos_token_id: 0,
  eos_token_id: 0,
  pad_token_id: 1,
};

const PREPROCESSOR_CONFIG = {
  image_processor_type: "SiglipImageProcessor",
  do_convert_rgb: true,
  do_resize: true,
  size: { height: IMAGE_PX, width: IMAGE_PX },
  resample: 3,
  do_rescale: true,
  rescale_factor: 1 / 255,
  do_normalize: true,
  image_mean: [0.5, 0.5, 0.5],
  image_std: [0.5, 0.5, 0.5],
};

/** Pretrains and writes; reports through a progress line. */
export async function pretrainTiny(options: PretrainTinyOptions): Promise<void> {
  const { outputDir } = options;
  const readJson = async (name: string): Promise<unknown> =>
    JSON.parse(await Deno.readTextFile(`${outputDir}/llama/${name}`));
  const tokenizer = loadTokenizer(await readJson("tokenizer.json"), await readJson("tokenizer_config.json"));
  // Whole tiles of the matmul kernels; the rows beyond the tokenizer are never a target.
  SIGLIP_CONFIG.text_config.vocab_size = LLAMA_CONFIG.vocab_size = Math.ceil(tokenizer.vocabSize / 64) * 64;
  const towers = parseTwoTower(JsonConfig.parse(JSON.stringify(SIGLIP_CONFIG), "siglip/config.json"));
  const captioner: CaptionerConfig = {
    vision: towers.vision,
    decoder: parseDecoder(JsonConfig.parse(JSON.stringify(LLAMA_CONFIG), "llama/config.json")),
    projection: { type: "linear" },
    lora: { rank: 0, alpha: 1, dropout: 0, targetModules: [] },
    unfrozenVisionLayers: 0,
  };
  const config: PretrainConfig = {
    captioner,
    towers,
    batchSize: options.batchSize,
    textLength: TEXT_POSITIONS,
  };
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const startMs = performance.now();
  const processor = parseProcessorConfig(PREPROCESSOR_CONFIG);
  const drawing = startProgress({ label: "draw scenes", total: options.scenes });
  const scenes = await renderTrainingScenes(options.scenes, {
    seed: options.seed,
    processor,
    sizePx: IMAGE_PX,
    onProgress: (done) => drawing.update(done),
  });
  drawing.stop();
  const rng = new Rng(options.seed);
  const start = options.continue ? await readModels(outputDir) : undefined;
  const earlier = options.continue ? await readPhases(outputDir) : [];
  const trainer = await Pretrainer.create(gpu, config, { rng, ...(start === undefined ? {} : { start }) });
  const ids = scenes.captions.map((caption) =>
    tokenizer.encodeCaption(caption, { maxLength: TEXT_POSITIONS })
  );
  const progress = startProgress({ label: "pretrain", total: options.steps });
  let order: number[] = [];
  let last = { caption: NaN, contrastive: NaN };
  for (let step = 1; step <= options.steps; step++) {
    if (order.length < options.batchSize) {
      order = Array.from({ length: options.scenes }, (_, i) => i);
      rng.shuffle(order);
    }
    const rows = order.splice(-options.batchSize);
    const factor = rateFactor(step, { warmupSteps: 100, totalSteps: options.steps });
    trainer.step(
      makeBatch(rows, { scenes, ids, config, padId: tokenizer.padId }),
      options.learningRate * factor,
    );
    if (step % 25 === 0 || step === options.steps) {
      last = await trainer.readLosses();
      gpu.check();
      progress.update(step, { loss: last.caption.toFixed(4), contrastive: last.contrastive.toFixed(4) });
    }
    if (step % options.saveSteps === 0 || step === options.steps) {
      const weights = await trainer.set.read();
      const minutes = Math.round((performance.now() - startMs) / 6000) / 10;
      await save(options, {
        config,
        weights,
        minutes,
        step,
        losses: last,
        adapter: gpu.info.description,
        earlier,
      });
    }
  }
  progress.stop();
  trainer.destroy();
  gpu.destroy();
}

function makeBatch(
  rows: readonly number[],
  data: { scenes: TinyScenes; ids: readonly (readonly number[])[]; config: PretrainConfig; padId: number },
): PretrainBatch {
  const { scenes, ids, config, padId } = data;
  const B = rows.length;
  const T = config.textLength;
  const area = IMAGE_PX ** 2;
  const batch: PretrainBatch = {
    pixelValues: new Float32Array(B * 3 * area),
    inputIds: new Int32Array(B * T).fill(padId),
    labels: new Int32Array(B * T).fill(-100),
    textIds: new Int32Array(B * T).fill(padId),
  };
  for (const [b, row] of rows.entries()) {
    const image = scenes.pixels.subarray(row * scenes.stride, (row + 1) * scenes.stride);
    for (let i = 0; i < area; i++) {
      for (let c = 0; c < 3; c++) batch.pixelValues[(b * 3 + c) * area + i] = image[i * 3 + c]! / 127.5 - 1;
    }
    const tokens = ids[row]!;
    batch.inputIds.set(tokens, b * T);
    batch.labels.set(tokens, b * T);
    batch.textIds.set(tokens, b * T);
  }
  return batch;
}

/** The weights of both models in the folder. */
async function readModels(folder: string): Promise<Map<string, Float32Array>> {
  const weights = new Map<string, Float32Array>();
  for (const model of ["siglip", "llama"]) {
    const file = await openSafetensors(await openFile(`${folder}/${model}/model.safetensors`));
    for (const name of file.tensors.keys()) weights.set(name, await file.readF32(name));
  }
  return weights;
}

/** One run of this task, as the model cards tell it. */
interface Phase {
  command: string;
  minutes: number;
  date: string;
  adapter: string;
  captionLoss: number;
  contrastiveLoss: number;
}

const PHASES = "pretraining.json";

async function readPhases(folder: string): Promise<Phase[]> {
  return JSON.parse(await Deno.readTextFile(`${folder}/${PHASES}`));
}

interface Saved {
  config: PretrainConfig;
  weights: ReadonlyMap<string, Float32Array>;
  minutes: number;
  step: number;
  losses: { caption: number; contrastive: number };
  adapter: string;
  /** What was done before, when this run continues. */
  earlier: readonly Phase[];
}

async function save(options: PretrainTinyOptions, saved: Saved): Promise<void> {
  const { config, weights } = saved;
  const { captioner, towers } = config;
  const dir = options.outputDir;
  const pack = (specs: readonly WeightSpec[]): Uint8Array =>
    writeSafetensors(
      new Map(
        specs.map((
          { name, shape },
        ) => [name, { dtype: "BF16", shape: [...shape], data: encodeBf16(weights.get(name)!) }]),
      ),
      { format: "pt" },
    );
  const { steps, batchSize, learningRate, scenes, seed } = options;
  const flags = { steps, "batch-size": batchSize, "learning-rate": learningRate, scenes, seed };
  const phase: Phase = {
    command:
      ["deno task pretrain-tiny", ...Object.entries(flags).map(([name, value]) => `--${name} ${value}`)].join(
        " ",
      ) +
      (options.continue ? " --continue" : ""),
    minutes: saved.minutes,
    date: new Date().toISOString().slice(0, 10),
    adapter: saved.adapter,
    captionLoss: saved.losses.caption,
    contrastiveLoss: saved.losses.contrastive,
  };
  const phases = [...saved.earlier, phase];
  await Deno.mkdir(`${dir}/siglip`, { recursive: true });
  const json = (value: unknown): string => JSON.stringify(value, null, 2) + "\n";
  await Deno.writeFile(`${dir}/siglip/model.safetensors`, pack(twoTowerSpecs(towers)));
  await Deno.writeTextFile(`${dir}/siglip/config.json`, json(SIGLIP_CONFIG));
  await Deno.writeTextFile(`${dir}/siglip/preprocessor_config.json`, json(PREPROCESSOR_CONFIG));
  await Deno.writeTextFile(
    `${dir}/siglip/README.md`,
    modelCard("SigLIP (vision and text tower)", phases),
  );
  await Deno.writeFile(`${dir}/llama/model.safetensors`, pack(decoderSpecs(captioner.decoder)));
  await Deno.writeTextFile(`${dir}/llama/config.json`, json(LLAMA_CONFIG));
  await Deno.writeTextFile(`${dir}/llama/README.md`, modelCard("Llama", phases));
  await Deno.writeTextFile(`${dir}/${PHASES}`, json(phases));
}

function modelCard(what: string, phases: readonly Phase[]): string {
  return `---
license: mit
library_name: transformers
tags: [tiny, drawn-scenes]
---

# Tiny ${what}, embedded

Knows drawn scenes and their captions only; made so that training, captioning and the tests need no download.
Weights are bfloat16. No scene of the validation or test split of \`data/sample\` was among the training scenes.

Both embedded models were pretrained together from scratch with this project's kernels: the sigmoid contrastive loss
between the two SigLIP towers and the captioning loss of the Llama on the patch states, through a projection that was
thrown away. On 2 CPU cores beside other work:

${phases.map(describePhase).join("\n")}
`;
}

function describePhase(phase: Phase): string {
  const { command, minutes, date, adapter, captionLoss, contrastiveLoss } = phase;
  return `- \`${command}\`: ${minutes} minutes on ${date}, adapter "${adapter}"; mean loss of the last steps: captioning ` +
    `${captionLoss.toFixed(4)}, contrastive ${contrastiveLoss.toFixed(4)}`;
}
