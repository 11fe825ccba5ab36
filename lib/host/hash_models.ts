/**
 * Hashes of base models: by them a run knows its models again, and cached features their encoder.
 *
 * @module
 */

import { sha256Hex } from "../base/sha256.ts";
import { elementCount } from "../base/shape.ts";
import type { FileFolder } from "../format/byte_source.ts";
import { DTYPE_BYTES } from "../format/safetensors.ts";
import { decoderFiles, decoderSpecs } from "../models/decoder.ts";
import { parseDecoder } from "../models/decoder_families.ts";
import { openCheckpoint } from "../format/checkpoint.ts";
import { type ModelSource, openConfig, openPart } from "../models/model_source.ts";
import { parseTwoTower, TWO_TOWER_FILES, twoTowerSpecs } from "../models/two_tower.ts";
import { parseVision, visionFiles, visionSpecs } from "../models/vision.ts";
import { type LoadWeightsOptions, matchWeights, type WeightSpec } from "../nn/weights.ts";
import { hashOf } from "./hashes.ts";

/** A model and which of its tensors count. */
export interface HashedModel {
  /** The opened model. */
  source: ModelSource;
  /** Tensors that are used. */
  specs: readonly WeightSpec[];
  /** How they are met in files. */
  files: LoadWeightsOptions;
}

/** What of an encoder's folder counts. */
export async function hashedEncoder(folder: FileFolder): Promise<HashedModel> {
  const source = await openPart(folder, "encoder");
  const config = parseVision(source.config);
  return { source, specs: visionSpecs(config), files: visionFiles(config) };
}

/** What of a decoder's folder counts. */
export async function hashedDecoder(folder: FileFolder): Promise<HashedModel> {
  const source = await openPart(folder, "decoder");
  const config = parseDecoder(source.config);
  return { source, specs: decoderSpecs(config), files: decoderFiles(config) };
}

/** What of the folder of a CLIP or SigLIP counts. */
export async function hashedTwoTower(folder: FileFolder): Promise<HashedModel> {
  const source = { config: await openConfig(folder), tensors: await openCheckpoint(folder) };
  return { source, specs: twoTowerSpecs(parseTwoTower(source.config)), files: TWO_TOWER_FILES };
}

/** Options of {@linkcode hashModels}. */
export interface HashModelsOptions {
  /** Told how many bytes of all models were read, and of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined;
  /** Ends the work with an `AbortError`. */
  signal?: AbortSignal | undefined;
}

/**
 * One hash a model: of its configuration and the bytes of every tensor that is used, each of which is read once. The next is read while
 * one is hashed.
 *
 * @throws {RangeError | TypeError} As {@linkcode matchWeights}, before anything is read
 */
export async function hashModels(
  models: readonly HashedModel[],
  options: HashModelsOptions = {},
): Promise<string[]> {
  const named = models.map(({ source, specs, files }) =>
    [...matchWeights(source.tensors, specs, files).values()].sort()
  );
  const sizeOf = ({ tensors }: ModelSource, name: string): number => {
    const { dtype, shape } = tensors.tensors.get(name)!;
    return elementCount(shape) * DTYPE_BYTES[dtype];
  };
  const total = models.reduce(
    (sum, { source }, i) => named[i]!.reduce((part, name) => part + sizeOf(source, name), sum),
    0,
  );
  let done = 0;
  const hashes: string[] = [];
  for (const [i, { source }] of models.entries()) {
    const parts = [JSON.stringify(source.config.fields)];
    let hashing: Promise<string> | undefined;
    for (const name of named[i]!) {
      options.signal?.throwIfAborted();
      const bytes = await source.tensors.read(name);
      if (hashing !== undefined) parts.push(await hashing);
      parts.push(name);
      hashing = sha256Hex(bytes);
      done += bytes.length;
      options.onProgress?.(done, total);
    }
    if (hashing !== undefined) parts.push(await hashing);
    hashes.push(await hashOf(parts));
  }
  return hashes;
}
