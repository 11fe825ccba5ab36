/**
 * The flags of `deno task train` for training on rewards: the Python project's names and defaults, and what that lacks.
 *
 * @module
 */

import { type CommandUnknownOpts, Option, parseInteger, parseNumber } from "./arguments.ts";

/** Names of rewards. */
export const REWARDS = ["clip", "cider"] as const;

/** The Python project's. */
export const DEFAULT_CLIP_MODEL = "openai/clip-vit-base-patch32";

/** What the flags come to. */
export interface RewardFlags {
  /** Weight of the policy gradient of sampled captions; 0 for none. */
  clipLossWeight: number;
  /** CLIP or SigLIP that compares captions with images. @default see `clipModelOf` */
  clipModel?: string;
  /** Captions sampled of every image of a step. */
  clipSamples: number;
  /** What sampled captions are rewarded for. */
  reward: typeof REWARDS[number];
  /** How much of the reward the guard may take. */
  rewardGuard: number;
}

/** Adds the flags. Apart, because the types of one chain of so many options are too deep for the compiler. */
export function addRewardOptions(command: CommandUnknownOpts): void {
  command
    .option(
      "--clip-loss-weight <weight>",
      "weight of the policy gradient of rewarded captions beside the cross-entropy; 0 for none",
      parseNumber({ min: 0 }),
      0,
    )
    .option(
      "--clip-model <model>",
      `CLIP or SigLIP that compares captions with images: Hub id, folder or embedded:siglip (default: ${DEFAULT_CLIP_MODEL}, ` +
        "or embedded:siglip beside the embedded encoder and offline)",
    )
    .option(
      "--clip-samples <count>",
      "captions sampled of every image of a step",
      parseInteger({ min: 1, max: 64 }),
      2,
    )
    .addOption(
      new Option(
        "--reward <name>",
        "what sampled captions are rewarded for: likeness to the image, or CIDEr-D",
      )
        .choices(REWARDS).default("clip"),
    )
    .option(
      "--reward-guard <weight>",
      "reward lost by captions that repeat words, or are far longer or shorter than the references",
      parseNumber({ min: 0 }),
      1,
    );
}

/** The values of those flags, once parsed. */
export function readRewardOptions(command: CommandUnknownOpts): RewardFlags {
  const { clipLossWeight, clipModel, clipSamples, reward, rewardGuard } = command
    .opts() as unknown as RewardFlags;
  return {
    clipLossWeight,
    clipSamples,
    reward,
    rewardGuard,
    ...(clipModel !== undefined && { clipModel }),
  };
}
