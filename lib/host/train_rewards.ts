/**
 * What the captions that a run samples are rewarded for, and with which models.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { EMBEDDED_ENCODER } from "../models/presets.ts";
import { ciderReward } from "../train/cider_reward.ts";
import { SelfCritical } from "../train/self_critical.ts";
import { hashedTwoTower, hashModels } from "./hash_models.ts";
import { readHubEnvironment } from "./hub_env.ts";
import { EMBEDDED_PREFIX, openModelFolder } from "./model_folders.ts";
import type { TrainData } from "./train_data.ts";
import type { TrainModels } from "./train_models.ts";
import type { TrainRunOptions } from "./train_options.ts";
import type { EvalMetric } from "./train_eval_options.ts";
import { DEFAULT_CLIP_MODEL } from "./train_reward_options.ts";
import type { TrainSession } from "./train_session.ts";

/** Refuses what cannot be rewarded, before anything is read. @throws {UserError} */
export function checkReward(
  { clipLossWeight, reward, streaming }: Pick<TrainRunOptions, "clipLossWeight" | "reward" | "streaming">,
): void {
  if (clipLossWeight === 0 || reward !== "cider" || !streaming) return;
  throw new UserError(
    "Cannot use --reward cider with --streaming: CIDEr weighs n-grams by the captions of the whole train split, which a stream does not " +
      "have; use --reward clip, or leave out --streaming",
  );
}

/**
 * The model that compares captions with images, where the run needs one: what `--clip-model` names, else the embedded one beside the
 * embedded encoder or where the Hub must not be asked, else {@linkcode DEFAULT_CLIP_MODEL}.
 *
 * @param metrics What evaluations compute: `clip` needs the model too
 */
export function clipModelOf(
  options: Pick<TrainRunOptions, "clipLossWeight" | "clipModel" | "reward" | "encoderModel">,
  metrics: readonly EvalMetric[] = [],
): string | undefined {
  const isRewarding = options.clipLossWeight > 0 && options.reward === "clip";
  if (!isRewarding && !metrics.includes("clip")) return undefined;
  const { clipModel, encoderModel } = options;
  if (clipModel !== undefined) return clipModel;
  const isOffline = encoderModel.startsWith(EMBEDDED_PREFIX) || readHubEnvironment().offline !== undefined;
  return isOffline ? EMBEDDED_ENCODER : DEFAULT_CLIP_MODEL;
}

/** Hash of the model that compares: part of what decides a run's numbers. */
export async function hashClipModel(model: string, options: { signal?: AbortSignal }): Promise<string> {
  const [hash] = await hashModels([await hashedTwoTower(await openModelFolder(model))], options);
  return hash!;
}

/** What a run needs to train on rewards; `undefined` where it does not. Errors as {@linkcode ciderReward}. */
export function openSelfCritical(
  options: TrainRunOptions,
  { session, data, models }: { session: TrainSession; data: TrainData; models: TrainModels },
): SelfCritical | undefined {
  const { clipLossWeight: weight, clipSamples: samples, rewardGuard: guard, seed } = options;
  if (weight === 0) return undefined;
  const isClip = options.reward === "clip";
  return new SelfCritical({
    weight,
    samples,
    seed,
    guard,
    // The least that a cosine and CIDEr can be.
    emptyReward: isClip ? -1 : 0,
    isEnded: options.appendEos,
    sampleCaptions: session.sampleCaptions,
    reward: isClip ? session.similarity!.score : ciderReward(data.rows.train.map(({ captions }) => captions)),
    padBatch: (captions, { length }) => models.tokenizer.padBatch(captions, { length }),
  });
}
