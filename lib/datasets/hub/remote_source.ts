/**
 * A remote file as a source of bytes.
 *
 * @module
 */

import type { ByteSource } from "../../format/byte_source.ts";
import { type BlockCacheOptions, cacheBlocks } from "./block_cache.ts";
import type { HubConnection } from "./connection.ts";
import { readRange, type RemoteFile } from "./ranges.ts";

/** So much is read and dropped where a server knows no ranges; beyond it that is an error. */
const MAX_SKIP_BYTES = 4e6;

/** Options of {@linkcode openRemote}. */
export interface RemoteSourceOptions extends BlockCacheOptions {
  /** What messages call it. */
  readonly name: string;
  /** Ends reads with an `AbortError`. */
  readonly signal?: AbortSignal | undefined;
}

/** Opens a remote file; nothing is read yet. Reads go through a cache of blocks, and through broken connections. */
export function openRemote(
  connection: HubConnection,
  file: RemoteFile,
  options: RemoteSourceOptions,
): ByteSource {
  const version = {};
  return cacheBlocks({
    name: options.name,
    size: file.sizeBytes,
    async read(start, end) {
      const bytes = new Uint8Array(end - start);
      let filled = 0;
      const range = { start, end, version, maxSkipBytes: MAX_SKIP_BYTES, signal: options.signal };
      for await (const piece of readRange(connection, file, range)) {
        bytes.set(piece, filled);
        filled += piece.length;
      }
      return bytes;
    },
  }, options);
}
