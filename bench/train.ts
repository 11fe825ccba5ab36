/**
 * One training step: how long, where the time goes, and what memory it takes.
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import type { Gpu } from "../lib/gpu/device.ts";
import type { Plan } from "../lib/gpu/plan.ts";
import { destroyTensor } from "../lib/gpu/tensor.ts";
import { formatBytes, formatTable } from "../lib/host/terminal.ts";
import { prefixTokens } from "../lib/models/captioner.ts";
import { createTrainingEngine } from "../lib/train/engine.ts";
import type { TrainBatch } from "../lib/train/engine_types.ts";
import { compare, type Cost, peakResidentBytes, steadyMs, timeSubmitted } from "./measure.ts";
import { type BenchModel, CAPTION_TOKENS, randomDecoder, startValues } from "./models.ts";

/** Captions of a step. */
const BATCH = 4;

/** A step of one model: four captions of 30 tokens, image features computed before, LoRA on q, k, v and o. */
export interface TrainingResult {
  model: string;
  /** The whole step: forward, backward and optimizer. */
  step: Cost;
  /** The matmul dispatches of the same plan and nothing else. */
  matmul: Cost;
  /** Time of a step over that of its matmuls alone. */
  ratio: number;
  /** Share of matmuls in the step's dispatches, each timed on the device by itself. */
  matmulShare: number;
  /** The same by label, longest first. */
  shares: { label: string; count: number; share: number }[];
  /** Floating-point operations of a step as the ops declare them. */
  flops: number;
  dispatches: number;
  imagesPerSecond: number;
  /** Image and text positions through the decoder. */
  tokensPerSecond: number;
  /** Weights, trainable tensors with their moments, and activations. */
  gpuBytes: number;
  /** Most resident memory of the process so far, which on a software adapter includes the GPU's. */
  residentBytes: number;
  /** Loss of the first step. */
  loss: number;
}

/** Measures a step of `model`. */
export async function measureTraining(
  gpu: Gpu,
  { name, config }: BenchModel,
  options: { repeat: number },
): Promise<TrainingResult> {
  const base = randomDecoder(gpu, config);
  const engine = await createTrainingEngine(gpu, {
    config,
    models: { vision: undefined, decoder: base.decoder, rope: base.rope },
    modelBytes: base.sizeBytes,
    start: startValues(config),
    batchSize: BATCH,
    textLength: CAPTION_TOKENS,
    accumulation: 1,
    features: true,
  });
  const prefix = prefixTokens(config);
  const batch = randomBatch(prefix * config.vision.hiddenSize, config.decoder.vocabSize);
  const plan: Plan = engine.microPlan;
  const products = plan.select(({ kernel }) => kernel.startsWith("matmul"));
  let step = 0;
  const submitStep = (): void => {
    step++;
    engine.microStep(batch, { seedStep: step });
    engine.optimizerStep({ step, learningRates: { projection: 3e-4, lora: 1e-4, vision: 0 } });
  };
  const [whole, alone] = await compare([
    () => timeSubmitted(gpu, submitStep),
    () => timeSubmitted(gpu, () => products.run()),
  ], options.repeat);
  const [first] = await engine.readStats();
  const timings = await plan.profile();
  const productLabels = new Set<string>();
  plan.select(({ kernel, label }) => {
    if (kernel.startsWith("matmul")) productLabels.add(label);
    return false;
  });
  const total = timings.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const shares = timings.map(({ label, count, milliseconds }) => ({
    label,
    count,
    share: milliseconds / total,
  }));
  const seconds = whole!.wallMs / 1000;
  const result: TrainingResult = {
    model: name,
    step: whole!,
    matmul: alone!,
    ratio: steadyMs(gpu, whole!) / steadyMs(gpu, alone!),
    matmulShare: shares.reduce((sum, { label, share }) => sum + (productLabels.has(label) ? share : 0), 0),
    shares,
    flops: plan.flops,
    dispatches: plan.dispatchCount,
    imagesPerSecond: BATCH / seconds,
    tokensPerSecond: BATCH * (prefix + CAPTION_TOKENS) / seconds,
    gpuBytes: engine.memoryBytes,
    residentBytes: peakResidentBytes(),
    loss: first!.loss,
  };
  engine.destroy();
  base.decoder.destroy();
  if (base.rope !== undefined) destroyTensor(base.rope);
  gpu.check();
  return result;
}

function randomBatch(featureSize: number, vocabSize: number): TrainBatch {
  const rng = new Rng(3);
  const ids = (): Int32Array => Int32Array.from({ length: BATCH * CAPTION_TOKENS }, () => rng.int(vocabSize));
  const features = Float32Array.from({ length: BATCH * featureSize }, () => rng.normal());
  return { size: BATCH, features, inputIds: ids(), labels: ids() };
}

/** The results as a table, and where the time of the last goes. */
export function formatTraining(results: readonly TrainingResult[]): string {
  const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`;
  const measures: [string, (result: TrainingResult) => string][] = [
    ["step, clock", ({ step }) => seconds(step.wallMs)],
    ["step, processor time", ({ step }) => seconds(step.cpuMs)],
    ["its matmuls alone, clock", ({ matmul }) => seconds(matmul.wallMs)],
    ["its matmuls alone, processor time", ({ matmul }) => seconds(matmul.cpuMs)],
    ["step / matmuls", ({ ratio }) => ratio.toFixed(2)],
    ["share of matmuls in the dispatches", ({ matmulShare }) => `${(100 * matmulShare).toFixed(0)} %`],
    ["images/s", (result) => result.imagesPerSecond.toFixed(2)],
    ["tokens/s", (result) => result.tokensPerSecond.toFixed(0)],
    ["dispatches", ({ dispatches }) => String(dispatches)],
    ["GFLOP", ({ flops }) => (flops / 1e9).toFixed(1)],
    ["GPU memory", ({ gpuBytes }) => formatBytes(gpuBytes)],
    ["process memory, most so far", ({ residentBytes }) => formatBytes(residentBytes)],
    ["loss of the first step", ({ loss }) => loss.toFixed(3)],
  ];
  const table = formatTable(
    measures.map(([label, show]) => [label, ...results.map(show)]),
    { header: ["", ...results.map(({ model }) => model)], right: results.map((_, i) => i + 1) },
  );
  const last = results.at(-1);
  if (last === undefined) return table;
  const largest = last.shares.slice(0, 12).map(({ label, count, share }) => [
    label,
    String(count),
    `${(100 * share).toFixed(1)} %`,
  ]);
  return `${table}\n\n${formatTable(largest, { header: [last.model, "dispatches", "time"], right: [1, 2] })}`;
}
