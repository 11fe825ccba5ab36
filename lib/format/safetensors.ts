/**
 * Reading and writing safetensors: lazily by range, and as a deterministic stream of chunks.
 *
 * @module
 */

import { decodeBf16, decodeF16 } from "../base/half.ts";
import { describeNames, describeShape, quote, suggest } from "../base/errors.ts";
import { elementCount } from "../base/shape.ts";
import { type ByteSource, readExactly } from "./byte_source.ts";
import {
  type Dtype,
  DTYPE_BYTES,
  parseHeaderLength,
  parseSafetensorsHeader,
  type TensorEntry,
  type TensorSpec,
} from "./safetensors_header.ts";

export { DTYPE_BYTES, parseSafetensorsHeader } from "./safetensors_header.ts";
export type {
  Dtype,
  HeaderOptions,
  SafetensorsHeader,
  TensorEntry,
  TensorSpec,
} from "./safetensors_header.ts";
export { type ByteSource, memorySource } from "./byte_source.ts";

/** Named tensors whose bytes are read when asked for: one safetensors file, or the shards of a checkpoint. */
export interface TensorSource {
  /** What error messages call it. */
  readonly name: string;
  /** Free text stored beside the tensors. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Every tensor's dtype and shape. */
  readonly tensors: ReadonlyMap<string, TensorSpec>;
  /** A tensor's bytes as stored, little-endian, from offset 0 of a buffer of their own. Rejects for an unknown name. */
  read(tensor: string): Promise<Uint8Array<ArrayBuffer>>;
  /** A BF16, F16, F32 or F64 tensor as float32; F64 is rounded. Rejects with TypeError for another dtype. */
  readF32(tensor: string): Promise<Float32Array<ArrayBuffer>>;
  /** A BOOL, U8, I8, I16, U16, I32 or I64 tensor as int32. Rejects with RangeError for an I64 value outside int32. */
  readI32(tensor: string): Promise<Int32Array<ArrayBuffer>>;
}

/** A safetensors file whose header has been read and checked. */
export interface SafetensorsFile extends TensorSource {
  /** Every tensor's dtype, shape and place in the file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
}

/** A tensor with its bytes, to be written. */
export interface TensorData extends TensorSpec {
  /** The elements, in the platform's (little-endian) byte order: `Float32Array` for F32, `Uint16Array` for BF16, … */
  readonly data: ArrayBufferView<ArrayBufferLike>;
}

/**
 * Reads and checks the header of a safetensors file; tensors are read when asked for.
 *
 * @throws {SyntaxError} If the header is malformed or does not fit the file.
 */
export async function openSafetensors(source: ByteSource): Promise<SafetensorsFile> {
  const options = { fileSize: source.size, name: source.name };
  const length = parseHeaderLength(await readExactly(source, 0, Math.min(8, source.size)), options);
  const header = parseSafetensorsHeader(await readExactly(source, 0, 8 + length), options);
  const read = async (tensor: string): Promise<Uint8Array<ArrayBuffer>> => {
    const { start, end } = requireTensor(header.tensors, tensor, source.name);
    return await readExactly(source, start, end);
  };
  return { name: source.name, ...header, ...tensorReaders(header.tensors, read, source.name) };
}

/** The reading half of a {@linkcode TensorSource}, from a function that gives a tensor's bytes. */
export function tensorReaders(
  tensors: ReadonlyMap<string, TensorSpec>,
  read: (tensor: string) => Promise<Uint8Array<ArrayBuffer>>,
  name: string,
): Pick<TensorSource, "read" | "readF32" | "readI32"> {
  return {
    read,
    async readF32(tensor) {
      const { dtype } = requireTensor(tensors, tensor, name);
      return toF32(await read(tensor), dtype, `tensor ${quote(tensor)} of "${name}"`);
    },
    async readI32(tensor) {
      const { dtype } = requireTensor(tensors, tensor, name);
      return toI32(await read(tensor), dtype, `tensor ${quote(tensor)} of "${name}"`);
    },
  };
}

/**
 * Looks a tensor up by name.
 *
 * @throws {RangeError} If there is none; the message names the nearest spelling.
 */
export function requireTensor<T extends TensorSpec>(
  tensors: ReadonlyMap<string, T>,
  tensor: string,
  name: string,
): T {
  const found = tensors.get(tensor);
  if (found !== undefined) return found;
  const near = suggest(tensor, tensors.keys());
  const hint = near === undefined
    ? `it has ${describeNames([...tensors.keys()], 4)}`
    : `did you mean ${quote(near)}?`;
  throw new RangeError(`Cannot read "${name}": there is no tensor ${quote(tensor)}; ${hint}`);
}

function toF32(bytes: Uint8Array<ArrayBuffer>, dtype: Dtype, what: string): Float32Array<ArrayBuffer> {
  const { buffer } = aligned(bytes);
  switch (dtype) {
    case "F32":
      return new Float32Array(buffer);
    case "BF16":
      return decodeBf16(new Uint16Array(buffer));
    case "F16":
      return decodeF16(new Uint16Array(buffer));
    case "F64":
      return Float32Array.from(new Float64Array(buffer));
    default:
      throw new TypeError(`Cannot read ${what} as float32: its dtype is ${dtype}`);
  }
}

function toI32(bytes: Uint8Array<ArrayBuffer>, dtype: Dtype, what: string): Int32Array<ArrayBuffer> {
  const { buffer } = aligned(bytes);
  switch (dtype) {
    case "I32":
      return new Int32Array(buffer);
    case "BOOL":
    case "U8":
      return Int32Array.from(new Uint8Array(buffer));
    case "I8":
      return Int32Array.from(new Int8Array(buffer));
    case "I16":
      return Int32Array.from(new Int16Array(buffer));
    case "U16":
      return Int32Array.from(new Uint16Array(buffer));
    case "I64":
      return Int32Array.from(new BigInt64Array(buffer), (value) => {
        if (BigInt.asIntN(32, value) !== value) {
          throw new RangeError(`Cannot read ${what} as int32: it holds ${value}`);
        }
        return Number(value);
      });
    default:
      throw new TypeError(`Cannot read ${what} as int32: its dtype is ${dtype}`);
  }
}

/** The same bytes filling a buffer of their own, as typed arrays need. */
function aligned(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return bytes.byteOffset === 0 && bytes.buffer.byteLength === bytes.byteLength ? bytes : bytes.slice();
}

/**
 * Writes tensors as one safetensors file. The same tensors and metadata give the same bytes, whatever their order.
 *
 * @throws {TypeError} If a tensor's data does not have the size of its dtype and shape.
 */
export function writeSafetensors(
  tensors: ReadonlyMap<string, TensorData>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const { header, order, dataSize } = layOut(tensors, metadata);
  const file = new Uint8Array(header.length + dataSize);
  file.set(header);
  let offset = header.length;
  for (const tensor of order) {
    const bytes = checkedBytes(tensor, tensors.get(tensor)!, tensors.get(tensor)!.data);
    file.set(bytes, offset);
    offset += bytes.length;
  }
  return file;
}

/**
 * Writes a safetensors file as a stream: the header, then each tensor, whose data is asked for when its turn comes.
 *
 * @param specs What will be written.
 * @param options `readData` gives a tensor's elements; `metadata` is stored beside them.
 * @throws {TypeError} If the data of a tensor does not have the size of its dtype and shape.
 */
export async function* streamSafetensors(
  specs: ReadonlyMap<string, TensorSpec>,
  options: {
    readData: (
      tensor: string,
    ) => ArrayBufferView<ArrayBufferLike> | Promise<ArrayBufferView<ArrayBufferLike>>;
    metadata?: Readonly<Record<string, string>>;
  },
): AsyncGenerator<Uint8Array> {
  const { header, order } = layOut(specs, options.metadata ?? {});
  yield header;
  for (const tensor of order) {
    yield checkedBytes(tensor, specs.get(tensor)!, await options.readData(tensor));
  }
}

/** Header bytes and the order of the data: widest dtype first, so that all are aligned, then by name. */
function layOut(
  specs: ReadonlyMap<string, TensorSpec>,
  metadata: Readonly<Record<string, string>>,
): { header: Uint8Array<ArrayBuffer>; order: string[]; dataSize: number } {
  if (specs.has("__metadata__")) {
    throw new TypeError(`Cannot write safetensors: "__metadata__" cannot be the name of a tensor`);
  }
  const width = (tensor: string) => DTYPE_BYTES[specs.get(tensor)!.dtype];
  const order = [...specs.keys()].sort().sort((a, b) => width(b) - width(a));
  let offset = 0;
  const fields: [string, unknown][] = [];
  const pairs = Object.entries(metadata).sort(([a], [b]) => a < b ? -1 : 1);
  if (pairs.length > 0) fields.push(["__metadata__", Object.fromEntries(pairs)]);
  for (const tensor of order) {
    const { dtype, shape } = specs.get(tensor)!;
    const end = offset + elementCount(shape) * width(tensor);
    fields.push([tensor, { dtype, shape, data_offsets: [offset, end] }]);
    offset = end;
  }
  // Written field by field: an object would move names that look like numbers to the front.
  const json = `{${
    fields.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")
  }}`;
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  const header = new Uint8Array(8 + length).fill(0x20, 8); // spaces up to a multiple of 8
  new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
  header.set(text, 8);
  return { header, order, dataSize: offset };
}

function checkedBytes(
  tensor: string,
  { dtype, shape }: TensorSpec,
  data: ArrayBufferView<ArrayBufferLike>,
): Uint8Array {
  const wanted = elementCount(shape) * DTYPE_BYTES[dtype];
  if (data.byteLength !== wanted) {
    throw new TypeError(
      `Cannot write tensor "${tensor}": found ${data.byteLength} bytes, ` +
        `expected ${wanted} for ${dtype} ${describeShape(shape)}`,
    );
  }
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}
