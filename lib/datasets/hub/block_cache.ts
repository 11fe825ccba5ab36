/**
 * A slow source read in blocks, the last used of which stay in memory.
 *
 * @module
 */

import { type ByteSource, readExactly } from "../../format/byte_source.ts";

/** Options of {@linkcode cacheBlocks}. */
export interface BlockCacheOptions {
  /** Bytes of a block, the least that is read at once. @default {262144} */
  readonly blockBytes?: number;
  /** Most bytes kept. @default {64e6} */
  readonly maxBytes?: number;
  /** Most bytes asked for at once; longer reads are cut, and their parts read side by side. @default {16777216} */
  readonly maxReadBytes?: number;
}

/** Parts of one read that are asked for at the same time. */
const MAX_PARALLEL_READS = 4;

/**
 * The same bytes, through a cache. Neighbouring blocks that are missing are asked for together, and what two readers want at the
 * same time is asked for once. A read of more than half of what is kept goes past the cache.
 */
export function cacheBlocks(source: ByteSource, options: BlockCacheOptions = {}): ByteSource {
  const blockBytes = options.blockBytes ?? 256 * 1024;
  const maxBlocks = Math.floor((options.maxBytes ?? 64e6) / blockBytes);
  const maxReadBytes = options.maxReadBytes ?? 16 * 1024 * 1024;
  /** By number of the block, least recently used first. */
  const blocks = new Map<number, Promise<Uint8Array<ArrayBuffer>>>();

  /** Blocks `first` to `last` (excluded), which are all missing, with one request. */
  function load(first: number, last: number): void {
    const start = first * blockBytes;
    const run = readExactly(source, start, Math.min(last * blockBytes, source.size));
    for (let i = first; i < last; i++) {
      const from = i * blockBytes - start;
      const block = run.then((bytes) => bytes.slice(from, from + blockBytes));
      blocks.set(i, block);
      // What could not be read is asked for again the next time.
      block.catch(() => blocks.get(i) === block && blocks.delete(i));
    }
  }

  return {
    name: source.name,
    size: source.size,
    async read(start, end) {
      const stop = Math.min(end, source.size);
      const result = new Uint8Array(Math.max(0, stop - start));
      const first = Math.floor(start / blockBytes), last = Math.ceil(stop / blockBytes);
      if (last - first > maxBlocks / 2) {
        await readParts(source, { start, stop, maxReadBytes, result });
        return result;
      }
      const wanted: Promise<Uint8Array<ArrayBuffer>>[] = [];
      let missingFrom = first;
      const maxRun = Math.max(1, Math.floor(maxReadBytes / blockBytes));
      for (let i = first; i <= last; i++) {
        const isMissing = i < last && !blocks.has(i);
        if (isMissing && i - missingFrom < maxRun) continue;
        if (i > missingFrom) load(missingFrom, i);
        missingFrom = isMissing ? i : i + 1;
      }
      for (let i = first; i < last; i++) {
        const block = blocks.get(i)!;
        blocks.delete(i);
        blocks.set(i, block); // used last
        wanted.push(block);
      }
      for (const old of blocks.keys()) {
        if (blocks.size <= maxBlocks) break;
        blocks.delete(old);
      }
      for (const [i, bytes] of (await Promise.all(wanted)).entries()) {
        const from = (first + i) * blockBytes;
        const inside = bytes.subarray(Math.max(0, start - from), Math.max(0, stop - from));
        result.set(inside, Math.max(0, from - start));
      }
      return result;
    },
  };
}

async function readParts(
  source: ByteSource,
  { start, stop, maxReadBytes, result }: {
    start: number;
    stop: number;
    maxReadBytes: number;
    result: Uint8Array<ArrayBuffer>;
  },
): Promise<void> {
  let next = start;
  const work = async () => {
    while (next < stop) {
      const from = next;
      next = Math.min(stop, from + maxReadBytes);
      result.set(await readExactly(source, from, next), from - start);
    }
  };
  await Promise.all(Array.from({ length: MAX_PARALLEL_READS }, work));
}
