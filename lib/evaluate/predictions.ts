/**
 * Captions to score as files hold them: rows with their references, or the results and annotations of COCO.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import { describeJson, isJsonObject, type JsonObject, type JsonValue } from "../format/json.ts";
import { type Confidence, readConfidence } from "../models/calibration.ts";
import type { CandidateRow } from "../text/metrics/corpus.ts";

/** Most references of an image that are believed. */
const MAX_REFERENCES = 1000;
/** Longer captions are refused: they are no captions. */
const MAX_CAPTION_LENGTH = 1_000_000;

/** A row as a file has it. */
export interface PredictionRow extends CandidateRow {
  /** Path or address of the image, if the file names it. */
  readonly image?: string;
  /** Milliseconds the caption took, if the file says. */
  readonly timeMs?: number;
  /** How sure the model was of the caption, if the file says. */
  readonly confidence?: Confidence;
}

/**
 * Reads predictions.
 *
 * With references of their own: a JSON array, an object with an array under `predictions`, or JSON lines, each
 * `{id, candidate, references}`; `caption` and `reference` (one text) are understood too, `image`, `time_ms`, and the figures of confidence. Without: COCO results
 * `[{image_id, caption}]` together with annotations.
 *
 * @param text The file
 * @param options Its name for messages, and the text of COCO annotations with theirs
 * @throws {SyntaxError} If it is damaged or a row has not what it needs; the message names the row
 * @throws {RangeError} If there is no row, an id is there twice, or annotations lack an image
 */
export function parsePredictions(
  text: string,
  options: { name: string; annotations?: { text: string; name: string } },
): PredictionRow[] {
  const { name, annotations } = options;
  const rows = readRows(text, name);
  if (rows.length === 0) throw new RangeError(`Cannot score "${name}": it has no rows`);
  const references = annotations === undefined
    ? undefined
    : parseAnnotations(annotations.text, annotations.name);
  const seen = new Map<string, number>();
  return rows.map((row, i) => {
    const where = `"${name}", row ${i + 1}`;
    if (!isJsonObject(row)) {
      throw new SyntaxError(`Cannot read ${where}: found ${describeJson(row)}, expected an object`);
    }
    const id = readId(row, where);
    const first = seen.get(id);
    if (first !== undefined) {
      throw new RangeError(
        `Cannot score ${where}: the id ${JSON.stringify(id)} is that of row ${
          first + 1
        } too; each image may have one caption`,
      );
    }
    seen.set(id, i);
    const candidate = readText(row["candidate"] ?? row["caption"], `${where}: "candidate"`);
    const own = row["references"] ?? row["reference"];
    const image = references?.get(id);
    if (references !== undefined && image === undefined) {
      throw new RangeError(
        `Cannot score ${where}: "${annotations!.name}" has no captions of image ${JSON.stringify(id)}`,
      );
    }
    if (image === undefined && own === undefined) {
      throw new SyntaxError(
        `Cannot score ${where}: it has no "references"; COCO results need their annotations (--references ANNOTATIONS.json)`,
      );
    }
    const timeMs = row["time_ms"];
    const confidence = readConfidence(row);
    const path = typeof row["image"] === "string" ? row["image"] : image?.file;
    return {
      id,
      candidate,
      references: image?.captions ?? readReferences(own!, where),
      ...(path === undefined ? {} : { image: path }),
      ...(typeof timeMs === "number" && timeMs >= 0 ? { timeMs } : {}),
      ...(confidence && { confidence }),
    };
  });
}

/** Captions and file of each image of COCO annotations. */
function parseAnnotations(text: string, name: string): Map<string, { captions: string[]; file?: string }> {
  const value = parseJson(text, `"${name}"`);
  if (!isJsonObject(value) || !Array.isArray(value["annotations"])) {
    throw new SyntaxError(
      `Cannot read "${name}": found ${
        describeJson(value)
      }, expected COCO annotations, an object with a list "annotations"`,
    );
  }
  const images = new Map<string, { captions: string[]; file?: string }>();
  for (const [i, annotation] of value["annotations"].entries()) {
    const where = `"${name}", annotation ${i + 1}`;
    if (!isJsonObject(annotation)) {
      throw new SyntaxError(`Cannot read ${where}: found ${describeJson(annotation)}`);
    }
    const id = readId({ image_id: annotation["image_id"] ?? null }, where);
    const caption = readText(annotation["caption"], `${where}: "caption"`);
    const image = images.get(id);
    if (image === undefined) images.set(id, { captions: [caption] });
    else image.captions.push(caption);
  }
  for (const image of Array.isArray(value["images"]) ? value["images"] : []) {
    if (!isJsonObject(image) || typeof image["file_name"] !== "string") continue;
    const known = images.get(String(image["id"]));
    if (known !== undefined) known.file = image["file_name"];
  }
  return images;
}

function readRows(text: string, name: string): readonly JsonValue[] {
  const start = text.trimStart()[0];
  if (start === "[") return parseJson(text, `"${name}"`) as JsonValue[];
  const lines = text.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  // An object over several lines, or one alone with rows inside, is a whole file; else every line is a row.
  if (start === "{" && (lines.length > 1 && !lines[0]!.endsWith("}") || lines.length === 1)) {
    const value = parseJson(text, `"${name}"`) as JsonObject;
    const rows = value["predictions"];
    return Array.isArray(rows) ? rows : [value];
  }
  return lines.map((line, i) => parseJson(line, `"${name}", line ${i + 1}`));
}

function parseJson(text: string, where: string): JsonValue {
  try {
    return JSON.parse(text);
  } catch (error) {
    try {
      // Python writes NaN where there is no number, which is no JSON. Strings come first: what they say stays.
      const numbers = /"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g;
      return JSON.parse(text.replace(numbers, (found) => found.startsWith('"') ? found : "null"));
    } catch {
      throw new SyntaxError(`Cannot read ${where}: it is not JSON: ${describeError(error)}`);
    }
  }
}

function readId(row: JsonObject, where: string): string {
  const id = row["id"] ?? row["image_id"];
  if (typeof id === "string" && id !== "" || typeof id === "number" && Number.isFinite(id)) return String(id);
  throw new SyntaxError(
    `Cannot score ${where}: its "id" is ${describeJson(id ?? null)}, expected text or a number`,
  );
}

function readText(value: JsonValue | undefined, where: string): string {
  if (typeof value !== "string") {
    throw new SyntaxError(`Cannot score ${where} is ${describeJson(value ?? null)}, expected text`);
  }
  if (value.length > MAX_CAPTION_LENGTH) {
    throw new SyntaxError(
      `Cannot score ${where} has ${value.length} characters, expected at most ${MAX_CAPTION_LENGTH}`,
    );
  }
  return value;
}

function readReferences(value: JsonValue, where: string): string[] {
  const list = typeof value === "string" ? [value] : value;
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_REFERENCES) {
    throw new SyntaxError(
      `Cannot score ${where}: its "references" are ${
        Array.isArray(list) ? `a list of ${list.length}` : describeJson(value)
      }, expected 1 to ${MAX_REFERENCES} texts`,
    );
  }
  return list.map((text, i) => readText(text, `${where}: reference ${i + 1}`));
}
