/**
 * Given captions run with kernels, all tokens of several captions at once: every token is a row of one decoding step, and finds the keys
 * and values of those before it in the cache, where the same step has just put them.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import { PlanGroup } from "../gpu/plan_group.ts";
import { Recorder } from "../gpu/recorder.ts";
import { readTensors, type Tensor, writeTensor } from "../gpu/tensor.ts";
import { prefixTokens } from "../models/captioner.ts";
import { decoderHead } from "../models/decoder.ts";
import { logits } from "../ops/lm_head_loss.ts";
import type { TeacherForcing } from "./confidence.ts";
import {
  allocateTensors,
  checkGeneratorOptions,
  type GeneratorOptions,
  type GeneratorTensors,
  recordDecodeStates,
  recordPrefill,
  tensorsOfGenerator,
} from "./generator_plans.ts";

/** Captions run together: each has a slot of the cache. */
const SLOTS = 4;
/** Tokens of a step: few-row matmuls read weights once for all of them. */
const MAX_ROWS = 64;

/** Options of {@linkcode ForcedDecoder.create}. */
export type ForcedDecoderOptions = Pick<GeneratorOptions, "config" | "weights" | "maxNewTokens">;

/** A token of a caption that is run, to judge the next. */
interface Row {
  caption: number;
  /** Its place in the caption, from 0. */
  at: number;
  slot: number;
  id: number;
}

/** A captioner ready to be given captions. */
export class ForcedDecoder implements TeacherForcing {
  readonly #gpu: Gpu;
  readonly #options: GeneratorOptions;
  readonly #group: PlanGroup<"prefill" | "decode">;
  readonly #tensors: GeneratorTensors;
  readonly #logits: Tensor;

  private constructor(
    gpu: Gpu,
    options: GeneratorOptions,
    parts: { group: PlanGroup<"prefill" | "decode">; tensors: GeneratorTensors; logits: Tensor },
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#group = parts.group;
    this.#tensors = parts.tensors;
    this.#logits = parts.logits;
  }

  /**
   * Allocates the cache, records and compiles.
   *
   * @throws {RangeError} when captions would be longer than the decoder has positions
   * @throws {DeviceError} when the memory is refused
   */
  static async create(
    gpu: Gpu,
    { config, weights, maxNewTokens }: ForcedDecoderOptions,
  ): Promise<ForcedDecoder> {
    const options: GeneratorOptions = {
      config,
      weights,
      maxNewTokens,
      batchSize: 1,
      numBeams: SLOTS,
      features: false,
    };
    checkGeneratorOptions(options);
    // The last token of a caption is never run.
    const rows = Math.max(1, Math.min(MAX_ROWS, SLOTS * (maxNewTokens - 1)));
    const tensors = allocateTensors(gpu, options, { rows });
    const [prefill, decode] = [new Recorder(gpu), new Recorder(gpu)];
    const group = new PlanGroup(gpu, { prefill, decode }, tensorsOfGenerator(tensors));
    let scores: Tensor;
    try {
      recordPrefill(prefill, options, tensors);
      const states = recordDecodeStates(decode, options, tensors);
      scores = decode.keep(logits(decode, states, decoderHead(weights.decoder, config.decoder)));
    } catch (error) {
      group.destroy();
      throw error;
    }
    await group.compile();
    return new ForcedDecoder(gpu, options, { group, tensors, logits: scores });
  }

  /** GPU memory of cache, inputs and activations in bytes. */
  get memoryBytes(): number {
    return this.#group.memoryBytes;
  }

  async begin(pixelValues: Float32Array): Promise<Float32Array> {
    const { images, prefill } = this.#tensors;
    if (pixelValues.length !== images.size) {
      throw new TypeError(
        `Cannot begin with an image of ${pixelValues.length} values, expected ${images.size}`,
      );
    }
    writeTensor(this.#gpu, images, pixelValues);
    this.#group.plans.prefill.run();
    return (await this.#read(prefill.logits))[0]!;
  }

  async follow(
    captions: readonly (readonly number[])[],
    onLogits: (logits: Float32Array, place: { caption: number; at: number }) => void,
  ): Promise<void> {
    const { maxNewTokens } = this.#options;
    const tooLong = captions.find(({ length }) => length > maxNewTokens);
    if (tooLong !== undefined) {
      throw new RangeError(
        `Cannot run a caption of ${tooLong.length} tokens, expected at most ${maxNewTokens}`,
      );
    }
    for (let start = 0; start < captions.length; start += SLOTS) {
      const rows: Row[] = [];
      for (let at = 0; at + 1 < maxNewTokens; at++) {
        for (const [slot, ids] of captions.slice(start, start + SLOTS).entries()) {
          if (at + 1 < ids.length) rows.push({ caption: start + slot, at, slot, id: ids[at]! });
        }
      }
      const most = this.#tensors.ids.size;
      for (let done = 0; done < rows.length; done += most) {
        const step = rows.slice(done, done + most);
        const scores = await this.#run(step);
        for (const [i, { caption, at }] of step.entries()) onLogits(scores[i]!, { caption, at: at + 1 });
      }
    }
  }

  /** Runs tokens, a row each; those before them are in the same step or in the cache. */
  async #run(rows: readonly Row[]): Promise<Float32Array[]> {
    const { config, maxNewTokens } = this.#options;
    const t = this.#tensors;
    const P = prefixTokens(config);
    const M = P + maxNewTokens;
    const count = t.ids.size;
    const { positions } = config.decoder;
    const offset = positions.type === "learned" ? positions.offset : 0;
    const table = new Uint32Array(count * M);
    for (const [i, { slot }] of rows.entries()) table.fill(slot, i * M + P, (i + 1) * M);
    // Rows without a token look at nothing and lie in no slot, so nothing of theirs is written.
    const fill = (of: (row: Row) => number, other: number): Uint32Array<ArrayBuffer> =>
      Uint32Array.from({ length: count }, (_, i) => i < rows.length ? of(rows[i]!) : other);
    for (
      const [tensor, data] of [
        [t.ids, fill(({ id }) => id, 0)],
        [t.slots, fill(({ slot }) => slot, SLOTS)],
        [t.table, table],
        [t.lengths, fill(({ at }) => P + at + 1, 0)],
        [t.positions, fill(({ at }) => P + at, P)],
        [t.positionRows, fill(({ at }) => P + at + offset, P + offset)],
      ] as const
    ) {
      writeTensor(this.#gpu, tensor, data);
    }
    this.#group.plans.decode.run();
    return await this.#read(this.#logits.rows(0, rows.length));
  }

  async #read(scores: Tensor): Promise<Float32Array[]> {
    const [bytes] = await readTensors(this.#gpu, [scores]);
    this.#gpu.check();
    const all = new Float32Array(bytes!.buffer);
    const V = this.#options.config.decoder.vocabSize;
    return Array.from({ length: all.length / V }, (_, row) => all.subarray(row * V, (row + 1) * V));
  }

  /** Frees cache, plans and activations; the weights stay the caller's. */
  destroy(): void {
    this.#group.destroy();
  }
}
