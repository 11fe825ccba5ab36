/**
 * When a captioner had better say nothing: thresholds of its confidence, kept in the folder of the model as `confidence.json`.
 *
 * @module
 */

import { sha256Hex } from "../base/sha256.ts";
import { type FileFolder, readExactly, readText } from "../format/byte_source.ts";
import { formatJson, isJsonObject, type JsonObject } from "../format/json.ts";
import { JsonConfig } from "../format/json_config.ts";

/** Name of the file. */
export const CALIBRATION_FILE = "confidence.json";
/** Larger files are no thresholds. */
const MAX_BYTES = 1e6;
/** What training writes of a captioner: thresholds hold for these very weights. */
const TRAINED_FILES = [
  "projection.safetensors",
  "vision.safetensors",
  "adapter/adapter_model.safetensors",
] as const;

/** How sure a model is of a caption or of any other text. All in nats, the end token included. */
export interface Confidence {
  /** log p(caption | image), the sum over tokens. */
  readonly logProb: number;
  /** The same per token, so that long captions are not thought unlikely for their length. */
  readonly logProbPerToken: number;
  /**
   * log p(caption | image) − log p(caption | blank image): how much the image raised it. Near 0 for a caption that the model
   * would have written of anything.
   */
  readonly imageGain: number;
  /** The same per token. */
  readonly imageGainPerToken: number;
}

/** Names of the figures in JSON and CSV. */
export const CONFIDENCE_FIELDS = {
  log_probability: "logProb",
  log_probability_per_token: "logProbPerToken",
  image_gain: "imageGain",
  image_gain_per_token: "imageGainPerToken",
} as const satisfies Record<string, keyof Confidence>;

/** A confidence under the names that every output has for it. */
export function formatConfidence(confidence: Confidence): Record<keyof typeof CONFIDENCE_FIELDS, number> {
  return Object.fromEntries(
    Object.entries(CONFIDENCE_FIELDS).map(([field, name]) => [field, confidence[name]]),
  ) as Record<keyof typeof CONFIDENCE_FIELDS, number>;
}

/** The confidence that a row of a file holds; `undefined` where one of its figures is no finite number. */
export function readConfidence(row: JsonObject): Confidence | undefined {
  const entries = Object.entries(CONFIDENCE_FIELDS).map(([field, name]) => [name, row[field]] as const);
  return entries.every(([, value]) => Number.isFinite(value))
    ? Object.fromEntries(entries) as unknown as Confidence
    : undefined;
}

/** Below one of them a caption is better left out; `null` = not asked. At least one is a number. */
export interface Thresholds {
  /** Lowest log-probability per token, in nats. */
  readonly logProbPerToken: number | null;
  /** Lowest gain by the image per token, in nats. */
  readonly imageGainPerToken: number | null;
}

/** Thresholds, and what they were found on. */
export interface Calibration {
  /** Below which captions are left out. */
  readonly thresholds: Thresholds;
  /** SHA-256 of the trained files that they hold for, by path; empty where there are none, as in an exported folder. */
  readonly trainedFiles: Readonly<Record<string, string>>;
  /** What they were found on, for people. */
  readonly foundOn: Readonly<Record<string, unknown>>;
}

/**
 * Why a caption had better be left out.
 *
 * @returns `undefined` if it is sure enough
 */
export function reasonToAbstain(
  confidence: { readonly logProbPerToken: number; readonly imageGainPerToken: number },
  { logProbPerToken: minLogProb, imageGainPerToken: minGain }: Thresholds,
): string | undefined {
  const { logProbPerToken, imageGainPerToken } = confidence;
  // Written so that what is no number is below.
  const reasons = [
    ...(minLogProb === null || logProbPerToken >= minLogProb ? [] : [
      `the model is not sure: log-probability per token ${logProbPerToken.toFixed(3)}, below ${
        minLogProb.toFixed(3)
      }`,
    ]),
    ...(minGain === null || imageGainPerToken >= minGain ? [] : [
      `the image hardly matters: it raises the log-probability per token by ${
        imageGainPerToken.toFixed(3)
      }, less than ${minGain.toFixed(3)}`,
    ]),
  ];
  return reasons.length === 0 ? undefined : reasons.join("; ");
}

/** The file's text. */
export function formatCalibration({ thresholds, trainedFiles, foundOn }: Calibration): string {
  return formatJson({
    version: 1,
    min_log_probability_per_token: thresholds.logProbPerToken,
    min_image_gain_per_token: thresholds.imageGainPerToken,
    trained_files: { ...trainedFiles },
    found_on: foundOn as JsonObject,
  });
}

/**
 * Reads the file's text.
 *
 * @throws {SyntaxError | TypeError | RangeError} If it is damaged, of another version, or holds no threshold; the message names it
 */
export function parseCalibration(text: string, name: string): Calibration {
  const file = JsonConfig.parse(text, name);
  const version = file.integer("version");
  if (version !== 1) {
    throw new RangeError(`Cannot use "${name}": "version" is ${version}, expected 1`);
  }
  const threshold = (key: string): number | null => {
    const value = file.optionalNumber(key);
    return value ?? null;
  };
  const thresholds = {
    logProbPerToken: threshold("min_log_probability_per_token"),
    imageGainPerToken: threshold("min_image_gain_per_token"),
  };
  if (thresholds.logProbPerToken === null && thresholds.imageGainPerToken === null) {
    throw new RangeError(
      `Cannot use "${name}": neither "min_log_probability_per_token" nor "min_image_gain_per_token" is a number`,
    );
  }
  const files = file.optionalObject("trained_files");
  const trainedFiles = Object.fromEntries(
    TRAINED_FILES.flatMap((path) => {
      const hash = files?.optionalString(path);
      return hash === undefined ? [] : [[path, hash]];
    }),
  );
  const foundOn = file.fields["found_on"];
  return { thresholds, trainedFiles, foundOn: isJsonObject(foundOn) ? foundOn : {} };
}

/** SHA-256 of a captioner's trained files, those that there are. */
export async function hashTrainedFiles(folder: FileFolder): Promise<Record<string, string>> {
  const hashes: Record<string, string> = {};
  for (const path of TRAINED_FILES) {
    const source = await folder.open(path);
    if (source !== undefined) hashes[path] = await sha256Hex(await readExactly(source, 0, source.size));
  }
  return hashes;
}

/**
 * Thresholds of a model's folder; `undefined` where it has none.
 *
 * @throws {SyntaxError | TypeError | RangeError} If the file is damaged, or the model was trained after it was written
 */
export async function readCalibration(folder: FileFolder): Promise<Calibration | undefined> {
  const source = await folder.open(CALIBRATION_FILE);
  if (source === undefined) return undefined;
  const calibration = parseCalibration(await readText(source, MAX_BYTES), source.name);
  const hashes = await hashTrainedFiles(folder);
  const changed = Object.entries(calibration.trainedFiles).find(([path, hash]) =>
    hashes[path] !== undefined && hashes[path] !== hash
  );
  if (changed !== undefined) {
    throw new RangeError(
      `Cannot use "${source.name}": it was found for another "${
        changed[0]
      }" than the folder has; calibrate again`,
    );
  }
  return calibration;
}
