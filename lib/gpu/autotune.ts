/**
 * Which of several kernels computes a problem fastest on a device: choices by key, remembered between runs.
 *
 * @module
 */

import type { Gpu } from "./device.ts";

/** A kernel of an op and the values of its head constants. */
export interface Choice {
  /** The op's own name of the kernel. */
  kernel: string;
  /** Head constants that differ from the kernel's text. */
  constants: Record<string, number>;
}

/** Where choices are kept between runs: a file, or a browser's storage. */
export interface TuningStore {
  /** The text that was saved last, `undefined` when there is none. */
  load(): Promise<string | undefined>;
  /** Keeps a text. */
  save(text: string): Promise<void>;
}

const attached = new WeakMap<Gpu, Map<string, Choice>>();

/** The choice measured for `key` on this device, `undefined` where nothing was measured. */
export function tunedChoice(gpu: Gpu, key: string): Choice | undefined {
  return attached.get(gpu)?.get(key);
}

/** Measured choices of one device. What it learns holds for everything recorded on the device from then on. */
export class Autotuner {
  readonly #choices: Map<string, Choice>;
  readonly #device: string;

  /**
   * Starts from what was measured on the device before, in this process.
   *
   * @param gpu the device
   * @param store where choices are kept; without one they end with the process
   */
  constructor(readonly gpu: Gpu, readonly store?: TuningStore) {
    const { vendor, device, description } = gpu.info;
    this.#device = `${vendor}|${device}|${description}`;
    this.#choices = attached.get(gpu) ?? new Map();
    attached.set(gpu, this.#choices);
  }

  /** Number of choices known for this device. */
  get size(): number {
    return this.#choices.size;
  }

  /**
   * Takes over the choices saved for this device. Returns how many.
   *
   * @throws {SyntaxError} when the saved text is not a table of choices
   */
  async load(): Promise<number> {
    const saved = parseTable(await this.store?.load())[this.#device] ?? {};
    for (const [key, choice] of Object.entries(saved)) this.#choices.set(key, choice);
    return Object.keys(saved).length;
  }

  /** Saves this device's choices beside those of other devices. */
  async save(): Promise<void> {
    if (this.store === undefined) return;
    const table = parseTable(await this.store.load());
    table[this.#device] = { ...table[this.#device], ...Object.fromEntries(this.#choices) };
    await this.store.save(JSON.stringify(table, undefined, 1) + "\n");
  }

  /** Forgets everything measured on this device, so that the shipped tables decide. */
  clear(): void {
    this.#choices.clear();
  }

  /**
   * Measures the candidates of `key` unless a choice is known, and remembers the fastest that is correct.
   *
   * @param key names the problem
   * @param options.candidates kernels to compare; the first is the one that would run untuned
   * @param options.isCorrect runs a candidate and compares its result with the plain kernel's
   * @param options.measureMs runs a candidate and returns its time
   */
  async choose(key: string, options: {
    candidates: readonly Choice[];
    isCorrect: (candidate: Choice) => Promise<boolean>;
    measureMs: (candidate: Choice) => Promise<number>;
  }): Promise<Choice | undefined> {
    const known = this.#choices.get(key);
    if (known !== undefined) return known;
    let best: Choice | undefined;
    let bestMs = Infinity;
    for (const candidate of options.candidates) {
      if (!await options.isCorrect(candidate)) continue;
      const milliseconds = await options.measureMs(candidate);
      if (milliseconds < bestMs) [best, bestMs] = [candidate, milliseconds];
    }
    if (best !== undefined) this.#choices.set(key, best);
    return best;
  }
}

type Table = Record<string, Record<string, Choice>>;

function parseTable(text: string | undefined): Table {
  if (text === undefined) return {};
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw new SyntaxError(`Cannot read tuned kernels: ${(error as Error).message}; delete the file`);
  }
  if (!isRecord(parsed)) {
    throw new SyntaxError("Cannot read tuned kernels: expected an object; delete the file");
  }
  for (const [device, choices] of Object.entries(parsed)) {
    const valid = isRecord(choices) &&
      Object.values(choices).every((choice) =>
        isRecord(choice) && typeof choice.kernel === "string" && isRecord(choice.constants) &&
        Object.values(choice.constants).every((n) => Number.isSafeInteger(n) && Number(n) >= 0)
      );
    if (!valid) {
      throw new SyntaxError(
        `Cannot read tuned kernels of "${device}": expected kernels by key; delete the file`,
      );
    }
  }
  return parsed as Table;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
