/**
 * Vision features of a training run, in memory and in the cache on disk.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import { Features } from "../train/features.ts";
import type { ImageEncoder } from "../train/image_encoder.ts";
import { FeatureCache, resolveCacheDir } from "./cache.ts";
import { hashOf } from "./hashes.ts";
import type { TrainSessionOptions } from "./train_session.ts";

/** What decides them, and where they are kept. */
export type FeatureOptions = Pick<
  TrainSessionOptions,
  "models" | "batchSize" | "cacheFeatures" | "pruneCache" | "cacheDir" | "maxCacheBytes" | "maxFeatureBytes"
>;

/** The features of a run, with the cache that outlives it. */
export async function openFeatures(
  gpu: Gpu,
  encoder: ImageEncoder,
  options: FeatureOptions,
): Promise<Features> {
  const { models, batchSize } = options;
  let cache: FeatureCache | undefined;
  if (options.cacheFeatures || options.pruneCache) {
    const folder = `${resolveCacheDir(options.cacheDir)}/features`;
    const opened = await FeatureCache.open({ folder, maxBytes: options.maxCacheBytes });
    if (options.pruneCache) await opened.prune(0);
    if (options.cacheFeatures) cache = opened;
  }
  // Adapters round differently: with the features of another one a run would not give the same bytes.
  const identity = await hashOf([
    models.encoderHash,
    JSON.stringify(models.processor),
    JSON.stringify(gpu.info),
    String(gpu.subgroupSize),
  ]);
  return new Features({
    encode: (pixelValues, count) => encoder.encode(pixelValues, count),
    batchSize,
    identity,
    ...(cache && { cache }),
    ...(options.maxFeatureBytes !== undefined && { maxMemoryBytes: options.maxFeatureBytes }),
  });
}
