/**
 * What of a captioner is trained, counted as PEFT counts.
 *
 * @module
 */

import { elementCount } from "../base/shape.ts";
import { type CaptionerConfig, type TrainableGroup, trainableSpecs } from "../models/captioner.ts";
import { decoderSpecs } from "../models/decoder.ts";
import { visionSpecs } from "../models/vision.ts";
import type { WeightSpec } from "../nn/weights.ts";
import { formatTable } from "./terminal.ts";

/** Numbers of a captioner. */
export interface TrainableCounts {
  /** By group. */
  trained: Record<TrainableGroup, number>;
  /** Of all groups. */
  trainable: number;
  /** Trained and frozen, the encoder as far as captions need it. */
  all: number;
}

/** Counts without loading anything. */
export function countTrainable(config: CaptionerConfig): TrainableCounts {
  const specs = trainableSpecs(config);
  const sum = (of: readonly WeightSpec[]): number =>
    of.reduce((total, { shape }) => total + elementCount(shape), 0);
  const group = (name: TrainableGroup): number => sum(specs.filter(({ group }) => group === name));
  const trained = { projection: group("projection"), lora: group("lora"), vision: group("vision") };
  const trainable = trained.projection + trained.lora + trained.vision;
  // Unfrozen layers are the encoder's own.
  const frozen = sum(visionSpecs(config.vision)) - trained.vision + sum(decoderSpecs(config.decoder));
  return { trained, trainable, all: trainable + frozen };
}

const TITLES: Record<TrainableGroup, string> = {
  projection: "projection",
  lora: "LoRA",
  vision: "encoder layers",
};

/** The counts as a table, what is not trained left out. */
export function formatTrainable({ trained, trainable, all }: TrainableCounts): string {
  const number = (count: number): string => count.toLocaleString("en-US");
  const share = (count: number): string => `${(100 * count / all).toFixed(2)} %`;
  const groups = (Object.keys(trained) as TrainableGroup[]).filter((group) => trained[group] > 0);
  return formatTable([
    ...groups.map((group) => [TITLES[group], number(trained[group]), share(trained[group])]),
    ["trained in all", number(trainable), share(trainable)],
    ["frozen", number(all - trainable), share(all - trainable)],
  ], { header: ["", "parameters", ""], right: [1, 2] });
}
