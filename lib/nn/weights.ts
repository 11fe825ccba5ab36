/**
 * Named weights of a model: loaded from a checkpoint and frozen, or trainable.
 *
 * @module
 */

import { describeNames, describeShape, suggest } from "../base/errors.ts";
import { findNonFinite } from "../format/checkpoint.ts";
import type { TensorSource } from "../format/safetensors.ts";
import type { Gpu } from "../gpu/device.ts";
import { destroyTensor, type DType, type Tensor, tensorFrom } from "../gpu/tensor.ts";

/** Where a model finds its weights. */
export interface WeightSource {
  /** The tensor called `name`. @throws {RangeError} when there is none */
  get(name: string): Tensor;
  /** Whether there is one. */
  has(name: string): boolean;
}

/** A tensor that a model needs. */
export interface WeightSpec {
  /** Name in a Hugging Face checkpoint, without any task prefix. */
  name: string;
  shape: readonly number[];
}

/** What a checkpoint may hold beyond what a model needs, and why it is left out. */
export interface IgnoredTensors {
  pattern: RegExp;
  reason: string;
}

/** How a family's tensors are met in published files. */
export interface LoadWeightsOptions {
  /** Put before every name in some files, longest first; the first with which a needed tensor is found counts. */
  prefixes?: readonly string[];
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
    return [...this.#tensors.values()].reduce((sum, tensor) => sum + tensor.sizeBytes, 0);
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
  const prefixes = [...(options.prefixes ?? []), ""];
  const has = (prefix: string): number =>
    specs.filter(({ name }) => source.tensors.has(prefix + name)).length;
  const prefix = prefixes.reduce(
    (best, candidate) => has(candidate) > has(best) ? candidate : best,
    prefixes[0]!,
  );
  const found = new Map<string, string>();
  const missing: string[] = [];
  for (const { name, shape } of specs) {
    const entry = source.tensors.get(prefix + name);
    if (entry === undefined) {
      missing.push(prefix + name);
      continue;
    }
    if (entry.shape.length !== shape.length || entry.shape.some((n, i) => n !== shape[i])) {
      throw new TypeError(
        `Cannot load "${source.name}": tensor "${prefix + name}" has shape ${describeShape(entry.shape)}, ` +
          `expected ${describeShape(shape)}`,
      );
    }
    found.set(name, prefix + name);
  }
  if (missing.length > 0) {
    const near = suggest(missing[0]!, source.tensors.keys());
    const hint = near === undefined ? "" : `; nearest to the first is "${near}"`;
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

/**
 * Loads a model's frozen weights, one tensor at a time. When it fails, what was loaded is freed.
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
  try {
    for (const { name, shape } of specs) {
      const stored = names.get(name)!;
      const packed = shape.length > 1 ? PACKED[source.tensors.get(stored)!.dtype] : undefined;
      if (packed === undefined) {
        const data = await source.readF32(stored);
        refuseNonFinite(source.name, stored, data);
        tensors.set(name, tensorFrom(gpu, data, { shape, label: name }));
      } else {
        const bytes = await source.read(stored);
        const problem = findNonFinite(bytes, packed === "bf16" ? "BF16" : "F16");
        if (problem !== undefined) throw nonFinite(source.name, stored, problem);
        // A view of somebody's larger buffer may start at an odd byte.
        const { buffer } = bytes.byteLength === bytes.buffer.byteLength ? bytes : bytes.slice();
        tensors.set(name, tensorFrom(gpu, new Uint16Array(buffer), { shape, dtype: packed, label: name }));
      }
      gpu.check();
    }
  } catch (error) {
    weights.destroy();
    throw error;
  }
  return weights;
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
