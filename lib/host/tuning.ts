/**
 * Tuning of matrix products, kept on disk.
 *
 * @module
 */

import { Autotuner } from "../gpu/autotune.ts";
import type { Gpu } from "../gpu/device.ts";
import type { CaptionerConfig } from "../models/captioner.ts";
import { stepMatmuls, type StepSize } from "../models/matmul_shapes.ts";
import { tuneMatmul } from "../ops/matmul_tune.ts";
import { resolveCacheDir } from "./cache.ts";
import { writeFileAtomically } from "./files.ts";

/** When to measure: `auto` does on GPUs; for software adapters the measured table is part of the program. */
export const AUTOTUNE = ["auto", "on", "off"] as const;

/**
 * Picks the fastest kernels for a step on this device: measured once, then read from `matmul_tuning.json` in the cache. Call it
 * before anything is recorded.
 *
 * @returns number of choices in force; 0 when off
 */
export async function tuneStep(
  gpu: Gpu,
  config: CaptionerConfig,
  options: StepSize & { when: typeof AUTOTUNE[number]; cacheDir?: string },
): Promise<number> {
  if (options.when === "off" || (options.when === "auto" && gpu.software)) return 0;
  const path = `${resolveCacheDir(options.cacheDir)}/matmul_tuning.json`;
  const tuner = new Autotuner(gpu, {
    load: () => Deno.readTextFile(path).catch(() => undefined),
    save: (text) => writeFileAtomically(path, text),
  });
  const known = await tuner.load();
  await tuneMatmul(tuner, stepMatmuls(config, options));
  if (tuner.size > known) await tuner.save();
  return tuner.size;
}
