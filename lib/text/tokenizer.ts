/**
 * Tokenizers of Hugging Face checkpoints (`tokenizer.json`), with the padding and truncation that captions need.
 *
 * @module
 */

import { Tokenizer } from "@huggingface/tokenizers";
import { normalizeCaption } from "./normalize.ts";

/** Label of positions that no loss is computed for. */
export const IGNORED_LABEL: number = -100;

/** Options of {@linkcode CaptionTokenizer.encodeCaption}. */
export interface EncodeCaptionOptions {
  /** Most tokens of the result, the end token included. */
  readonly maxLength: number;
  /** End with the end token, so that a captioner learns to stop; kept when the caption is cut. @default true */
  readonly appendEos?: boolean;
}

/** Options of {@linkcode CaptionTokenizer.decode}. */
export interface DecodeOptions {
  /** Leave special tokens out of the text. @default true */
  readonly skipSpecialTokens?: boolean;
}

/** Options of {@linkcode CaptionTokenizer.padBatch}. */
export interface PadBatchOptions {
  /** Length of every row. @default the longest caption of the batch */
  readonly length?: number;
}

/** Captions of one batch, padded on the right to one length. */
export interface PaddedBatch {
  /** Row-major `[batchSize, length]`; padding holds the pad token. */
  readonly inputIds: Int32Array<ArrayBuffer>;
  /** Row-major `[batchSize, length]`: the ids, and {@linkcode IGNORED_LABEL} on padding. */
  readonly labels: Int32Array<ArrayBuffer>;
  /** Tokens of each caption without padding, `[batchSize]`. */
  readonly lengths: Int32Array<ArrayBuffer>;
  /** Rows. */
  readonly batchSize: number;
  /** Tokens of a row, padding included. */
  readonly length: number;
}

/** A tokenizer with its special tokens, as captioners use it. */
export interface CaptionTokenizer {
  /** Largest id + 1; an embedding must have at least so many rows. */
  readonly vocabSize: number;
  /** First token of a text, or the end token where the tokenizer names no other. */
  readonly bosId: number;
  /** End of a caption. */
  readonly eosId: number;
  /** Fills the ends of shorter rows; the end token where the tokenizer names no other. */
  readonly padId: number;
  /** Ids of a text as it is, without special tokens. Empty for an empty text. */
  encode(text: string): number[];
  /** Ids of a text with the special tokens that the tokenizer puts around one, if it has a template that says so. */
  encodeWithSpecials(text: string): number[];
  /**
   * Text of ids; empty for no ids. Ids at or beyond `vocabSize` give no text: embeddings often have spare rows.
   *
   * @throws {RangeError} If an id is not an integer >= 0
   */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string;
  /**
   * Ids of a normalised caption, cut to `maxLength`.
   *
   * @throws {RangeError} If the caption is empty after normalisation, or maxLength leaves no room for a token
   */
  encodeCaption(text: string, options: EncodeCaptionOptions): number[];
  /** Puts captions into one rectangle. @throws {RangeError} If there are none, or one is longer than `length` */
  padBatch(captions: readonly (readonly number[])[], options?: PadBatchOptions): PaddedBatch;
}

/**
 * Makes a tokenizer from the contents of its files.
 *
 * @param tokenizerJson Parsed `tokenizer.json`
 * @param tokenizerConfigJson Parsed `tokenizer_config.json`; names the special tokens. Without it the usual names are looked for
 * @throws {TypeError} If `tokenizerJson` is not a tokenizer, or no end token is named or found
 */
export function loadTokenizer(tokenizerJson: unknown, tokenizerConfigJson?: unknown): CaptionTokenizer {
  const description = requireObject(tokenizerJson, "tokenizer.json");
  requireObject(description.model, `"model" of tokenizer.json`);
  const config = tokenizerConfigJson === undefined
    ? {}
    : requireObject(tokenizerConfigJson, "tokenizer_config.json");
  let inner: Tokenizer;
  try {
    inner = new Tokenizer(description, { ...config, clean_up_tokenization_spaces: false });
  } catch (cause) {
    throw new TypeError(`Cannot read tokenizer.json: ${cause instanceof Error ? cause.message : cause}`, {
      cause,
    });
  }

  const idOfNamed = (role: string): number | undefined => {
    const entry = config[role];
    const name = typeof entry === "string"
      ? entry
      : (entry as { content?: unknown } | null | undefined)?.content;
    if (typeof name !== "string") return undefined;
    const id = inner.token_to_id(name);
    if (id === undefined) {
      throw new TypeError(
        `Cannot read tokenizer_config.json: its ${role} "${name}" is not in tokenizer.json`,
      );
    }
    return id;
  };
  const eosId = idOfNamed("eos_token") ?? firstKnown(inner, ["<|endoftext|>", "</s>", "<|im_end|>", "[SEP]"]);
  if (eosId === undefined) {
    throw new TypeError(
      `Cannot read tokenizer.json: no end token; name it as "eos_token" in tokenizer_config.json`,
    );
  }
  const bosId = idOfNamed("bos_token") ?? eosId;
  const padId = idOfNamed("pad_token") ?? firstKnown(inner, ["<pad>", "[PAD]", "<|pad|>"]) ?? eosId;
  const vocabSize = 1 +
    [...inner.get_vocab(true).values()].reduce((largest, id) => Math.max(largest, id), -1);

  const encode = (text: string): number[] =>
    text === "" ? [] : Array.from(inner.encode(text, { add_special_tokens: false }).ids);

  return {
    vocabSize,
    bosId,
    eosId,
    padId,
    encode,
    encodeWithSpecials: (text) => Array.from(inner.encode(text, { add_special_tokens: true }).ids),
    decode(ids, { skipSpecialTokens = true } = {}) {
      const list = Array.from(ids);
      for (const id of list) {
        if (!Number.isInteger(id) || id < 0) {
          throw new RangeError(`Cannot decode token ${id}: expected an integer >= 0`);
        }
      }
      const known = list.filter((id) => inner.id_to_token(id) !== undefined);
      if (known.length === 0) return "";
      return inner.decode(known, {
        skip_special_tokens: skipSpecialTokens,
        clean_up_tokenization_spaces: false,
      });
    },
    encodeCaption(text, { maxLength, appendEos = true }) {
      const room = maxLength - (appendEos ? 1 : 0);
      if (!Number.isInteger(maxLength) || room < 1) {
        throw new RangeError(
          `Cannot encode a caption in ${maxLength} tokens: expected an integer >= ${appendEos ? 2 : 1}`,
        );
      }
      const ids = encode(normalizeCaption(text));
      if (ids.length === 0) {
        throw new RangeError("Cannot encode an empty caption: expected at least one visible character");
      }
      const kept = ids.slice(0, room);
      return appendEos ? [...kept, eosId] : kept;
    },
    padBatch: (captions, options) => padBatch(captions, padId, options),
  };
}

function padBatch(
  captions: readonly (readonly number[])[],
  padId: number,
  options: PadBatchOptions = {},
): PaddedBatch {
  if (captions.length === 0) throw new RangeError("Cannot pad a batch without captions");
  const longest = captions.reduce((most, ids) => Math.max(most, ids.length), 0);
  const length = options.length ?? longest;
  if (longest > length) {
    throw new RangeError(`Cannot pad a batch to ${length} tokens: its longest caption has ${longest}`);
  }
  const batchSize = captions.length;
  const inputIds = new Int32Array(batchSize * length).fill(padId);
  const labels = new Int32Array(batchSize * length).fill(IGNORED_LABEL);
  captions.forEach((ids, row) => {
    inputIds.set(ids, row * length);
    labels.set(ids, row * length);
  });
  return { inputIds, labels, lengths: Int32Array.from(captions, (ids) => ids.length), batchSize, length };
}

function firstKnown(inner: Tokenizer, names: readonly string[]): number | undefined {
  for (const name of names) {
    const id = inner.token_to_id(name);
    if (id !== undefined) return id;
  }
  return undefined;
}

function requireObject(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new TypeError(`Cannot load a tokenizer: ${what} is not a JSON object`);
  }
  return value as Record<string, unknown>;
}
