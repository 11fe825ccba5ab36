/**
 * The trainable tensors of a model, laid out so that the optimizer sees four flat arrays.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import {
  createTensor,
  destroyTensor,
  readTensors,
  type Storage,
  Tensor,
  writeTensor,
} from "../gpu/tensor.ts";
import type { FlatParameters } from "../ops/adamw.ts";

/** Floats to which a tensor's start is aligned: 256 bytes, what any adapter asks of a binding. */
const ALIGNMENT = 64;

/** A trainable tensor and its first value. */
export interface ParameterInit {
  /** Unique name, as in checkpoints. */
  name: string;
  /** Row-major dimensions. */
  shape: readonly number[];
  /** Values, as many as the shape says. */
  data: Float32Array;
}

/** Tensors that share learning rate and weight decay. */
export interface ParameterGroup {
  /** Unique name of the group. */
  name: string;
  /** Decoupled weight decay of AdamW. */
  weightDecay: number;
  /** The group's tensors, at least one. */
  tensors: readonly ParameterInit[];
}

/** Everything that a step of the optimizer changes, by tensor name, exactly. */
export interface ParameterState {
  /** Values. */
  values: Map<string, Float32Array<ArrayBuffer>>;
  /** First moments. */
  m: Map<string, Float32Array<ArrayBuffer>>;
  /** Second moments. */
  v: Map<string, Float32Array<ArrayBuffer>>;
}

interface Entry {
  tensor: Tensor;
  group: string;
  /** First float in the flat tensors. */
  start: number;
}

/** Named trainable tensors in groups, with gradients and both moments of AdamW (zero at first). */
export class ParameterSet implements FlatParameters {
  /** Values, f32 [size]; padding between tensors stays zero. */
  readonly values: Tensor;
  /** Gradients, f32 [size]. */
  readonly grads: Tensor;
  /** First moments, f32 [size]. */
  readonly m: Tensor;
  /** Second moments, f32 [size]. */
  readonly v: Tensor;
  /** Groups as ranges of the flat tensors, in order. */
  readonly groups: readonly { name: string; weightDecay: number; start: number; size: number }[];
  readonly #gpu: Gpu;
  readonly #entries = new Map<string, Entry>();

  /**
   * Allocates four arrays of all trainable scalars and uploads the values.
   *
   * @throws {TypeError} when there is no tensor, a name occurs twice, or data does not fill its shape
   * @throws {RangeError} when the scalars do not fit one buffer of the adapter
   */
  constructor(gpu: Gpu, groups: readonly ParameterGroup[]) {
    this.#gpu = gpu;
    const { ranges, starts, size } = layOut(groups);
    this.groups = ranges;
    const flat = (label: string): Tensor => createTensor(gpu, [size], { label });
    this.values = flat("parameters");
    this.grads = flat("gradients");
    this.m = flat("first moments");
    this.v = flat("second moments");
    for (const group of groups) {
      for (const { name, shape, data } of group.tensors) {
        const start = starts.get(name)!;
        const tensor = windowOf(this.values, name, { shape, start });
        tensor.storage.requiresGrad = true;
        tensor.storage.grad = windowOf(this.grads, `d ${name}`, { shape, start });
        writeTensor(gpu, tensor, data);
        this.#entries.set(name, { tensor, group: group.name, start });
      }
    }
  }

  /** Names in order. */
  get names(): string[] {
    return [...this.#entries.keys()];
  }

  /** A trainable tensor. @throws {RangeError} when there is none of that name */
  get(name: string): Tensor {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw new RangeError(`There is no trainable tensor "${name}"`);
    return entry.tensor;
  }

  /** Whether there is a trainable tensor of that name. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** Number of trainable scalars, of all groups or of one. */
  count(group?: string): number {
    let sum = 0;
    for (const entry of this.#entries.values()) {
      if (group === undefined || entry.group === group) sum += entry.tensor.size;
    }
    return sum;
  }

  /** Bytes of GPU memory: values, gradients and moments. */
  get memoryBytes(): number {
    return 4 * this.values.storage.sizeBytes;
  }

  /** Values by name. Waits for the GPU. */
  async read(): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    return await this.#read(this.values);
  }

  /** Gradients by name. Waits for the GPU. */
  async readGradients(): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    return await this.#read(this.grads);
  }

  /** Values and moments, for a checkpoint. Waits for the GPU. */
  async readState(): Promise<ParameterState> {
    return {
      values: await this.#read(this.values),
      m: await this.#read(this.m),
      v: await this.#read(this.v),
    };
  }

  /** Replaces all values. @throws {TypeError} when a tensor is missing, unknown or of another size */
  write(values: ReadonlyMap<string, Float32Array>): void {
    this.#check(values, "values");
    this.#write(this.values, values);
  }

  /**
   * Replaces values and moments and sets gradients to zero: what a resumed run starts from.
   *
   * @throws {TypeError} when a tensor is missing, unknown or of another size
   */
  writeState(state: ParameterState): void {
    const parts = [["values", this.values], ["m", this.m], ["v", this.v]] as const;
    for (const [part] of parts) this.#check(state[part], part);
    for (const [part, flat] of parts) this.#write(flat, state[part]);
    const encoder = this.#gpu.device.createCommandEncoder();
    encoder.clearBuffer(this.grads.storage.buffer!);
    this.#gpu.device.queue.submit([encoder.finish()]);
  }

  /** Frees all four arrays. */
  destroy(): void {
    for (const tensor of [this.values, this.grads, this.m, this.v]) destroyTensor(tensor);
    for (const { tensor } of this.#entries.values()) {
      tensor.storage.buffer = undefined;
      tensor.storage.grad!.storage.buffer = undefined;
    }
  }

  async #read(flat: Tensor): Promise<Map<string, Float32Array<ArrayBuffer>>> {
    const [bytes] = await readTensors(this.#gpu, [flat]);
    const all = new Float32Array(bytes!.buffer);
    const parts = new Map<string, Float32Array<ArrayBuffer>>();
    for (const [name, { start, tensor }] of this.#entries) {
      parts.set(name, all.slice(start, start + tensor.size));
    }
    return parts;
  }

  #write(flat: Tensor, values: ReadonlyMap<string, Float32Array>): void {
    for (const [name, { start, tensor }] of this.#entries) {
      writeTensor(this.#gpu, windowOf(flat, name, { shape: tensor.shape, start }), values.get(name)!);
    }
  }

  #check(values: ReadonlyMap<string, Float32Array>, part: string): void {
    for (const [name, { tensor }] of this.#entries) {
      const found = values.get(name);
      if (found?.length === tensor.size) continue;
      const what = found === undefined ? "missing" : `${found.length} numbers`;
      throw new TypeError(
        `Cannot restore ${part} of "${name}": ${what}, expected ${tensor.size} for [${tensor.shape}]`,
      );
    }
    const extra = [...values.keys()].find((name) => !this.#entries.has(name));
    if (extra !== undefined) {
      throw new TypeError(`Cannot restore ${part} of "${extra}": there is no such trainable tensor`);
    }
  }
}

/**
 * Reads all gradients and names the first tensor that holds NaN or infinite numbers, with how many. For after a step
 * whose flag was set, which leaves the gradients as they were.
 */
export async function findNonFiniteGradient(
  set: ParameterSet,
): Promise<{ name: string; count: number } | undefined> {
  for (const [name, gradient] of await set.readGradients()) {
    const count = gradient.reduce((sum, g) => sum + (Number.isFinite(g) ? 0 : 1), 0);
    if (count > 0) return { name, count };
  }
  return undefined;
}

function layOut(groups: readonly ParameterGroup[]): {
  ranges: { name: string; weightDecay: number; start: number; size: number }[];
  starts: Map<string, number>;
  size: number;
} {
  const starts = new Map<string, number>();
  const ranges: { name: string; weightDecay: number; start: number; size: number }[] = [];
  let size = 0;
  for (const { name: group, weightDecay, tensors } of groups) {
    if (ranges.some(({ name }) => name === group) || tensors.length === 0) {
      throw new TypeError(
        `Cannot lay out group "${group}": ${
          tensors.length === 0 ? "it has no tensor" : "its name occurs twice"
        }`,
      );
    }
    const start = size;
    for (const { name, shape, data } of tensors) {
      const wanted = shape.reduce((product, n) => product * n, 1);
      if (starts.has(name)) throw new TypeError(`Cannot lay out "${name}": the name occurs twice`);
      if (data.length !== wanted || wanted === 0) {
        throw new TypeError(
          `Cannot lay out "${name}": found ${data.length} numbers, expected ${wanted} for [${shape}]`,
        );
      }
      starts.set(name, size);
      size += Math.ceil(wanted / ALIGNMENT) * ALIGNMENT;
    }
    ranges.push({ name: group, weightDecay, start, size: size - start });
  }
  if (size === 0) throw new TypeError("Cannot lay out parameters: nothing is trainable");
  return { ranges, starts, size };
}

/** A tensor of its own storage over a stretch of a flat one: gradients and liveness are per storage. */
function windowOf(
  flat: Tensor,
  label: string,
  { shape, start }: { shape: readonly number[]; start: number },
): Tensor {
  const size = shape.reduce((product, n) => product * n, 1);
  const storage: Storage = { label, sizeBytes: size * 4, buffer: flat.storage.buffer };
  return new Tensor(storage, shape, "f32", start * 4);
}
