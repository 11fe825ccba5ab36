/**
 * The weights of ONNX files, found without reading them: names, types, shapes, and where their elements lie. And a graph taken apart
 * from its weights, so that a runtime copies them once instead of three times.
 *
 * Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (messages and field numbers).
 *
 * @module
 */

import { joinBytes } from "../base/bytes.ts";
import { elementCount } from "../base/shape.ts";
import { type ByteSource, type FileFolder, readExactly } from "./byte_source.ts";
import { INLINE_BYTES, ONNX_TYPES, type OnnxType, writeExternal } from "./onnx.ts";
import { ProtobufWriter } from "./protobuf.ts";

/** A constant of a file. */
export interface StoredTensor {
  type: OnnxType;
  dims: readonly number[];
  /** Its elements, little-endian, in memory of the caller's own. */
  read(): Promise<Uint8Array<ArrayBuffer>>;
}

/** Fields of a message: numbers are read, what is longer is told by its place. */
interface Field {
  field: number;
  /** Where its tag begins. */
  from: number;
  /** Of a number; `undefined` for anything longer. */
  value: bigint | undefined;
  /** Of bytes, strings and messages. */
  start: number;
  end: number;
}

const VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5;
const GRAPH = 7, INITIALIZER = 5;
const DIMS = 1, TYPE = 2, NAME = 8, RAW = 9, EXTERNAL = 13;
/** Most constants of a file, and most bytes of what describes one. */
const MAX_TENSORS = 100_000;
const MAX_TEXT = 4096;
/** Bytes read at a time between weights. */
const WINDOW = 1 << 16;

/**
 * The constants of the graph at `path`, those in files beside it too.
 *
 * @throws {RangeError} when the file is not there
 * @throws {SyntaxError} when it is damaged, or its weights do not lie where it says
 */
export async function readOnnxTensors(
  folder: FileFolder,
  path: string,
): Promise<Map<string, StoredTensor>> {
  const source = await folder.open(path);
  if (source === undefined) {
    throw new RangeError(`Cannot read "${folder.name}/${path}": there is no such file`);
  }
  const parent = path.slice(0, path.lastIndexOf("/") + 1);
  const beside = new Map<string, ByteSource>();
  const openBeside = async (location: string): Promise<ByteSource> => {
    if (/[/\\]|^\.\.?$/.test(location)) throw broken(source, `weights in "${location}"`, "a file beside it");
    const found = beside.get(location) ?? await folder.open(parent + location);
    if (found === undefined) throw broken(source, `weights in "${location}"`, "that this file is there");
    beside.set(location, found);
    return found;
  };
  const tensors = new Map<string, StoredTensor>();
  const reader = new WindowedReader(source);
  let graphs = 0;
  for await (const graph of reader.fields(0, source.size)) {
    if (graph.field !== GRAPH) continue;
    graphs++;
    for await (const one of reader.fields(graph.start, graph.end)) {
      if (one.field !== INITIALIZER) continue;
      const { name, ...tensor } = await readTensor(reader, one, openBeside);
      if (tensors.size === MAX_TENSORS) {
        throw broken(source, "more weights", `at most ${MAX_TENSORS}`);
      }
      if (tensors.has(name)) throw broken(source, `two weights called "${name}"`, "one");
      tensors.set(name, tensor);
    }
  }
  if (graphs !== 1) throw broken(source, `${graphs} graphs`, "one, as an ONNX file has");
  return tensors;
}

/**
 * The graph of a whole file in memory, its larger weights said to lie in a file called `location`, which is the file as it was: nothing
 * of them is copied.
 *
 * @throws {SyntaxError} when the file is damaged
 */
export async function detachOnnxWeights(
  file: Uint8Array,
  location: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = new WindowedReader({
    name: location,
    size: file.length,
    read: (start, end) => Promise.resolve(file.slice(start, end)),
  });
  const pieces: Uint8Array[] = [];
  for await (const field of reader.fields(0, file.length)) {
    if (field.field !== GRAPH) {
      pieces.push(file.subarray(field.from, field.end));
      continue;
    }
    const graph: Uint8Array[] = [];
    for await (const one of reader.fields(field.start, field.end)) {
      const detached = one.field === INITIALIZER ? await detach(reader, one, { file, location }) : undefined;
      graph.push(detached ?? file.subarray(one.from, one.end));
    }
    const length = graph.reduce((sum, piece) => sum + piece.length, 0);
    pieces.push(new ProtobufWriter().header(GRAPH, length).finish(), ...graph);
  }
  return joinBytes(pieces);
}

/** A weight without its elements; `undefined` where it has none inside, or so few that shapes may be computed from them. */
async function detach(
  reader: WindowedReader,
  { start, end }: Field,
  { file, location }: { file: Uint8Array; location: string },
): Promise<Uint8Array | undefined> {
  const kept: Uint8Array[] = [];
  let raw: Field | undefined;
  for await (const field of reader.fields(start, end)) {
    if (field.field === RAW) raw = field;
    else kept.push(file.subarray(field.from, field.end));
  }
  if (raw === undefined || raw.end - raw.start <= INLINE_BYTES) return undefined;
  const place = new ProtobufWriter();
  writeExternal(place, { location, offset: raw.start, length: raw.end - raw.start });
  const tensor = joinBytes([...kept, place.finish()]);
  return joinBytes([new ProtobufWriter().header(INITIALIZER, tensor.length).finish(), tensor]);
}

async function readTensor(
  reader: WindowedReader,
  { start, end }: Field,
  openBeside: (location: string) => Promise<ByteSource>,
): Promise<StoredTensor & { name: string }> {
  const { source } = reader;
  const dims: number[] = [];
  const places: Record<string, string> = {};
  let [name, code] = ["", 0];
  let raw: Field | undefined;
  for await (const field of reader.fields(start, end)) {
    if (field.field === DIMS) dims.push(...await reader.integers(field));
    else if (field.field === TYPE) code = Number(field.value ?? 0);
    else if (field.field === NAME) name = await reader.text(field);
    else if (field.field === RAW) raw = field;
    else if (field.field === EXTERNAL) {
      const entry = { key: "", value: "" };
      for await (const part of reader.fields(field.start, field.end)) {
        if (part.field === 1) entry.key = await reader.text(part);
        if (part.field === 2) entry.value = await reader.text(part);
      }
      places[entry.key] = entry.value;
    }
  }
  const known = Object.entries(ONNX_TYPES).find(([, type]) => type.code === code);
  if (known === undefined) {
    throw broken(source, `type ${code} of "${name}"`, "numbers that this program writes");
  }
  const type = known[0] as OnnxType;
  const bytes = elementCount(dims) * known[1].bytes;
  let [place, from, length] = [source, raw?.start ?? 0, (raw?.end ?? 0) - (raw?.start ?? 0)];
  if (places.location !== undefined) {
    place = await openBeside(places.location);
    from = Number(places.offset ?? 0);
    length = Number(places.length ?? bytes);
  }
  const isInside = Number.isSafeInteger(from) && from >= 0 && from + length <= place.size;
  if (length !== bytes || !isInside) {
    throw broken(
      source,
      `"${name}" ${type} [${
        dims.join(", ")
      }] in ${length} bytes at ${from} of "${place.name}" (${place.size} bytes)`,
      `${bytes} bytes`,
    );
  }
  return { name, type, dims, read: () => readExactly(place, from, from + bytes) };
}

/** Walks messages of a source, of which it holds a window. */
class WindowedReader {
  readonly source: ByteSource;
  #window = new Uint8Array(0);
  #start = 0;

  constructor(source: ByteSource) {
    this.source = source;
  }

  /** The fields of the message at `start` to `end`. */
  async *fields(start: number, end: number): AsyncGenerator<Field> {
    for (let at = start; at < end;) {
      const from = at;
      const tag = await this.#varint(at, end);
      const field = Number(tag.value >> 3n);
      const wire = Number(tag.value & 7n);
      at = tag.next;
      if (wire === VARINT) {
        const { value, next } = await this.#varint(at, end);
        yield { field, from, value, start: at, end: next };
        at = next;
        continue;
      }
      let length = wire === FIXED64 ? 8 : wire === FIXED32 ? 4 : NaN;
      if (wire === DELIMITED) {
        const { value, next } = await this.#varint(at, end);
        [length, at] = [Number(value), next];
      }
      if (!(at + length <= end)) {
        throw broken(this.source, `a field ${field} that ends behind its message`, "an ONNX file");
      }
      yield { field, from, value: undefined, start: at, end: at + length };
      at += length;
    }
  }

  /** A repeated integer, packed or not. */
  async integers({ value, start, end }: Field): Promise<number[]> {
    if (value !== undefined) return [this.#size(value)];
    const found: number[] = [];
    for (let at = start; at < end;) {
      const one = await this.#varint(at, end);
      found.push(this.#size(one.value));
      at = one.next;
    }
    return found;
  }

  #size(value: bigint): number {
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(this.source, `a size of ${value}`, "less");
    return Number(value);
  }

  async text({ start, end }: Field): Promise<string> {
    if (end - start > MAX_TEXT) {
      throw broken(this.source, `a name of ${end - start} bytes`, `at most ${MAX_TEXT}`);
    }
    return new TextDecoder().decode(await readExactly(this.source, start, end));
  }

  async #varint(at: number, end: number): Promise<{ value: bigint; next: number }> {
    let value = 0n;
    for (let shift = 0n; shift < 64n; shift += 7n, at++) {
      if (at >= end) break;
      if (at < this.#start || at >= this.#start + this.#window.length) {
        this.#window = await readExactly(this.source, at, Math.min(at + WINDOW, this.source.size));
        this.#start = at;
      }
      const byte = this.#window[at - this.#start]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return { value, next: at + 1 };
    }
    throw broken(this.source, "a number that does not end", "an ONNX file");
  }
}

function broken(source: ByteSource, found: string, wanted: string): SyntaxError {
  return new SyntaxError(`Cannot read "${source.name}": found ${found}, expected ${wanted}`);
}
