/**
 * Memory with lifetimes: tensors of a plan that are never alive together share buffers.
 *
 * @module
 */

import { awaitDevice, DeviceError, type Gpu } from "./device.ts";
import type { Step } from "./recorder.ts";
import { createStorageBuffer, refuseOversized, type Storage } from "./tensor.ts";

interface Slab {
  sizeBytes: number;
  /** Step ranges during which the slab is taken. */
  taken: [first: number, last: number][];
  buffer: GPUBuffer | undefined;
}

/** Which slab every storage gets, and what all slabs take. */
export interface ArenaPlan {
  assigned: Map<Storage, Slab>;
  slabs: Slab[];
  totalBytes: number;
}

/** Tensors that a step touches. */
export function tensorsOf(step: Step): { storage: Storage }[] {
  if (step.kind === "dispatch") return Object.values(step.bind);
  return step.kind === "copy" ? [step.from, step.to] : [step.tensor];
}

/**
 * Buffers shared by the tensors of one or more plans that never run at the same time. Assignment is greedy by size
 * (largest first, into the first buffer that is free over the tensor's lifetime).
 *
 * Source: Pisarchyk and Lee 2020, arXiv:2001.03288, section 4 (greedy by size).
 */
export class Arena {
  #slabs: Slab[] = [];

  /** @param gpu where the memory lies */
  constructor(readonly gpu: Gpu) {}

  /** Bytes allocated so far. */
  get allocatedBytes(): number {
    return this.#slabs.reduce((sum, slab) => sum + (slab.buffer === undefined ? 0 : slab.sizeBytes), 0);
  }

  /** Assigns every storage without a buffer to a slab; allocates nothing. */
  plan(steps: readonly Step[], kept: ReadonlySet<Storage>): ArenaPlan {
    const lives = new Map<Storage, [number, number]>();
    for (const [i, step] of steps.entries()) {
      for (const { storage } of tensorsOf(step)) {
        if (storage.buffer !== undefined) continue;
        const life = lives.get(storage);
        if (life === undefined) lives.set(storage, [i, i]);
        else life[1] = i;
      }
    }
    const slabs = this.#slabs.map((slab) => ({ ...slab, taken: [...slab.taken] }));
    const assigned = new Map<Storage, Slab>();
    const bySize = [...lives].sort(([a], [b]) => b.sizeBytes - a.sizeBytes);
    for (const [storage, life] of bySize) {
      const isKept = kept.has(storage);
      // What is kept belongs to whoever reads it later, so no step of this or another plan may reuse its slab.
      const [first, last] = isKept ? [-Infinity, Infinity] : life;
      let slab = slabs.find((candidate) =>
        candidate.sizeBytes >= storage.sizeBytes && candidate.taken.every(([a, b]) => last < a || first > b)
      );
      if (slab === undefined) {
        slab = { sizeBytes: storage.sizeBytes, taken: [], buffer: undefined };
        slabs.push(slab);
      }
      slab.taken.push([first, last]);
      assigned.set(storage, slab);
    }
    return { assigned, slabs, totalBytes: slabs.reduce((sum, slab) => sum + slab.sizeBytes, 0) };
  }

  /** Bytes that it will have when plans of all these steps have been allocated, in this order; allocates nothing. */
  estimate(recorded: readonly { steps: readonly Step[]; kept: ReadonlySet<Storage> }[]): number {
    const later = new Arena(this.gpu);
    later.#slabs = this.#slabs;
    for (const { steps, kept } of recorded) {
      const { slabs } = later.plan(steps, kept);
      later.#slabs = slabs.map(releaseUnkept);
    }
    return later.#slabs.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  }

  /**
   * Assigns and allocates. Gives what undoes it, for a plan that fails afterwards: it frees what was new.
   *
   * @throws {RangeError} when a tensor is larger than any buffer of the adapter
   * @throws {DeviceError} when the adapter has not enough memory
   */
  async allocate(steps: readonly Step[], kept: ReadonlySet<Storage>): Promise<() => void> {
    const { assigned, slabs, totalBytes } = this.plan(steps, kept);
    for (const storage of assigned.keys()) refuseOversized(this.gpu, storage);
    const before = this.#slabs;
    const undo = (): void => {
      for (const slab of slabs) {
        if (!before.some((old) => old.buffer === slab.buffer)) slab.buffer?.destroy();
      }
      for (const storage of assigned.keys()) storage.buffer = undefined;
      this.#slabs = before;
    };
    const { device } = this.gpu;
    try {
      await awaitDevice(this.gpu, "allocate GPU memory", async () => {
        device.pushErrorScope("out-of-memory");
        for (const slab of slabs) slab.buffer ??= createStorageBuffer(this.gpu, slab.sizeBytes, "arena");
        const error = await device.popErrorScope();
        if (error === null) return;
        const megabytes = Math.ceil(totalBytes / 2 ** 20);
        throw new DeviceError(
          `Cannot allocate ${megabytes} MB of GPU memory: ${error.message}; use a smaller batch`,
        );
      });
    } catch (error) {
      undo();
      throw error;
    }
    for (const [storage, slab] of assigned) storage.buffer = slab.buffer;
    this.#slabs = slabs.map(releaseUnkept);
    return undo;
  }

  /** Frees every buffer. */
  destroy(): void {
    for (const slab of this.#slabs) slab.buffer?.destroy();
    this.#slabs = [];
  }
}

/** Another plan on an arena may take everything but what is kept. */
function releaseUnkept(slab: Slab): Slab {
  return { ...slab, taken: slab.taken.filter(([, last]) => last === Infinity) };
}
