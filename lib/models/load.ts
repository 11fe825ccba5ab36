/**
 * Opening base models: a vision encoder and a decoder from Hugging Face folders, checked and put on the GPU.
 *
 * @module
 */

import type { FileFolder } from "../format/byte_source.ts";
import type { Gpu } from "../gpu/device.ts";
import { destroyTensor, type Tensor } from "../gpu/tensor.ts";
import { type FrozenWeights, loadWeights } from "../nn/weights.ts";
import type { RopeTableOptions } from "../ops/rope.ts";
import { type DecoderConfig, decoderFiles, decoderRope, decoderSpecs } from "./decoder.ts";
import { parseDecoder } from "./decoder_families.ts";
import { openPart, openPartConfig } from "./model_source.ts";
import {
  parseSiglipVision,
  SIGLIP_VISION_FILES,
  type SiglipVisionConfig,
  siglipVisionSpecs,
} from "./siglip.ts";

/** A vision encoder on the GPU. */
export interface VisionModel {
  config: SiglipVisionConfig;
  weights: FrozenWeights;
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
export async function openVisionConfig(folder: FileFolder): Promise<SiglipVisionConfig> {
  return parseSiglipVision(await openPartConfig(folder, "encoder"));
}

/** Reads the sizes of a decoder without its weights. */
export async function openDecoderConfig(folder: FileFolder): Promise<DecoderConfig> {
  return parseDecoder(await openPartConfig(folder, "decoder"));
}

/** Loads a vision encoder's weights in their own precision. Errors as {@linkcode loadWeights}. */
export async function loadVisionModel(gpu: Gpu, folder: FileFolder): Promise<VisionModel> {
  const source = await openPart(folder, "encoder");
  const config = parseSiglipVision(source.config);
  const weights = await loadWeights(
    gpu,
    source.tensors,
    siglipVisionSpecs(config),
    SIGLIP_VISION_FILES,
  );
  return { config, weights };
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
