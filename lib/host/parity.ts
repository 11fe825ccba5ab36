/**
 * Parity with reference results: runs one case folder and says how far every figure is from what PyTorch computed.
 *
 * @module
 */

import { JsonConfig } from "../format/json_config.ts";
import { openSafetensors, type SafetensorsFile } from "../format/safetensors.ts";
import { CaptionGenerator } from "../generate/generator.ts";
import type { Gpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, readF32, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  decodeHidden,
  encodeImages,
  prefixTokens,
  projectFeatures,
  trainableSpecs,
} from "../models/captioner.ts";
import { llamaHead } from "../models/llama.ts";
import { loadDecoderModel, loadVisionModel, openConfig } from "../models/load.ts";
import { parseSiglipVision } from "../models/siglip.ts";
import { ParameterSet } from "../nn/parameters.ts";
import { lmHeadLoss, logits } from "../ops/lm_head_loss.ts";
import { gatherTextRows } from "../ops/prefix.ts";
import { createTrainingEngine } from "../train/engine.ts";
import { rateFactor } from "../train/schedule.ts";
import { openFile, openFileFolder } from "./files.ts";
import { compare, FORWARD, GRADIENT, LOSS, type ParityRow } from "./parity_rows.ts";
import { runTwoTower } from "./parity_two_tower.ts";

function equalIds(what: string, got: readonly number[], want: ArrayLike<number>): ParityRow {
  const different = Array.from(want).filter((id, i) => id !== got[i]).length +
    Math.abs(got.length - want.length);
  return {
    what,
    absolute: different,
    relative: different / want.length,
    tolerance: 0,
    passed: different === 0,
  };
}

/** Runs the case in `folder`, a training case or a two-tower case, by what it holds. */
export async function runParityCase(gpu: Gpu, folder: string): Promise<ParityRow[]> {
  const files = await openFileFolder(folder);
  return await files.open("case.json") === undefined
    ? await runTwoTower(gpu, folder)
    : await runTraining(gpu, folder);
}

interface TrainingCase {
  config: CaptionerConfig;
  batch: number;
  textLength: number;
  steps: number;
  accumulation: number;
  warmupSteps: number;
  projectionLr: number;
  loraLr: number;
  losses: number[];
  gradNorms: number[];
  /** The reference was converted to bfloat16 as a whole and widened, which rounds its rotary frequencies. */
  frequencies: "f64" | "bf16";
}

async function openCase(folder: string): Promise<TrainingCase> {
  const json = JsonConfig.parse(await Deno.readTextFile(`${folder}/case.json`), `${folder}/case.json`);
  const { parseLlama } = await import("../models/llama.ts");
  const lora = json.object("lora");
  const vision = parseSiglipVision(await openConfig(await openFileFolder(`${folder}/encoder`)));
  const decoder = parseLlama(await openConfig(await openFileFolder(`${folder}/decoder`)));
  const hiddenSize = json.optionalInteger("mlp_hidden_dim") ?? 2048;
  return {
    config: {
      vision,
      decoder,
      projection: json.choice("projection", ["linear", "mlp"]) === "linear"
        ? { type: "linear" }
        : { type: "mlp", hiddenSize, dropout: 0 },
      lora: {
        rank: lora.integer("r"),
        alpha: lora.number("alpha"),
        dropout: 0,
        targetModules: lora.strings("target_modules"),
      },
      unfrozenVisionLayers: json.optionalInteger("unfreeze_vision_layers") ?? 0,
    },
    batch: json.integer("batch"),
    textLength: json.integer("max_length"),
    steps: json.integer("steps"),
    accumulation: json.integer("accumulation"),
    warmupSteps: json.integer("warmup_steps"),
    projectionLr: json.number("projection_lr"),
    loraLr: json.number("lora_lr"),
    losses: json.numbers("losses"),
    gradNorms: json.numbers("grad_norms"),
    frequencies: json.object("decoder").optionalString("dtype") === "bf16" ? "bf16" : "f64",
  };
}

const ourName = (name: string): string => name.replace(/\.default\.weight$/, ".weight");

async function readTrainables(file: SafetensorsFile): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const name of file.tensors.keys()) values.set(ourName(name), await file.readF32(name));
  return values;
}

async function runTraining(gpu: Gpu, folder: string): Promise<ParityRow[]> {
  const open = async (name: string): Promise<SafetensorsFile> =>
    await openSafetensors(await openFile(`${folder}/${name}`));
  const setting = await openCase(folder);
  const { config, batch: B, textLength: T } = setting;
  const P = prefixTokens(config);
  const [inputs, expected] = [await open("inputs.safetensors"), await open("expected.safetensors")];
  const start = await readTrainables(await open("trainable_init.safetensors"));
  const final = await readTrainables(await open("trainable_final.safetensors"));
  const pixelValues = await inputs.readF32("pixel_values");
  const [inputIds, labels] = [await inputs.readI32("input_ids"), await inputs.readI32("labels")];
  const imageSize = pixelValues.length / (setting.steps * setting.accumulation);
  const vision = await loadVisionModel(gpu, await openFileFolder(`${folder}/encoder`));
  const decoder = await loadDecoderModel(gpu, await openFileFolder(`${folder}/decoder`), {
    maxPositions: P + T,
    frequencies: setting.frequencies,
  });
  const models = { vision: vision.weights, decoder: decoder.weights, rope: decoder.rope };
  const rows: ParityRow[] = [];

  const set = new ParameterSet(gpu, [{
    name: "all",
    weightDecay: 0,
    tensors: trainableSpecs(config).map(({ name, shape }) => ({ name, shape, data: start.get(name)! })),
  }]);
  const weights: CaptionerWeights = { ...models, trainable: set };
  const r = new Recorder(gpu, true);
  const shape = [B, config.vision.channels, config.vision.imageSize, config.vision.imageSize];
  const pixels = tensorFrom(gpu, pixelValues.slice(0, imageSize), { shape, label: "pixelValues" });
  const ids = tensorFrom(gpu, new Uint32Array(inputIds.slice(0, B * T)), {
    shape: [B, T],
    label: "inputIds",
  });
  const features = r.keep(encodeImages(r, weights, pixels, config));
  const prefix = r.keep(projectFeatures(r, weights, features, { config }));
  const hidden = decodeHidden(r, weights, { prefix, inputIds: ids }, { config });
  const head = llamaHead(decoder.weights, config.decoder);
  const scores = r.keep(logits(r, hidden.reshape(B * (P + T), config.decoder.hiddenSize), head));
  const lossOut = createTensor(gpu, [2]);
  const wanted = tensorFrom(gpu, labels.slice(0, B * T), { label: "labels" });
  lmHeadLoss(r, gatherTextRows(r, hidden, { prefixTokens: P }), head, wanted, { lossOut });
  r.backward();
  const plan = await r.compile();
  plan.run();
  const outputs: [string, Tensor][] = [["vision_features", features], ["prefix_embeddings", prefix], [
    "logits",
    scores,
  ]];
  for (const [name, tensor] of outputs) {
    rows.push(compare(name, await readF32(gpu, tensor), await expected.readF32(name), FORWARD));
  }
  rows.push(compare("loss", (await readF32(gpu, lossOut)).slice(0, 1), await expected.readF32("loss"), LOSS));
  const gradients = await set.readGradients();
  for (const name of expected.tensors.keys()) {
    if (!name.startsWith("grad.")) continue;
    const gradient = gradients.get(ourName(name.slice(5))) ?? [];
    rows.push(compare(name, gradient, await expected.readF32(name), GRADIENT));
  }
  plan.destroy({ arena: true });

  for (const [what, numBeams] of [["greedy_ids", 1], ["beam3_ids", 3]] as const) {
    const generator = await CaptionGenerator.create(gpu, {
      config,
      weights,
      batchSize: B,
      numBeams,
      maxNewTokens: T,
      features: false,
    });
    const found = await generator.generate(pixelValues.slice(0, imageSize), B, {
      eosIds: config.decoder.eosIds,
    });
    const pad = config.decoder.padId ?? config.decoder.eosIds[0]!;
    const wantedIds = await expected.readI32(what);
    const width = wantedIds.length / B;
    const flat = found.flatMap((hypotheses) =>
      Array.from({ length: width }, (_, i) => hypotheses[0]!.ids[i] ?? pad)
    );
    rows.push(equalIds(what, flat, wantedIds));
    generator.destroy();
  }
  set.destroy();

  const engine = await createTrainingEngine(gpu, {
    config,
    models,
    modelBytes: 0,
    start,
    batchSize: B,
    textLength: T,
    accumulation: setting.accumulation,
    features: false,
  });
  const micro = (i: number) => ({
    size: B,
    pixelValues: pixelValues.slice(i * imageSize, (i + 1) * imageSize),
    inputIds: inputIds.slice(i * B * T, (i + 1) * B * T),
    labels: labels.slice(i * B * T, (i + 1) * B * T),
  });
  let next = 0;
  for (let step = 1; step <= setting.steps; step++) {
    for (let i = 0; i < setting.accumulation; i++) engine.microStep(micro(next), { seedStep: next++ });
    const factor = rateFactor(step, { warmupSteps: setting.warmupSteps, totalSteps: setting.steps });
    const [projection, lora] = [setting.projectionLr * factor, setting.loraLr * factor];
    engine.optimizerStep({ step, learningRates: { projection, lora, vision: lora / 10 } });
  }
  const stats = await engine.readStats();
  rows.push(compare("trajectory losses", stats.map(({ loss }) => loss), setting.losses, LOSS));
  rows.push(
    compare("trajectory gradient norms", stats.map(({ gradNorm }) => gradNorm), setting.gradNorms, GRADIENT),
  );
  const { loss } = await engine.evaluateLoss(micro(0));
  rows.push(compare("final_loss_batch0", [loss], await expected.readF32("final_loss_batch0"), LOSS));
  const state = await engine.readState();
  const [got, want]: [number[], number[]] = [[], []];
  for (const [name, values] of final) {
    got.push(...state.values.get(name)?.data ?? []);
    want.push(...values);
  }
  rows.push(compare("trainables after training", got, want, GRADIENT));
  engine.destroy();
  vision.weights.destroy();
  decoder.destroy();
  return rows;
}
