/**
 * Pretraining of the embedded tiny models, every weight from scratch: a SigLIP (both towers, sigmoid contrastive loss) and a
 * Llama that reads its patch states through a throw-away projection (captioning loss), in one plan.
 *
 * Sources: Zhai et al. 2023, arXiv:2303.15343 (contrastive loss); Tschannen et al. 2023, arXiv:2306.07915 (captioning as
 * pretraining of a vision tower).
 *
 * @module
 */

import type { Rng } from "../base/rng.ts";
import type { Gpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import type { Plan } from "../gpu/plan.ts";
import { createTensor, destroyTensor, readF32, type Tensor, tensorFrom, writeTensor } from "../gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  decodeHidden,
  prefixTokens,
  projectFeatures,
  projectionSpecs,
} from "../models/captioner.ts";
import { decoderHead, decoderRope, decoderSpecs } from "../models/decoder.ts";
import { imageEmbeddings, textEmbeddings, type TwoTowerConfig, twoTowerSpecs } from "../models/two_tower.ts";
import { visionEncoder } from "../models/vision.ts";
import type { WeightSpec } from "../nn/weights.ts";
import { ParameterSet } from "../nn/parameters.ts";
import { append } from "../ops/append.ts";
import { createOptimizerState, recordOptimizerStep, writeOptimizerState } from "../ops/adamw.ts";
import { lmHeadLoss } from "../ops/lm_head_loss.ts";
import { gatherTextRows } from "../ops/prefix.ts";
import { sigmoidContrastiveLoss } from "../ops/sigmoid_contrastive_loss.ts";

/** Sizes of the models and of a step. */
export interface PretrainConfig {
  captioner: CaptionerConfig;
  /** The SigLIP whose vision tower the captioner has. */
  towers: TwoTowerConfig;
  /** Images of a step. */
  batchSize: number;
  /** Caption tokens T of the captioning loss. */
  textLength: number;
}

/** One step's data. */
export interface PretrainBatch {
  /** Normalised images [B, 3, I, I]. */
  pixelValues: Float32Array;
  /** Caption ids [B, T] and what to predict, -100 where padded. */
  inputIds: Int32Array;
  labels: Int32Array;
  /** Caption ids padded to the text tower's length, [B, maxPositions]. */
  textIds: Int32Array;
}

const RING = 64;
const OUTPUT_PROJECTION = /(out_proj|fc2|o_proj|down_proj)\.weight$/;

/** Start of a weight: norms 1, biases 0, embeddings and linears normal. */
export function pretrainStart(
  { name, shape }: WeightSpec,
  rng: Rng,
  layers: number,
): Float32Array<ArrayBuffer> {
  const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
  if (name === "logit_scale") return values.fill(Math.log(10));
  if (name === "logit_bias") return values.fill(-10);
  if (/norm\d?\.weight$/.test(name)) return values.fill(1);
  if (/bias$/.test(name)) return values;
  const isTable = /embed_tokens|token_embedding|position_embedding|probe/.test(name);
  const fanIn = values.length / shape[0]!;
  let deviation = isTable ? 0.05 : 1 / Math.sqrt(fanIn);
  // GPT-2's rule keeps the residual stream's variance independent of depth.
  if (OUTPUT_PROJECTION.test(name)) deviation /= Math.sqrt(2 * layers);
  for (let i = 0; i < values.length; i++) values[i] = rng.normal() * deviation;
  return values;
}

/** The models under pretraining: one recorded step. */
export class Pretrainer {
  readonly #gpu: Gpu;
  readonly #plan: Plan;
  readonly #inputs: Record<keyof PretrainBatch, Tensor>;
  readonly #state: Tensor;
  readonly #rings: { caption: Tensor; contrastive: Tensor };
  #stepsRead = 0;
  #steps = 0;

  private constructor(
    gpu: Gpu,
    readonly set: ParameterSet,
    parts: {
      plan: Plan;
      inputs: Record<keyof PretrainBatch, Tensor>;
      state: Tensor;
      rings: { caption: Tensor; contrastive: Tensor };
    },
  ) {
    this.#gpu = gpu;
    this.#plan = parts.plan;
    this.#inputs = parts.inputs;
    this.#state = parts.state;
    this.#rings = parts.rings;
  }

  /** Makes weights from `rng` (or takes those of `start`) and records the step. */
  static async create(
    gpu: Gpu,
    config: PretrainConfig,
    options: { rng: Rng; start?: ReadonlyMap<string, Float32Array> },
  ): Promise<Pretrainer> {
    const { captioner, towers, batchSize: B, textLength: T } = config;
    const specs = pretrainSpecs(config);
    const tensors = specs.map((spec) => ({
      ...spec,
      data: options.start?.get(spec.name) ?? pretrainStart(spec, options.rng, captioner.vision.layers),
    }));
    const isPlain = ({ shape }: WeightSpec): boolean => shape.length === 1;
    const set = new ParameterSet(gpu, [
      { name: "matrices", weightDecay: 0.05, tensors: tensors.filter((spec) => !isPlain(spec)) },
      { name: "vectors", weightDecay: 0, tensors: tensors.filter(isPlain) },
    ]);
    const { imageSize, channels } = captioner.vision;
    const P = prefixTokens(captioner);
    const inputs = {
      pixelValues: createTensor(gpu, [B, channels, imageSize, imageSize], { label: "pixelValues" }),
      inputIds: createTensor(gpu, [B, T], { dtype: "u32", label: "inputIds" }),
      labels: createTensor(gpu, [B * T], { dtype: "i32", label: "labels" }),
      textIds: createTensor(gpu, [B, towers.text.maxPositions], { dtype: "u32", label: "textIds" }),
    };
    const rope = decoderRope(gpu, captioner.decoder, { maxPositions: P + T });
    const weights: CaptionerWeights = { vision: set, decoder: set, trainable: set, rope };
    const r = new Recorder(gpu, true);
    const states = visionEncoder(r, set, inputs.pixelValues, captioner.vision);
    const prefix = projectFeatures(r, weights, states, { config: captioner });
    const hidden = decodeHidden(r, weights, { prefix, inputIds: inputs.inputIds }, { config: captioner });
    const rows = gatherTextRows(r, hidden, { prefixTokens: P });
    const captionLoss = createTensor(gpu, [2], { label: "caption loss" });
    lmHeadLoss(r, rows, decoderHead(set, captioner.decoder), inputs.labels, { lossOut: captionLoss });
    const imageEmbeds = imageEmbeddings(r, set, states, towers);
    const textEmbeds = textEmbeddings(r, set, { inputIds: inputs.textIds }, towers);
    const contrastive = createTensor(gpu, [1], { label: "contrastive loss" });
    sigmoidContrastiveLoss(r, imageEmbeds, textEmbeds, {
      logitScale: set.get("logit_scale"),
      logitBias: set.get("logit_bias"),
      lossOut: contrastive,
      gradScale: 0.25,
    });
    r.backward();
    const rings = { caption: createTensor(gpu, [RING, 2]), contrastive: createTensor(gpu, [RING, 1]) };
    append(r, captionLoss, { ring: rings.caption, counter: tensorFrom(gpu, new Uint32Array(1)) });
    append(r, contrastive, { ring: rings.contrastive, counter: tensorFrom(gpu, new Uint32Array(1)) });
    const state = createOptimizerState(gpu, set);
    recordOptimizerStep(r, set, {
      state,
      stats: createTensor(gpu, [RING, 4], { label: "stats" }),
      maxGradNorm: 1,
    });
    return new Pretrainer(gpu, set, { plan: await r.compile(), inputs, state, rings });
  }

  /** Queues one step. */
  step(batch: PretrainBatch, learningRate: number): void {
    this.#steps += 1;
    for (const name of Object.keys(this.#inputs) as (keyof PretrainBatch)[]) {
      writeTensor(this.#gpu, this.#inputs[name], batch[name]);
    }
    writeOptimizerState(this.#gpu, this.#state, {
      set: this.set,
      step: this.#steps,
      slot: this.#steps % RING,
      learningRates: { matrices: learningRate, vectors: learningRate },
      beta2: 0.98,
    });
    this.#plan.run();
  }

  /** Mean losses of the steps since the last call, at most 64 of them. Waits for the GPU. */
  async readLosses(): Promise<{ caption: number; contrastive: number }> {
    const [caption, contrastive] = [
      await readF32(this.#gpu, this.#rings.caption),
      await readF32(this.#gpu, this.#rings.contrastive),
    ];
    const from = Math.max(this.#stepsRead, this.#steps - RING);
    const sums = { caption: 0, contrastive: 0 };
    for (let step = from; step < this.#steps; step++) {
      sums.caption += caption[(step % RING) * 2]! / (this.#steps - from);
      sums.contrastive += contrastive[step % RING]! / (this.#steps - from);
    }
    this.#stepsRead = this.#steps;
    return sums;
  }

  /** The plan, to be profiled. */
  get plan(): Plan {
    return this.#plan;
  }

  /** Frees everything. */
  destroy(): void {
    for (const tensor of Object.values(this.#inputs)) destroyTensor(tensor);
    this.#plan.destroy({ arena: true });
    this.set.destroy();
  }
}

/** Every tensor of the pretraining, the throw-away projection included. */
export function pretrainSpecs({ captioner, towers }: PretrainConfig): WeightSpec[] {
  return [
    ...twoTowerSpecs(towers),
    ...projectionSpecs(captioner),
    ...decoderSpecs(captioner.decoder),
  ];
}
