/**
 * A whole captioner in one ordinary Hugging Face folder, LoRA folded in: as Llava, and for a linear projection as Idefics3. The names of
 * tensors in both, read and written.
 *
 * | here                    | Llava                                    | Idefics3                                          |
 * | ----------------------- | ---------------------------------------- | ------------------------------------------------- |
 * | the encoder's `NAME`    | `vision_tower.NAME`                      | `model.NAME`                                      |
 * | the decoder's `NAME`    | `language_model.NAME`                    | `model.text_model.` + NAME without its first part |
 * | the output head         | `language_model.lm_head.weight`          | `lm_head.weight`                                  |
 * | `projection.projection` | `multi_modal_projector.linear_1`, then an identity `linear_2` | `model.connector.modality_projection.proj`, whose bias is in the norm before it |
 * | `projection.projection.0`, `.3` | `multi_modal_projector.linear_1`, `.linear_2` | -                                 |
 *
 * @module
 */

import type { JsonConfig } from "../format/json_config.ts";
import type { JsonObject } from "../format/json.ts";
import type { ProjectionConfig } from "./captioner.ts";
import { type CaptionerFolderConfig, checkedConfig } from "./captioner_config.ts";

/** `model_type` of the layouts. */
export const MERGED_LAYOUTS = ["llava", "idefics3"] as const;
/** One of them. */
export type MergedLayout = typeof MERGED_LAYOUTS[number];

/** Key of the captioner's own settings in `config.json`: without it the folder is somebody's chat model, which works differently. */
const OWN_KEY = "captioner";
const HEAD = "lm_head.weight";

/** Names in the file. */
export interface MergedNames {
  encoder(name: string): string;
  decoder(name: string): string;
  /** The projection's tensors. */
  projection(name: string): string;
}

/** Names in a layout's file of tensors by their names here. `root` is how the decoder's names begin: `model.` or `transformer.`. */
export function mergedNames(layout: MergedLayout, root: string): MergedNames {
  if (layout === "llava") {
    return {
      encoder: (name) => `vision_tower.${name}`,
      decoder: (name) => `language_model.${name}`,
      projection: (name) =>
        `multi_modal_projector.linear_${name.startsWith("projection.projection.3.") ? 2 : 1}.${
          lastPart(name)
        }`,
    };
  }
  return {
    encoder: (name) => `model.${name}`,
    decoder: (name) => name === HEAD ? name : `model.text_model.${name.slice(root.length)}`,
    projection: (name) => `model.connector.modality_projection.proj.${lastPart(name)}`,
  };
}

const lastPart = (name: string): string => name.slice(name.lastIndexOf(".") + 1);

/** Name of the encoder's tensor by that in the file; `undefined` for what is not the encoder's. */
export function mergedEncoderName(layout: MergedLayout, stored: string): string | undefined {
  const prefix = layout === "llava" ? "vision_tower." : "model.";
  const isOther = layout === "idefics3" && !stored.startsWith("model.vision_model.");
  return stored.startsWith(prefix) && !isOther ? stored.slice(prefix.length) : undefined;
}

/** Name of the decoder's tensor by that in the file. */
export function mergedDecoderName(layout: MergedLayout, stored: string): string | undefined {
  if (layout === "llava") {
    return stored.startsWith("language_model.") ? stored.slice("language_model.".length) : undefined;
  }
  if (stored === HEAD) return stored;
  // The text model is saved without its first part there; loading a decoder puts it back.
  return stored.startsWith("model.text_model.") ? stored.slice("model.text_model.".length) : undefined;
}

/** Name of the projection's tensor by that in the file; `undefined` for others and for Llava's identity. */
export function mergedProjectionName(
  layout: MergedLayout,
  stored: string,
  projection: ProjectionConfig["type"],
): string | undefined {
  if (layout === "idefics3") {
    return stored.startsWith("model.connector.") ? `projection.projection.${lastPart(stored)}` : undefined;
  }
  const number = /^multi_modal_projector\.linear_([12])\./.exec(stored)?.[1];
  if (number === undefined) return undefined;
  if (projection === "linear") {
    return number === "1" ? `projection.projection.${lastPart(stored)}` : undefined;
  }
  return `projection.projection.${number === "1" ? 0 : 3}.${lastPart(stored)}`;
}

/**
 * Settings of a merged folder. Both base models lie in the folder itself, which is `reference`.
 *
 * @throws {RangeError | TypeError} If the folder was not merged from a captioner, or a value is one that no captioner can have
 */
export function parseMergedConfig(json: JsonConfig, reference: string): CaptionerFolderConfig {
  const layout = json.choice("model_type", MERGED_LAYOUTS);
  const own = json.optionalObject(OWN_KEY);
  if (own === undefined) {
    throw new RangeError(
      `Cannot use "${json.name}": it is a ${layout} model with no "${OWN_KEY}" in it, so not a captioner merged by this program`,
    );
  }
  const projection = own.choice("projection", ["linear", "mlp"]);
  return checkedConfig(json, {
    encoder: { reference },
    decoder: { reference },
    projection: projection === "linear"
      ? { type: projection }
      : { type: projection, hiddenSize: json.object("text_config").integer("hidden_size"), dropout: 0 },
    lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] },
    unfrozenVisionLayers: 0,
    maxLength: own.integer("max_length"),
    appendEos: own.boolean("append_eos"),
  });
}

/** The captioner's own settings, to be written into `config.json`. */
export function formatMergedSettings(settings: CaptionerFolderConfig): JsonObject {
  return {
    [OWN_KEY]: {
      projection: settings.projection.type,
      max_length: settings.maxLength,
      append_eos: settings.appendEos,
    },
  };
}
