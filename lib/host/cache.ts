/**
 * What can be computed again, kept on disk: float arrays by key, up to a size.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { crc32c } from "../format/crc32c.ts";
import { isDiskFull, makeFolder, stat } from "./files.ts";

/** Name of the project's folder among the user's caches. */
const CACHE_NAME = "distilvit-captioner";

/**
 * The folder for cached files: the one given (`--cache-dir`), else `distilvit-captioner` below `XDG_CACHE_HOME`, else below
 * `~/.cache` (`%LOCALAPPDATA%` on Windows).
 *
 * @throws {UserError} If none is given and the environment names no home.
 */
export function resolveCacheDir(given?: string): string {
  if (given !== undefined) return given;
  const caches = Deno.env.get("XDG_CACHE_HOME") || Deno.env.get("LOCALAPPDATA");
  if (caches) return `${caches}/${CACHE_NAME}`;
  const home = Deno.env.get("HOME") || Deno.env.get("USERPROFILE");
  if (home) return `${home}/.cache/${CACHE_NAME}`;
  throw new UserError("Cannot find a folder for cached files: HOME is not set; name one with --cache-dir");
}

/** Options of {@linkcode FeatureCache.open}. */
export interface FeatureCacheOptions {
  /** Folder of the cache's own; made if need be. */
  folder: string;
  /** Most bytes kept; the least recently used go first. */
  maxBytes: number;
}

/** Blobs are read again as wrong if the file does not start so; the number changes with the layout. */
const MAGIC = 0x31_54_41_46; // "FAT1"

/** Magic, element count and crc32c of the elements, u32 little-endian each, and 4 bytes of nothing. */
const HEADER_BYTES = 16;

/** A blob used within this time is not marked as used again, which spares the disk a write for each read. */
const USE_RESOLUTION_MS = 60_000;

/**
 * Float arrays by key, on disk, least recently used dropped first. Safe when several processes share a folder: a blob appears
 * whole or not at all, and one that is damaged counts as absent.
 */
export class FeatureCache {
  readonly #folder: string;
  readonly #maxBytes: number;
  #sizeBytes: number;
  /** Written here since the folder was last looked through, in which time others may have written as much. */
  #unseenBytes = 0;

  private constructor(options: FeatureCacheOptions, sizeBytes: number) {
    this.#folder = options.folder;
    this.#maxBytes = options.maxBytes;
    this.#sizeBytes = sizeBytes;
  }

  /** Opens the cache in a folder. */
  static async open(options: FeatureCacheOptions): Promise<FeatureCache> {
    if (!(options.maxBytes >= 0)) {
      throw new RangeError(`Cannot open a cache of ${options.maxBytes} bytes: expected at least 0`);
    }
    await makeFolder(options.folder);
    const blobs = await listBlobs(options.folder);
    return new FeatureCache(options, blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0));
  }

  /** Bytes kept, as far as this process knows. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** The array stored under a key, or `undefined`. */
  async get(key: string): Promise<Float32Array<ArrayBuffer> | undefined> {
    const path = await this.#pathOf(key);
    let bytes: Uint8Array<ArrayBuffer>;
    try {
      bytes = await Deno.readFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
    const values = decodeBlob(bytes);
    if (values === undefined) {
      await Deno.remove(path).catch(ignoreNotFound);
      return undefined;
    }
    const info = await stat(path);
    if (info?.mtime && Date.now() - info.mtime.getTime() > USE_RESOLUTION_MS) {
      await Deno.utime(path, new Date(), new Date()).catch(ignoreNotFound);
    }
    return values;
  }

  /**
   * Stores an array under a key, then drops what is too much. Gives `false`, and stores nothing, when the array is larger than
   * the whole cache or the disk is full: a cache may forget.
   */
  async put(key: string, values: Float32Array): Promise<boolean> {
    const blob = encodeBlob(values);
    if (blob.length > this.#maxBytes) return false;
    const path = await this.#pathOf(key);
    const temporary = `${this.#folder}/${Deno.pid}-${crypto.randomUUID()}.tmp`;
    try {
      // Not flushed: after a power failure the checksum tells a torn blob from a whole one.
      await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
      await Deno.writeFile(temporary, blob, { createNew: true });
      const before = await stat(path);
      await Deno.rename(temporary, path);
      this.#sizeBytes += blob.length - (before?.size ?? 0);
    } catch (error) {
      await Deno.remove(temporary).catch(ignoreNotFound);
      if (isDiskFull(error)) return false;
      throw error;
    }
    this.#unseenBytes += blob.length;
    if (this.#sizeBytes > this.#maxBytes || this.#unseenBytes > this.#maxBytes / 8) {
      this.#sizeBytes = (await listBlobs(this.#folder)).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      this.#unseenBytes = 0;
      if (this.#sizeBytes > this.#maxBytes) await this.prune(this.#maxBytes * 0.9);
    }
    return true;
  }

  /** Drops the least recently used blobs until at most `maxBytes` are kept; 0 empties the cache. */
  async prune(maxBytes: number): Promise<void> {
    const blobs = (await listBlobs(this.#folder)).sort((a, b) => a.usedMs - b.usedMs);
    let sizeBytes = blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0);
    for (const blob of blobs) {
      if (sizeBytes <= maxBytes) break;
      await Deno.remove(blob.path).catch(ignoreNotFound); // another process may have dropped it
      sizeBytes -= blob.sizeBytes;
    }
    this.#sizeBytes = sizeBytes;
  }

  /** Keys hold model names and hashes of any length; their digest is the file's name, in one of 256 folders. */
  async #pathOf(key: string): Promise<string> {
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(key)));
    const name = digest.toHex();
    return `${this.#folder}/${name.slice(0, 2)}/${name.slice(2)}.f32`;
  }
}

/** Arrays and bytes in the cache of a folder, which need not be there. */
export async function measureFeatureCache(folder: string): Promise<{ count: number; sizeBytes: number }> {
  const blobs = (await stat(folder))?.isDirectory ? await listBlobs(folder) : [];
  return { count: blobs.length, sizeBytes: blobs.reduce((sum, blob) => sum + blob.sizeBytes, 0) };
}

function encodeBlob(values: Float32Array): Uint8Array {
  const blob = new Uint8Array(HEADER_BYTES + values.byteLength);
  blob.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), HEADER_BYTES);
  const header = new DataView(blob.buffer);
  header.setUint32(0, MAGIC, true);
  header.setUint32(4, values.length, true);
  header.setUint32(8, crc32c(blob.subarray(HEADER_BYTES)), true);
  return blob;
}

function decodeBlob(bytes: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const header = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  const count = header.getUint32(4, true);
  const isWhole = header.getUint32(0, true) === MAGIC && bytes.length === HEADER_BYTES + count * 4 &&
    header.getUint32(8, true) === crc32c(bytes.subarray(HEADER_BYTES));
  return isWhole ? new Float32Array(bytes.buffer, bytes.byteOffset + HEADER_BYTES, count) : undefined;
}

interface Blob {
  path: string;
  sizeBytes: number;
  usedMs: number;
}

/** Every blob of a cache, and the temporaries that killed processes left an hour ago or more. */
async function listBlobs(folder: string): Promise<Blob[]> {
  const blobs: Blob[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.isFile && entry.name.endsWith(".tmp")) {
      await addBlob(blobs, `${folder}/${entry.name}`, 3600_000);
    }
    if (!entry.isDirectory) continue;
    for await (const file of Deno.readDir(`${folder}/${entry.name}`)) {
      if (file.name.endsWith(".f32")) await addBlob(blobs, `${folder}/${entry.name}/${file.name}`, 0);
    }
  }
  return blobs;
}

async function addBlob(blobs: Blob[], path: string, minAgeMs: number): Promise<void> {
  const info = await stat(path);
  const usedMs = info?.mtime?.getTime() ?? 0;
  if (info && Date.now() - usedMs >= minAgeMs) blobs.push({ path, sizeBytes: info.size, usedMs });
}

function ignoreNotFound(error: unknown): void {
  if (!(error instanceof Deno.errors.NotFound)) throw error;
}
