/**
 * The cache of Hub files that Python's `huggingface_hub` keeps too, in its layout, so that each finds the other's files:
 *
 * ```
 * HF_HUB_CACHE/
 *   models--org--name/
 *     blobs/<sha256 or git's sha1>              bytes; a name is given only to what was verified
 *     blobs/<…>.incomplete                      the beginning of one
 *     snapshots/<commit>/<path>                 relative links to blobs; copies where there can be no links
 *     refs/<branch or tag>                      the commit it stood for last
 *     .listings/<commit>.json                   ours alone: which files the commit has
 *   .locks/models--org--name/<…>.lock           held by who downloads the blob
 * ```
 *
 * @module
 */

import type { HubFile, HubReference, HubRepoType } from "../datasets/hub/repo.ts";
import { formatListing, parseListing } from "../datasets/hub/listing.ts";
import { isCommit } from "../datasets/hub/names.ts";
import { stat, writeFileAtomically } from "./files.ts";

/** Listings of more files are asked for again instead of being kept. */
const MAX_KEPT_FILES = 20_000;
/** How often a lock held by another process is tried. */
const LOCK_INTERVAL_MS = 100;

/** Name of a repository's folder in the cache. */
export function cacheFolderName({ type, id }: Pick<HubReference, "type" | "id">): string {
  return `${type}s--${id.replaceAll("/", "--")}`;
}

/** The repository whose folder has a name, or `undefined` where it is no such folder. */
export function parseCacheFolderName(name: string): { type: HubRepoType; id: string } | undefined {
  const [, type, id] = /^(model|dataset)s--(.+)$/.exec(name) ?? [];
  return id === undefined ? undefined : { type: type as HubRepoType, id: id.replaceAll("--", "/") };
}

/** Options of {@linkcode CachedRepo}. */
export interface CachedRepoOptions {
  /** The cache's folder. */
  readonly cacheDir: string;
  /** Whether snapshots may be links. @default {true} */
  readonly usesLinks?: boolean;
}

/** One repository's part of the cache. */
export class CachedRepo {
  /** Its folder; it may not be there yet. */
  readonly path: string;
  readonly #name: string;
  readonly #cacheDir: string;
  readonly #usesLinks: boolean;

  /** Nothing is touched yet. */
  constructor(repo: Pick<HubReference, "type" | "id">, options: CachedRepoOptions) {
    this.#name = cacheFolderName(repo);
    this.#cacheDir = options.cacheDir;
    this.#usesLinks = options.usesLinks ?? true;
    this.path = `${options.cacheDir}/${this.#name}`;
  }

  /** Folder of a commit's files. */
  snapshotPath(sha: string): string {
    return `${this.path}/snapshots/${sha}`;
  }

  /** Path of a blob, whose name is the checksum of its bytes. */
  blobPath(hex: string): string {
    return `${this.path}/blobs/${hex}`;
  }

  /** The commit that a branch or tag stood for when it was last used, or `undefined`. */
  async readRef(revision: string): Promise<string | undefined> {
    const text = await readIfThere(`${this.path}/refs/${revision}`);
    const sha = text?.trim();
    return sha !== undefined && isCommit(sha) ? sha : undefined;
  }

  /** Remembers what a branch or tag stands for. A commit stands for itself. */
  async writeRef(revision: string, sha: string): Promise<void> {
    if (isCommit(revision) || await this.readRef(revision) === sha) return;
    const path = `${this.path}/refs/${revision}`;
    await Deno.mkdir(parentOf(path), { recursive: true });
    // Beside the folder of references: whatever lies in it counts as one.
    await this.#writeVia(path, (temporary) => writeFileAtomically(temporary, sha));
  }

  /** The files of a commit, if they were listed before and the listing is intact. */
  async readListing(sha: string): Promise<HubFile[] | undefined> {
    const path = `${this.path}/.listings/${sha}.json`;
    const text = await readIfThere(path);
    if (text === undefined) return undefined;
    try {
      return parseListing(text, path);
    } catch {
      return undefined; // it can be had again
    }
  }

  /** Keeps the files of a commit, which never change. */
  async writeListing(sha: string, files: readonly HubFile[]): Promise<void> {
    if (files.length > MAX_KEPT_FILES) return;
    await Deno.mkdir(`${this.path}/.listings`, { recursive: true });
    await writeFileAtomically(`${this.path}/.listings/${sha}.json`, formatListing(files));
  }

  /** Whether a commit's snapshot has a file, whole. */
  async hasFile(sha: string, file: HubFile): Promise<boolean> {
    const info = await stat(`${this.snapshotPath(sha)}/${file.path}`);
    return info !== undefined && info.isFile && info.size === file.sizeBytes;
  }

  /** Whether a blob is there, from this commit or another. */
  async hasBlob(file: HubFile): Promise<boolean> {
    const info = await stat(this.blobPath(file.checksum.hex));
    return info !== undefined && info.isFile && info.size === file.sizeBytes;
  }

  /** Gives a blob its place in a snapshot: by a relative link, else a hard link, else a copy. */
  async link(sha: string, file: HubFile): Promise<void> {
    const path = `${this.snapshotPath(sha)}/${file.path}`;
    await Deno.mkdir(parentOf(path), { recursive: true });
    const blob = this.blobPath(file.checksum.hex);
    const up = "../".repeat(1 + file.path.split("/").length);
    const ways = [
      ...(this.#usesLinks
        ? [(at: string) => Deno.symlink(`${up}blobs/${file.checksum.hex}`, at, { type: "file" })]
        : []),
      (at: string) => Deno.link(blob, at),
      (at: string) => Deno.copyFile(blob, at),
    ];
    for (const [i, way] of ways.entries()) {
      try {
        return await this.#writeVia(path, way);
      } catch (error) {
        if (i === ways.length - 1) throw error;
      }
    }
  }

  /**
   * Takes the lock of a blob, which Python takes too; waits while another process downloads it. Gives `undefined` where the file
   * system knows no locks.
   *
   * @param hex The blob's name
   * @param options `onWait` is called once if it has to wait
   */
  async lock(
    hex: string,
    options: { signal?: AbortSignal | undefined; onWait?: () => void } = {},
  ): Promise<Disposable | undefined> {
    const folder = `${this.#cacheDir}/.locks/${this.#name}`;
    await Deno.mkdir(folder, { recursive: true });
    const file = await Deno.open(`${folder}/${hex}.lock`, { read: true, write: true, create: true });
    try {
      for (let tries = 0; !await file.tryLock(true); tries++) {
        if (tries === 0) options.onWait?.();
        options.signal?.throwIfAborted();
        await new Promise((resolve) => setTimeout(resolve, LOCK_INTERVAL_MS));
      }
    } catch (error) {
      file.close();
      if (options.signal?.aborted) throw error;
      return undefined;
    }
    return { [Symbol.dispose]: () => file.close() };
  }

  /** Makes something under a name of its own and gives it its path in one step. */
  async #writeVia(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
    const temporary = `${this.path}/.tmp-${Deno.pid}-${crypto.randomUUID()}`;
    try {
      // A link that is relative to the snapshot's folder may dangle here: nobody follows it.
      await make(temporary);
      await Deno.rename(temporary, path);
    } catch (error) {
      await Deno.remove(temporary).catch(() => {}); // the first error says more
      throw error;
    }
  }
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    if (error instanceof Deno.errors.IsADirectory) return undefined;
    throw error;
  }
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/"));
}
