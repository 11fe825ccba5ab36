/**
 * Base models as they are found: a Hugging Face folder of their own, or one half of a captioner's folder.
 *
 * @module
 */

import type { FileFolder } from "../format/byte_source.ts";
import { openCheckpoint } from "../format/checkpoint.ts";
import { type JsonConfig, openConfig } from "../format/json_config.ts";
import type { TensorSource } from "../format/safetensors.ts";
import { renameTensors } from "../format/tensor_view.ts";
import { MERGED_LAYOUTS, mergedDecoderName, mergedEncoderName } from "./merged_captioner.ts";
import { PYTHON_MODEL_TYPE, pythonDecoderName, pythonEncoderName } from "./python_captioner.ts";

export { openConfig };

/** A base model: what it is, and its tensors, read when asked for. */
export interface ModelSource {
  config: JsonConfig;
  tensors: TensorSource;
}

/** Where a captioner's folder has its two base models. */
interface Composite {
  encoder: CompositePart;
  decoder: CompositePart;
}

interface CompositePart {
  /** Key of the model's own configuration in `config.json`. */
  key: string;
  /** Names of its tensors by those in the file. */
  rename(stored: string): string | undefined;
}

/** Captioners' folders, by `model_type`. */
const COMPOSITES: Record<string, Composite> = {
  [PYTHON_MODEL_TYPE]: {
    encoder: { key: "vision_config", rename: pythonEncoderName },
    decoder: { key: "text_config", rename: pythonDecoderName },
  },
  ...Object.fromEntries(
    MERGED_LAYOUTS.map((layout) => [layout, {
      encoder: { key: "vision_config", rename: (stored: string) => mergedEncoderName(layout, stored) },
      decoder: { key: "text_config", rename: (stored: string) => mergedDecoderName(layout, stored) },
    }]),
  ),
};

/** The configuration of a folder's encoder or decoder. */
export async function openPartConfig(folder: FileFolder, part: keyof Composite): Promise<JsonConfig> {
  const config = await openConfig(folder);
  const composite = compositeOf(config);
  return composite === undefined ? config : config.object(composite[part].key);
}

/**
 * A folder's encoder or decoder.
 *
 * @throws {RangeError} when a file is missing
 * @throws {SyntaxError} when one is damaged
 */
export async function openPart(folder: FileFolder, part: keyof Composite): Promise<ModelSource> {
  const whole = await openConfig(folder);
  const composite = compositeOf(whole);
  const tensors = await openCheckpoint(folder);
  if (composite === undefined) return { config: whole, tensors };
  const { key, rename } = composite[part];
  return { config: whole.object(key), tensors: renameTensors(tensors, rename) };
}

function compositeOf(config: JsonConfig): Composite | undefined {
  const type = config.optionalString("model_type");
  return type !== undefined && Object.hasOwn(COMPOSITES, type) ? COMPOSITES[type] : undefined;
}
