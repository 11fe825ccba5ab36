/**
 * A captioner opened for whoever writes it in another form: its settings, both base models, what was trained, and the files beside.
 *
 * @module
 */

import { type FileFolder, readText } from "../format/byte_source.ts";
import { CALIBRATION_FILE } from "./calibration.ts";
import type { CaptionerConfig } from "./captioner.ts";
import type { CaptionerFolderConfig } from "./captioner_config.ts";
import {
  readCaptionerConfig,
  readTrainedOf,
  trainableSpecsOf,
  type TrainedTensors,
} from "./captioner_files.ts";
import { parseDecoder } from "./decoder_families.ts";
import { type ModelSource, openPart } from "./model_source.ts";
import { parseVision } from "./vision.ts";

/** An opened captioner; base weights are read when asked for. */
export interface CaptionerSource {
  /** What error messages call it. */
  name: string;
  settings: CaptionerFolderConfig;
  config: CaptionerConfig;
  encoder: ModelSource;
  decoder: ModelSource;
  trained: TrainedTensors;
  /** Texts of the files of {@linkcode CAPTIONER_TEXTS} that there are. */
  texts: ReadonlyMap<string, string>;
}

/** Files of tokenizer, image processor and confidence that go with a captioner. */
export const CAPTIONER_TEXTS = [
  "tokenizer.json",
  "tokenizer_config.json",
  "special_tokens_map.json",
  "preprocessor_config.json",
  CALIBRATION_FILE,
] as const;

/**
 * Opens a captioner's folder.
 *
 * @param openModel opens a base model by its reference
 * @throws {RangeError | SyntaxError | TypeError} when a file is missing, damaged, or they do not fit together
 */
export async function openCaptionerSource(
  folder: FileFolder,
  openModel: (reference: string) => Promise<FileFolder>,
): Promise<CaptionerSource> {
  const settings = await readCaptionerConfig(folder);
  const encoder = await openPart(await openModel(settings.encoder.reference), "encoder");
  const decoder = await openPart(await openModel(settings.decoder.reference), "decoder");
  const config: CaptionerConfig = {
    projection: settings.projection,
    lora: settings.lora,
    unfrozenVisionLayers: settings.unfrozenVisionLayers,
    vision: parseVision(encoder.config),
    decoder: parseDecoder(decoder.config),
  };
  const trained = await readTrainedOf(folder, settings, trainableSpecsOf(folder.name, config));
  const texts = new Map<string, string>();
  for (const name of CAPTIONER_TEXTS) {
    const file = await folder.open(name);
    if (file !== undefined) texts.set(name, await readText(file));
  }
  return { name: folder.name, settings, config, encoder, decoder, trained, texts };
}
