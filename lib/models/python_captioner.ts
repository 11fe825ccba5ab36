/**
 * A captioner as the Python project *distilvit* saves it: `config.json` of type `prefix_conditioning_vlm` beside one
 * `model.safetensors` (or shards) with both base models, the projection and the LoRA pairs.
 *
 * | in the file                                                        | here                                     |
 * | ------------------------------------------------------------------ | ---------------------------------------- |
 * | `vision_encoder.NAME`                                              | the encoder's `NAME`                     |
 * | `language_model.base_model.model.PATH[.base_layer].weight`         | the decoder's `PATH.weight`              |
 * | `language_model.base_model.model.PATH.lora_A.default.weight`       | trained, without `.default`              |
 * | `projection.projection[.0, .3].weight`, `.bias`                    | trained                                  |
 *
 * Every name may begin with `module.`, as a model wrapped for several devices is saved.
 *
 * @module
 */

import type { JsonObject } from "../format/json.ts";
import type { JsonConfig } from "../format/json_config.ts";
import { VISION_PREFIX } from "./captioner.ts";
import { type CaptionerFolderConfig, checkedConfig } from "./captioner_config.ts";
import { DECODER_FAMILIES, defaultLoraTargets } from "./decoder_families.ts";
import { DECODER_PREFIX } from "./lora.ts";

/** `model_type` in the file. */
export const PYTHON_MODEL_TYPE = "prefix_conditioning_vlm";

const bare = (stored: string): string => stored.replace(/^module\./, "");
const isLora = (name: string): boolean => /\.lora_[AB]\./.test(name);

/** Names of the encoder's tensors by those in the file; `undefined` for what is not the encoder's. */
export function pythonEncoderName(stored: string): string | undefined {
  const name = bare(stored);
  return name.startsWith(VISION_PREFIX) ? name.slice(VISION_PREFIX.length) : undefined;
}

/** Names of the decoder's own tensors by those in the file. */
export function pythonDecoderName(stored: string): string | undefined {
  const name = bare(stored);
  if (!name.startsWith(DECODER_PREFIX) || isLora(name)) return undefined;
  return name.slice(DECODER_PREFIX.length).replace(".base_layer.", ".");
}

/** Names of trained tensors by those in the file: projection and LoRA, and of the encoder everything, as some of it may be trained. */
export function pythonTrainedName(stored: string): string | undefined {
  const name = bare(stored);
  if (name.startsWith("projection.") || name.startsWith(VISION_PREFIX)) return name;
  return isLora(name) ? name.replace(/\.(lora_[AB])\.default\./, ".$1.") : undefined;
}

/** Whether a tensor of the file belongs to a captioner at all. */
export function isPythonName(stored: string): boolean {
  return [pythonEncoderName, pythonDecoderName, pythonTrainedName].some((name) => name(stored) !== undefined);
}

/**
 * Reads the settings of a `config.json` of the Python project. Both base models lie in the folder itself, which is `reference`.
 * Captions were trained without an end token. Of an encoder that was trained whole, all layers go on being trained, its embeddings
 * and final norm do not.
 *
 * @throws {RangeError | TypeError} If a key is missing, of another kind, or has a value that no captioner can have
 */
export function parsePythonConfig(json: JsonConfig, reference: string): CaptionerFolderConfig {
  json.choice("model_type", [PYTHON_MODEL_TYPE]);
  const type = json.optionalChoice("projection_type", ["linear", "mlp"]) ?? "linear";
  const isFrozen = json.optionalBoolean("freeze_vision_encoder") ?? true;
  const targetModules = json.optionalStrings("lora_target_modules") ??
    defaultLoraTargets(json.object("text_config").choice("model_type", DECODER_FAMILIES));
  return checkedConfig(json, {
    encoder: { reference },
    decoder: { reference },
    projection: type === "linear"
      ? { type }
      : { type, hiddenSize: json.optionalInteger("mlp_hidden_dim") ?? 2048, dropout: 0.1 },
    lora: {
      rank: json.integer("lora_r"),
      alpha: json.number("lora_alpha"),
      dropout: json.optionalNumber("lora_dropout") ?? 0,
      targetModules,
    },
    unfrozenVisionLayers: isFrozen
      ? json.optionalInteger("vision_unfreeze_layers") ?? 0
      : json.object("vision_config").integer("num_hidden_layers"),
    maxLength: json.optionalInteger("max_length") ?? 30,
    appendEos: false,
  });
}

/** What a `config.json` for the Python project says: the captioner's settings and both base models' own configurations. */
export function formatPythonConfig(
  settings: CaptionerFolderConfig,
  { encoder, decoder }: { encoder: JsonObject; decoder: JsonObject },
): JsonObject {
  const { projection, lora } = settings;
  return {
    architectures: ["PrefixConditioningVLM"],
    model_type: PYTHON_MODEL_TYPE,
    vision_config: encoder,
    text_config: decoder,
    projection_type: projection.type,
    mlp_hidden_dim: projection.type === "mlp" ? projection.hiddenSize : 2048,
    freeze_vision_encoder: true,
    vision_unfreeze_layers: settings.unfrozenVisionLayers,
    lora_r: lora.rank,
    lora_alpha: lora.alpha,
    lora_dropout: lora.dropout,
    lora_target_modules: [...lora.targetModules],
    max_length: settings.maxLength,
  };
}
