/**
 * Texts of different lengths as the arrays that a text encoder reads, padded as its family pads.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import type { Gpu } from "../gpu/device.ts";
import { destroyTensor, type Tensor, tensorFrom, writeTensor } from "../gpu/tensor.ts";
import { firstPosition, maxTextTokens, type TextConfig, type TextInputs } from "./text.ts";
import { TEXT_FAMILIES } from "./text_families.ts";

/** B texts of T tokens, row by row. */
export interface TextBatch {
  /** B. */
  size: number;
  /** T. */
  length: number;
  /** [B, T]. */
  inputIds: Uint32Array<ArrayBuffer>;
  /** [B, T], 1 = a token, 0 = padding. */
  keyMask: Uint32Array<ArrayBuffer>;
  /** [B, T], rows of the table of positions. */
  positionIds: Uint32Array<ArrayBuffer>;
  /** [B, T]. */
  tokenTypeIds: Uint32Array<ArrayBuffer>;
  /** [B], b * T + t of the token that stands for text b. */
  pooledRows: Uint32Array<ArrayBuffer>;
}

/** A batch that has no texts yet: inputs of its size are recorded with and written later. */
export function emptyTexts(size: number, length: number): TextBatch {
  const array = () => new Uint32Array(size * length);
  return {
    size,
    length,
    inputIds: array(),
    keyMask: array(),
    positionIds: array(),
    tokenTypeIds: array(),
    pooledRows: new Uint32Array(size),
  };
}

/** Options of {@linkcode packTexts}. */
export interface PackTextsOptions {
  config: TextConfig;
  /** T. @default the longest text's, or the encoder's most where it wants texts padded to that */
  length?: number;
  /** Type of every token. @default zeros */
  tokenTypeIds?: readonly (readonly number[])[];
}

/**
 * Pads texts (token ids, the special ones included) behind their end.
 *
 * @throws {RangeError} when a text is empty, longer than `length`, has an id that the encoder does not know, or, where the end
 * token stands for the text, has none
 */
export function packTexts(texts: readonly (readonly number[])[], options: PackTextsOptions): TextBatch {
  const { config, tokenTypeIds } = options;
  const { masksPadding, positionsAfterPadding, pooled } = TEXT_FAMILIES[config.family];
  const longest = texts.reduce((most, { length }) => Math.max(most, length), 0);
  const T = options.length ?? (masksPadding ? longest : maxTextTokens(config));
  if (texts.length === 0 || T < 1 || T > maxTextTokens(config)) {
    throw new RangeError(
      `Cannot pack ${texts.length} texts into ${T} tokens each: expected at least one text, and 1 to ` +
        `${maxTextTokens(config)} tokens`,
    );
  }
  const batch = emptyTexts(texts.length, T);
  batch.inputIds.fill(config.padId);
  for (const [b, text] of texts.entries()) {
    if (text.length < 1 || text.length > T) {
      throw new RangeError(`Cannot pack text ${b}: it has ${text.length} tokens, expected 1 to ${T}`);
    }
    refuseIds(text, config.vocabSize, `text ${b} has token`);
    batch.inputIds.set(text, b * T);
    batch.keyMask.fill(1, b * T, b * T + text.length);
    const types = tokenTypeIds?.[b] ?? [];
    if (types.length > text.length) {
      throw new RangeError(
        `Cannot pack text ${b}: it has ${types.length} token types for ${text.length} tokens`,
      );
    }
    refuseIds(types, config.typeVocabSize, `text ${b} has token type`);
    batch.tokenTypeIds.set(types, b * T);
    let position = firstPosition(config);
    for (let t = 0; t < T; t++) {
      // A padding token inside a text does not count either.
      const isPadding = positionsAfterPadding && batch.inputIds[b * T + t] === config.padId;
      batch.positionIds[b * T + t] = isPadding ? config.padId : position++;
    }
    batch.pooledRows[b] = b * T + (pooled === "end" ? endOf(text, b, config) : T - 1);
  }
  return batch;
}

/** `eos_token_id` of CLIP's first configurations, which is not the end token's id. */
const LEGACY_END_ID = 2;

/** Position of the token that ends a CLIP text. */
function endOf(text: readonly number[], b: number, { endId }: TextConfig): number {
  // Those configurations go with vocabularies whose largest id is the end token's.
  const wanted = endId === LEGACY_END_ID ? Math.max(...text) : endId!;
  const at = text.indexOf(wanted);
  if (at >= 0) return at;
  throw new RangeError(`Cannot pack text ${b}: it has no end token, ${wanted}`);
}

function refuseIds(ids: readonly number[], count: number, what: string): void {
  const bad = ids.find((id) => !(Number.isInteger(id) && id >= 0 && id < count));
  if (bad !== undefined) {
    throw new RangeError(`Cannot pack texts: ${what} ${bad}, expected 0 to ${count - 1}`);
  }
}

const INPUTS = ["inputIds", "keyMask", "positionIds", "tokenTypeIds", "pooledRows"] as const;

/** The inputs of a recorded encoder, all of them. */
export type TextTensors = Record<(typeof INPUTS)[number], Tensor> & TextInputs;

/** Puts a batch on the GPU. */
export function createTextInputs(gpu: Gpu, batch: TextBatch): TextTensors {
  const shape = [batch.size, batch.length];
  const entries = INPUTS.map((name) => [
    name,
    tensorFrom(gpu, batch[name], { shape: name === "pooledRows" ? [batch.size] : shape, label: name }),
  ]);
  return Object.fromEntries(entries);
}

/** Writes another batch of the same size and length. @throws {RangeError} when it is larger */
export function writeTextInputs(gpu: Gpu, inputs: TextTensors, batch: TextBatch): void {
  if (!sameShape(inputs.inputIds.shape, [batch.size, batch.length])) {
    throw new RangeError(
      `Cannot write ${batch.size} texts of ${batch.length} tokens: the inputs are [${inputs.inputIds.shape}]`,
    );
  }
  for (const name of INPUTS) writeTensor(gpu, inputs[name], batch[name]);
}

/** Frees the inputs. */
export function destroyTextInputs(inputs: TextTensors): void {
  for (const name of INPUTS) destroyTensor(inputs[name]);
}
