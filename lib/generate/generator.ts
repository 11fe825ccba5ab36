/**
 * Captions from images with kernels: prefill and decoding plans with a key/value cache on the GPU.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { PlanGroup } from "../gpu/plan_group.ts";
import { Recorder } from "../gpu/recorder.ts";
import { copyTensor, readTensors, Tensor, writeTensor } from "../gpu/tensor.ts";
import { prefixTokens } from "../models/captioner.ts";
import type { Candidates, Hypothesis } from "./beam_search.ts";
import {
  allocateTensors,
  checkGeneratorOptions,
  type GeneratorOptions,
  type GeneratorTensors,
  type Outputs,
  recordDecode,
  recordPrefill,
  tensorsOfGenerator,
} from "./generator_plans.ts";
import { searchCaptions, type SearchOptions } from "./search.ts";
import type { Scores, Stepper, StepRows } from "./stepper.ts";

export type { GeneratorOptions } from "./generator_plans.ts";
export type { SearchOptions } from "./search.ts";

/** Where the keys and values of every row lie: the past of beams is shared, not copied. */
interface RowState {
  /** Slot of every position of every row, [B·K, P + maxNewTokens]. */
  table: Uint32Array<ArrayBuffer>;
  /** Tokens generated so far. */
  tokens: number;
}

/** A decoding step that was run before it was asked for. */
interface Ahead {
  /** The rows without it. */
  before: RowState;
  /** The token that it continued every row by; `undefined` until it has come back. */
  ids: Uint32Array | undefined;
}

/** A captioner ready to generate: plans for one batch shape. */
export class CaptionGenerator implements Stepper {
  readonly #gpu: Gpu;
  readonly #options: GeneratorOptions;
  readonly #group: PlanGroup<"prefill" | "decode">;
  readonly #tensors: GeneratorTensors;
  #rows: RowState | undefined;
  #ahead: Ahead | undefined;
  /** Plans run so far: the outputs are of the last one. */
  #runs = 0;

  private constructor(
    gpu: Gpu,
    options: GeneratorOptions,
    parts: { group: PlanGroup<"prefill" | "decode">; tensors: GeneratorTensors },
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#group = parts.group;
    this.#tensors = parts.tensors;
  }

  /**
   * Allocates the cache, records and compiles both plans.
   *
   * @throws {RangeError} when a count is not positive, or captions would be longer than the decoder has positions
   * @throws {DeviceError} when the memory is refused
   */
  static async create(gpu: Gpu, options: GeneratorOptions): Promise<CaptionGenerator> {
    const generator = CaptionGenerator.record(gpu, options);
    await generator.compile();
    return generator;
  }

  /**
   * Allocates the cache and records both plans; {@linkcode CaptionGenerator.compile} makes them ready. What they will take is
   * known in between.
   *
   * @throws {RangeError} when a count is not positive, or captions would be longer than the rotary table
   */
  static record(gpu: Gpu, options: GeneratorOptions): CaptionGenerator {
    checkGeneratorOptions(options);
    const tensors = allocateTensors(gpu, options);
    const [prefill, decode] = [new Recorder(gpu), new Recorder(gpu)];
    const group = new PlanGroup(gpu, { prefill, decode }, tensorsOfGenerator(tensors));
    try {
      recordPrefill(prefill, options, tensors);
      recordDecode(decode, options, tensors);
    } catch (error) {
      group.destroy();
      throw error;
    }
    return new CaptionGenerator(gpu, options, { group, tensors });
  }

  /** Takes the memory and compiles. @throws {DeviceError} when the memory is refused */
  async compile(): Promise<void> {
    await this.#group.compile();
  }

  /** GPU memory of cache, inputs and activations in bytes; before {@linkcode CaptionGenerator.compile} what it will be. */
  get memoryBytes(): number {
    return this.#group.memoryBytes;
  }

  /** What is run once a caption: images to the first tokens. To be profiled and counted. */
  get prefillPlan(): Plan {
    return this.#group.plans.prefill;
  }

  /** The decoding step, to be profiled and counted. */
  get decodePlan(): Plan {
    return this.#group.plans.decode;
  }

  get batchSize(): number {
    return this.#options.batchSize;
  }

  get numBeams(): number {
    return this.#options.numBeams;
  }

  get maxNewTokens(): number {
    return this.#options.maxNewTokens;
  }

  /**
   * Captions `count` images: their features [count, P, Dv] or pixelValues [count, 3, I, I]. Gives each image's hypotheses,
   * best first.
   */
  async generate(
    images: Float32Array,
    count: number,
    options: SearchOptions,
  ): Promise<(readonly Hypothesis[])[]> {
    return await searchCaptions(this, images, { ...options, count });
  }

  prefill(images: Float32Array, count: number): Promise<Scores> {
    const { batchSize, numBeams, maxNewTokens, config } = this.#options;
    const t = this.#tensors;
    const rowSize = t.images.size / batchSize;
    if (count < 1 || count > batchSize || images.length !== count * rowSize) {
      throw new TypeError(
        `Cannot caption ${count} images from ${images.length} values; expected 1 to ${batchSize} images of ${rowSize} values`,
      );
    }
    const M = prefixTokens(config) + maxNewTokens;
    // The prefix of image b lies in the slot of its first beam; new positions in each row's own slot.
    const table = Uint32Array.from({ length: batchSize * numBeams * M }, (_, i) => {
      const row = Math.floor(i / M);
      return row - row % numBeams;
    });
    this.#rows = { table, tokens: 0 };
    this.#ahead = undefined;
    writeTensor(this.#gpu, t.images, images);
    this.prefillPlan.run();
    this.#runs++;
    return Promise.resolve(this.#scores(t.prefill));
  }

  step({ tokens, parents, live }: StepRows): Promise<Scores> {
    const ahead = this.#ahead;
    this.#ahead = undefined;
    if (ahead !== undefined) {
      const isAsked = live.every((goesOn, row) =>
        !goesOn || (tokens[row] === ahead.ids?.[row] && parents[row] === row)
      );
      if (isAsked) return Promise.resolve(this.#scores(this.#tensors.decode));
      // What ran ahead lies at the position that is written next.
      this.#rows = ahead.before;
    }
    this.#run(tokens, parents);
    return Promise.resolve(this.#scores(this.#tensors.decode));
  }

  /** Runs the decoding step; `tokens` may lie on the GPU, one a row. */
  #run(tokens: Uint32Array | Tensor, parents: Uint32Array): void {
    const rows = this.#rows;
    if (rows === undefined) throw new TypeError("Cannot continue captions: none was begun");
    const { config, maxNewTokens } = this.#options;
    const t = this.#tensors;
    const P = prefixTokens(config);
    const M = P + maxNewTokens;
    const position = P + rows.tokens;
    const table = new Uint32Array(rows.table.length);
    for (const [row, from] of parents.entries()) {
      table.set(rows.table.subarray(from * M, (from + 1) * M), row * M);
      table[row * M + position] = row;
    }
    this.#rows = { table, tokens: rows.tokens + 1 };
    const learned = config.decoder.positions;
    const all = (value: number): Uint32Array<ArrayBuffer> => new Uint32Array(parents.length).fill(value);
    if (tokens instanceof Tensor) copyTensor(this.#gpu, tokens, t.ids);
    else writeTensor(this.#gpu, t.ids, Uint32Array.from(tokens));
    for (
      const [tensor, data] of [
        [t.table, table],
        [t.lengths, all(position + 1)],
        [t.positions, all(position)],
        [t.positionRows, all(position + (learned.type === "learned" ? learned.offset : 0))],
      ] as const
    ) {
      writeTensor(this.#gpu, tensor, data);
    }
    this.decodePlan.run();
    this.#runs++;
  }

  #scores(outputs: Outputs): Scores {
    const run = this.#runs;
    const requireLatest = (): void => {
      if (run !== this.#runs) {
        throw new TypeError("Cannot read scores: the decoder has gone on; read them once, in time");
      }
    };
    return {
      candidates: async () => {
        requireLatest();
        const reading = this.#readTopK(outputs);
        // The way back takes 10 ms in Deno, in which the GPU would wait: greedy search is sure to ask for the likeliest token next.
        const ahead = this.#runAhead(outputs);
        const candidates = await reading;
        if (ahead !== undefined) ahead.ids = Uint32Array.from(candidates, ({ ids }) => ids[0]!);
        return candidates;
      },
      logits: async () => {
        requireLatest();
        const [bytes] = await readTensors(this.#gpu, [outputs.logits]);
        this.#gpu.check();
        const all = new Float32Array(bytes!.buffer);
        const V = this.#options.config.decoder.vocabSize;
        return Array.from({ length: all.length / V }, (_, row) => all.slice(row * V, (row + 1) * V));
      },
    };
  }

  /** Runs the next step of a greedy search before its tokens have come back; none after the last. */
  #runAhead(outputs: Outputs): Ahead | undefined {
    const { numBeams, maxNewTokens } = this.#options;
    const before = this.#rows!;
    if (numBeams > 1 || before.tokens + 1 >= maxNewTokens) return undefined;
    this.#run(outputs.ids, Uint32Array.from({ length: outputs.ids.size }, (_, row) => row));
    return this.#ahead = { before, ids: undefined };
  }

  async #readTopK({ values, ids }: Outputs): Promise<Candidates[]> {
    const [valueBytes, idBytes] = await readTensors(this.#gpu, [values, ids]);
    this.#gpu.check();
    const [allValues, allIds] = [new Float32Array(valueBytes!.buffer), new Uint32Array(idBytes!.buffer)];
    const k = values.dim(1);
    return Array.from({ length: values.dim(0) }, (_, row) => ({
      ids: allIds.subarray(row * k, (row + 1) * k),
      logProbs: allValues.subarray(row * k, (row + 1) * k),
    }));
  }

  /** Frees cache, plans and activations; the weights stay the caller's. */
  destroy(): void {
    this.#group.destroy();
  }
}
