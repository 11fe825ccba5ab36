/**
 * Named weights of a model: loaded from a checkpoint and frozen, or trainable.
 *
 * @module
 */

import { describeNames, describeShape, quote, suggest } from "../base/errors.ts";
import { findNonFinite } from "../format/checkpoint.ts";
import type { TensorSource } from "../format/safetensors.ts";
import type { Gpu } from "../gpu/device.ts";
import { destroyTensor, type DType, flushWrites, type Tensor, tensorFrom } from "../gpu/tensor.ts";

/** Where a model finds its weights. */
export interface WeightSource {
  /** The tensor called `name`. @throws {RangeError} when there is none */
  get(name: string): Tensor;
  /** Whether there is one. */
  has(name: string): boolean;
}

/** A tensor that a model needs. */
export interface WeightSpec {
  /** Name in the Hugging Face model that has a task head, such as `model.layers.0.self_attn.q_proj.weight`. */
  name: string;
  /** Shape as the model uses it. */
  shape: readonly number[];
  /** True when files hold the matrix the other way round, [in, out], as GPT-2's Conv1D does. @default {false} */
  transposed?: boolean;
}

/** A way in which names in a file differ from the model's: `from` at the beginning (or end) of a name stands there as `to`. */
export interface NameRoot {
  from: string;
  to: string;
}

/** What a checkpoint may hold beyond what a model needs, and why it is left out. */
export interface IgnoredTensors {
  pattern: RegExp;
  reason: string;
}

/** How a family's tensors are met in published files. */
export interface LoadWeightsOptions {
  /**
   * Other beginnings of names, for files saved with a wrapper around the model or without its task head. A name that does not
   * begin with `from` stands as it is. Of these and the plain names, those count with which most needed tensors are found.
   */
  roots?: readonly NameRoot[];
  /** Other ends of names, each for its tensor alone: `from` at the end of a name may stand there as `to`. */
  endings?: readonly NameRoot[];
  /** Tensors that may be there and are not needed. */
  ignore?: readonly IgnoredTensors[];
}

/** Frozen weights on the GPU, in the checkpoint's own precision (vectors widened to f32, exactly). */
export class FrozenWeights implements WeightSource {
  readonly #tensors: ReadonlyMap<string, Tensor>;
  readonly #name: string;

  /** @param name what errors call the weights @param tensors by name */
  constructor(name: string, tensors: ReadonlyMap<string, Tensor>) {
    this.#name = name;
    this.#tensors = tensors;
  }

  get(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new RangeError(`Cannot use "${this.#name}": it has no weight "${name}"`);
    return tensor;
  }

  has(name: string): boolean {
    return this.#tensors.has(name);
  }

  /** Bytes on the GPU. */
  get sizeBytes(): number {
    return [...this.#tensors.values()].reduce((sum, { storage }) => sum + storage.sizeBytes, 0);
  }

  /** Frees the memory. */
  destroy(): void {
    for (const tensor of this.#tensors.values()) destroyTensor(tensor);
  }
}

/** Looks in `first`, then in `second`. */
export function overlayWeights(first: WeightSource, second: WeightSource): WeightSource {
  return {
    get: (name) => first.has(name) ? first.get(name) : second.get(name),
    has: (name) => first.has(name) || second.has(name),
  };
}

/**
 * Names of the needed tensors in a file, by needed name.
 *
 * @throws {RangeError} If a tensor is missing, or one is there that is neither needed nor known to be dispensable.
 * @throws {TypeError} If one is misshapen.
 */
export function matchWeights(
  source: TensorSource,
  specs: readonly WeightSpec[],
  options: LoadWeightsOptions = {},
): Map<string, string> {
  const roots: NameRoot[] = [{ from: "", to: "" }, ...(options.roots ?? [])];
  const stored = (name: string, { from, to }: NameRoot): string => {
    const plain = name.startsWith(from) ? to + name.slice(from.length) : name;
    if (source.tensors.has(plain)) return plain;
    const others = (options.endings ?? []).filter((ending) => plain.endsWith(ending.from))
      .map((ending) => plain.slice(0, -ending.from.length) + ending.to);
    return others.find((other) => source.tensors.has(other)) ?? plain;
  };
  const has = (root: NameRoot): number =>
    specs.filter(({ name }) => source.tensors.has(stored(name, root))).length;
  const root = roots.reduce((best, candidate) => has(candidate) > has(best) ? candidate : best);
  const found = new Map<string, string>();
  const missing: string[] = [];
  for (const { name, shape, transposed = false } of specs) {
    const there = stored(name, root);
    const entry = source.tensors.get(there);
    if (entry === undefined) {
      missing.push(there);
      continue;
    }
    const wanted = transposed ? shape.toReversed() : shape;
    if (entry.shape.length !== shape.length || entry.shape.some((n, i) => n !== wanted[i])) {
      throw new TypeError(
        `Cannot load "${source.name}": tensor "${there}" has shape ${describeShape(entry.shape)}, ` +
          `expected ${describeShape(wanted)}`,
      );
    }
    found.set(name, there);
  }
  if (missing.length > 0) {
    const near = suggest(missing[0]!, source.tensors.keys());
    const hint = near === undefined ? "" : `; nearest to the first is ${quote(near)}`;
    throw new RangeError(
      `Cannot load "${source.name}": ${missing.length} of ${specs.length} tensors are missing, ` +
        `${describeNames(missing, 3)}${hint}`,
    );
  }
  const used = new Set(found.values());
  const extra = [...source.tensors.keys()].filter((name) =>
    !used.has(name) && !(options.ignore ?? []).some(({ pattern }) => pattern.test(name))
  );
  if (extra.length > 0) {
    throw new RangeError(
      `Cannot load "${source.name}": the model has no place for ${
        describeNames(extra, 3)
      }; is it another model's file?`,
    );
  }
  return found;
}

const PACKED: Partial<Record<string, DType>> = { BF16: "bf16", F16: "f16" };

/** Written bytes after which the GPU is waited for (10 ms in Deno), so that they are not held twice. */
const FLUSH_BYTES = 128 * 2 ** 20;

/**
 * Loads a model's frozen weights, one tensor at a time, so that little more than what is on the GPU is held. When it fails, what was loaded is freed.
 *
 * @throws {RangeError} As {@linkcode matchWeights}, if a weight is NaN or infinite, or larger than any buffer of the adapter.
 * @throws {DeviceError} If the adapter has not enough memory.
 */
export async function loadWeights(
  gpu: Gpu,
  source: TensorSource,
  specs: readonly WeightSpec[],
  options: LoadWeightsOptions = {},
): Promise<FrozenWeights> {
  const names = matchWeights(source, specs, options);
  const tensors = new Map<string, Tensor>();
  const weights = new FrozenWeights(source.name, tensors);
  let unflushed = 0;
  try {
    for (const { name, shape, transposed = false } of specs) {
      const stored = names.get(name)!;
      const packed = shape.length > 1 ? PACKED[source.tensors.get(stored)!.dtype] : undefined;
      if (packed === undefined) {
        const data = await source.readF32(stored);
        refuseNonFinite(source.name, stored, data);
        tensors.set(
          name,
          tensorFrom(gpu, transposed ? transpose(data, shape) : data, { shape, label: name }),
        );
      } else {
        const bytes = await source.read(stored);
        const problem = findNonFinite(bytes, packed === "bf16" ? "BF16" : "F16");
        if (problem !== undefined) throw nonFinite(source.name, stored, problem);
        // A view of somebody's larger buffer may start at an odd byte.
        const { buffer } = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
        const halves = new Uint16Array(buffer);
        const data = transposed ? transpose(halves, shape) : halves;
        tensors.set(name, tensorFrom(gpu, data, { shape, dtype: packed, label: name }));
      }
      gpu.check();
      unflushed += tensors.get(name)!.sizeBytes;
      if (unflushed < FLUSH_BYTES) continue;
      await flushWrites(gpu);
      unflushed = 0;
    }
    await flushWrites(gpu);
  } catch (error) {
    weights.destroy();
    throw error;
  }
  return weights;
}

/** A matrix of `shape` [rows, columns] from its transpose. */
export function transpose<T extends Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer>>(
  values: T,
  [rows, columns]: readonly number[],
): T {
  const result = new (values.constructor as new (length: number) => T)(values.length);
  for (let column = 0; column < columns!; column++) {
    for (let row = 0; row < rows!; row++) result[row * columns! + column] = values[column * rows! + row]!;
  }
  return result;
}

/** @throws {RangeError} If a value is NaN or infinite; names file and tensor. */
export function refuseNonFinite(file: string, tensor: string, values: Float32Array<ArrayBuffer>): void {
  const problem = findNonFinite(values, "F32");
  if (problem !== undefined) throw nonFinite(file, tensor, problem);
}

function nonFinite(file: string, tensor: string, problem: { count: number; firstIndex: number }): RangeError {
  return new RangeError(
    `Cannot load "${file}": tensor "${tensor}" has ${problem.count} values that are NaN or infinite, ` +
      `the first at element ${problem.firstIndex}`,
  );
}
