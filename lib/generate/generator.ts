/**
 * Captions from images: prefill and decoding plans with a key/value cache on the GPU, searched by beams or sampled.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { PlanGroup } from "../gpu/plan_group.ts";
import { Recorder } from "../gpu/recorder.ts";
import { readTensors, writeTensor } from "../gpu/tensor.ts";
import { prefixTokens } from "../models/captioner.ts";
import { BeamSearch, type Candidates, type Hypothesis, type NextRow } from "./beam_search.ts";
import {
  allocateTensors,
  candidateCount,
  checkGeneratorOptions,
  type GeneratorOptions,
  type GeneratorTensors,
  type Outputs,
  recordDecode,
  recordPrefill,
  tensorsOfGenerator,
} from "./generator_plans.ts";
import { logSoftmax, penalizeRepetition, sampleToken, topCandidates } from "./sampling.ts";

export type { GeneratorOptions } from "./generator_plans.ts";

/** How one batch is searched. */
export interface SearchOptions {
  /** Tokens that end a caption. */
  eosIds: readonly number[];
  /** Above 0 samples at this temperature (one beam); 0 searches. @default {0} */
  temperature?: number;
  /** Nucleus of sampling. @default {1} */
  topP?: number;
  /**
   * Above 1 makes repeated tokens unlikelier. As in Hugging Face, greedy search and sampling penalise logits; beam search
   * penalises log-probabilities, which its scores then add up. @default {1}
   */
  repetitionPenalty?: number;
  /** Exponent of the length in a beam's score. @default {1} */
  lengthPenalty?: number;
  /** Seed of sampling. @default {42} */
  seed?: number;
}

/** One image's next tokens, whatever the method. */
interface Search {
  readonly done: boolean;
  step(rows: readonly Candidates[]): NextRow[];
  readonly results: readonly Hypothesis[];
}

/** A captioner ready to generate: plans for one batch shape. */
export class CaptionGenerator {
  readonly #gpu: Gpu;
  readonly #options: GeneratorOptions;
  readonly #group: PlanGroup<"prefill" | "decode">;
  readonly #tensors: GeneratorTensors;

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

  /**
   * Captions `count` images: their features [count, P, Dv] or pixelValues [count, 3, I, I]. Gives each image's hypotheses,
   * best first.
   */
  async generate(
    images: Float32Array,
    count: number,
    options: SearchOptions,
  ): Promise<(readonly Hypothesis[])[]> {
    const { batchSize, numBeams, maxNewTokens, config } = this.#options;
    const t = this.#tensors;
    const rowSize = t.images.size / batchSize;
    if (count < 1 || count > batchSize || images.length !== count * rowSize) {
      throw new TypeError(
        `Cannot caption ${count} images from ${images.length} values; expected 1 to ${batchSize} images of ${rowSize} values`,
      );
    }
    const isSampled = (options.temperature ?? 0) > 0;
    if (isSampled && numBeams > 1) {
      throw new RangeError(`Cannot sample with ${numBeams} beams; use 1 beam or temperature 0`);
    }
    const rng = new Rng(options.seed ?? 42);
    const searches = Array.from(
      { length: count },
      (): Search =>
        isSampled
          ? new SampleSearch(options.eosIds, maxNewTokens)
          : new BeamSearch({ numBeams, maxNewTokens, ...options }),
    );
    const needsLogits = isSampled || (options.repetitionPenalty ?? 1) !== 1;
    const sequences: number[][] = Array.from({ length: batchSize * numBeams }, () => []);
    const candidatesOf = async (outputs: Outputs, rowsPerImage: number): Promise<Candidates[]> => {
      if (!needsLogits) return await this.#readTopK(outputs);
      const [bytes] = await readTensors(this.#gpu, [outputs.logits]);
      const all = new Float32Array(bytes!.buffer);
      const V = config.decoder.vocabSize;
      return Array.from({ length: all.length / V }, (_, row) => {
        const values = all.slice(row * V, (row + 1) * V);
        const sequence = sequences[rowsPerImage === 1 ? row * numBeams : row]!;
        refuseNan(values);
        const penalty = options.repetitionPenalty ?? 1;
        if (numBeams > 1) {
          const logProbs = logSoftmax(values);
          penalizeRepetition(logProbs, sequence, penalty);
          return topCandidates(logProbs, candidateCount(this.#options));
        }
        penalizeRepetition(values, sequence, penalty);
        if (!isSampled) return topCandidates(logSoftmax(values), 1);
        const drawn = sampleToken(values, {
          temperature: options.temperature!,
          topP: options.topP ?? 1,
          rng,
        });
        return { ids: [drawn.id], logProbs: [drawn.logProb] };
      });
    };
    writeTensor(this.#gpu, t.images, images);
    this.prefillPlan.run();
    let rows = await candidatesOf(t.prefill, 1);
    let rowsPerImage = 1;
    const P = prefixTokens(config);
    const M = P + maxNewTokens;
    // The prefix of image b lies in the slot of its first beam; new positions in each row's own slot.
    let table = Uint32Array.from({ length: batchSize * numBeams * M }, (_, i) => {
      const row = Math.floor(i / M);
      return row - row % numBeams;
    });
    const lengths = new Uint32Array(batchSize * numBeams).fill(P + 1);
    const positions = new Uint32Array(batchSize * numBeams).fill(P);
    const learned = config.decoder.positions;
    const firstRow = learned.type === "learned" ? learned.offset : 0;
    const ids = new Uint32Array(batchSize * numBeams);
    for (let n = 0; n < maxNewTokens; n++) {
      const nextTable = table.slice();
      const previous = sequences.map((sequence) => sequence);
      for (const [b, search] of searches.entries()) {
        if (search.done) continue;
        const mine = rows.slice(b * rowsPerImage, (b + 1) * rowsPerImage);
        for (const [j, { token, parent }] of search.step(mine).entries()) {
          const [row, from] = [b * numBeams + j, b * numBeams + parent];
          nextTable.set(table.subarray(from * M, from * M + P + n), row * M);
          nextTable[row * M + P + n] = row;
          ids[row] = token;
          sequences[row] = [...previous[from]!, token];
        }
      }
      if (searches.every((search) => search.done)) break;
      table = nextTable;
      for (
        const [tensor, data] of [
          [t.ids, ids],
          [t.table, table],
          [t.lengths, lengths],
          [t.positions, positions],
          [t.positionRows, positions.map((position) => position + firstRow)],
        ] as const
      ) {
        writeTensor(this.#gpu, tensor, data);
      }
      this.decodePlan.run();
      rows = await candidatesOf(t.decode, numBeams);
      rowsPerImage = numBeams;
      lengths.forEach((length, row) => lengths[row] = length + 1);
      positions.forEach((position, row) => positions[row] = position + 1);
    }
    this.#gpu.check();
    return searches.map((search) => search.results);
  }

  async #readTopK({ values, ids }: Outputs): Promise<Candidates[]> {
    const [valueBytes, idBytes] = await readTensors(this.#gpu, [values, ids]);
    const [allValues, allIds] = [new Float32Array(valueBytes!.buffer), new Uint32Array(idBytes!.buffer)];
    refuseNan(allValues);
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

/** @throws {RangeError} when a score is not a number: nothing can be chosen */
function refuseNan(scores: Float32Array): void {
  if (scores.some(Number.isNaN)) {
    throw new RangeError(
      "Cannot caption: the model's scores are not numbers; its weights or the image's values are damaged",
    );
  }
}

/** Sampling as a search: one row, the drawn token is the only candidate. */
class SampleSearch implements Search {
  #ids: number[] = [];
  #logProb = 0;
  #done = false;

  constructor(readonly eosIds: readonly number[], readonly maxNewTokens: number) {}

  get done(): boolean {
    return this.#done;
  }

  step([row]: readonly Candidates[]): NextRow[] {
    const token = row!.ids[0]!;
    this.#ids.push(token);
    this.#logProb += row!.logProbs[0]!;
    this.#done = this.eosIds.includes(token) || this.#ids.length === this.maxNewTokens;
    return this.#done ? [] : [{ token, parent: 0 }];
  }

  get results(): Hypothesis[] {
    return [{ ids: this.#ids, logProb: this.#logProb, score: this.#logProb / this.#ids.length }];
  }
}
