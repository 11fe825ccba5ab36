/**
 * A checkpoint about to be written: every tensor's name, type and shape, and how its numbers are made when its turn comes. Nothing is
 * held but the tensor under way.
 *
 * @module
 */

import { encodeBf16, encodeF16 } from "../base/half.ts";
import { elementCount } from "../base/shape.ts";
import { formatJson } from "../format/json.ts";
import {
  type Dtype,
  DTYPE_BYTES,
  requireTensor,
  streamSafetensors,
  type TensorSource,
  type TensorSpec,
} from "../format/safetensors.ts";

/** Precision of written weights; `keep` is each tensor's own. */
export type WrittenDtype = "keep" | "f32" | "f16" | "bf16";

const DTYPES: Record<Exclude<WrittenDtype, "keep">, Dtype> = { f32: "F32", f16: "F16", bf16: "BF16" };
const FLOATS: readonly Dtype[] = ["F64", "F32", "F16", "BF16"];

/** Largest file of a checkpoint, as Hugging Face splits them. */
const MAX_SHARD_BYTES = 5e9;

type Read = () => Promise<ArrayBufferView<ArrayBufferLike>>;

/** Tensors to be written. */
export class TensorPlan {
  readonly #specs = new Map<string, TensorSpec>();
  readonly #reads = new Map<string, Read>();

  /** Names, types and shapes so far. */
  get specs(): ReadonlyMap<string, TensorSpec> {
    return this.#specs;
  }

  /** Adds a tensor. @throws {RangeError} If its name is taken */
  add(name: string, spec: TensorSpec, read: Read): void {
    if (this.#specs.has(name)) throw new RangeError(`Cannot write "${name}" twice`);
    this.#specs.set(name, { dtype: spec.dtype, shape: [...spec.shape] });
    this.#reads.set(name, read);
  }

  /** Adds f32 numbers, rounded to `dtype`. */
  addF32(
    name: string,
    { shape, dtype }: TensorSpec,
    read: () => Float32Array<ArrayBufferLike> | Promise<Float32Array<ArrayBufferLike>>,
  ): void {
    this.add(name, { dtype, shape }, async () => roundTo(await read(), dtype));
  }

  /** Adds a tensor of a checkpoint under another name, in its own precision unless told. */
  copy(
    name: string,
    from: { source: TensorSource; stored: string; dtype?: WrittenDtype },
  ): void {
    const { source, stored, dtype = "keep" } = from;
    const spec = requireTensor(source.tensors, stored, source.name);
    const written = writtenDtype(spec.dtype, dtype);
    if (written === spec.dtype) this.add(name, spec, () => source.read(stored));
    else this.addF32(name, { dtype: written, shape: spec.shape }, () => source.readF32(stored));
  }

  /** A tensor's elements as they will be written. */
  async read(name: string): Promise<ArrayBufferView<ArrayBufferLike>> {
    requireTensor(this.#specs, name, "the checkpoint to be written");
    return await this.#reads.get(name)!();
  }

  /**
   * The checkpoint's files: `model.safetensors`, or where that would be larger than 5 GB numbered shards and their index.
   *
   * @param maxShardBytes for tests
   */
  files(maxShardBytes = MAX_SHARD_BYTES): Map<string, string | AsyncIterable<Uint8Array>> {
    const bytesOf = ({ dtype, shape }: TensorSpec): number => elementCount(shape) * DTYPE_BYTES[dtype];
    const shards: Map<string, TensorSpec>[] = [];
    let [room, total] = [0, 0];
    for (const [name, spec] of this.#specs) {
      const size = bytesOf(spec);
      if (shards.length === 0 || size > room) {
        shards.push(new Map());
        room = maxShardBytes;
      }
      shards.at(-1)!.set(name, spec);
      room -= size;
      total += size;
    }
    const stream = (specs: ReadonlyMap<string, TensorSpec>): AsyncIterable<Uint8Array> =>
      streamSafetensors(specs, { readData: (name) => this.read(name), metadata: { format: "pt" } });
    if (shards.length < 2) return new Map([["model.safetensors", stream(this.#specs)]]);
    const digits = (n: number): string => String(n).padStart(5, "0");
    const names = shards.map((_, i) => `model-${digits(i + 1)}-of-${digits(shards.length)}.safetensors`);
    const owners = shards.flatMap((shard, i) => [...shard.keys()].map((name) => [name, names[i]!] as const));
    const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(owners) };
    return new Map<string, string | AsyncIterable<Uint8Array>>([
      ...shards.map((shard, i) => [names[i]!, stream(shard)] as const),
      ["model.safetensors.index.json", formatJson(index)],
    ]);
  }
}

/** The type in which a tensor of type `own` is written: whole numbers keep theirs. */
export function writtenDtype(own: Dtype, wanted: WrittenDtype): Dtype {
  return wanted === "keep" || !FLOATS.includes(own) ? own : DTYPES[wanted];
}

/** Elements in `dtype`, rounded to nearest. @throws {TypeError} If it is not a float type of 16, 32 or 64 bits */
export function roundTo(
  values: Float32Array<ArrayBufferLike>,
  dtype: Dtype,
): ArrayBufferView<ArrayBufferLike> {
  switch (dtype) {
    case "F32":
      return values;
    case "BF16":
      return encodeBf16(values);
    case "F16":
      return encodeF16(values);
    case "F64":
      return Float64Array.from(values);
    default:
      throw new TypeError(`Cannot write numbers as ${dtype}: expected F64, F32, F16 or BF16`);
  }
}
