/**
 * The two plans of generation: prefill runs the image tokens and fills the key/value cache, decoding adds one token a row.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import { createTensor, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  encodeImages,
  loraOf,
  positionLimit,
  prefixTokens,
  projectFeatures,
  rotate,
} from "../models/captioner.ts";
import { decoder, decoderHead, embedTokens } from "../models/decoder.ts";
import { attention } from "../ops/attention.ts";
import { attentionDecode, writeCache } from "../ops/attention_decode.ts";
import { embedding } from "../ops/embedding.ts";
import { logits } from "../ops/lm_head_loss.ts";
import { logSoftmaxTopK } from "../ops/top_k.ts";

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

/** @throws {RangeError} when a count is not positive, or captions would be longer than the decoder has positions */
export function checkGeneratorOptions(
  { config, weights, batchSize, numBeams, maxNewTokens }: GeneratorOptions,
): void {
  for (const [name, count] of Object.entries({ batchSize, numBeams, maxNewTokens })) {
    if (!Number.isInteger(count) || count < 1) {
      throw new RangeError(`Cannot generate captions: ${name} is ${count}, expected at least 1`);
    }
  }
  // The last token is never run through the decoder.
  const P = prefixTokens(config);
  const limit = positionLimit(config, weights);
  const most = limit - P + 1;
  if (maxNewTokens > most) {
    throw new RangeError(
      `Cannot generate captions of ${maxNewTokens} tokens after ${P} image tokens: the decoder was loaded for ` +
        `${limit} positions, which leaves ${most}`,
    );
  }
}

/** Candidates of a row: so many that K of them go on although all others end a caption, as in Hugging Face. */
export function candidateCount({ config, numBeams }: Pick<GeneratorOptions, "config" | "numBeams">): number {
  const ends = Math.max(1, config.decoder.eosIds.length);
  return Math.min(numBeams === 1 ? 1 : (1 + ends) * numBeams, config.decoder.vocabSize);
}

/** What a plan leaves to be read. */
export interface Outputs {
  logits: Tensor;
  /** Log-probabilities [rows, k] and ids [rows, k] of the likeliest tokens. */
  values: Tensor;
  ids: Tensor;
}

/** Everything that stays on the GPU between steps. */
export interface GeneratorTensors {
  images: Tensor;
  ids: Tensor;
  table: Tensor;
  lengths: Tensor;
  positions: Tensor;
  /** Rows of the position table, where positions are learned. */
  positionRows: Tensor;
  slots: Tensor;
  imageSlots: Tensor;
  start: Tensor;
  lastRows: Tensor;
  caches: { k: Tensor; v: Tensor }[];
  prefill: Outputs;
  decode: Outputs;
}

/**
 * Makes inputs and cache, which has a slot for each beam; the outputs are set when the plans are recorded.
 *
 * @param size.rows of a decoding step. @default {one a slot}
 */
export function allocateTensors(
  gpu: Gpu,
  options: GeneratorOptions,
  size: { rows?: number } = {},
): GeneratorTensors {
  const { config, batchSize: B, numBeams, maxNewTokens } = options;
  const { vision, decoder } = config;
  const slots = B * numBeams;
  const rows = size.rows ?? slots;
  const P = prefixTokens(config);
  const M = P + maxNewTokens;
  const u32 = (shape: number[], label: string): Tensor => createTensor(gpu, shape, { dtype: "u32", label });
  const cache = (label: string): Tensor =>
    createTensor(gpu, [slots, M, decoder.kvHeads * decoder.headDim], { label });
  const unset = undefined as unknown as Outputs;
  return {
    images: options.features
      ? createTensor(gpu, [B, P, vision.hiddenSize], { label: "features" })
      : createTensor(gpu, [B, vision.channels, vision.imageSize, vision.imageSize], { label: "pixelValues" }),
    ids: u32([rows], "ids"),
    table: u32([rows, M], "cache table"),
    lengths: u32([rows], "lengths"),
    positions: u32([rows], "positions"),
    positionRows: u32([rows], "position rows"),
    slots: tensorFrom(gpu, Uint32Array.from({ length: rows }, (_, row) => row), { label: "slots" }),
    imageSlots: tensorFrom(gpu, Uint32Array.from({ length: B }, (_, b) => b * numBeams), {
      label: "image slots",
    }),
    start: u32([B], "start positions"),
    lastRows: tensorFrom(gpu, Uint32Array.from({ length: B }, (_, b) => b * P + P - 1), {
      label: "last rows",
    }),
    caches: Array.from(
      { length: decoder.layers },
      () => ({ k: cache("key cache"), v: cache("value cache") }),
    ),
    prefill: unset,
    decode: unset,
  };
}

function recordOutputs(r: Recorder, hidden: Tensor, options: GeneratorOptions): Outputs {
  const { config, weights } = options;
  const scores = r.keep(logits(r, hidden, decoderHead(weights.decoder, config.decoder)));
  const { values, ids } = logSoftmaxTopK(r, scores, { k: candidateCount(options) });
  return { logits: scores, values: r.keep(values), ids: r.keep(ids) };
}

/** Records prefix embeddings through the decoder; keys and values go to the cache slots of each image's first beam. */
export function recordPrefill(r: Recorder, options: GeneratorOptions, t: GeneratorTensors): void {
  const { config, weights, batchSize: B } = options;
  const { heads, kvHeads, headDim, hiddenSize } = config.decoder;
  const features = options.features ? t.images : encodeImages(r, weights, t.images, config);
  const prefix = projectFeatures(r, weights, features, { config });
  const P = prefixTokens(config);
  const hidden = decoder(r, weights.decoder, prefix, {
    config: config.decoder,
    lora: loraOf(weights, config),
    attend: (layer) => (q, k, v) => {
      const keys = rotate(r, k, weights.rope, { heads: kvHeads, headDim });
      const { k: kCache, v: vCache } = t.caches[layer]!;
      const place = { slots: t.imageSlots, positions: t.start };
      writeCache(r, keys, kCache, place);
      writeCache(r, v, vCache, place);
      const queries = rotate(r, q, weights.rope, { heads, headDim });
      return attention(r, queries, keys, v, { heads, kvHeads, headDim, causal: true });
    },
  });
  const last = embedding(r, t.lastRows, hidden.reshape(B * P, hiddenSize));
  t.prefill = recordOutputs(r, last, options);
}

/** Records one new token for every row, up to the scores of the next. */
export function recordDecode(r: Recorder, options: GeneratorOptions, t: GeneratorTensors): void {
  t.decode = recordOutputs(r, recordDecodeStates(r, options, t), options);
}

/** Records one new token for every row: its hidden states [rows, D]. */
export function recordDecodeStates(r: Recorder, options: GeneratorOptions, t: GeneratorTensors): Tensor {
  const { config, weights } = options;
  const { heads, kvHeads, headDim } = config.decoder;
  const rows = t.ids.size;
  const embedded = embedTokens(r, weights.decoder, t.ids, config.decoder);
  return decoder(r, weights.decoder, embedded, {
    config: config.decoder,
    lora: loraOf(weights, config),
    positionRows: t.positionRows,
    attend: (layer) => (q, k, v) => {
      const { positions, slots, table, lengths } = t;
      const rotateNew = (x: Tensor, count: number): Tensor =>
        rotate(r, x.reshape(rows, 1, count * headDim), weights.rope, { heads: count, headDim, positions });
      const { k: kCache, v: vCache } = t.caches[layer]!;
      writeCache(r, rotateNew(k, kvHeads), kCache, { slots, positions });
      writeCache(r, v.reshape(rows, 1, kvHeads * headDim), vCache, { slots, positions });
      const queries = rotateNew(q, heads).reshape(rows, heads * headDim);
      return attentionDecode(r, queries, kCache, vCache, { heads, kvHeads, headDim, table, lengths });
    },
  });
}

/** Inputs and cache, all that has memory of its own. */
export function tensorsOfGenerator(tensors: GeneratorTensors): Tensor[] {
  const { caches, prefill: _, decode: __, ...inputs } = tensors;
  return [...caches.flatMap(({ k, v }) => [k, v]), ...Object.values(inputs)];
}
