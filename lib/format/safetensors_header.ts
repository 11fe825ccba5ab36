/**
 * The header of a safetensors file, believed only after every offset has been checked.
 *
 * A file is: u64 little-endian length N of the header, N bytes of JSON, then the tensors' bytes without gaps.
 * Source: https://github.com/huggingface/safetensors#format
 *
 * @module
 */

import { describeError, describeShape, printable, quote } from "../base/errors.ts";
import { elementCount } from "../base/shape.ts";
import { describeJson, findDuplicateKey, isJsonObject, showJson } from "./json.ts";

/** Size of one element of each dtype, in bytes. */
export const DTYPE_BYTES = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  U16: 2,
  I16: 2,
  F16: 2,
  BF16: 2,
  U32: 4,
  I32: 4,
  F32: 4,
  U64: 8,
  I64: 8,
  F64: 8,
} as const;

/** Element type of a stored tensor, as safetensors spells it. */
export type Dtype = keyof typeof DTYPE_BYTES;

/** A tensor without its bytes. */
export interface TensorSpec {
  /** Element type. */
  readonly dtype: Dtype;
  /** Sizes, outermost first; `[]` is a scalar. */
  readonly shape: readonly number[];
}

/** Where a tensor lies in its file. */
export interface TensorEntry extends TensorSpec {
  /** Offset of the first byte, counted from the start of the file. */
  readonly start: number;
  /** Offset after the last byte, counted from the start of the file. */
  readonly end: number;
}

/** A parsed and checked header. */
export interface SafetensorsHeader {
  /** The `__metadata__` entry; empty where there is none. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Tensors by name, in the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/** What a header is checked against. */
export interface HeaderOptions {
  /** Size of the whole file in bytes. */
  fileSize: number;
  /** What error messages call the file. */
  name: string;
}

/** Largest header believed, in bytes; the format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

/** More dimensions than any tensor has; keeps messages and products small. */
const MAX_RANK = 32;

/**
 * Length of the JSON header, from the first 8 bytes of a file.
 *
 * @throws {SyntaxError} If the file is too short for it, or it is larger than the file or 100 MB.
 */
export function parseHeaderLength(bytes: Uint8Array, options: HeaderOptions): number {
  const { fileSize, name } = options;
  if (bytes.length < 8 || fileSize < 8) {
    throw new SyntaxError(`Cannot load "${name}": ${fileSize} bytes are too few for a safetensors file`);
  }
  const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  if (length > BigInt(fileSize - 8)) {
    throw new SyntaxError(
      `Cannot load "${name}": the header is said to take ${length} bytes, the file has ${
        fileSize - 8
      } left; ` +
        `it is cut short or not a safetensors file`,
    );
  }
  if (length > BigInt(MAX_HEADER_BYTES)) {
    throw new SyntaxError(
      `Cannot load "${name}": the header is said to take ${length} bytes, expected at most ${MAX_HEADER_BYTES}`,
    );
  }
  return Number(length);
}

/**
 * Parses and checks the header at the start of `bytes`, which holds at least the 8 bytes of length and the header.
 *
 * @throws {SyntaxError} If anything about it is not as the format says; the message names the file and the tensor.
 */
export function parseSafetensorsHeader(bytes: Uint8Array, options: HeaderOptions): SafetensorsHeader {
  const { fileSize, name } = options;
  const length = parseHeaderLength(bytes, options);
  if (bytes.length < 8 + length) {
    throw new SyntaxError(
      `Cannot load "${name}": the header takes ${length} bytes, found ${bytes.length - 8}`,
    );
  }
  const fields = parseFields(bytes.subarray(8, 8 + length), name);
  const dataStart = 8 + length;
  const metadata = new Map<string, string>();
  const entries: [string, TensorEntry][] = [];
  for (const [tensor, value] of Object.entries(fields)) {
    if (tensor !== "__metadata__") {
      entries.push([
        tensor,
        parseEntry(value, { dataStart, fileSize, where: `"${name}": tensor ${quote(tensor)}` }),
      ]);
      continue;
    }
    if (!isJsonObject(value)) {
      throw new SyntaxError(
        `Cannot load "${name}": "__metadata__" holds ${describeJson(value)}, expected an object`,
      );
    }
    for (const [key, text] of Object.entries(value)) {
      if (typeof text !== "string") {
        throw new SyntaxError(
          `Cannot load "${name}": "__metadata__" holds ${describeJson(text)} under ${
            quote(key)
          }, expected a string`,
        );
      }
      metadata.set(key, text);
    }
  }
  entries.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  checkCoverage(entries, { dataStart, fileSize, name });
  return { metadata, tensors: new Map(entries) };
}

function parseFields(bytes: Uint8Array, name: string): Record<string, unknown> {
  let fields: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    fields = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(
      `Cannot load "${name}": its header is not JSON: ${printable(describeError(error))}`,
    );
  }
  if (!isJsonObject(fields)) {
    throw new SyntaxError(
      `Cannot load "${name}": its header is ${describeJson(fields)}, expected a JSON object`,
    );
  }
  const twice = findDuplicateKey(text);
  if (twice !== undefined) {
    throw new SyntaxError(`Cannot load "${name}": its header names ${quote(twice)} twice`);
  }
  return fields;
}

interface EntryPlace {
  dataStart: number;
  fileSize: number;
  where: string;
}

function parseEntry(value: unknown, { dataStart, fileSize, where }: EntryPlace): TensorEntry {
  if (!isJsonObject(value)) {
    throw new SyntaxError(
      `Cannot load ${where} is ${describeJson(value)}, expected dtype, shape and data_offsets`,
    );
  }
  const { dtype, shape, data_offsets: offsets, ...rest } = value;
  const extra = Object.keys(rest)[0];
  if (extra !== undefined) {
    throw new SyntaxError(`Cannot load ${where} has the unknown field ${quote(extra)}`);
  }
  if (typeof dtype !== "string" || !Object.hasOwn(DTYPE_BYTES, dtype)) {
    throw new SyntaxError(
      `Cannot load ${where} has for dtype ${describeJson(dtype)}, expected one of ${
        Object.keys(DTYPE_BYTES).join(", ")
      }`,
    );
  }
  if (!isSizes(shape) || shape.length > MAX_RANK) {
    throw new SyntaxError(
      `Cannot load ${where} has for shape ${showJson(shape)}, expected whole numbers`,
    );
  }
  if (!isSizes(offsets) || offsets.length !== 2) {
    throw new SyntaxError(
      `Cannot load ${where} has for data_offsets ${showJson(offsets)}, expected two whole numbers`,
    );
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end || end > fileSize - dataStart) {
    throw new SyntaxError(
      `Cannot load ${where} lies at bytes ${begin} to ${end}, the file holds ${
        fileSize - dataStart
      } bytes of tensors`,
    );
  }
  let wanted: number;
  try {
    wanted = elementCount(shape) * DTYPE_BYTES[dtype as Dtype];
  } catch {
    throw new SyntaxError(`Cannot load ${where} has the impossible shape ${describeShape(shape)}`);
  }
  if (end - begin !== wanted) {
    throw new SyntaxError(
      `Cannot load ${where} has ${end - begin} bytes, expected ${wanted} for ${dtype} ${
        describeShape(shape)
      }`,
    );
  }
  return { dtype: dtype as Dtype, shape, start: dataStart + begin, end: dataStart + end };
}

/** Every byte after the header belongs to exactly one tensor: nothing shared, nothing hidden. */
function checkCoverage(
  entries: readonly [string, TensorEntry][],
  { dataStart, fileSize, name }: { dataStart: number; fileSize: number; name: string },
): void {
  let reached = dataStart;
  let before = "";
  for (const [tensor, { start, end }] of entries) {
    if (start < reached) {
      throw new SyntaxError(
        `Cannot load "${name}": tensor ${quote(tensor)} overlaps ${quote(before)} by ${
          reached - start
        } bytes`,
      );
    }
    if (start > reached) {
      throw new SyntaxError(
        `Cannot load "${name}": ${start - reached} bytes before tensor ${quote(tensor)} belong to no tensor`,
      );
    }
    reached = end;
    before = tensor;
  }
  if (reached !== fileSize) {
    throw new SyntaxError(`Cannot load "${name}": the last ${fileSize - reached} bytes belong to no tensor`);
  }
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && item >= 0);
}
