/**
 * `config.json` of a captioner's folder: which base models it stands on and how it was adapted.
 *
 * Beside it lie `projection.safetensors`, `adapter/` in PEFT's layout where there is LoRA, `vision.safetensors` where vision
 * layers were trained, and the tokenizer's and image processor's files.
 *
 * @module
 */

import { describeError, quote } from "../base/errors.ts";
import { formatJson, type JsonObject } from "../format/json.ts";
import type { JsonConfig } from "../format/json_config.ts";
import type { ProjectionConfig } from "./captioner.ts";
import type { LoraConfig } from "./lora.ts";

/** `model_type` in the file. */
export const CAPTIONER_MODEL_TYPE = "distilvit_captioner";
/** Version of the layout this code reads and writes. */
const LAYOUT_VERSION = 1;

/** A base model, by where it was found. */
export interface BaseModelReference {
  /** A folder, or a name that the loader knows. */
  reference: string;
}

/** What a captioner's `config.json` says; with the configurations of its two base models it decides the whole graph. */
export interface CaptionerFolderConfig {
  /** The frozen image encoder. */
  encoder: BaseModelReference;
  /** The frozen language model. */
  decoder: BaseModelReference;
  /** Form of the projection. */
  projection: ProjectionConfig;
  /** Rank 0: the decoder is used as it is. */
  lora: LoraConfig;
  /** How many of the last vision layers were trained. */
  unfrozenVisionLayers: number;
  /** Most tokens of a caption in training, its end token included. */
  maxLength: number;
  /** Whether captions ended with the end token in training; without it a captioner never stops by itself. */
  appendEos: boolean;
}

/**
 * Reads a captioner's `config.json`.
 *
 * @throws {RangeError | TypeError} If a key is missing, of another kind, or has a value that no captioner can have
 */
export function parseCaptionerConfig(json: JsonConfig): CaptionerFolderConfig {
  json.choice("model_type", [CAPTIONER_MODEL_TYPE]);
  const version = json.integer("layout_version");
  if (version !== LAYOUT_VERSION) {
    throw new RangeError(
      `Cannot use "${json.name}": "layout_version" is ${version}, this program reads ${LAYOUT_VERSION}`,
    );
  }
  return checkedConfig(json, {
    encoder: { reference: json.object("encoder").string("reference") },
    decoder: { reference: json.object("decoder").string("reference") },
    projection: parseProjection(json.object("projection")),
    lora: parseLora(json.optionalObject("lora")),
    unfrozenVisionLayers: json.integer("unfrozen_vision_layers"),
    maxLength: json.integer("max_length"),
    appendEos: json.boolean("append_eos"),
  });
}

/** What a file says, checked. @throws {RangeError} Naming the file and the value */
export function checkedConfig(json: JsonConfig, config: CaptionerFolderConfig): CaptionerFolderConfig {
  try {
    checkCaptionerConfig(config);
  } catch (error) {
    throw new RangeError(`Cannot use "${json.name}": ${describeError(error)}`, { cause: error });
  }
  return config;
}

/** Writes a captioner's `config.json`. @throws {RangeError} If a value is one that no captioner can have */
export function formatCaptionerConfig(config: CaptionerFolderConfig): string {
  checkCaptionerConfig(config);
  const { projection, lora } = config;
  return formatJson({
    model_type: CAPTIONER_MODEL_TYPE,
    layout_version: LAYOUT_VERSION,
    encoder: { reference: config.encoder.reference },
    decoder: { reference: config.decoder.reference },
    projection: projection.type === "linear"
      ? { type: "linear" }
      : { type: "mlp", hidden_size: projection.hiddenSize, dropout: projection.dropout },
    lora: lora.rank === 0 ? null : formatLora(lora),
    unfrozen_vision_layers: config.unfrozenVisionLayers,
    max_length: config.maxLength,
    append_eos: config.appendEos,
  });
}

/**
 * Checks the numbers of a configuration, wherever it came from.
 *
 * @throws {RangeError} Naming the value
 */
export function checkCaptionerConfig(config: CaptionerFolderConfig): void {
  const { projection, lora, unfrozenVisionLayers, maxLength, appendEos } = config;
  requireNumber("LoRA rank", lora.rank, { min: 0, whole: true });
  if (lora.rank > 0) {
    requireNumber("LoRA alpha", lora.alpha, { min: 0 });
    requireNumber("LoRA dropout", lora.dropout, { min: 0, below: 1 });
    for (const [module, rank] of Object.entries(lora.rankPattern ?? {})) {
      requireNumber(`LoRA rank of ${quote(module)}`, rank, { min: 1, whole: true });
    }
    for (const [module, alpha] of Object.entries(lora.alphaPattern ?? {})) {
      requireNumber(`LoRA alpha of ${quote(module)}`, alpha, { min: 0 });
    }
    if (lora.targetModules.length === 0) {
      throw new RangeError("LoRA has no target modules; name some, or use rank 0");
    }
  }
  if (projection.type === "mlp") {
    requireNumber("projection hidden size", projection.hiddenSize, { min: 1, whole: true });
    requireNumber("projection dropout", projection.dropout, { min: 0, below: 1 });
  }
  requireNumber("unfrozen vision layers", unfrozenVisionLayers, { min: 0, whole: true });
  requireNumber("max length", maxLength, { min: appendEos ? 2 : 1, whole: true });
}

function parseProjection(json: JsonConfig): ProjectionConfig {
  if (json.choice("type", ["linear", "mlp"]) === "linear") return { type: "linear" };
  return { type: "mlp", hiddenSize: json.integer("hidden_size"), dropout: json.number("dropout") };
}

function parseLora(json: JsonConfig | undefined): LoraConfig {
  if (json === undefined) return { rank: 0, alpha: 0, dropout: 0, targetModules: [] };
  return {
    rank: json.integer("r"),
    alpha: json.number("alpha"),
    dropout: json.number("dropout"),
    targetModules: json.strings("target_modules"),
    ...patterns(json.optionalObject("rank_pattern"), json.optionalObject("alpha_pattern")),
    ...(json.optionalBoolean("use_rslora") ? { useRslora: true } : {}),
  };
}

function patterns(rank: JsonConfig | undefined, alpha: JsonConfig | undefined): Partial<LoraConfig> {
  const read = (json: JsonConfig): Record<string, number> =>
    Object.fromEntries(Object.keys(json.fields).map((key) => [key, json.number(key)]));
  return { ...(rank && { rankPattern: read(rank) }), ...(alpha && { alphaPattern: read(alpha) }) };
}

function formatLora(lora: LoraConfig): JsonObject {
  const { rankPattern, alphaPattern, useRslora } = lora;
  return {
    r: lora.rank,
    alpha: lora.alpha,
    dropout: lora.dropout,
    target_modules: [...lora.targetModules],
    ...(rankPattern && { rank_pattern: { ...rankPattern } }),
    ...(alphaPattern && { alpha_pattern: { ...alphaPattern } }),
    ...(useRslora && { use_rslora: true }),
  };
}

function requireNumber(
  what: string,
  value: number,
  { min, below = Infinity, whole = false }: { min: number; below?: number; whole?: boolean },
): void {
  if (Number.isFinite(value) && value >= min && value < below && (!whole || Number.isInteger(value))) return;
  const kind = whole ? "a whole number" : "a number";
  const limit = below === Infinity ? "" : ` and below ${below}`;
  throw new RangeError(`${what} is ${value}, expected ${kind} of at least ${min}${limit}`);
}
