/**
 * The GPU side of training a captioner: plans recorded once for a micro-batch, an optimizer step and an evaluation.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { PlanGroup } from "../gpu/plan_group.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, readTensors, type Tensor, tensorFrom, writeTensor } from "../gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  decodeHidden,
  encodeImages,
  prefixTokens,
  projectFeatures,
  type TrainableGroup,
  trainableSpecs,
} from "../models/captioner.ts";
import { decoderHead } from "../models/decoder.ts";
import { findNonFiniteGradient, type ParameterGroup, ParameterSet } from "../nn/parameters.ts";
import { createOptimizerState, recordOptimizerStep, writeOptimizerState } from "../ops/adamw.ts";
import { lmHeadLoss, type LmHeadLossOptions } from "../ops/lm_head_loss.ts";
import { gatherTextRows } from "../ops/prefix.ts";
import type { EngineState, PolicyBatch, StepStats, TrainBatch, TrainingEngine } from "./engine_types.ts";

/** Options of {@linkcode createTrainingEngine}. */
export interface TrainingEngineOptions {
  config: CaptionerConfig;
  /** Base models on the GPU; `vision` may be absent when batches bring features. They stay the caller's. */
  models: Omit<CaptionerWeights, "trainable">;
  /** Bytes of the base models on the GPU, for {@linkcode GpuTrainingEngine.memoryBytes}. */
  modelBytes: number;
  /** Start of every trainable tensor, by the names of `trainableSpecs`. */
  start: ReadonlyMap<string, Float32Array>;
  /** Micro-batch size B. */
  batchSize: number;
  /** Text tokens T. */
  textLength: number;
  /** Micro-batches of one optimizer step. */
  accumulation: number;
  /** Whether batches bring vision features instead of pixels. */
  features: boolean;
  /** Largest norm of all gradients together. @default {1} */
  maxGradNorm?: number;
  /** Decoupled weight decay on every group. @default {0.01} */
  weightDecay?: number;
  /** Seed of dropout. @default {42} */
  seed?: number;
  /** Factor of the policy gradient; 0 for an engine without one. @default {0} */
  policyWeight?: number;
}

/** Steps whose statistics are kept on the GPU until they are read. */
const RING = 256;

/** Records and compiles everything. @throws {DeviceError} when the memory is refused */
export async function createTrainingEngine(
  gpu: Gpu,
  options: TrainingEngineOptions,
): Promise<GpuTrainingEngine> {
  const engine = recordTrainingEngine(gpu, options);
  await engine.compile();
  return engine;
}

/** Records everything; {@linkcode GpuTrainingEngine.compile} makes it ready. What it will take is known in between. */
export function recordTrainingEngine(gpu: Gpu, options: TrainingEngineOptions): GpuTrainingEngine {
  const { config, batchSize: B, textLength: T } = options;
  const { weightDecay = 0.01, maxGradNorm = 1, seed = 42, policyWeight = 0 } = options;
  const set = new ParameterSet(gpu, groupParameters(config, options.start, weightDecay));
  const { vision, decoder } = config;
  const images = options.features
    ? createTensor(gpu, [B, prefixTokens(config), vision.hiddenSize], { label: "features" })
    : createTensor(gpu, [B, vision.channels, vision.imageSize, vision.imageSize], { label: "pixelValues" });
  const inputs = {
    images,
    inputIds: createTensor(gpu, [B, T], { dtype: "u32", label: "inputIds" }),
    labels: createTensor(gpu, [B * T], { dtype: "i32", label: "labels" }),
    dropoutSeed: tensorFrom(gpu, Uint32Array.of(seed, 0), { label: "dropout seed" }),
  };
  const lossSum = createTensor(gpu, [1], { label: "loss sum" });
  const evalLoss = createTensor(gpu, [2], { label: "evaluation loss" });
  const weights: CaptionerWeights = { ...options.models, trainable: set };
  const head = decoderHead(weights.decoder, decoder);

  const recordLoss = (
    r: Recorder,
    { dropout = false, ...loss }: Partial<LmHeadLossOptions> & { dropout?: boolean } = {},
  ): Recorder => {
    const visionFeatures = options.features ? images : encodeImages(r, weights, images, config);
    const run = dropout ? { config, dropoutSeed: inputs.dropoutSeed } : { config };
    const prefix = projectFeatures(r, weights, visionFeatures, run);
    const hidden = decodeHidden(r, weights, { prefix, inputIds: inputs.inputIds }, run);
    const rows = gatherTextRows(r, hidden, { prefixTokens: prefixTokens(config) });
    lmHeadLoss(r, rows, head, inputs.labels, { lossOut: evalLoss, ...loss });
    r.backward();
    return r;
  };
  const gradScale = 1 / options.accumulation;
  const micro = recordLoss(new Recorder(gpu, true), { dropout: true, lossSum, gradScale });
  const evaluation = recordLoss(new Recorder(gpu, false));
  const tokenWeights = policyWeight === 0
    ? undefined
    : createTensor(gpu, [B * T], { label: "token weights" });
  // Captions were sampled without dropout: only so is it the gradient of what wrote them.
  const policy = tokenWeights &&
    recordLoss(new Recorder(gpu, true), { weights: tokenWeights, gradScale: policyWeight * gradScale });
  const optimizer = new Recorder(gpu, false);
  const state = createOptimizerState(gpu, set);
  const stats = createTensor(gpu, [RING, 4], { label: "stats" });
  recordOptimizerStep(optimizer, set, { state, stats, loss: lossSum, maxGradNorm });
  const group = new PlanGroup<string>(
    gpu,
    { micro, evaluation, optimizer, ...(policy && { policy }) },
    [...Object.values(inputs), state, stats, evalLoss, lossSum, ...(tokenWeights ? [tokenWeights] : [])],
  );
  return new GpuTrainingEngine(gpu, { options, set, inputs, tokenWeights, group, state, stats, evalLoss });
}

function groupParameters(
  config: CaptionerConfig,
  start: ReadonlyMap<string, Float32Array>,
  weightDecay: number,
): ParameterGroup[] {
  const groups = new Map<
    TrainableGroup,
    ParameterGroup & { tensors: { name: string; shape: readonly number[]; data: Float32Array }[] }
  >();
  for (const { name, shape, group } of trainableSpecs(config)) {
    const data = start.get(name);
    if (data === undefined) throw new RangeError(`Cannot train: "${name}" has no start value`);
    const entry = groups.get(group) ?? { name: group, weightDecay, tensors: [] };
    entry.tensors.push({ name, shape, data });
    groups.set(group, entry);
  }
  return [...groups.values()];
}

interface EngineParts {
  options: TrainingEngineOptions;
  set: ParameterSet;
  inputs: { images: Tensor; inputIds: Tensor; labels: Tensor; dropoutSeed: Tensor };
  /** [B * T], of the policy gradient where there is one. */
  tokenWeights: Tensor | undefined;
  group: PlanGroup<string>;
  state: Tensor;
  stats: Tensor;
  evalLoss: Tensor;
}

/** A {@linkcode TrainingEngine} on WebGPU. */
export class GpuTrainingEngine implements TrainingEngine {
  readonly #gpu: Gpu;
  readonly #parts: EngineParts;
  #step = 0;
  #read: number | undefined;

  /** See {@linkcode recordTrainingEngine}. */
  constructor(gpu: Gpu, parts: EngineParts) {
    this.#gpu = gpu;
    this.#parts = parts;
  }

  /** Takes the memory and compiles. @throws {DeviceError} when the memory is refused */
  async compile(): Promise<void> {
    await this.#parts.group.compile();
  }

  get batchSize(): number {
    return this.#parts.options.batchSize;
  }

  get textLength(): number {
    return this.#parts.options.textLength;
  }

  get memoryBytes(): number {
    const { options, set, group } = this.#parts;
    return options.modelBytes + set.memoryBytes + group.memoryBytes;
  }

  get trainableCounts(): Record<TrainableGroup, number> {
    const { set } = this.#parts;
    const has = (group: string): boolean => set.groups.some(({ name }) => name === group);
    const count = (group: TrainableGroup): number => has(group) ? set.count(group) : 0;
    return { projection: count("projection"), lora: count("lora"), vision: count("vision") };
  }

  /** The trainable tensors, for generation with the weights of the moment. */
  get parameters(): ParameterSet {
    return this.#parts.set;
  }

  /** The recorded micro-batch, to be profiled and counted. */
  get microPlan(): Plan {
    return this.#plan("micro");
  }

  microStep(batch: TrainBatch, options: { seedStep: number }): void {
    const { inputs } = this.#parts;
    this.#write(batch);
    writeTensor(
      this.#gpu,
      inputs.dropoutSeed,
      Uint32Array.of(this.#parts.options.seed ?? 42, options.seedStep),
    );
    this.#plan("micro").run();
  }

  policyStep(batch: PolicyBatch): void {
    const { tokenWeights, options: { batchSize: B, textLength: T } } = this.#parts;
    if (tokenWeights === undefined || batch.weights.length !== batch.labels.length) {
      throw new TypeError(
        `Cannot run a policy gradient with ${batch.weights.length} weights for ${batch.labels.length} labels; expected as many, ` +
          "and an engine that was made with a policyWeight",
      );
    }
    this.#write(batch);
    const weights = new Float32Array(B * T);
    weights.set(batch.weights);
    writeTensor(this.#gpu, tokenWeights, weights);
    this.#plan("policy").run();
  }

  optimizerStep(options: { step: number; learningRates: Record<TrainableGroup, number> }): void {
    const { set, state } = this.#parts;
    this.#step = options.step;
    this.#read ??= options.step - 1;
    writeOptimizerState(this.#gpu, state, { set, ...options, slot: options.step % RING });
    this.#plan("optimizer").run();
  }

  async readStats(): Promise<StepStats[]> {
    const { stats } = this.#parts;
    const [bytes] = await readTensors(this.#gpu, [stats]);
    this.#gpu.check();
    const rows = new Float32Array(bytes!.buffer);
    const found: StepStats[] = [];
    for (
      let step = Math.max((this.#read ?? this.#step) + 1, this.#step - RING + 1);
      step <= this.#step;
      step++
    ) {
      const [loss, gradNorm, , flag] = rows.subarray((step % RING) * 4, (step % RING) * 4 + 4);
      found.push({ step, loss: loss!, gradNorm: gradNorm!, finite: flag === 0 });
    }
    this.#read = this.#step;
    return found;
  }

  async evaluateLoss(batch: TrainBatch): Promise<{ loss: number; tokens: number }> {
    this.#write(batch);
    this.#plan("evaluation").run();
    const [bytes] = await readTensors(this.#gpu, [this.#parts.evalLoss]);
    const [loss, tokens] = new Float32Array(bytes!.buffer);
    return { loss: loss!, tokens: tokens! };
  }

  async findBadGradient(): Promise<string | undefined> {
    return (await findNonFiniteGradient(this.#parts.set))?.name;
  }

  async readState(): Promise<EngineState> {
    const { set, options } = this.#parts;
    const shapes = new Map(trainableSpecs(options.config).map(({ name, shape }) => [name, shape]));
    const state = await set.readState();
    const shaped = (part: ReadonlyMap<string, Float32Array>): EngineState["values"] =>
      new Map([...part].map(([name, data]) => [name, { shape: shapes.get(name)!, data }]));
    return { values: shaped(state.values), m: shaped(state.m), v: shaped(state.v) };
  }

  writeState(state: EngineState): void {
    const flat = (part: EngineState["values"]): Map<string, Float32Array<ArrayBuffer>> =>
      new Map([...part].map(([name, { data }]) => [name, new Float32Array(data)]));
    this.#parts.set.writeState({ values: flat(state.values), m: flat(state.m), v: flat(state.v) });
  }

  destroy(): void {
    this.#parts.group.destroy();
    this.#parts.set.destroy();
  }

  #plan(name: "micro" | "evaluation" | "optimizer" | "policy"): Plan {
    return this.#parts.group.plans[name]!;
  }

  #write(batch: TrainBatch): void {
    const { inputs, options } = this.#parts;
    const { batchSize: B, textLength: T } = options;
    const images = options.features ? batch.features : batch.pixelValues;
    const rowSize = inputs.images.size / B;
    if (
      images === undefined || images.length < batch.size * rowSize || batch.size > B ||
      batch.inputIds.length !== batch.size * T
    ) {
      throw new TypeError(
        `Cannot run a batch of ${batch.size} rows with ${
          images?.length ?? 0
        } image values and ${batch.inputIds.length} ids; ` +
          `expected at most ${B} rows of ${rowSize} values of ${
            options.features ? "features" : "pixelValues"
          } and ${T} ids`,
      );
    }
    writeTensor(this.#gpu, inputs.images, images.subarray(0, batch.size * rowSize));
    writeTensor(this.#gpu, inputs.inputIds, batch.inputIds);
    // Rows that do not count have nothing to predict.
    const labels = new Int32Array(B * T).fill(-100);
    labels.set(batch.labels);
    writeTensor(this.#gpu, inputs.labels, labels);
  }
}
