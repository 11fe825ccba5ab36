/**
 * Self-critical sequence training: captions are sampled from the model, and made likelier or unlikelier by how much better or worse
 * they are rewarded than what it writes greedily.
 *
 * The reward need not have a gradient. That of the expected reward is the mean of (r(sample) - r(greedy)) · d log p(sample), which is
 * the gradient of a cross-entropy of the sampled tokens with the advantage as weight.
 *
 * Source: Rennie et al. 2017, arXiv:1612.00563, equations 6 to 8; normalised by the tokens of all samples, as cross-entropy is by its own.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { hashText } from "../base/rng.ts";
import type { BatchRow, PolicyBatch, TrainBatch, TrainingEngine } from "./engine_types.ts";
import { guardPenalty } from "./reward_guard.ts";
import type { BatchTokens } from "./rows.ts";

/** A caption that the model wrote. */
export interface SampledCaption {
  /** Its tokens, at most the engine's T, the end token included. At least one. */
  ids: readonly number[];
  /** What they say; may be empty. */
  text: string;
  /** Sum of the tokens' log-probabilities. */
  logProb: number;
  /** Whether it came to its end. */
  isFinished: boolean;
}

/** A caption to reward. */
export interface RewardedCaption {
  /** Its image. */
  row: BatchRow;
  /** The caption; never empty. */
  text: string;
}

/** How good captions are, a number each; more is better. */
export type Reward = (captions: readonly RewardedCaption[]) => Promise<readonly number[]>;

/** What self-critical training is given. */
export interface SelfCriticalOptions {
  /** Factor of the policy gradient: what the engine was made with. */
  weight: number;
  /** Captions sampled of every image. */
  samples: number;
  /** Of sampling; with the number of the micro-batch it gives the random numbers, so that a continued run draws the same. */
  seed: number;
  /** How much of the reward a caption loses for a {@linkcode guardPenalty} of 1; 0 for no guard. */
  guard: number;
  /** Reward of a caption that says nothing: the least there is. */
  emptyReward: number;
  /** Whether captions are trained to end; else those that do not are no worse. */
  isEnded: boolean;
  /** Captions of a batch's images with the weights of the moment, drawn with a seed, or without one the greedy ones. */
  sampleCaptions(batch: TrainBatch, options: { seed?: number }): Promise<readonly SampledCaption[]>;
  /** Judges captions that are not empty. */
  reward: Reward;
  /** Pads captions to T tokens. */
  padBatch(captions: readonly (readonly number[])[], options: { length: number }): BatchTokens;
}

/** Means over the sampled captions of a micro-batch or a step. */
export interface SampleStats {
  /** Reward of the sampled captions, guard not taken off. */
  reward: number;
  /** Their variance. */
  reward_variance: number;
  /** Reward of the greedy captions. */
  reward_greedy: number;
  /** What the guard took off. */
  reward_guard: number;
  /** Tokens of a sampled caption. */
  sample_length: number;
  /** Minus advantage times log-probability, by the tokens. */
  policy_loss: number;
}

/** Samples, rewards and adds policy gradients. */
export class SelfCritical {
  readonly #options: SelfCriticalOptions;

  /** See {@linkcode SelfCriticalOptions}. */
  constructor(options: SelfCriticalOptions) {
    this.#options = options;
  }

  /**
   * Adds the policy gradient of a micro-batch to the engine's, `seedStep` being its number.
   *
   * @throws {UserError} If a reward is NaN or infinite
   * @throws {TypeError} If the batch does not say whose its rows are
   */
  async step(
    engine: TrainingEngine,
    batch: TrainBatch,
    { seedStep }: { seedStep: number },
  ): Promise<SampleStats> {
    const { samples, seed, guard, isEnded, sampleCaptions, padBatch } = this.#options;
    const { rows, size } = batch;
    if (rows?.length !== size) {
      throw new TypeError("Cannot reward captions: the batch does not name its rows");
    }
    const rounds = [await sampleCaptions(batch, {})];
    for (let k = 0; k < samples; k++) {
      rounds.push(await sampleCaptions(batch, { seed: hashText(`sample|${seed}|${seedStep}|${k}`) }));
    }
    const rewards = await this.#rewards(rounds, rows);
    const penalties = rounds.map((captions) =>
      captions.map(({ text, isFinished }, b) => {
        if (guard === 0) return 0;
        const references = rows[b]!.captions;
        return guard * guardPenalty(text, { references, isFinished: isFinished || !isEnded });
      })
    );
    const net = rewards.map((round, k) => round.map((reward, b) => reward - penalties[k]![b]!));
    const sampled = rounds.slice(1);
    const tokens = sum(sampled.flat().map(({ ids }) => ids.length));
    let policyLoss = 0;
    for (const [k, captions] of sampled.entries()) {
      const weights = captions.map((_, b) => (net[k + 1]![b]! - net[0]![b]!) / tokens);
      policyLoss -= sum(captions.map(({ logProb }, b) => weights[b]! * logProb));
      // Captions like the greedy ones teach nothing.
      if (weights.some((weight) => weight !== 0)) {
        engine.policyStep(policyBatch(batch, captions, { weights, length: engine.textLength, padBatch }));
      }
    }
    const all = rewards.slice(1).flat();
    const mean = sum(all) / all.length;
    return {
      reward: mean,
      reward_variance: sum(all.map((reward) => (reward - mean) ** 2)) / all.length,
      reward_greedy: sum(rewards[0]!) / size,
      reward_guard: sum(penalties.slice(1).flat()) / all.length,
      sample_length: tokens / all.length,
      policy_loss: policyLoss,
    };
  }

  /** What a step's log gains: means of its micro-batches, and the loss in its two parts. */
  describe(stats: readonly SampleStats[], crossEntropy: number): Record<string, number> {
    const names = Object.keys(stats[0]!) as (keyof SampleStats)[];
    const means = Object.fromEntries(
      names.map((name) => [name, sum(stats.map((one) => one[name])) / stats.length]),
    ) as unknown as SampleStats;
    // Of all samples together: that within the micro-batches, and that of their means.
    const between = sum(stats.map(({ reward }) => (reward - means.reward) ** 2)) / stats.length;
    return {
      ...means,
      reward_variance: means.reward_variance + between,
      cross_entropy: crossEntropy,
      loss: crossEntropy + this.#options.weight * means.policy_loss,
    };
  }

  /** Rewards of rounds of captions, one an image each; equal captions of an image are judged once. */
  async #rewards(
    rounds: readonly (readonly SampledCaption[])[],
    rows: readonly BatchRow[],
  ): Promise<number[][]> {
    const asked = new Map<string, RewardedCaption>();
    for (const captions of rounds) {
      for (const [b, { text }] of captions.entries()) {
        if (text !== "") asked.set(`${b} ${text}`, { row: rows[b]!, text });
      }
    }
    const captions = [...asked.values()];
    const found = captions.length === 0 ? [] : await this.#options.reward(captions);
    const byCaption = new Map([...asked.keys()].map((key, i) => [key, found[i]!]));
    for (const [i, { row, text }] of captions.entries()) {
      if (Number.isFinite(found[i])) continue;
      throw new UserError(
        `Cannot train on: the reward of "${text}" for ${row.id} is ${
          found[i]
        }, expected a number; the weights of --clip-model may ` +
          "be damaged; use another, or --clip-loss-weight 0",
      );
    }
    return rounds.map((round) =>
      round.map(({ text }, b) => text === "" ? this.#options.emptyReward : byCaption.get(`${b} ${text}`)!)
    );
  }
}

/** A batch's images with the captions sampled of them, every token weighted as its caption. */
function policyBatch(
  { size, features, pixelValues }: TrainBatch,
  captions: readonly SampledCaption[],
  { weights, length, padBatch }: Pick<SelfCriticalOptions, "padBatch"> & {
    weights: readonly number[];
    length: number;
  },
): PolicyBatch {
  const tokens = padBatch(captions.map(({ ids }) => ids), { length });
  const inputs = features ? { features } : { pixelValues: pixelValues! };
  return {
    size,
    ...inputs,
    ...tokens,
    weights: Float32Array.from(tokens.labels, (_, i) => weights[Math.floor(i / length)]!),
  };
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
