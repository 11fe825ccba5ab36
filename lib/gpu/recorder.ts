/**
 * Records a computation once: the dispatches of a forward pass and, from the list that the ops leave behind, of its
 * backward pass. There is no tape at run time: what is recorded becomes a {@linkcode Plan} that is replayed.
 *
 * @module
 */

import { Arena } from "./arena.ts";
import type { Gpu } from "./device.ts";
import type { Kernel, Overrides } from "./kernel.ts";
import { Plan } from "./plan.ts";
import { alignBytes, type DType, elementBytes, type Storage, Tensor } from "./tensor.ts";

/** One recorded command. */
export type Step =
  | {
    kind: "dispatch";
    label: string;
    kernel: Kernel;
    entry: string;
    overrides: Overrides;
    bind: Record<string, Tensor>;
    params: ArrayBuffer | undefined;
    workgroups: readonly [number, number, number];
    /** Floating-point operations, for rates; 0 where nobody asks. */
    flops: number;
  }
  | { kind: "copy"; label: string; from: Tensor; to: Tensor }
  | { kind: "clear"; label: string; tensor: Tensor };

/** What a dispatch needs beyond kernel and entry point. */
export interface DispatchOptions {
  /** Tensors by the kernel's variable names: exactly those the entry point uses. */
  bind: Record<string, Tensor>;
  /** Fields of the kernel's `Params`, all of them. */
  params?: Record<string, number | boolean>;
  /** Values of `override` constants. */
  overrides?: Overrides;
  /** Workgroup counts. */
  workgroups: readonly [number, number?, number?];
  /** Floating-point operations. @default {0} */
  flops?: number;
  /** Name in timings. @default {kernel.entry} */
  label?: string;
}

/** A gradient under way: the tensors that share it until one of them has to add. */
interface Gradient {
  tensor: Tensor;
  /** Tensors whose gradient it is; one that is never on the backward list keeps it from being changed. */
  owners: Set<Storage>;
}

/** Collects steps and gradients; see the module's first lines. */
export class Recorder {
  readonly steps: Step[] = [];
  readonly #kept = new Set<Storage>();
  readonly #backward: { output: Tensor; record: (dOutput: Tensor) => void }[] = [];
  readonly #gradients = new Map<Storage, Gradient>();
  readonly #done = new Set<Storage>();
  /** Elements of every tensor recorded here, to tell a window of it from the whole. */
  readonly #sizes = new Map<Storage, number>();

  /** @param gpu where the plan will run @param training false records no backward list */
  constructor(readonly gpu: Gpu, readonly training: boolean = false) {}

  /** A tensor whose memory is assigned when the plan is compiled and shared with others that live at other times. */
  tensor(shape: readonly number[], label: string, dtype: DType = "f32"): Tensor {
    const size = shape.reduce((product, n) => product * n, 1);
    const storage: Storage = { label, sizeBytes: alignBytes(size * elementBytes(dtype)), buffer: undefined };
    this.#sizes.set(storage, size);
    return new Tensor(storage, shape, dtype);
  }

  /** Keeps a tensor's contents after the plan has run, so that it can be read or used by another plan. */
  keep(tensor: Tensor): Tensor {
    this.#kept.add(tensor.storage);
    return tensor;
  }

  /** What {@linkcode keep} was called for. */
  get kept(): ReadonlySet<Storage> {
    return this.#kept;
  }

  /** Records one dispatch. */
  dispatch(kernel: Kernel, entry: string, options: DispatchOptions): void {
    const [x, y = 1, z = 1] = options.workgroups;
    const label = options.label ?? `${kernel.name}.${entry}`;
    const limit = this.gpu.device.limits.maxComputeWorkgroupsPerDimension;
    if (![x, y, z].every((n) => Number.isInteger(n) && n >= 1 && n <= limit)) {
      throw new RangeError(
        `Cannot record ${label}: workgroups ${x} x ${y} x ${z}, each must be 1 to ${limit}`,
      );
    }
    for (const [name, tensor] of Object.entries(options.bind)) {
      if (!kernel.bindings.has(name)) {
        throw new TypeError(`Cannot record ${label}: the kernel has no binding "${name}"`);
      }
      if (tensor.sizeBytes > this.gpu.maxBindingBytes) {
        throw new RangeError(
          `Cannot bind "${tensor.label}" [${tensor.shape}] to ${label}: ${tensor.sizeBytes} bytes, ` +
            `this adapter binds at most ${this.gpu.maxBindingBytes}; bind windows of its rows`,
        );
      }
    }
    const params = kernel.uniform === undefined ? undefined : kernel.packParams(options.params ?? {});
    const { bind, overrides = {}, flops = 0 } = options;
    this.steps.push({
      kind: "dispatch",
      label,
      kernel,
      entry,
      overrides,
      bind,
      params,
      workgroups: [x, y, z],
      flops,
    });
  }

  /** Records a copy of all elements. */
  copy(from: Tensor, to: Tensor): void {
    this.steps.push({ kind: "copy", label: "copy", from, to });
  }

  /** Records zeroing. */
  clear(tensor: Tensor): void {
    this.steps.push({ kind: "clear", label: "clear", tensor });
  }

  /**
   * Leaves the recorder of an op's backward. `output` requires a gradient exactly if one of `inputs` does; if none does,
   * nothing is left: frozen is expressed by absence.
   */
  onBackward(output: Tensor, inputs: readonly Tensor[], record: (dOutput: Tensor) => void): void {
    if (!this.training || !inputs.some((input) => input.requiresGrad)) return;
    output.storage.requiresGrad = true;
    this.#backward.push({ output, record });
  }

  /**
   * Calls `record` with where a gradient of `tensor` goes and whether to add to what is there (`true`) or to write
   * (`false`). Not called when no gradient is wanted.
   *
   * @throws {TypeError} when `tensor` is a window of a computed tensor's rows
   */
  accumulate(tensor: Tensor, record: (dTensor: Tensor, add: boolean) => void): void {
    const { storage } = tensor;
    if (!tensor.requiresGrad) return;
    if (storage.grad !== undefined) {
      // Values and gradients are laid out alike, so a window of the one is a window of the other.
      return record(new Tensor(storage.grad.storage, tensor.shape, "f32", tensor.offsetBytes), true);
    }
    this.#refuseWindow(tensor);
    const slot = this.#gradients.get(storage);
    if (slot === undefined) {
      const fresh = this.tensor(tensor.shape, `d ${tensor.label}`);
      this.#gradients.set(storage, { tensor: fresh, owners: new Set([storage]) });
      return record(fresh, false);
    }
    const waiting = [...slot.owners].some((owner) => owner !== storage && !this.#done.has(owner));
    if (!waiting) {
      // From here on it is no longer the gradient of those that had shared it.
      for (const owner of slot.owners) if (owner !== storage) this.#gradients.delete(owner);
      slot.owners = new Set([storage]);
      return record(slot.tensor.reshape(...tensor.shape), true);
    }
    // Somebody who shares this gradient has yet to read it: add to a copy.
    const own = this.tensor(tensor.shape, `d ${tensor.label}`);
    this.copy(slot.tensor, own);
    slot.owners.delete(storage);
    this.#gradients.set(storage, { tensor: own, owners: new Set([storage]) });
    record(own, true);
  }

  /**
   * Hands the gradient of `output` on to `input` unchanged (residual add, reshape), without a copy where possible.
   * `add` records dInput += dOutput and is called only when `input` has a gradient already.
   */
  passGradient(output: Tensor, input: Tensor, add: (dOutput: Tensor, dInput: Tensor) => void): void {
    if (!input.requiresGrad) return;
    if (input.grad === undefined) this.#refuseWindow(input);
    const slot = this.#gradients.get(output.storage)!;
    if (input.grad === undefined && !this.#gradients.has(input.storage)) {
      slot.owners.add(input.storage);
      this.#gradients.set(input.storage, slot);
    } else {
      this.accumulate(input, (dInput) => add(slot.tensor.reshape(...input.shape), dInput));
    }
  }

  /**
   * Gives `tensor` a gradient from outside the list (a loss kernel that writes its logits' gradient). A `gradient` with memory
   * of its own is only read, so that it serves every run.
   */
  seedGradient(tensor: Tensor, gradient: Tensor): void {
    const owners = new Set([tensor.storage]);
    if (gradient.storage.buffer !== undefined) owners.add(gradient.storage);
    this.#gradients.set(tensor.storage, { tensor: gradient, owners });
  }

  /** Walks the list in reverse and records every backward whose output has a gradient. */
  backward(): void {
    for (const { output, record } of this.#backward.toReversed()) {
      const slot = this.#gradients.get(output.storage);
      if (slot !== undefined) record(slot.tensor.reshape(...output.shape));
      this.#done.add(output.storage);
    }
    this.#backward.length = 0;
  }

  /** A gradient is kept for whole tensors: a window's would have to be added into a part of it. */
  #refuseWindow(tensor: Tensor): void {
    const { storage } = tensor;
    if (tensor.size === (this.#sizes.get(storage) ?? tensor.size) && tensor.offsetBytes === 0) return;
    throw new TypeError(
      `Cannot record the gradient of rows [${tensor.shape}] of "${tensor.label}": it is computed, and gradients of ` +
        "computed tensors are whole; take the rows with an op",
    );
  }

  /**
   * The gradient recorded for a tensor, if any. A sum hands its gradient on to what it is the sum of; once that has been added
   * to, it is no longer the sum's, which then has none.
   */
  gradientOf(tensor: Tensor): Tensor | undefined {
    return tensor.grad ?? this.#gradients.get(tensor.storage)?.tensor;
  }

  /** Bytes of memory the plan will take beyond its inputs and parameters. */
  estimateBytes(): number {
    return new Arena(this.gpu).estimate([this]);
  }

  /**
   * Assigns memory, makes bind groups and compiles pipelines. When it fails, what it had allocated is freed.
   *
   * @param arena memory shared with other plans that never run at the same time
   * @throws {RangeError} when a tensor is larger than any buffer of the adapter
   * @throws {DeviceError} when the adapter refuses the memory or a pipeline
   */
  async compile(arena: Arena = new Arena(this.gpu)): Promise<Plan> {
    const undo = await arena.allocate(this.steps, this.#kept);
    try {
      return await Plan.create(this.gpu, this.steps, arena);
    } catch (error) {
      undo();
      throw error;
    }
  }
}
