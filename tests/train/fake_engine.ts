import type { EngineState, StepStats, TrainBatch, TrainingEngine } from "../../lib/train/engine_types.ts";
import type { ValidationRows } from "../../lib/train/rows.ts";
import type { TrainSettings } from "../../lib/train/trainer_types.ts";
import { mixedNoise } from "./noise.ts";

/** Widths of the tiny model: features [4] to one prediction. */
const WIDTH = 4;
export const A = "language_model.base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
export const B = "language_model.base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
export const PROJECTION = "projection.projection.weight";
export const BIAS = "projection.projection.bias";
const SHAPES: Readonly<Record<string, readonly number[]>> = {
  [PROJECTION]: [1, WIDTH],
  [BIAS]: [1],
  [A]: [1, WIDTH],
  [B]: [1, 1],
};
const NAMES = Object.keys(SHAPES);

/** Options of {@linkcode fakeEngine}. */
export interface FakeEngineOptions {
  batchSize?: number;
  accumulation?: number;
  /** Optimizer steps whose gradients become NaN. */
  nanAt?: number;
  /** Keeps counting steps after a bad one although it reports it late, as a queue of GPU work does. */
  dropout?: boolean;
}

/**
 * A real, tiny optimisation behind the engine's interface: linear regression with a rank-one update, its dropout noise drawn
 * from `seedStep`, trained by AdamW in f32. Label of a row: its first token id divided by 10.
 */
export function fakeEngine(options: FakeEngineOptions = {}): TrainingEngine & { microSteps: number } {
  const { batchSize = 3, accumulation = 2, nanAt, dropout = true } = options;
  const zeros = () => new Map(NAMES.map((name) => [name, new Float32Array(size(name))]));
  const values = zeros(), m = zeros(), v = zeros(), gradients = zeros();
  values.get(PROJECTION)!.set([0.1, -0.2, 0.3, 0.05]);
  values.get(A)!.set([0.2, 0.1, -0.1, 0.3]);
  let lossSum = 0, current = 0;
  const stats: StepStats[] = [];
  const get = (tensors: Map<string, Float32Array>, name: string) => tensors.get(name)!;

  const run = (batch: TrainBatch, seedStep: number | undefined): { loss: number; tokens: number } => {
    let loss = 0;
    for (let row = 0; row < batch.size; row++) {
      const x = Array.from(batch.features!.subarray(row * WIDTH, (row + 1) * WIDTH));
      const noise = seedStep === undefined || !dropout ? 1 : 0.9 + 0.2 * mixedNoise(seedStep, row);
      const dot = (w: Float32Array) => x.reduce((sum, value, i) => sum + value * w[i]!, 0);
      const hidden = dot(get(values, A)) * noise;
      const scale = get(values, B)[0]!;
      const error = dot(get(values, PROJECTION)) + get(values, BIAS)[0]! + scale * hidden -
        batch.inputIds[row * (batch.inputIds.length / batch.size)]! / 10;
      loss += error * error / batch.size;
      if (seedStep === undefined) continue;
      const d = 2 * error / batch.size / accumulation;
      x.forEach((value, i) => {
        get(gradients, PROJECTION)[i]! += d * value;
        get(gradients, A)[i]! += d * scale * noise * value;
      });
      get(gradients, BIAS)[0]! += d;
      get(gradients, B)[0]! += d * hidden;
    }
    return { loss, tokens: batch.size };
  };

  const copy = (tensors: Map<string, Float32Array>) =>
    new Map(NAMES.map((name) => [name, { shape: SHAPES[name]!, data: tensors.get(name)!.slice() }]));
  const put = (tensors: Map<string, Float32Array>, from: EngineState["values"]) => {
    for (const name of NAMES) tensors.get(name)!.set(from.get(name)!.data);
  };

  const engine: TrainingEngine & { microSteps: number } = {
    batchSize,
    textLength: 5,
    memoryBytes: 4096,
    trainableCounts: { projection: WIDTH + 1, lora: WIDTH + 1, vision: 0 },
    microSteps: 0,
    microStep(batch, { seedStep }) {
      engine.microSteps++;
      lossSum += run(batch, seedStep).loss / accumulation;
      current = Math.floor(seedStep / accumulation) + 1;
      if (current === nanAt) get(gradients, A)[1] = NaN;
    },
    policyStep(batch) {
      // Every token of a caption pulls the bias its own way.
      for (const [i, weight] of batch.weights.entries()) {
        get(gradients, BIAS)[0]! += weight * (batch.labels[i]! < 0 ? 0 : batch.labels[i]! + 1) / accumulation;
      }
    },
    optimizerStep({ step, learningRates }) {
      let square = 0;
      for (const name of NAMES) for (const g of get(gradients, name)) square += g * g;
      const gradNorm = Math.sqrt(square);
      const finite = Number.isFinite(gradNorm) && Number.isFinite(lossSum);
      stats.push({ step, loss: lossSum, gradNorm, finite });
      const clip = Math.min(1, 1 / (gradNorm + 1e-6));
      for (const name of NAMES) {
        const [w, g, m1, m2] = [values, gradients, m, v].map((tensors) => get(tensors, name)) as [
          Float32Array,
          Float32Array,
          Float32Array,
          Float32Array,
        ];
        const rate = learningRates[name.startsWith("projection") ? "projection" : "lora"];
        for (let i = 0; finite && i < w.length; i++) {
          m1[i] = 0.9 * m1[i]! + 0.1 * g[i]! * clip;
          m2[i] = 0.999 * m2[i]! + 0.001 * (g[i]! * clip) ** 2;
          const update = m1[i]! / (1 - 0.9 ** step) / (Math.sqrt(m2[i]! / (1 - 0.999 ** step)) + 1e-8);
          w[i] = w[i]! * (1 - rate * 0.01) - rate * update;
        }
        g.fill(0);
      }
      lossSum = 0;
    },
    readStats: () => Promise.resolve(stats.splice(0)),
    evaluateLoss: (batch) => Promise.resolve(run(batch, undefined)),
    findBadGradient: () =>
      Promise.resolve(NAMES.find((name) => get(gradients, name).some((g) => !Number.isFinite(g)))),
    readState: () => Promise.resolve({ values: copy(values), m: copy(m), v: copy(v) }),
    writeState(state) {
      put(values, state.values);
      put(m, state.m);
      put(v, state.v);
    },
    destroy() {},
  };
  return engine;
}

function size(name: string): number {
  return SHAPES[name]!.reduce((product, n) => product * n, 1);
}

/** Rows with features and a first token that is a linear function of them; two captions each, chosen by epoch. */
export function fakeRows(rowCount: number, { noise = 0 }: { noise?: number } = {}): ValidationRows {
  const feature = (row: number, i: number) => mixedNoise(row, i + 100) * 2 - 1;
  return {
    rowCount,
    loadInputs: (rows) =>
      Promise.resolve({
        features: Float32Array.from(
          rows.flatMap((row) => Array.from({ length: WIDTH }, (_, i) => feature(row, i))),
        ),
      }),
    tokens(rows, { epoch, length }) {
      const first = (row: number) =>
        Math.round(20 * feature(row, 0) - 10 * feature(row, 2) + noise * (mixedNoise(row, epoch) - 0.5)) +
        epoch % 2;
      const inputIds = Int32Array.from(rows.flatMap((row) => [first(row), ...new Array(length - 1).fill(0)]));
      return { inputIds, labels: inputIds.map((id, i) => i % length === 0 ? id : -100) };
    },
    references: (row) => [`A caption of ${row}.`],
    objects: () => undefined,
  };
}

export const SETTINGS: TrainSettings = {
  epochs: 4,
  gradientAccumulationSteps: 2,
  warmupSteps: 2,
  peakLearningRates: { projection: 0.03, lora: 0.02 },
  evalSteps: 3,
  saveSteps: 4,
  earlyStoppingPatience: 3,
  seed: 42,
  fingerprint: "test",
};
