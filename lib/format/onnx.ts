/**
 * ONNX files, written: a graph's nodes and shapes, its weights streamed one at a time, inside the file or beside it.
 *
 * Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (messages and field numbers), IR version 8.
 *
 * @module
 */

import { elementCount } from "../base/shape.ts";
import { ProtobufWriter } from "./protobuf.ts";

/** `TensorProto.DataType`, as far as used. */
export const ONNX_TYPES = {
  float32: { code: 1, bytes: 4 },
  uint8: { code: 2, bytes: 1 },
  int8: { code: 3, bytes: 1 },
  int32: { code: 6, bytes: 4 },
  int64: { code: 7, bytes: 8 },
  bool: { code: 9, bytes: 1 },
  float16: { code: 10, bytes: 2 },
} as const;
/** Type of a tensor's elements. */
export type OnnxType = keyof typeof ONNX_TYPES;

/** A node's setting. */
export type OnnxAttribute = { int: number } | { float: number } | { string: string } | {
  ints: readonly number[];
};

/** An operation. */
export interface OnnxNode {
  op: string;
  /** `""` is ONNX's own. */
  domain: string;
  /** Names of values; `""` is an optional one left out. */
  inputs: readonly string[];
  outputs: readonly string[];
  attributes: Readonly<Record<string, OnnxAttribute>>;
}

/** An input or output: a size of a dimension, or a name for one that varies. */
export interface OnnxValue {
  name: string;
  type: OnnxType;
  dims: readonly (number | string)[];
}

/** A constant of the graph. */
export interface OnnxInitializer {
  name: string;
  type: OnnxType;
  dims: readonly number[];
  /** Its elements, little-endian. Called once for each file written. */
  read(): Promise<ArrayBufferView<ArrayBufferLike>>;
}

/** A graph. */
export interface OnnxGraph {
  name: string;
  nodes: readonly OnnxNode[];
  inputs: readonly OnnxValue[];
  outputs: readonly OnnxValue[];
  initializers: readonly OnnxInitializer[];
}

/** Options of {@linkcode onnxFiles}. */
export interface OnnxFileOptions {
  /** Versions of operator sets, by domain. */
  opsets: Readonly<Record<string, number>>;
  /** Program and version that made it. */
  producer: { name: string; version: string };
  /**
   * Largest graph whose weights lie inside the file. Protobuf readers take at most 2^31 - 1 bytes, and WebAssembly, which holds a file
   * three times while it is opened, little more than half of that. @default {1e9}
   */
  maxInlineBytes?: number;
  /** Largest file of weights beside it. @default {1.9e9} */
  maxChunkBytes?: number;
}

const IR_VERSION = 8;
/** Largest constant that always lies inside: readers look into shapes before they open other files. */
export const INLINE_BYTES = 1024;
/** Weights beside the file begin at whole pages, so that they can be mapped. */
const PAGE = 4096;

/**
 * The files of a graph: `name`, and where its weights are too large for it `name` + `_data`, `_data_1` and so on, which is what
 * transformers.js looks for.
 *
 * @throws {TypeError} While streaming, if an initializer has not the bytes that its type and shape call for
 */
export function onnxFiles(
  name: string,
  graph: OnnxGraph,
  options: OnnxFileOptions,
): Map<string, AsyncIterable<Uint8Array>> {
  const { maxInlineBytes = 1e9, maxChunkBytes = 1.9e9 } = options;
  const total = graph.initializers.reduce((sum, one) => sum + byteSize(one), 0);
  const base = name.slice(name.lastIndexOf("/") + 1);
  const chunks: OnnxInitializer[][] = [];
  const places = new Map<string, { location: string; offset: number }>();
  if (total > maxInlineBytes) {
    let end = 0;
    for (const one of graph.initializers) {
      const size = byteSize(one);
      if (size <= INLINE_BYTES) continue;
      let offset = Math.ceil(end / PAGE) * PAGE;
      if (chunks.length === 0 || offset + size > maxChunkBytes && offset > 0) {
        chunks.push([]);
        offset = 0;
      }
      chunks.at(-1)!.push(one);
      places.set(one.name, { location: chunkName(base, chunks.length - 1), offset });
      end = offset + size;
    }
  }
  return new Map([
    [name, streamModel(graph, options, places)],
    ...chunks.map((chunk, i) => [chunkName(name, i), streamChunk(chunk, places)] as const),
  ]);
}

const chunkName = (name: string, i: number): string => `${name}_data${i === 0 ? "" : `_${i}`}`;

/** Bytes of a constant. */
function byteSize({ type, dims }: OnnxInitializer): number {
  return elementCount(dims) * ONNX_TYPES[type].bytes;
}

async function* streamChunk(
  chunk: readonly OnnxInitializer[],
  places: ReadonlyMap<string, { offset: number }>,
): AsyncGenerator<Uint8Array> {
  let end = 0;
  for (const one of chunk) {
    const { offset } = places.get(one.name)!;
    if (offset > end) yield new Uint8Array(offset - end);
    yield await readChecked(one);
    end = offset + byteSize(one);
  }
}

async function* streamModel(
  graph: OnnxGraph,
  { opsets, producer }: OnnxFileOptions,
  places: ReadonlyMap<string, { location: string; offset: number }>,
): AsyncGenerator<Uint8Array> {
  const head = new ProtobufWriter();
  for (const node of graph.nodes) head.message(1, (w) => writeNode(w, node));
  head.string(2, graph.name);
  const tensors = graph.initializers.map((one) => {
    const place = places.get(one.name);
    const size = byteSize(one);
    const fields = new ProtobufWriter().packedVarints(1, one.dims).varint(2, ONNX_TYPES[one.type].code)
      .string(8, one.name);
    if (place === undefined) fields.header(9, size);
    else {
      writeExternal(fields, { ...place, length: size });
    }
    const length = fields.sizeBytes + (place === undefined ? size : 0);
    return {
      one,
      fields,
      inside: place === undefined,
      header: new ProtobufWriter().header(5, length),
      length,
    };
  });
  const tail = new ProtobufWriter();
  for (const value of graph.inputs) tail.message(11, (w) => writeValue(w, value));
  for (const value of graph.outputs) tail.message(12, (w) => writeValue(w, value));
  const middle = tensors.reduce((sum, { header, length }) => sum + header.sizeBytes + length, 0);
  yield new ProtobufWriter().varint(1, IR_VERSION).string(2, producer.name).string(3, producer.version)
    .header(7, head.sizeBytes + middle + tail.sizeBytes).finish();
  yield head.finish();
  for (const { one, fields, header, inside } of tensors) {
    yield header.finish();
    yield fields.finish();
    if (inside) yield await readChecked(one);
  }
  yield tail.finish();
  const end = new ProtobufWriter();
  for (const [domain, version] of Object.entries(opsets)) {
    end.message(8, (opset) => opset.string(1, domain).varint(2, version));
  }
  yield end.finish();
}

/** Fields of a tensor whose elements lie in another file. */
export function writeExternal(
  tensor: ProtobufWriter,
  place: { location: string; offset: number; length: number },
): void {
  for (const [key, value] of Object.entries(place)) {
    tensor.message(13, (entry) => entry.string(1, key).string(2, String(value)));
  }
  tensor.varint(14, 1); // EXTERNAL
}

async function readChecked(one: OnnxInitializer): Promise<Uint8Array> {
  const { buffer, byteOffset, byteLength } = await one.read();
  if (byteLength !== byteSize(one)) {
    throw new TypeError(
      `Cannot write "${one.name}": found ${byteLength} bytes, expected ${byteSize(one)} (${one.type} [${
        one.dims.join(", ")
      }])`,
    );
  }
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** `AttributeProto`: field of the value, and `AttributeType`. */
function writeAttribute(w: ProtobufWriter, name: string, value: OnnxAttribute): void {
  w.string(1, name);
  if ("int" in value) w.varint(3, value.int).varint(20, 2);
  else if ("float" in value) w.float(2, value.float).varint(20, 1);
  else if ("string" in value) w.string(4, value.string).varint(20, 3);
  else {
    for (const one of value.ints) w.varint(8, one);
    w.varint(20, 7);
  }
}

function writeNode(w: ProtobufWriter, node: OnnxNode): void {
  for (const input of node.inputs) w.string(1, input);
  for (const output of node.outputs) w.string(2, output);
  w.string(3, node.outputs[0]!).string(4, node.op);
  for (const [name, value] of Object.entries(node.attributes)) {
    w.message(5, (inner) => writeAttribute(inner, name, value));
  }
  if (node.domain !== "") w.string(7, node.domain);
}

function writeValue(w: ProtobufWriter, { name, type, dims }: OnnxValue): void {
  w.string(1, name).message(2, (any) =>
    any.message(1, (tensor) => {
      tensor.varint(1, ONNX_TYPES[type].code).message(2, (shape) => {
        for (const dim of dims) {
          shape.message(1, (d) => typeof dim === "number" ? d.varint(1, dim) : d.string(2, dim));
        }
      });
    }));
}
