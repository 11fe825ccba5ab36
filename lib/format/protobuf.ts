/**
 * Protocol Buffers on the wire, writing only: what TensorBoard events and ONNX graphs need.
 *
 * Source: https://protobuf.dev/programming-guides/encoding/
 *
 * @module
 */

import { joinBytes } from "../base/bytes.ts";

const VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5;

/**
 * Writes the fields of one message in the order of the calls. Every field is written, zero or not; leave out what should
 * have its default.
 *
 * @example
 * ```ts ignore
 * const bytes = new ProtobufWriter().string(1, "loss").message(2, (inner) => inner.float(1, 0.5)).finish();
 * ```
 */
export class ProtobufWriter {
  readonly #chunks: Uint8Array[] = [];
  #sizeBytes = 0;

  /** An int32, int64, uint32, uint64, bool or enum field. A negative value takes 10 bytes, as in protobuf. */
  varint(field: number, value: number | bigint): this {
    return this.#tag(field, VARINT).#append(encodeVarint(value));
  }

  /** A float field. */
  float(field: number, value: number): this {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setFloat32(0, value, true);
    return this.#tag(field, FIXED32).#append(bytes);
  }

  /** A double field. */
  double(field: number, value: number): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setFloat64(0, value, true);
    return this.#tag(field, FIXED64).#append(bytes);
  }

  /** A string field, UTF-8. */
  string(field: number, value: string): this {
    return this.bytes(field, new TextEncoder().encode(value));
  }

  /** A bytes field. The bytes are copied by {@linkcode finish}, not here. */
  bytes(field: number, value: Uint8Array): this {
    return this.#tag(field, DELIMITED).#append(encodeVarint(value.length)).#append(value);
  }

  /** Tag and length of a bytes, string or message field whose `length` bytes are written elsewhere, right after this writer's. */
  header(field: number, length: number): this {
    return this.#tag(field, DELIMITED).#append(encodeVarint(length));
  }

  /** Bytes so far. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** A nested message, whose fields `write` writes. */
  message(field: number, write: (inner: ProtobufWriter) => void): this {
    const inner = new ProtobufWriter();
    write(inner);
    this.#tag(field, DELIMITED).#append(encodeVarint(inner.#sizeBytes));
    for (const chunk of inner.#chunks) this.#append(chunk);
    return this;
  }

  /** A packed repeated integer field. */
  packedVarints(field: number, values: Iterable<number | bigint>): this {
    const inner = new ProtobufWriter();
    for (const value of values) inner.#append(encodeVarint(value));
    return this.bytes(field, inner.finish());
  }

  /** A packed repeated float field. */
  packedFloats(field: number, values: Iterable<number>): this {
    const floats = Float32Array.from(values);
    const bytes = new Uint8Array(floats.length * 4);
    const view = new DataView(bytes.buffer);
    floats.forEach((value, i) => view.setFloat32(i * 4, value, true));
    return this.bytes(field, bytes);
  }

  /** The message's bytes. */
  finish(): Uint8Array<ArrayBuffer> {
    return joinBytes(this.#chunks);
  }

  #tag(field: number, wireType: number): this {
    if (!Number.isInteger(field) || field < 1 || field > 0x1fffffff) {
      throw new RangeError(`Cannot write protobuf field ${field}: expected a number from 1 to 536870911`);
    }
    return this.#append(encodeVarint(field * 8 + wireType));
  }

  #append(chunk: Uint8Array): this {
    this.#chunks.push(chunk);
    this.#sizeBytes += chunk.length;
    return this;
  }
}

function encodeVarint(value: number | bigint): Uint8Array {
  if (typeof value === "number" && !Number.isSafeInteger(value)) {
    throw new RangeError(`Cannot write ${value} as a protobuf integer: it is not a whole number below 2^53`);
  }
  let rest = BigInt.asUintN(64, BigInt(value));
  const bytes: number[] = [];
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}
