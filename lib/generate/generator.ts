/**
 * Captions from images: prefill and decoding plans with a key/value cache on the GPU, searched by beams or sampled.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import { Arena } from "../gpu/arena.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, readTensors, type Tensor, tensorFrom, writeTensor } from "../gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  encodeImages,
  loraOf,
  prefixTokens,
  projectFeatures,
} from "../models/captioner.ts";
import { llama, llamaHead } from "../models/llama.ts";
import { attention } from "../ops/attention.ts";
import { attentionDecode, writeCache } from "../ops/attention_decode.ts";
import { embedding } from "../ops/embedding.ts";
import { logits } from "../ops/lm_head_loss.ts";
import { rope } from "../ops/rope.ts";
import { logSoftmaxTopK } from "../ops/top_k.ts";
import { BeamSearch, type Candidates, type Hypothesis, type NextRow } from "./beam_search.ts";
import { logSoftmax, penalizeRepetition, sampleToken, topCandidates } from "./sampling.ts";

/** What a generator is built for. */
export interface GeneratorOptions {
  config: CaptionerConfig;
  weights: CaptionerWeights;
  /** Images of a batch. */
  batchSize: number;
  /** Beams K; 1 is greedy search. */
  numBeams: number;
  /** Most tokens of a caption. */
  maxNewTokens: number;
  /** Whether batches bring vision features instead of pixels. */
  features: boolean;
}

/** How one batch is searched. */
export interface SearchOptions {
  /** Tokens that end a caption. */
  eosIds: readonly number[];
  /** Above 0 samples at this temperature (one beam); 0 searches. @default {0} */
  temperature?: number;
  /** Nucleus of sampling. @default {1} */
  topP?: number;
  /** Above 1 makes repeated tokens unlikelier. @default {1} */
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
  readonly #plans: { prefill: Plan; decode: Plan };
  readonly #arena: Arena;
  readonly #tensors: GeneratorTensors;

  private constructor(
    gpu: Gpu,
    options: GeneratorOptions,
    parts: { plans: { prefill: Plan; decode: Plan }; arena: Arena; tensors: GeneratorTensors },
  ) {
    this.#gpu = gpu;
    this.#options = options;
    this.#plans = parts.plans;
    this.#arena = parts.arena;
    this.#tensors = parts.tensors;
  }

  /** Allocates the cache and records both plans. */
  static async create(gpu: Gpu, options: GeneratorOptions): Promise<CaptionGenerator> {
    const arena = new Arena(gpu);
    const tensors = allocate(gpu, options);
    const prefill = new Recorder(gpu);
    recordPrefill(prefill, options, tensors);
    const decode = new Recorder(gpu);
    recordDecode(decode, options, tensors);
    const plans = { prefill: await prefill.compile(arena), decode: await decode.compile(arena) };
    return new CaptionGenerator(gpu, options, { plans, arena, tensors });
  }

  /** GPU memory of cache and activations. */
  get memoryBytes(): number {
    const { caches } = this.#tensors;
    return this.#arena.allocatedBytes + caches.reduce((sum, { k, v }) => sum + k.sizeBytes + v.sizeBytes, 0);
  }

  /** The decoding step, to be profiled and counted. */
  get decodePlan(): Plan {
    return this.#plans.decode;
  }

  /**
   * Captions `count` images: their features [count, P, Dv] or pixelValues [count, 3, I, I]. Gives each image's hypotheses,
   * best first.
   */
  async generate(images: Float32Array, count: number, options: SearchOptions): Promise<(readonly Hypothesis[])[]> {
    const { batchSize, numBeams, maxNewTokens, config } = this.#options;
    const t = this.#tensors;
    const rowSize = t.images.size / batchSize;
    if (count < 1 || count > batchSize || images.length !== count * rowSize) {
      throw new TypeError(
        `Cannot caption ${count} images from ${images.length} values; expected 1 to ${batchSize} images of ${rowSize} values`,
      );
    }
    const isSampled = (options.temperature ?? 0) > 0;
    if (isSampled && numBeams > 1) throw new RangeError(`Cannot sample with ${numBeams} beams; use 1 beam or temperature 0`);
    const rng = new Rng(options.seed ?? 42);
    const searches = Array.from({ length: count }, (): Search =>
      isSampled
        ? new SampleSearch(options.eosIds, maxNewTokens)
        : new BeamSearch({ numBeams, maxNewTokens, ...options }));
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
        penalizeRepetition(values, sequence, options.repetitionPenalty ?? 1);
        if (!isSampled) return topCandidates(logSoftmax(values), 2 * numBeams);
        const drawn = sampleToken(values, { temperature: options.temperature!, topP: options.topP ?? 1, rng });
        return { ids: [drawn.id], logProbs: [drawn.logProb] };
      });
    };
    writeTensor(this.#gpu, t.images, images);
    this.#plans.prefill.run();
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
      for (const [tensor, data] of [[t.ids, ids], [t.table, table], [t.lengths, lengths], [t.positions, positions]] as const) {
        writeTensor(this.#gpu, tensor, data);
      }
      this.#plans.decode.run();
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
    const k = values.dim(1);
    return Array.from({ length: values.dim(0) }, (_, row) => ({
      ids: allIds.subarray(row * k, (row + 1) * k),
      logProbs: allValues.subarray(row * k, (row + 1) * k),
    }));
  }

  /** Frees cache, plans and activations; the weights stay the caller's. */
  destroy(): void {
    const { caches, images, ids, table, lengths, positions, slots, imageSlots, start } = this.#tensors;
    for (const plan of Object.values(this.#plans)) plan.destroy();
    this.#arena.destroy();
    for (const { k, v } of caches) [k, v].forEach(destroyTensor);
    [images, ids, table, lengths, positions, slots, imageSlots, start].forEach(destroyTensor);
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

/** What a plan leaves to be read. */
interface Outputs {
  logits: Tensor;
  /** Log-probabilities [rows, k] and ids [rows, k] of the likeliest tokens. */
  values: Tensor;
  ids: Tensor;
}

interface GeneratorTensors {
  images: Tensor;
  ids: Tensor;
  table: Tensor;
  lengths: Tensor;
  positions: Tensor;
  slots: Tensor;
  imageSlots: Tensor;
  start: Tensor;
  caches: { k: Tensor; v: Tensor }[];
  prefill: Outputs;
  decode: Outputs;
}

function allocate(gpu: Gpu, options: GeneratorOptions): GeneratorTensors {
  const { config, batchSize: B, numBeams, maxNewTokens } = options;
  const { vision, decoder } = config;
  const rows = B * numBeams;
  const P = prefixTokens(config);
  const M = P + maxNewTokens;
  const u32 = (shape: number[], label: string): Tensor => createTensor(gpu, shape, { dtype: "u32", label });
  const cache = (label: string): Tensor =>
    createTensor(gpu, [rows, M, decoder.kvHeads * decoder.headDim], { label });
  const unset = undefined as unknown as Outputs;
  return {
    images: options.features
      ? createTensor(gpu, [B, P, vision.hiddenSize], { label: "features" })
      : createTensor(gpu, [B, vision.channels, vision.imageSize, vision.imageSize], { label: "pixelValues" }),
    ids: u32([rows], "ids"),
    table: u32([rows, M], "cache table"),
    lengths: u32([rows], "lengths"),
    positions: u32([rows], "positions"),
    slots: tensorFrom(gpu, Uint32Array.from({ length: rows }, (_, row) => row), { label: "slots" }),
    imageSlots: tensorFrom(gpu, Uint32Array.from({ length: B }, (_, b) => b * numBeams), { label: "image slots" }),
    start: u32([B], "start positions"),
    caches: Array.from({ length: decoder.layers }, () => ({ k: cache("key cache"), v: cache("value cache") })),
    prefill: unset,
    decode: unset,
  };
}

function recordOutputs(r: Recorder, hidden: Tensor, options: GeneratorOptions): Outputs {
  const { config, weights, numBeams } = options;
  const scores = r.keep(logits(r, hidden, llamaHead(weights.decoder, config.decoder)));
  const k = Math.min(2 * numBeams, config.decoder.vocabSize);
  const { values, ids } = logSoftmaxTopK(r, scores, { k });
  return { logits: scores, values: r.keep(values), ids: r.keep(ids) };
}

function recordPrefill(r: Recorder, options: GeneratorOptions, t: GeneratorTensors): void {
  const { config, weights, batchSize: B } = options;
  const { heads, kvHeads, headDim, hiddenSize } = config.decoder;
  const features = options.features ? t.images : encodeImages(r, weights, t.images, config);
  const prefix = projectFeatures(r, weights, features, { config });
  const P = prefixTokens(config);
  const hidden = llama(r, weights.decoder, prefix, {
    config: config.decoder,
    lora: loraOf(weights, config),
    attend: (layer) => (q, k, v) => {
      const keys = rope(r, k, weights.rope, { heads: kvHeads, headDim });
      const { k: kCache, v: vCache } = t.caches[layer]!;
      const place = { slots: t.imageSlots, positions: t.start };
      writeCache(r, keys, kCache, place);
      writeCache(r, v, vCache, place);
      const queries = rope(r, q, weights.rope, { heads, headDim });
      return attention(r, queries, keys, v, { heads, kvHeads, headDim, causal: true });
    },
  });
  const lastRows = tensorFrom(r.gpu, Uint32Array.from({ length: B }, (_, b) => b * P + P - 1), { label: "last rows" });
  const last = embedding(r, lastRows, hidden.reshape(B * P, hiddenSize));
  t.prefill = recordOutputs(r, last, options);
}

function recordDecode(r: Recorder, options: GeneratorOptions, t: GeneratorTensors): void {
  const { config, weights } = options;
  const { heads, kvHeads, headDim } = config.decoder;
  const rows = t.ids.size;
  const embedded = embedding(r, t.ids, weights.decoder.get("model.embed_tokens.weight"));
  const hidden = llama(r, weights.decoder, embedded, {
    config: config.decoder,
    lora: loraOf(weights, config),
    attend: (layer) => (q, k, v) => {
      const { positions, slots, table, lengths } = t;
      const rotate = (x: Tensor, count: number): Tensor =>
        rope(r, x.reshape(rows, 1, count * headDim), weights.rope, { heads: count, headDim, positions });
      const { k: kCache, v: vCache } = t.caches[layer]!;
      writeCache(r, rotate(k, kvHeads), kCache, { slots, positions });
      writeCache(r, v.reshape(rows, 1, kvHeads * headDim), vCache, { slots, positions });
      const queries = rotate(q, heads).reshape(rows, heads * headDim);
      return attentionDecode(r, queries, kCache, vCache, { heads, kvHeads, headDim, table, lengths });
    },
  });
  t.decode = recordOutputs(r, hidden, options);
}
