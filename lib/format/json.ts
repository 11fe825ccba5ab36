/**
 * JSON as files hold it: parsed with the file's name in the error, and with a key given twice refused, which
 * `JSON.parse` lets pass by keeping the last.
 *
 * @module
 */

import { describeError, printable, quote } from "../base/errors.ts";

/** What JSON text can hold. */
export type JsonValue = null | boolean | number | string | JsonValue[] | { [key: string]: JsonValue };

/** A JSON object. */
export type JsonObject = { [key: string]: JsonValue };

/** Whether a value is a JSON object: neither `null` nor an array. */
export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Parses text that must hold one JSON object.
 *
 * @throws {SyntaxError} If it is not JSON, gives a key twice, or holds something else; the message names the file.
 */
export function parseJsonObject(text: string, name: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`Cannot parse "${name}": it is not JSON: ${printable(describeError(error))}`);
  }
  if (!isJsonObject(value)) {
    throw new SyntaxError(`Cannot parse "${name}": it holds ${describeJson(value)}, expected a JSON object`);
  }
  const twice = findDuplicateKey(text);
  if (twice !== undefined) {
    throw new SyntaxError(`Cannot parse "${name}": the key ${quote(twice)} is given twice`);
  }
  return value;
}

/** The first key given twice in one object of valid JSON text, or `undefined`. */
export function findDuplicateKey(text: string): string | undefined {
  // One set of keys for each open object, `undefined` for each open array.
  const open: (Set<string> | undefined)[] = [];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (character === "{") open.push(new Set());
    else if (character === "[") open.push(undefined);
    else if (character === "}" || character === "]") open.pop();
    else if (character === '"') {
      const start = i++;
      while (text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
      const keys = open.at(-1);
      if (keys === undefined || !isFollowedByColon(text, i + 1)) continue;
      // Two spellings of one key (an escape and the plain letter) are the same key.
      const key = JSON.parse(text.slice(start, i + 1)) as string;
      if (keys.has(key)) return key;
      keys.add(key);
    }
  }
  return undefined;
}

function isFollowedByColon(text: string, from: number): boolean {
  let i = from;
  while (text[i] === " " || text[i] === "\n" || text[i] === "\r" || text[i] === "\t") i++;
  return text[i] === ":";
}

/** A short description of a value for messages: `a string`, `an array`, `the number 3`. */
export function describeJson(value: unknown): string {
  if (value === undefined) return "nothing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "an array";
  if (typeof value === "string") {
    return `the string ${quote(value.length > 40 ? value.slice(0, 40) + "…" : value)}`;
  }
  if (typeof value === "number" || typeof value === "boolean") return `the ${typeof value} ${value}`;
  return "an object";
}

/** A value for messages: as JSON where it is flat and short, else as {@linkcode describeJson} has it. */
export function showJson(value: unknown): string {
  if (typeof value === "string") return quote(value);
  const isFlat = typeof value !== "object" || value === null ||
    (Array.isArray(value) && value.length <= 32 && value.every((item) => typeof item === "number"));
  return value !== undefined && isFlat ? JSON.stringify(value) : describeJson(value);
}

/** JSON with sorted keys, two spaces of indentation and a final newline, as Hugging Face writes configurations. */
export function formatJson(value: JsonValue): string {
  return JSON.stringify(sortKeys(value), null, 2) + "\n";
}

function sortKeys(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sortKeys(value[key]!)]));
}
