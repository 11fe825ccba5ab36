/**
 * Parity of a training case: forward results, gradients, captions and a training trajectory of a small captioner.
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";
import { openAdapter } from "../format/peft.ts";
import { openSafetensors, type SafetensorsFile } from "../format/safetensors.ts";
import { CaptionGenerator } from "../generate/generator.ts";
import type { Gpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  decodeHidden,
  encodeImages,
  prefixTokens,
  projectFeatures,
  trainableSpecs,
} from "../models/captioner.ts";
import {
  readAdapterOf,
  readCaptionerConfig,
  readTrainedOf,
  type TrainedTensors,
} from "../models/captioner_files.ts";
import { decoderHead } from "../models/decoder.ts";
import { loadDecoderModel, loadVisionModel, openDecoderConfig, openVisionConfig } from "../models/load.ts";
import { ParameterSet } from "../nn/parameters.ts";
import { lmHeadLoss, logits } from "../ops/lm_head_loss.ts";
import { gatherTextRows } from "../ops/prefix.ts";
import { createTrainingEngine } from "../train/engine.ts";
import type { TrainBatch } from "../train/engine_types.ts";
import { learningRatesAt } from "../train/schedule.ts";
import { openFile, openFileFolder, stat } from "./files.ts";
import {
  compare,
  compareGradients,
  compareIds,
  compareNames,
  FORWARD,
  GRADIENT,
  LOSS,
  ourName,
  type ParityRow,
} from "./parity_rows.ts";

/** Ids that the reference generated with where the decoder's configuration names none. */
const EOS_ID = 2, PAD_ID = 1;

interface TrainingCase {
  folder: string;
  config: CaptionerConfig;
  /** Images of a micro-batch. */
  B: number;
  /** Text tokens. */
  T: number;
  steps: number;
  accumulation: number;
  warmupSteps: number;
  peaks: { projection: number; lora: number };
  losses: number[];
  gradNorms: number[];
  /** The reference was converted to bfloat16 as a whole and widened, which rounds its rotary frequencies. */
  frequencies: "f64" | "bf16";
  /** Micro-batches in the order they are used. */
  batches: TrainBatch[];
  start: Map<string, Float32Array<ArrayBuffer>>;
  final: Map<string, Float32Array<ArrayBuffer>>;
  expected: SafetensorsFile;
}

async function readTrainables(file: SafetensorsFile): Promise<Map<string, Float32Array<ArrayBuffer>>> {
  const values = new Map<string, Float32Array<ArrayBuffer>>();
  for (const name of file.tensors.keys()) values.set(ourName(name), await file.readF32(name));
  return values;
}

/** Reads the configuration of a case. @throws {RangeError} when its models or settings are not supported */
export async function openTrainingConfig(folder: string, json: JsonConfig): Promise<CaptionerConfig> {
  const lora = json.object("lora");
  const type = json.choice("projection", ["linear", "mlp"]);
  return {
    vision: await openVisionConfig(await openFileFolder(`${folder}/encoder`)),
    decoder: await openDecoderConfig(await openFileFolder(`${folder}/decoder`)),
    projection: type === "linear"
      ? { type }
      : { type, hiddenSize: json.integer("mlp_hidden_dim"), dropout: 0 },
    lora: {
      rank: lora.integer("r"),
      alpha: lora.number("alpha"),
      dropout: 0,
      targetModules: lora.strings("target_modules"),
    },
    unfrozenVisionLayers: json.optionalInteger("unfreeze_vision_layers") ?? 0,
  };
}

async function openTrainingCase(folder: string, json: JsonConfig): Promise<TrainingCase> {
  const open = async (name: string): Promise<SafetensorsFile> =>
    await openSafetensors(await openFile(`${folder}/${name}`));
  const inputs = await open("inputs.safetensors");
  const config = await openTrainingConfig(folder, json);
  const [B, T] = [json.integer("batch"), json.integer("max_length")];
  const [steps, accumulation] = [json.integer("steps"), json.integer("accumulation")];
  const { channels, imageSize } = config.vision;
  const count = steps * accumulation;
  const read = async (name: string, shape: number[]): Promise<[values: Float32Array, row: number]> => {
    const found = inputs.tensors.get(name)?.shape;
    if (found?.join() !== shape.join()) {
      throw new TypeError(
        `Cannot run "${folder}": "${name}" is [${
          found ?? "missing"
        }], "case.json" and the encoder want [${shape}]`,
      );
    }
    // Ids are small, so f32 holds them exactly.
    const values = name === "pixel_values"
      ? await inputs.readF32(name)
      : Float32Array.from(await inputs.readI32(name));
    return [values, values.length / count];
  };
  const [pixelValues, imageRow] = await read("pixel_values", [count, B, channels, imageSize, imageSize]);
  const [inputIds, row] = await read("input_ids", [count, B, T]);
  const [labels] = await read("labels", [count, B, T]);
  return {
    folder,
    config,
    B,
    T,
    steps,
    accumulation,
    warmupSteps: json.integer("warmup_steps"),
    peaks: { projection: json.number("projection_lr"), lora: json.number("lora_lr") },
    losses: json.numbers("losses"),
    gradNorms: json.numbers("grad_norms"),
    frequencies: json.object("decoder").optionalString("dtype") === "bf16" ? "bf16" : "f64",
    batches: Array.from({ length: count }, (_, i) => ({
      size: B,
      pixelValues: pixelValues.slice(i * imageRow, (i + 1) * imageRow),
      inputIds: Int32Array.from(inputIds.subarray(i * row, (i + 1) * row)),
      labels: Int32Array.from(labels.subarray(i * row, (i + 1) * row)),
    })),
    start: await readTrainables(await open("trainable_init.safetensors")),
    final: await readTrainables(await open("trainable_final.safetensors")),
    expected: await open("expected.safetensors"),
  };
}

type Models = Omit<CaptionerWeights, "trainable">;

/** Runs a training case. `json` is its `case.json`. */
export async function runTraining(gpu: Gpu, folder: string, json: JsonConfig): Promise<ParityRow[]> {
  const setting = await openTrainingCase(folder, json);
  const { config, start, final, T } = setting;
  const names = trainableSpecs(config).map(({ name }) => name);
  const rows = [
    compareNames("names of trainable tensors", names, start.keys()),
    compareNames("names of trained tensors", names, final.keys()),
  ];
  if (rows.some(({ passed }) => !passed)) return rows;
  const vision = await loadVisionModel(gpu, await openFileFolder(`${folder}/encoder`));
  const decoder = await loadDecoderModel(gpu, await openFileFolder(`${folder}/decoder`), {
    maxPositions: prefixTokens(config) + T,
    frequencies: setting.frequencies,
  });
  const models: Models = { vision: vision.weights, decoder: decoder.weights, rope: decoder.rope };
  const set = new ParameterSet(gpu, [{
    name: "all",
    weightDecay: 0,
    tensors: trainableSpecs(config).map(({ name, shape }) => ({ name, shape, data: start.get(name)! })),
  }]);
  try {
    rows.push(...await compareGraph(gpu, setting, { ...models, trainable: set }));
    rows.push(...await compareGradients(set, setting.expected));
    rows.push(...await compareSavedForms(gpu, setting, models));
    rows.push(...await compareCaptions(gpu, setting, { ...models, trainable: set }));
    rows.push(...await compareTrajectory(gpu, setting, models));
  } finally {
    set.destroy();
    vision.weights.destroy();
    decoder.destroy();
  }
  return rows;
}

/**
 * The same captioner as others save it, where the case has it so: `python_checkpoint/` of the Python project and `peft_adapter/`. What
 * was opened must compute what the case's own files do.
 */
async function compareSavedForms(gpu: Gpu, setting: TrainingCase, models: Models): Promise<ParityRow[]> {
  const { folder, config, start } = setting;
  const rows: ParityRow[] = [];
  const compareAs = async (what: string, base: Models, trained: TrainedTensors): Promise<void> => {
    const tensors = trainableSpecs(config).map(({ name, shape }) => ({
      name,
      shape,
      data: new Float32Array(trained.get(name)?.data ?? start.get(name)!),
    }));
    const set = new ParameterSet(gpu, [{ name: "all", weightDecay: 0, tensors }]);
    const found = await compareGraph(gpu, setting, { ...base, trainable: set });
    set.destroy();
    rows.push(...found.map((row) => ({ ...row, what: `${what}: ${row.what}` })));
  };
  if ((await stat(`${folder}/python_checkpoint`))?.isDirectory) {
    const files = await openFileFolder(`${folder}/python_checkpoint`);
    const settings = await readCaptionerConfig(files);
    const vision = await loadVisionModel(gpu, files);
    const decoder = await loadDecoderModel(gpu, files, { maxPositions: prefixTokens(config) + setting.T });
    const { projection, lora, unfrozenVisionLayers } = settings;
    const specs = trainableSpecs({ ...config, projection, lora, unfrozenVisionLayers });
    const trained = await readTrainedOf(files, settings, specs);
    await compareAs("python_checkpoint", {
      vision: vision.weights,
      decoder: decoder.weights,
      rope: decoder.rope,
    }, trained);
    vision.weights.destroy();
    decoder.destroy();
  }
  if ((await stat(`${folder}/peft_adapter`))?.isDirectory) {
    const adapter = await openAdapter(await openFileFolder(`${folder}/peft_adapter`));
    const pairs = trainableSpecs({ ...config, lora: { ...adapter.config } }).filter(({ group }) =>
      group === "lora"
    );
    await compareAs("peft_adapter", models, await readAdapterOf(adapter, pairs));
  }
  return rows;
}

/** Runs micro-batch 0 forward and backward; the gradients are left in the set of trainable tensors. */
async function compareGraph(
  gpu: Gpu,
  setting: TrainingCase,
  weights: CaptionerWeights,
): Promise<ParityRow[]> {
  const { config, B, T, expected } = setting;
  const { pixelValues, inputIds, labels } = setting.batches[0]!;
  const P = prefixTokens(config);
  const { channels, imageSize } = config.vision;
  const r = new Recorder(gpu, true);
  const inputs = {
    pixels: tensorFrom(gpu, pixelValues!, { shape: [B, channels, imageSize, imageSize] }),
    ids: tensorFrom(gpu, new Uint32Array(inputIds), { shape: [B, T] }),
    labels: tensorFrom(gpu, labels),
    lossOut: createTensor(gpu, [2]),
  };
  const features = r.keep(encodeImages(r, weights, inputs.pixels, config));
  const prefix = r.keep(projectFeatures(r, weights, features, { config }));
  const hidden = decodeHidden(r, weights, { prefix, inputIds: inputs.ids }, { config });
  const head = decoderHead(weights.decoder, config.decoder);
  const scores = r.keep(logits(r, hidden.reshape(B * (P + T), config.decoder.hiddenSize), head));
  const textRows = gatherTextRows(r, hidden, { prefixTokens: P });
  lmHeadLoss(r, textRows, head, inputs.labels, { lossOut: inputs.lossOut });
  r.backward();
  const plan = await r.compile();
  plan.run();
  const outputs: [string, Tensor][] = [
    ["vision_features", features],
    ["prefix_embeddings", prefix],
    ["logits", scores],
  ];
  const rows: ParityRow[] = [];
  for (const [name, tensor] of outputs) {
    const pair = [await readF32(gpu, tensor), await expected.readF32(name)] as const;
    rows.push(compare(name, pair, { tolerance: FORWARD }));
  }
  const loss = (await readF32(gpu, inputs.lossOut)).subarray(0, 1);
  rows.push(compare("loss", [loss, await expected.readF32("loss")], { tolerance: LOSS }));
  plan.destroy({ arena: true });
  Object.values(inputs).forEach(destroyTensor);
  return rows;
}

/** Captions of micro-batch 0's images with the initial weights, greedy and with three beams. */
async function compareCaptions(
  gpu: Gpu,
  setting: TrainingCase,
  weights: CaptionerWeights,
): Promise<ParityRow[]> {
  const { config, B, T, expected } = setting;
  const { padId = PAD_ID } = config.decoder;
  const eosIds = config.decoder.eosIds.length > 0 ? config.decoder.eosIds : [EOS_ID];
  const rows: ParityRow[] = [];
  for (const [what, numBeams] of [["greedy_ids", 1], ["beam3_ids", 3]] as const) {
    const generator = await CaptionGenerator.create(gpu, {
      config,
      weights,
      batchSize: B,
      numBeams,
      maxNewTokens: T,
      features: false,
    });
    const found = await generator.generate(setting.batches[0]!.pixelValues!, B, { eosIds });
    generator.destroy();
    const captions = found.map((hypotheses) => hypotheses[0]!.ids);
    // The reference stops with its longest caption and pads the others.
    const width = Math.max(...captions.map((ids) => ids.length));
    const flat = captions.flatMap((ids) => [...ids, ...Array<number>(width - ids.length).fill(padId)]);
    rows.push(compareIds(what, flat, await expected.readI32(what)));
  }
  return rows;
}

async function compareTrajectory(gpu: Gpu, setting: TrainingCase, models: Models): Promise<ParityRow[]> {
  const { config, steps, accumulation, batches, expected, final } = setting;
  const engine = await createTrainingEngine(gpu, {
    config,
    models,
    modelBytes: 0,
    start: setting.start,
    batchSize: setting.B,
    textLength: setting.T,
    accumulation,
    features: false,
  });
  const stats: { loss: number; gradNorm: number }[] = [];
  for (let step = 1; step <= steps; step++) {
    for (let i = 0; i < accumulation; i++) {
      const micro = (step - 1) * accumulation + i;
      engine.microStep(batches[micro]!, { seedStep: micro });
    }
    const schedule = { warmupSteps: setting.warmupSteps, totalSteps: steps };
    engine.optimizerStep({
      step,
      learningRates: learningRatesAt(step, { ...schedule, peaks: setting.peaks }),
    });
    // The engine keeps the figures of some hundred steps.
    if (step % 100 === 0 || step === steps) stats.push(...await engine.readStats());
  }
  const rows = [
    compare("losses of all steps", [stats.map(({ loss }) => loss), setting.losses], { tolerance: LOSS }),
    compare("gradient norms of all steps", [stats.map(({ gradNorm }) => gradNorm), setting.gradNorms], {
      tolerance: GRADIENT,
    }),
  ];
  const { loss } = await engine.evaluateLoss(batches[0]!);
  const lossPair = [[loss], await expected.readF32("final_loss_batch0")] as const;
  rows.push(compare("final_loss_batch0", lossPair, { tolerance: LOSS }));
  const state = await engine.readState();
  for (const group of new Set(trainableSpecs(config).map((spec) => spec.group))) {
    const names = trainableSpecs(config).filter((spec) => spec.group === group).map(({ name }) => name);
    const got = names.flatMap((name) => Array.from(state.values.get(name)!.data));
    const want = names.flatMap((name) => Array.from(final.get(name)!));
    rows.push(compare(`${group} after training`, [got, want], { tolerance: GRADIENT }));
  }
  engine.destroy();
  return rows;
}
