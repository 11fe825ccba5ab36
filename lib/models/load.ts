/**
 * Opening base models: encoders and decoders from Hugging Face folders, checked and put on the GPU.
 *
 * @module
 */

import type { FileFolder } from "../format/byte_source.ts";
import { openCheckpoint } from "../format/checkpoint.ts";
import type { Gpu } from "../gpu/device.ts";
import { destroyTensor, readF32, type Tensor } from "../gpu/tensor.ts";
import { type FrozenWeights, loadWeights } from "../nn/weights.ts";
import type { RopeTableOptions } from "../ops/rope.ts";
import { type DecoderConfig, decoderFiles, decoderRope, decoderSpecs } from "./decoder.ts";
import { parseDecoder } from "./decoder_families.ts";
import { openConfig, openPart, openPartConfig } from "./model_source.ts";
import { parseText, type TextConfig, textFiles, textSpecs } from "./text.ts";
import { parseTwoTower, TWO_TOWER_FILES, type TwoTowerConfig, twoTowerSpecs } from "./two_tower.ts";
import { parseVision, type VisionConfig, visionFiles, visionSpecs } from "./vision.ts";

/** A vision encoder on the GPU. */
export interface VisionModel {
  config: VisionConfig;
  weights: FrozenWeights;
}

/** A text encoder on the GPU. */
export interface TextModel {
  config: TextConfig;
  weights: FrozenWeights;
}

/** Two towers on the GPU. */
export interface TwoTowerModel {
  config: TwoTowerConfig;
  weights: FrozenWeights;
  /** Logarithm of the factor of cosines. */
  logScale: number;
  /** What is added to them; 0 where the family has none. */
  bias: number;
}

/** A decoder on the GPU with its table of rotary angles. */
export interface DecoderModel {
  config: DecoderConfig;
  weights: FrozenWeights;
  /** cos and sin halves, [maxPositions, Dh]; `undefined` where positions are learned. */
  rope: Tensor | undefined;
  /** Frees weights and table. */
  destroy(): void;
}

/** Reads the sizes of a vision encoder without its weights. */
export async function openVisionConfig(folder: FileFolder): Promise<VisionConfig> {
  return parseVision(await openPartConfig(folder, "encoder"));
}

/** Reads the sizes of a decoder without its weights. */
export async function openDecoderConfig(folder: FileFolder): Promise<DecoderConfig> {
  return parseDecoder(await openPartConfig(folder, "decoder"));
}

/** Loads a vision encoder's weights in their own precision. Errors as {@linkcode loadWeights}. */
export async function loadVisionModel(gpu: Gpu, folder: FileFolder): Promise<VisionModel> {
  const source = await openPart(folder, "encoder");
  const config = parseVision(source.config);
  const weights = await loadWeights(
    gpu,
    source.tensors,
    visionSpecs(config),
    visionFiles(config),
  );
  return { config, weights };
}

/** Loads a text encoder's weights in their own precision. Errors as {@linkcode loadWeights}. */
export async function loadTextModel(gpu: Gpu, folder: FileFolder): Promise<TextModel> {
  const config = parseText(await openConfig(folder));
  const weights = await loadWeights(gpu, await openCheckpoint(folder), textSpecs(config), textFiles(config));
  return { config, weights };
}

/** Loads both towers of a SigLIP or CLIP model in their own precision. Errors as {@linkcode loadWeights}. */
export async function loadTwoTowerModel(gpu: Gpu, folder: FileFolder): Promise<TwoTowerModel> {
  const config = parseTwoTower(await openConfig(folder));
  const weights = await loadWeights(
    gpu,
    await openCheckpoint(folder),
    twoTowerSpecs(config),
    TWO_TOWER_FILES,
  );
  const scalar = async (name: string): Promise<number> => (await readF32(gpu, weights.get(name)))[0]!;
  const logScale = await scalar("logit_scale");
  const bias = weights.has("logit_bias") ? await scalar("logit_bias") : 0;
  return { config, weights, logScale, bias };
}

/**
 * Loads a decoder's weights in their own precision. Errors as {@linkcode loadWeights}.
 *
 * @param options.maxPositions longest sequence that will be run: the rotary table is made for that many
 */
export async function loadDecoderModel(
  gpu: Gpu,
  folder: FileFolder,
  options: { maxPositions: number } & Pick<RopeTableOptions, "frequencies">,
): Promise<DecoderModel> {
  const source = await openPart(folder, "decoder");
  const config = parseDecoder(source.config);
  if (options.maxPositions > config.maxPositions) {
    throw new RangeError(
      `Cannot run "${folder.name}" on ${options.maxPositions} positions (image patches and text): it was made for ` +
        `${config.maxPositions}; use a shorter --max-length or another encoder`,
    );
  }
  if (config.slidingWindow !== undefined && options.maxPositions > config.slidingWindow) {
    throw new RangeError(
      `Cannot run "${folder.name}" on ${options.maxPositions} positions (image patches and text): its queries see only the last ` +
        `${config.slidingWindow} ("sliding_window"), which is not supported for longer sequences; use a shorter --max-length`,
    );
  }
  const weights = await loadWeights(
    gpu,
    source.tensors,
    decoderSpecs(config),
    decoderFiles(config),
  );
  const rope = decoderRope(gpu, config, options);
  return {
    config,
    weights,
    rope,
    destroy: () => {
      weights.destroy();
      if (rope !== undefined) destroyTensor(rope);
    },
  };
}
