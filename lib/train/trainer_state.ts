/**
 * `trainer_state.json`: where a training stands, apart from its tensors. Hugging Face's keys, and our own below `distilvit`.
 *
 * It holds no times and nothing of the machine, so that a continued run writes the same bytes as one that never stopped.
 *
 * @module
 */

import type { BatchPosition } from "../datasets/batches.ts";
import { formatJson, isJsonObject, type JsonObject, type JsonValue } from "../format/json.ts";
import { JsonConfig } from "../format/json_config.ts";

/** One line of the log: numbers by Hugging Face's names (`loss`, `grad_norm`, `eval_loss`, …) of one optimizer step. */
export interface LogEntry {
  /** Optimizer step, from 1. */
  step: number;
  /** Epochs done after it, with a fraction. */
  epoch: number;
  /** `loss`, `grad_norm`, `learning_rate` of a training step; `eval_…` of an evaluation. */
  [name: string]: number;
}

/** Why a training is over. */
export type StopReason = "completed" | "early stopping";

/** The evaluation that no later one beat. */
export interface BestEvaluation {
  /** Optimizer step of it. */
  step: number;
  /** Its loss, or whatever evaluations are compared by. */
  value: number;
}

/** Where a training stands. */
export interface TrainerState {
  /** Optimizer steps done. */
  step: number;
  /** Optimizer steps of the whole training. */
  maxSteps: number;
  /** Epochs of the whole training; a fraction where the steps were given. */
  epochs: number;
  /** Micro-batch that comes next. */
  position: BatchPosition;
  /** Micro-batches done: the counter of the dropout generator. */
  seedStep: number;
  /** Of the order of the data, the choice of captions, dropout and start values. */
  seed: number;
  /** The best evaluation so far. */
  best: BestEvaluation | undefined;
  /** Evaluations since the last one that was better by more than the threshold. */
  worseEvaluations: number;
  /** Set when nothing is left to do. */
  stopped: StopReason | undefined;
  /** Hash of everything that decides the numbers: settings and data. A run is continued only with the same. */
  fingerprint: string;
  /** Steps and evaluations, in order. */
  log: readonly LogEntry[];
}

/** Numbers of the settings that Hugging Face keeps in the state. */
export interface StateSettings {
  /** Optimizer steps between evaluations. */
  evalSteps: number;
  /** Optimizer steps between checkpoints. */
  saveSteps: number;
  /** Images of a micro-batch. */
  batchSize: number;
  /** Evaluations without a better loss before it stops; 0 never does. */
  earlyStoppingPatience: number;
  /** By how much an evaluation must be better to count. @default {0} */
  earlyStoppingThreshold?: number;
}

/** Name of a checkpoint's folder. */
export function checkpointName(step: number): string {
  return `checkpoint-${step}`;
}

/** Writes `trainer_state.json`. */
export function formatTrainerState(state: TrainerState, settings: StateSettings): string {
  const { best, position } = state;
  return formatJson({
    best_global_step: best?.step ?? null,
    best_metric: best?.value ?? null,
    best_model_checkpoint: best === undefined ? null : checkpointName(best.step),
    distilvit: {
      batch: position.batch,
      data_epoch: position.epoch,
      fingerprint: state.fingerprint,
      seed: state.seed,
      seed_step: state.seedStep,
      stopped: state.stopped ?? null,
    },
    epoch: state.log.at(-1)?.epoch ?? 0,
    eval_steps: settings.evalSteps,
    global_step: state.step,
    is_hyper_param_search: false,
    is_local_process_zero: true,
    is_world_process_zero: true,
    log_history: state.log.map((entry): JsonObject => ({ ...entry })),
    logging_steps: 1,
    max_steps: state.maxSteps,
    num_input_tokens_seen: 0,
    num_train_epochs: state.epochs,
    save_steps: settings.saveSteps,
    stateful_callbacks: {
      EarlyStoppingCallback: {
        args: {
          early_stopping_patience: settings.earlyStoppingPatience,
          early_stopping_threshold: settings.earlyStoppingThreshold ?? 0,
        },
        attributes: { early_stopping_patience_counter: state.worseEvaluations },
      },
    },
    total_flos: 0,
    train_batch_size: settings.batchSize,
    trial_name: null,
    trial_params: null,
  });
}

/**
 * Reads `trainer_state.json` as {@linkcode formatTrainerState} writes it.
 *
 * @throws {SyntaxError | TypeError | RangeError} If it is not JSON, or a key is missing or wrong
 */
export function parseTrainerState(text: string, name: string): TrainerState {
  const json = JsonConfig.parse(text, name);
  const own = json.object("distilvit");
  const callback = json.object("stateful_callbacks").object("EarlyStoppingCallback");
  const bestStep = json.optionalInteger("best_global_step");
  const state: TrainerState = {
    step: json.integer("global_step"),
    maxSteps: json.integer("max_steps"),
    epochs: json.number("num_train_epochs"),
    position: { epoch: own.integer("data_epoch"), batch: own.integer("batch") },
    seedStep: own.integer("seed_step"),
    seed: own.integer("seed"),
    best: bestStep === undefined ? undefined : { step: bestStep, value: json.number("best_metric") },
    worseEvaluations: callback.object("attributes").integer("early_stopping_patience_counter"),
    stopped: own.optionalChoice("stopped", ["completed", "early stopping"]),
    fingerprint: own.string("fingerprint"),
    log: parseLog(json.fields["log_history"], name),
  };
  if (state.step < 0 || state.step > state.maxSteps) {
    throw new RangeError(
      `Cannot use "${name}": "global_step" is ${state.step}, expected 0 to "max_steps", ${state.maxSteps}`,
    );
  }
  return state;
}

function parseLog(log: JsonValue | undefined, name: string): LogEntry[] {
  const isEntry = (entry: JsonValue): entry is LogEntry =>
    isJsonObject(entry) && "step" in entry && "epoch" in entry &&
    Object.values(entry).every((value) => typeof value === "number");
  if (Array.isArray(log) && log.every(isEntry)) return log;
  throw new TypeError(
    `Cannot use "${name}": "log_history" is no list of numbers by name with step and epoch`,
  );
}
