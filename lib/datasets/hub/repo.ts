/**
 * A repository of the Hugging Face Hub as the rest of the program sees it: a listing at one commit, files read by range from
 * afar, and files brought into the cache. The host opens one (`openHubRepo` in `lib/host/hub_repo.ts`); a test makes one from
 * memory.
 *
 * ```ts ignore
 * const repo = await openHubRepo("datasets/org/captions@main");
 * const shards = repo.files.filter(({ path }) => path.endsWith(".parquet"));
 * const source = await repo.open(shards[0].path);       // footer and row groups by Range requests: megabytes of a 100 GB set
 * const folder = await repo.fetch(shards.map(({ path }) => path));  // or all of it, verified, into the shared cache
 * ```
 *
 * Files that the Hub converted to parquet lie at the revision `refs/convert/parquet` as `CONFIG/SPLIT/0000.parquet`:
 * `openHubRepo("datasets/org/captions@refs/convert/parquet")`.
 *
 * @module
 */

import type { ByteSource, FileFolder } from "../../format/byte_source.ts";

/** Kinds of repositories. */
export type HubRepoType = "model" | "dataset";

/** Names a repository at a revision. */
export interface HubReference {
  /** Kind of repository. */
  readonly type: HubRepoType;
  /** `org/name`. */
  readonly id: string;
  /** Branch, tag, `refs/…` or a commit of 40 hexadecimal digits. */
  readonly revision: string;
}

/** One file of a listing. Its path has been checked: relative, with `/`, and inside the repository. */
export interface HubFile {
  /** Path from the root of the repository. */
  readonly path: string;
  /** Size in bytes. */
  readonly sizeBytes: number;
  /**
   * What its bytes must hash to: `sha256` of the content for large files, else the SHA-1 that git gives a blob of it. In
   * hexadecimal; it also names the blob in the cache. Where it equals an earlier one, so do the bytes.
   */
  readonly checksum: { readonly algorithm: "sha256" | "git-sha1"; readonly hex: string };
}

/** How files are fetched. */
export interface HubFetchOptions {
  /** Ends the work with an `AbortError`; what is on disk by then is used the next time. */
  readonly signal?: AbortSignal;
  /** Told how many bytes of how many are there, those found in the cache included. @default a progress bar */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
}

/** A repository at one commit. */
export interface HubRepo {
  /** Kind of repository. */
  readonly type: HubRepoType;
  /** `org/name`. */
  readonly id: string;
  /** As asked for: `main`, a tag, a commit. */
  readonly revision: string;
  /** The commit it stands for, which everything below belongs to. 40 hexadecimal digits. */
  readonly sha: string;
  /** Every file, sorted by path. Offline these are the files that the cache knows of, which may not all be in it. */
  readonly files: readonly HubFile[];
  /**
   * Opens a file where it lies: in the cache if it is there, else at the Hub, by Range requests through a cache of blocks in
   * memory. Bytes that come by range cannot be verified; their count, the size and the version of the file are.
   *
   * @throws {UserError} If the listing has no such file, or it is needed from the Hub while offline
   */
  open(path: string): Promise<ByteSource>;
  /**
   * Brings files into the cache, several at a time, each verified before it gets its name there, and opens the snapshot's
   * folder. Files of the snapshot that are already in the cache can be opened in it too.
   *
   * @throws {UserError} If the listing has no such file; if it cannot be had, naming what is missing; or if the disk is full
   */
  fetch(paths: readonly string[], options?: HubFetchOptions): Promise<FileFolder>;
}
