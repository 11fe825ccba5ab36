/**
 * What the training loop is given and gives back.
 *
 * @module
 */

import type { BestMetric } from "./best_metric.ts";
import type { EngineState, TrainingEngine } from "./engine_types.ts";
import type { CaptionSample, GenerateCaptions, ScoreSamples } from "./evaluation.ts";
import type { TrainingRows, ValidationRows } from "./rows.ts";
import type { PeakLearningRates } from "./schedule.ts";
import type { SelfCritical } from "./self_critical.ts";
import type { LogEntry, StopReason, TrainerState } from "./trainer_state.ts";

/** Numbers that steer a training. */
export interface TrainSettings {
  /** Passes over the data; used where `maxSteps` is not given. */
  epochs: number;
  /** Optimizer steps of the whole training. @default as many as the epochs need */
  maxSteps?: number;
  /** Micro-batches whose gradients are averaged into one optimizer step. */
  gradientAccumulationSteps: number;
  /** Optimizer steps of the warm-up. */
  warmupSteps: number;
  /** Largest learning rates. */
  peakLearningRates: PeakLearningRates;
  /** Optimizer steps between evaluations; the last step is always evaluated. */
  evalSteps: number;
  /** Optimizer steps between checkpoints; the last step is always saved, and every evaluation better than all before. */
  saveSteps: number;
  /** What evaluations are compared by. @default {the loss} */
  bestMetric?: BestMetric;
  /** Evaluations without progress after which training stops; 0 never does. */
  earlyStoppingPatience: number;
  /** Of everything random. */
  seed: number;
  /** Hash of what decides the numbers: settings, models, data. */
  fingerprint: string;
}

/** What a checkpoint is made of. */
export interface TrainingCheckpoint {
  /** Where the training stands. */
  state: TrainerState;
  /** Tensors of the engine. */
  engine: EngineState;
}

/** How far a training is. */
export interface TrainProgress {
  /** Where the training stands. */
  state: TrainerState;
  /** Images of training steps since the training was started or continued. */
  imagesSeen: number;
}

/** What `train` works with. */
export interface TrainOptions {
  /** Computes. */
  engine: TrainingEngine;
  /** Numbers that steer the training. */
  settings: TrainSettings;
  /** Rows to train on. */
  train: TrainingRows;
  /** Absent: nothing is evaluated, and the last state is the best. */
  validation?: ValidationRows;
  /** Writes captions during evaluations. */
  generateCaptions?: GenerateCaptions;
  /** More scores of those captions. */
  scoreSamples?: ScoreSamples;
  /** Adds the policy gradient of sampled captions. */
  selfCritical?: SelfCritical;
  /** Validation rows that captions are written for. */
  captionedRows?: readonly number[];
  /** Where to continue; its settings must be the same, see {@linkcode TrainerState.fingerprint}. */
  resume?: TrainingCheckpoint;
  /** Keeps a checkpoint; training goes on when it is safe. */
  saveCheckpoint(checkpoint: TrainingCheckpoint): Promise<void>;
  /** Told of every step and evaluation, in order; steps some time after they were done. */
  onLog?(entry: LogEntry, samples?: readonly CaptionSample[]): void;
  /** Told now and then how far the training is. */
  onProgress?(progress: TrainProgress): void;
  /** Saves a checkpoint after the step under way and returns. */
  signal?: AbortSignal;
}

/** How a training ended. */
export interface TrainOutcome {
  /** Where the training stands. */
  state: TrainerState;
  /** `interrupted` by the signal: a checkpoint is saved and the training can be continued. */
  ended: StopReason | "interrupted";
}
