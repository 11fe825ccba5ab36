/**
 * Plans that belong together: what they will take is known before it is taken, and they share their memory.
 *
 * @module
 */

import { Arena } from "./arena.ts";
import type { Gpu } from "./device.ts";
import { layOutParameters, type Plan } from "./plan.ts";
import type { Recorder } from "./recorder.ts";
import { destroyTensor, type Tensor } from "./tensor.ts";

/** Recorded plans of one owner that never run at the same time, with the tensors that live between their runs. */
export class PlanGroup<K extends string> {
  readonly #gpu: Gpu;
  readonly #recorders: Readonly<Record<K, Recorder>>;
  readonly #tensors: readonly Tensor[];
  readonly #arena: Arena;
  #plans: Record<K, Plan> | undefined;

  /**
   * @param gpu where the plans will run
   * @param recorders what is compiled, in this order
   * @param tensors inputs, outputs and state with memory of their own; freed with the group
   */
  constructor(gpu: Gpu, recorders: Readonly<Record<K, Recorder>>, tensors: readonly Tensor[]) {
    this.#gpu = gpu;
    this.#recorders = recorders;
    this.#tensors = tensors;
    this.#arena = new Arena(gpu);
  }

  /** GPU memory of tensors, activations and parameters in bytes: what they take, before {@linkcode compile} what they will. */
  get memoryBytes(): number {
    const own = this.#tensors.reduce((sum, { storage }) => sum + storage.sizeBytes, 0);
    if (this.#plans !== undefined) {
      const plans = Object.values<Plan>(this.#plans);
      return plans.reduce((sum, plan) => sum + plan.parameterBytes, own + this.#arena.allocatedBytes);
    }
    const recorders = Object.values<Recorder>(this.#recorders);
    return recorders.reduce(
      (sum, { steps }) => sum + layOutParameters(this.#gpu, steps).sizeBytes,
      own + this.#arena.estimate(recorders),
    );
  }

  /**
   * Takes the memory and compiles. When that fails, everything is freed, the tensors too.
   *
   * @throws {RangeError} when a tensor is larger than any buffer of the adapter
   * @throws {DeviceError} when the adapter refuses the memory or a pipeline
   */
  async compile(): Promise<void> {
    const plans: Partial<Record<K, Plan>> = {};
    try {
      for (const [name, recorder] of Object.entries<Recorder>(this.#recorders)) {
        plans[name as K] = await recorder.compile(this.#arena);
      }
    } catch (error) {
      for (const plan of Object.values<Plan>(plans as Record<K, Plan>)) plan.destroy();
      this.destroy();
      throw error;
    }
    this.#plans = plans as Record<K, Plan>;
  }

  /** The plans by name. @throws {Error} before {@linkcode compile} */
  get plans(): Readonly<Record<K, Plan>> {
    if (this.#plans === undefined) throw new Error("Cannot run plans that are recorded but not compiled");
    return this.#plans;
  }

  /** Frees plans, activations and tensors. */
  destroy(): void {
    for (const plan of Object.values<Plan>(this.#plans ?? {})) plan.destroy();
    this.#plans = undefined;
    this.#arena.destroy();
    for (const tensor of this.#tensors) destroyTensor(tensor);
  }
}
