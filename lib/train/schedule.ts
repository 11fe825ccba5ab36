/**
 * Learning rates: cosine decay after a linear warm-up, with a factor for every group of trainable tensors.
 *
 * @module
 */

import type { TrainableGroup } from "../models/captioner.ts";

/** Shape of the schedule. */
export interface ScheduleOptions {
  /** Optimizer steps over which the rates grow from 0; 0 for none. */
  warmupSteps: number;
  /** Optimizer steps of the whole training. */
  totalSteps: number;
}

/** Peak learning rates. */
export interface PeakLearningRates {
  /** Of the projection. */
  projection: number;
  /** Of LoRA; unfrozen vision layers learn at a tenth of it. */
  lora: number;
}

/** Share of the LoRA rate at which unfrozen vision layers learn: they are pretrained, small steps keep what they know. */
export const VISION_RATE_SHARE = 0.1;

/**
 * Factor in [0, 1] of the peak rates at an optimizer step, counted from 1. As in Hugging Face, the first step of a warm-up
 * has rate 0.
 *
 * Source: `get_cosine_schedule_with_warmup` of Hugging Face transformers, half a cosine cycle
 *
 * @throws {RangeError} If the step is not a whole number of at least 1
 */
export function rateFactor(step: number, { warmupSteps, totalSteps }: ScheduleOptions): number {
  if (!Number.isInteger(step) || step < 1) {
    throw new RangeError(
      `Cannot give the learning rate of step ${step}: expected a whole number of at least 1`,
    );
  }
  const done = step - 1;
  if (done < warmupSteps) return done / Math.max(1, warmupSteps);
  const progress = (done - warmupSteps) / Math.max(1, totalSteps - warmupSteps);
  // Half a cycle; steps beyond the end stay at 0 instead of rising again.
  return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * Math.min(1, progress))));
}

/** Learning rates of the groups at an optimizer step, counted from 1. */
export function learningRatesAt(
  step: number,
  options: ScheduleOptions & { peaks: PeakLearningRates },
): Record<TrainableGroup, number> {
  const factor = rateFactor(step, options);
  const { projection, lora } = options.peaks;
  return { projection: projection * factor, lora: lora * factor, vision: lora * VISION_RATE_SHARE * factor };
}
