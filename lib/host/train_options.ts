/**
 * What a training run is given and gives back.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import type { ProjectionConfig } from "../models/captioner.ts";
import type { Evaluation } from "../train/evaluation.ts";
import type { BestEvaluation, StopReason } from "../train/trainer_state.ts";
import type { DatasetFlags } from "./dataset_options.ts";
import type { DataRow, TrainData } from "./train_data.ts";
import type { LoraOptions } from "./train_models.ts";
import type { WatchedImage } from "./train_predictions.ts";
import type { EvalFlags } from "./train_eval_options.ts";
import type { RewardFlags } from "./train_reward_options.ts";
import type { DEVICES } from "./train_gpu.ts";
import type { AUTOTUNE } from "./tuning.ts";

/** Everything that can be set for a run; the flags of `deno task train`. */
export interface TrainRunOptions extends DatasetFlags, EvalFlags, RewardFlags {
  /** Share of rows that may be bad. */
  maxBadRows: number;
  /** Vision encoder: embedded name, folder or Hub id. */
  encoderModel: string;
  /** Language model: embedded name, folder or Hub id. */
  decoderModel: string;
  /** Model of `preprocessor_config.json`. @default {the encoder} */
  featureExtractorModel?: string;
  /** Captioner to train on from. */
  baseModel?: string;
  /** Most tokens of a caption, its end token included. */
  maxLength: number;
  /** Whether captions end with the end token. */
  appendEos: boolean;
  /** LoRA; rank 0 for none. */
  lora: LoraOptions;
  /** PEFT adapter of the decoder to start from; brings its own LoRA settings. */
  adapter?: string;
  /** Form of the projection. */
  projection: ProjectionConfig;
  /** Last vision layers to train. */
  unfreezeVisionLayers: number;
  /** Passes over the data. */
  numTrainEpochs: number;
  /** Optimizer steps, instead of epochs. */
  maxSteps?: number;
  /** Images of a micro-batch. */
  batchSize: number;
  /** Micro-batches of an optimizer step. */
  gradientAccumulationSteps: number;
  /** Optimizer steps of the warm-up. @default 200, or a tenth of the steps where that is less */
  warmupSteps?: number;
  /** Decoupled weight decay of AdamW. */
  weightDecay: number;
  /** Norm that gradients are clipped to. */
  maxGradNorm: number;
  /** Peak learning rate of the projection. */
  projectionLr: number;
  /** Peak learning rate of LoRA. */
  loraLr: number;
  /** Optimizer steps between evaluations. */
  evalSteps: number;
  /** Optimizer steps between checkpoints. */
  saveSteps: number;
  /** Checkpoints kept; newest and best in any case. */
  saveTotalLimit: number;
  /** Of everything random. */
  seed: number;
  /** Folder of runs. */
  saveDir: string;
  /** Folder of checkpoints. @default {the run's} */
  checkpointsDir?: string;
  /** Removes checkpoints first. */
  deleteOldCheckpoints: boolean;
  /** Keeps features on disk. @default yes where no vision layer is trained */
  cacheFeatures?: boolean;
  /** Folder of cached files. @default {below the user's caches} */
  cacheDir?: string;
  /** Size of the feature cache, in 1e9 bytes. */
  maxCacheGb: number;
  /** Empties the feature cache first. */
  pruneCache: boolean;
  /** Pushes the finished captioner. */
  pushToHub: boolean;
  /** Repository to push to. @default {the token's account and the run's name} */
  modelId?: string;
  /** Whether a repository that has to be made is private. */
  hubPrivateRepo: boolean;
  /** File of a sweep, of which the run is one. */
  sweep?: string;
  /** Print the result for machines. */
  json: boolean;
  /** When matmul kernels are measured. */
  autotune: typeof AUTOTUNE[number];
  /** Kind of adapter wanted. */
  device: typeof DEVICES[number];
}

/** What a run came to. */
export interface TrainRunResult {
  /** The run's folder. */
  path: string;
  /** Why it ended. */
  ended: StopReason | "interrupted";
  /** Optimizer step reached. */
  step: number;
  /** The best evaluation; absent where there was none, or the run was interrupted. */
  best?: BestEvaluation;
  /** Rows, good and bad. */
  data: TrainData;
  /** Judged on; `test`, or `validation` where there is no test split. */
  judged: { split: "test" | "validation"; rows: readonly DataRow[] } | undefined;
  /** Captions of some validation images at every evaluation; absent where the run was interrupted. */
  watched?: readonly WatchedImage[];
  /** Absent where nothing could be judged, or the run was interrupted. */
  before?: Evaluation;
  /** Judgement of the best model. */
  after?: Evaluation;
}

/** What surrounds a run. */
export interface TrainRunContext {
  /** Saves and ends the run, as Ctrl-C does. */
  signal: AbortSignal;
  /** Takes lines for people. */
  say(line: string): void;
  /** A device opened before; it stays the caller's. @default {a device of the run's own} */
  gpu?: Gpu;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}
