/**
 * Downloads into the shared cache: in parallel, continued where an earlier one stopped, and verified before a blob has its name.
 *
 * @module
 */

import { createHash, type Hash } from "node:crypto";
import { statfs } from "node:fs/promises";
import { UserError } from "../base/errors.ts";
import type { HubConnection } from "../datasets/hub/connection.ts";
import { HubError } from "../datasets/hub/hub_error.ts";
import { formatHubReference, repoPageUrl, resolveUrl } from "../datasets/hub/names.ts";
import { readRange } from "../datasets/hub/ranges.ts";
import type { HubFile, HubReference } from "../datasets/hub/repo.ts";
import { isDiskFull, removeIfThere, stat } from "./files.ts";
import type { CachedRepo } from "./hub_cache.ts";
import { formatBytes } from "./terminal.ts";

/** Files that are downloaded at the same time. */
const PARALLEL_FILES = 4;
/** Whole downloads of a file whose bytes turn out wrong. */
const CHECKSUM_ATTEMPTS = 3;
/** Space that is left to everyone else. */
const SPARE_BYTES = 16e6;

/** An open file that a download writes to; see `Deno.FsFile`. */
export type DownloadFile = Pick<Deno.FsFile, "read" | "write" | "sync" | "truncate" | "close">;

/** What a download needs. */
export interface DownloadOptions {
  /** The Hub. */
  readonly connection: HubConnection;
  /** The repository's part of the cache. */
  readonly cache: CachedRepo;
  /** The repository; its revision is the commit. */
  readonly reference: HubReference;
  /** Told how many of the bytes of all files are there; it may go down when bytes turn out wrong. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  /** Takes lines for people. */
  readonly say?: (line: string) => void;
  /** Ends it with an `AbortError`; what is there by then is used the next time. */
  readonly signal?: AbortSignal | undefined;
  /** Opens a file for appending; a test can pass one whose disk is full. @default Deno.open */
  readonly open?: (path: string) => Promise<DownloadFile>;
}

/**
 * Brings files into a commit's snapshot. What is there already is not asked for.
 *
 * @throws {HubError} If a file cannot be had; the others that were begun are kept and used the next time
 * @throws {UserError} If the disk is full
 */
export async function downloadFiles(files: readonly HubFile[], options: DownloadOptions): Promise<void> {
  const { cache, reference } = options;
  const missing: HubFile[] = [];
  for (const file of files) {
    if (!await cache.hasFile(reference.revision, file)) missing.push(file);
  }
  const totalBytes = sumBytes(files);
  let doneBytes = totalBytes - sumBytes(missing);
  const report = (bytes: number) => options.onProgress?.(doneBytes += bytes, totalBytes);
  if (missing.length === 0) return;
  await checkSpace(missing, cache);
  report(0);
  const stop = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal]);
  const queue = [...missing].sort((a, b) => b.sizeBytes - a.sizeBytes).values();
  let failure: unknown;
  const work = async () => {
    for (const file of queue) {
      try {
        await downloadBlob(file, { ...options, signal, report });
        await cache.link(reference.revision, file);
      } catch (error) {
        failure ??= error;
        stop.abort();
      }
      if (signal.aborted) return;
    }
  };
  await Promise.all(Array.from({ length: PARALLEL_FILES }, work));
  options.signal?.throwIfAborted();
  if (failure !== undefined) throw failure;
}

/** Downloads one blob unless it is there, while no other process does. */
async function downloadBlob(
  file: HubFile,
  options: DownloadOptions & { report: (bytes: number) => void },
): Promise<void> {
  const { cache, report, signal, say } = options;
  const { hex } = file.checksum;
  if (await cache.hasBlob(file)) return report(file.sizeBytes);
  const onWait = () => say?.(`Waits for another process that downloads "${file.path}"`);
  using lock = await cache.lock(hex, { signal, onWait });
  if (await cache.hasBlob(file)) return report(file.sizeBytes);
  await Deno.mkdir(`${cache.path}/blobs`, { recursive: true });
  // Without a lock another process may write too: then each has its own file, and none is continued.
  const partial = cache.blobPath(`${hex}${lock === undefined ? `.${crypto.randomUUID()}` : ""}.incomplete`);
  for (let attempt = 1;; attempt++) {
    const found = await fill(partial, file, options).catch(async (error) => {
      if (lock === undefined) await removeIfThere(partial);
      throw error;
    });
    if (found === hex) break;
    await removeIfThere(partial);
    report(-file.sizeBytes);
    const why = `its bytes have the checksum ${found}, expected ${hex}`;
    if (attempt === CHECKSUM_ATTEMPTS) {
      throw new HubError(
        `Cannot download "${file.path}" of "${
          describe(options)
        }": ${why}; it was downloaded ${attempt} times, ` +
          `so the Hub or something between has damaged it`,
      );
    }
    say?.(`Downloads "${file.path}" again: ${why}`);
  }
  await Deno.rename(partial, cache.blobPath(hex));
}

/** Completes an unfinished file and gives the checksum of all its bytes. */
async function fill(
  partial: string,
  file: HubFile,
  options: DownloadOptions & { report: (bytes: number) => void },
): Promise<string> {
  const { connection, reference, report, signal } = options;
  const target = await (options.open ?? openForAppending)(partial);
  try {
    const hash = createHash(file.checksum.algorithm === "sha256" ? "sha256" : "sha1");
    if (file.checksum.algorithm === "git-sha1") hash.update(`blob ${file.sizeBytes}\0`);
    let start = await hashExisting(target, hash, signal);
    if (start > file.sizeBytes) {
      // Not the beginning of this file: the checksum will say so, and it starts over.
      start = file.sizeBytes;
    }
    report(start);
    const remote = {
      url: resolveUrl(connection.endpoint, reference, file.path),
      what: `download "${file.path}" of "${describe(options)}"`,
      sizeBytes: file.sizeBytes,
      pageUrl: repoPageUrl(connection.endpoint, reference),
    };
    for await (const piece of readRange(connection, remote, { start, signal })) {
      for (let written = 0; written < piece.length;) written += await target.write(piece.subarray(written));
      hash.update(piece);
      report(piece.length);
    }
    await target.sync();
    return hash.digest("hex");
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    const kept = (await stat(partial))?.size ?? 0;
    throw new UserError(
      `Cannot download "${file.path}" of "${describe(options)}": the disk is full; ${formatBytes(kept)} of ${
        formatBytes(file.sizeBytes)
      } are kept in "${partial}": free some space and run again to continue, or remove that file`,
      { cause: error },
    );
  } finally {
    target.close();
  }
}

function openForAppending(path: string): Promise<DownloadFile> {
  return Deno.open(path, { read: true, append: true, create: true });
}

/** Hashes what an unfinished file holds; gives its size. */
async function hashExisting(
  file: DownloadFile,
  hash: Hash,
  signal: AbortSignal | undefined,
): Promise<number> {
  const buffer = new Uint8Array(1024 * 1024);
  for (let size = 0;;) {
    signal?.throwIfAborted();
    const count = await file.read(buffer);
    if (count === null) return size;
    hash.update(buffer.subarray(0, count));
    size += count;
  }
}

/** Says at once what would be found out after an hour. */
async function checkSpace(files: readonly HubFile[], cache: CachedRepo): Promise<void> {
  await Deno.mkdir(cache.path, { recursive: true });
  let free: number;
  try {
    const { bavail, bsize } = await statfs(cache.path);
    free = bavail * bsize;
  } catch {
    return; // not every file system tells
  }
  let begun = 0;
  for (const { checksum } of files) {
    begun += (await stat(cache.blobPath(`${checksum.hex}.incomplete`)))?.size ?? 0;
    begun += (await stat(cache.blobPath(checksum.hex)))?.size ?? 0;
  }
  const needed = sumBytes(files) - begun;
  if (needed + SPARE_BYTES <= free || needed <= 0) return;
  throw new UserError(
    `Cannot download ${formatBytes(needed)} into "${cache.path}": its disk has ${formatBytes(free)} free; ` +
      `free some space (deno task cache prune), or name another folder with HF_HUB_CACHE`,
  );
}

function sumBytes(files: readonly HubFile[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function describe({ reference }: DownloadOptions): string {
  return formatHubReference({ ...reference, revision: "main" });
}
