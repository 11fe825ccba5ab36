/**
 * Trains a byte-level BPE tokenizer in the style of GPT-2 and describes it as `tokenizer.json`.
 *
 * Source: Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (the merge rule); Radford et al., "Language
 * Models are Unsupervised Multitask Learners" (bytes as the base alphabet, the pattern that cuts text into words).
 *
 * @module
 */

/** Options of {@linkcode trainBpe}. */
export interface TrainBpeOptions {
  /** Size of the whole vocabulary: special tokens, 256 bytes, merges. */
  readonly vocabSize: number;
  /** Tokens that get the first ids, in this order. */
  readonly specialTokens: readonly string[];
  /** Pairs seen less often are never merged. @default 2 */
  readonly minFrequency?: number;
}

/** A trained vocabulary. */
export interface TrainedBpe {
  /** Token text (bytes in GPT-2's printable alphabet) to id; ids are 0 to size - 1. */
  readonly vocab: Readonly<Record<string, number>>;
  /** Pairs of token texts, first learnt first. */
  readonly merges: readonly (readonly [string, string])[];
  /** Their ids are 0 to n - 1. */
  readonly specialTokens: readonly string[];
}

/** GPT-2's pattern: contractions, words, numbers and signs with their leading space, and white space. */
const WORD_PATTERN = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;

/**
 * Learns merges from texts. Equal counts are decided by the smaller ids, so the same texts give the same vocabulary.
 *
 * @param texts Any number of texts; their order does not matter
 * @throws {RangeError} If the vocabulary is smaller than its special tokens and the 256 bytes, or if the texts hold fewer mergeable
 * pairs than the vocabulary wants
 */
export function trainBpe(texts: Iterable<string>, options: TrainBpeOptions): TrainedBpe {
  const { vocabSize, specialTokens, minFrequency = 2 } = options;
  const symbols = [...specialTokens, ...byteAlphabet()];
  if (vocabSize < symbols.length) {
    throw new RangeError(
      `Cannot train a tokenizer of ${vocabSize} tokens: ${specialTokens.length} special tokens and 256 bytes need ${symbols.length}`,
    );
  }
  const words = countWords(texts, specialTokens.length);
  const merges: [string, string][] = [];
  while (symbols.length < vocabSize) {
    const best = mostFrequentPair(words, minFrequency);
    if (!best) {
      throw new RangeError(
        `Cannot train a tokenizer of ${vocabSize} tokens: the texts give ${symbols.length}; use more varied text or ask for fewer`,
      );
    }
    const [left, right] = best;
    const merged = symbols.length;
    symbols.push(`${symbols[left]}${symbols[right]}`);
    merges.push([symbols[left] as string, symbols[right] as string]);
    for (const word of words) word.ids = mergePair(word.ids, best, merged);
  }
  return { vocab: Object.fromEntries(symbols.map((symbol, id) => [symbol, id])), merges, specialTokens };
}

/** Contents of `tokenizer.json` for a trained vocabulary, ready for `JSON.stringify`. */
export function describeTokenizer({ vocab, merges, specialTokens }: TrainedBpe): Record<string, unknown> {
  const byteLevel = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: "1.0",
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: { ...byteLevel, trim_offsets: false },
    decoder: { ...byteLevel, add_prefix_space: true },
    model: {
      type: "BPE",
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: "",
      end_of_word_suffix: "",
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges: merges.map(([left, right]) => `${left} ${right}`),
    },
  };
}

interface CountedWord {
  ids: number[];
  readonly count: number;
}

function countWords(texts: Iterable<string>, firstByteId: number): CountedWord[] {
  const counts = new Map<string, number>();
  for (const text of texts) {
    for (const [word] of text.matchAll(WORD_PATTERN)) counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  const idOfByte = byteOrder();
  const encoder = new TextEncoder();
  return [...counts].map(([word, count]) => ({
    ids: Array.from(encoder.encode(word), (byte) => firstByteId + (idOfByte[byte] as number)),
    count,
  }));
}

function mostFrequentPair(words: readonly CountedWord[], minFrequency: number): [number, number] | undefined {
  // Both ids in one number: vocabularies stay far below 2^20 tokens.
  const shift = 2 ** 20;
  const counts = new Map<number, number>();
  for (const { ids, count } of words) {
    for (let i = 1; i < ids.length; i++) {
      const pair = (ids[i - 1] as number) * shift + (ids[i] as number);
      counts.set(pair, (counts.get(pair) ?? 0) + count);
    }
  }
  let best = -1;
  let bestCount = minFrequency - 1;
  for (const [pair, count] of counts) {
    if (count > bestCount || (count === bestCount && best >= 0 && pair < best)) {
      [best, bestCount] = [pair, count];
    }
  }
  return best < 0 ? undefined : [Math.floor(best / shift), best % shift];
}

function mergePair(ids: number[], [left, right]: readonly [number, number], merged: number): number[] {
  if (!ids.includes(left)) return ids;
  const result: number[] = [];
  for (let i = 0; i < ids.length; i++) {
    const isPair = ids[i] === left && ids[i + 1] === right;
    result.push(isPair ? merged : ids[i] as number);
    if (isPair) i++;
  }
  return result;
}

/** Bytes that stand for themselves in GPT-2's alphabet: printable, and neither a space nor a soft hyphen. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

/** The 256 characters of GPT-2's byte alphabet in the order of their ids: printable bytes first, the others as U+0100 onwards. */
function byteAlphabet(): string[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const others = bytes.filter((byte) => !isPrintable(byte)).map((_, i) => String.fromCharCode(256 + i));
  return [...bytes.filter(isPrintable).map((byte) => String.fromCharCode(byte)), ...others];
}

/** Place of each byte in {@linkcode byteAlphabet}. */
function byteOrder(): number[] {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const ordered = [...bytes.filter(isPrintable), ...bytes.filter((byte) => !isPrintable(byte))];
  const order: number[] = [];
  ordered.forEach((byte, place) => order[byte] = place);
  return order;
}
