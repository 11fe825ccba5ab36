/**
 * By what a run is known again: it is continued with the same options, models and data only.
 *
 * @module
 */

import { hashOf } from "./hashes.ts";
import type { TrainModels } from "./train_models.ts";
import type { TrainRunOptions } from "./train_options.ts";

/** Options that change no number: where files lie, and what the hashes of data and models tell. */
const PLACES: readonly (keyof TrainRunOptions)[] = [
  "saveDir",
  "checkpointsDir",
  "deleteOldCheckpoints",
  "cacheFeatures",
  "cacheDir",
  "maxCacheGb",
  "pruneCache",
  "device",
  "saveTotalLimit",
  "dataset",
  "autotune",
  "json",
  "sweep",
  "pushToHub",
  "modelId",
  "hubPrivateRepo",
  "clipModel",
  "scores",
];

/** Options that count for nothing without rewards. */
const REWARDING: readonly (keyof TrainRunOptions)[] = [
  "clipLossWeight",
  "clipSamples",
  "reward",
  "rewardGuard",
];

/** Options that versions before did not have: at these values a run of such a version goes on. */
const LATER: Partial<TrainRunOptions> = { metricForBestModel: "loss", earlyStoppingThreshold: 0 };

/** Hash of what decides the numbers of a run; where its files lie does not. @param hashes Of data and other models */
export async function fingerprintOf(
  options: TrainRunOptions,
  models: Pick<TrainModels, "hash">,
  hashes: readonly string[],
): Promise<string> {
  const ignored = new Set<string>([...PLACES, ...(options.clipLossWeight === 0 ? REWARDING : [])]);
  const counted = Object.entries(options).filter(([name, value]) =>
    value !== undefined && !ignored.has(name) && LATER[name as keyof TrainRunOptions] !== value
  );
  const sorted = counted.sort(([a], [b]) => a < b ? -1 : 1);
  return await hashOf([JSON.stringify(sorted), models.hash, ...hashes]);
}
