/**
 * Hashes of the images of tables, computed once and kept in the cache, so that the next run need not read every image again to
 * know what it trains on.
 *
 * @module
 */

import { sha256Hex } from "../base/sha256.ts";
import type { DataFiles } from "../datasets/data_files.ts";
import type { ImageRow } from "../datasets/rows.ts";
import { isDiskFull, stat, writeFileAtomically } from "./files.ts";

const HASH_BYTES = 32;
/** Rows hashed between two times that an index is written. */
const SAVE_EVERY = 20_000;
const NONE = "0".repeat(2 * HASH_BYTES);

/** Hashes of the images of one data set. */
export class HashIndex {
  readonly #folder: string;
  readonly #files: DataFiles | undefined;
  readonly #shards = new Map<string, Promise<ShardHashes>>();

  /**
   * @param folder Folder of the indexes, made when one is written
   * @param files Files of the data set; without them nothing is kept
   */
  constructor(folder: string, files: DataFiles | undefined) {
    this.#folder = folder;
    this.#files = files;
  }

  /** SHA-256 of a row's image, hexadecimal. @throws What reading the image throws */
  async hash(row: ImageRow): Promise<string> {
    if (row.place === undefined) return await sha256Hex(await row.readImage());
    const { shard, row: number } = row.place;
    const hashes = await this.#shard(shard);
    const known = hashes.get(number);
    if (known !== undefined) return known;
    const found = await sha256Hex(await row.readImage());
    hashes.set(number, found);
    if (hashes.unsaved >= SAVE_EVERY) await hashes.save();
    return found;
  }

  /** Writes what was found; a disk that takes no more is no reason to stop. */
  async save(): Promise<void> {
    for (const shard of this.#shards.values()) await (await shard).save();
  }

  #shard(path: string): Promise<ShardHashes> {
    let shard = this.#shards.get(path);
    if (shard === undefined) {
      shard = this.#open(path);
      this.#shards.set(path, shard);
    }
    return shard;
  }

  async #open(path: string): Promise<ShardHashes> {
    const identity = await this.#files?.identity?.(path);
    if (identity === undefined) return new ShardHashes(undefined, new Uint8Array(0));
    const name = await sha256Hex(new TextEncoder().encode(`${path}\n${identity}`));
    const file = `${this.#folder}/${name}.sha256`;
    const bytes = await stat(file) === undefined ? new Uint8Array(0) : await Deno.readFile(file);
    return new ShardHashes(file, bytes.length % HASH_BYTES === 0 ? bytes : new Uint8Array(0));
  }
}

/** One index: 32 bytes a row, zeros where nothing is known. */
class ShardHashes {
  readonly #path: string | undefined;
  #bytes: Uint8Array;
  #rows: number;
  /** Hashes that are not on disk. */
  unsaved = 0;

  constructor(path: string | undefined, bytes: Uint8Array) {
    this.#path = path;
    this.#bytes = bytes;
    this.#rows = bytes.length / HASH_BYTES;
  }

  get(row: number): string | undefined {
    if (row >= this.#rows) return undefined;
    const hex = this.#bytes.subarray(row * HASH_BYTES, (row + 1) * HASH_BYTES).toHex();
    return hex === NONE ? undefined : hex;
  }

  set(row: number, hex: string): void {
    if ((row + 1) * HASH_BYTES > this.#bytes.length) {
      const larger = new Uint8Array(HASH_BYTES * Math.max(row + 1, Math.ceil(this.#rows * 1.5)));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#rows = Math.max(this.#rows, row + 1);
    this.#bytes.set(Uint8Array.fromHex(hex), row * HASH_BYTES);
    this.unsaved++;
  }

  async save(): Promise<void> {
    if (this.unsaved === 0 || this.#path === undefined) return;
    try {
      await Deno.mkdir(this.#path.slice(0, this.#path.lastIndexOf("/")), { recursive: true });
      await writeFileAtomically(this.#path, this.#bytes.slice(0, this.#rows * HASH_BYTES));
      this.unsaved = 0;
    } catch (error) {
      if (!isDiskFull(error) && !isDiskFull((error as Error).cause)) throw error;
    }
  }
}
