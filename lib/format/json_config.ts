/**
 * A JSON configuration read key by key: each value has the kind asked for, or the error names the file, the key, what was
 * found and what was wanted. Nothing is defaulted here; a key that is absent or `null` is `undefined` where that is allowed.
 *
 * @module
 */

import { quote, suggest } from "../base/errors.ts";
import { type FileFolder, readText } from "./byte_source.ts";
import { describeJson, isJsonObject, type JsonObject, type JsonValue, parseJsonObject } from "./json.ts";

/**
 * Typed access to a parsed `config.json` or one of its nested objects. The required accessors throw a RangeError when
 * the key is missing or `null`; all throw a TypeError when the value is of another kind.
 *
 * @example
 * ```ts ignore
 * const config = JsonConfig.parse(text, "decoder/config.json");
 * const hiddenSize = config.integer("hidden_size");
 * const headDim = config.optionalInteger("head_dim") ?? hiddenSize / config.integer("num_attention_heads");
 * ```
 */
export class JsonConfig {
  /** The values as parsed. */
  readonly fields: JsonObject;
  /** What error messages call the file. */
  readonly name: string;
  readonly #path: string;

  /** Wraps parsed JSON; `path` is put before keys in messages, for a nested object. */
  constructor(fields: JsonObject, name: string, path = "") {
    this.fields = fields;
    this.name = name;
    this.#path = path;
  }

  /**
   * Parses the text of a file.
   *
   * @throws {SyntaxError} If it is not one JSON object without repeated keys.
   */
  static parse(text: string, name: string): JsonConfig {
    return new JsonConfig(parseJsonObject(text, name), name);
  }

  /** Whether the key is there and not `null`. */
  has(key: string): boolean {
    return this.#value(key) !== undefined;
  }

  /** A required finite number. */
  number(key: string): number {
    return this.#require(key, this.optionalNumber(key), "a number");
  }

  /** A finite number, or `undefined`. */
  optionalNumber(key: string): number | undefined {
    return this.#read(key, "a finite number", (value) => typeof value === "number" && Number.isFinite(value));
  }

  /** A required whole number. */
  integer(key: string): number {
    return this.#require(key, this.optionalInteger(key), "a whole number");
  }

  /** A whole number, or `undefined`. */
  optionalInteger(key: string): number | undefined {
    return this.#read(key, "a whole number", Number.isSafeInteger);
  }

  /** A required string. */
  string(key: string): string {
    return this.#require(key, this.optionalString(key), "a string");
  }

  /** A string, or `undefined`. */
  optionalString(key: string): string | undefined {
    return this.#read(key, "a string", (value) => typeof value === "string");
  }

  /** A required string out of `choices`; another one is a RangeError that lists them. */
  choice<T extends string>(key: string, choices: readonly T[]): T {
    return this.#require(key, this.optionalChoice(key, choices), `one of ${choices.join(", ")}`);
  }

  /** A string out of `choices`, or `undefined`; another one is a RangeError that lists them. */
  optionalChoice<T extends string>(key: string, choices: readonly T[]): T | undefined {
    const value = this.optionalString(key);
    if (value === undefined || (choices as readonly string[]).includes(value)) return value as T | undefined;
    throw new RangeError(
      `Cannot use "${this.name}": "${this.#path}${key}" is ${quote(value)}, expected one of ${
        choices.join(", ")
      }`,
    );
  }

  /** A required boolean. */
  boolean(key: string): boolean {
    return this.#require(key, this.optionalBoolean(key), "true or false");
  }

  /** A boolean, or `undefined`. */
  optionalBoolean(key: string): boolean | undefined {
    return this.#read(key, "true or false", (value) => typeof value === "boolean");
  }

  /** A required array of finite numbers. */
  numbers(key: string): number[] {
    return this.#require(key, this.optionalNumbers(key), "an array of numbers");
  }

  /** An array of finite numbers, or `undefined`. */
  optionalNumbers(key: string): number[] | undefined {
    return this.#read(
      key,
      "an array of numbers",
      (value) => Array.isArray(value) && value.every(Number.isFinite),
    );
  }

  /** A required array of strings. */
  strings(key: string): string[] {
    return this.#require(key, this.optionalStrings(key), "an array of strings");
  }

  /** An array of strings, or `undefined`. */
  optionalStrings(key: string): string[] | undefined {
    const areStrings = (value: JsonValue) =>
      Array.isArray(value) && value.every((item) => typeof item === "string");
    return this.#read(key, "an array of strings", areStrings);
  }

  /** A required nested object. */
  object(key: string): JsonConfig {
    return this.#require(key, this.optionalObject(key), "an object");
  }

  /** A nested object, or `undefined`. */
  optionalObject(key: string): JsonConfig | undefined {
    const fields = this.#read<JsonObject>(key, "an object", isJsonObject);
    return fields && new JsonConfig(fields, this.name, `${this.#path}${key}.`);
  }

  /** `null` counts as absent, as in Hugging Face configurations. Own keys only: JSON may be hostile. */
  #value(key: string): JsonValue | undefined {
    return Object.hasOwn(this.fields, key) ? this.fields[key] ?? undefined : undefined;
  }

  #read<T extends JsonValue>(
    key: string,
    wanted: string,
    fits: (value: JsonValue) => boolean,
  ): T | undefined {
    const value = this.#value(key);
    if (value === undefined || fits(value)) return value as T | undefined;
    throw new TypeError(
      `Cannot use "${this.name}": "${this.#path}${key}" is ${describeJson(value)}, expected ${wanted}`,
    );
  }

  #require<T>(key: string, value: T | undefined, wanted: string): T {
    if (value !== undefined) return value;
    const near = suggest(key, Object.keys(this.fields).filter((other) => other !== key));
    throw new RangeError(
      `Cannot use "${this.name}": "${this.#path}${key}" is missing, expected ${wanted}` +
        (near === undefined ? "" : `; there is a ${quote(this.#path + near)}`),
    );
  }
}

/** Opens a folder's `config.json`, or another one. @throws {RangeError} when there is none */
export async function openConfig(folder: FileFolder, name = "config.json"): Promise<JsonConfig> {
  const file = await folder.open(name);
  if (file === undefined) {
    throw new RangeError(
      `Cannot load "${folder.name}": it has no "${name}"; name the folder of one model or run`,
    );
  }
  return JsonConfig.parse(await readText(file), file.name);
}
