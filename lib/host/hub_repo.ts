/**
 * Repositories of the Hub, by way of the shared cache; see {@linkcode HubRepo}.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { describeNames, UserError } from "../base/errors.ts";
import { listFiles, resolveCommit } from "../datasets/hub/api.ts";
import type { HubConnection } from "../datasets/hub/connection.ts";
import { HubOfflineError, HubUnreachableError } from "../datasets/hub/hub_error.ts";
import {
  formatHubReference,
  isCommit,
  parseHubReference,
  repoPageUrl,
  resolveUrl,
} from "../datasets/hub/names.ts";
import { openRemote } from "../datasets/hub/remote_source.ts";
import type { HubFetchOptions, HubFile, HubReference, HubRepo } from "../datasets/hub/repo.ts";
import type { ByteSource, FileFolder } from "../format/byte_source.ts";
import { filesBelow, openFile, openFileFolder, stat } from "./files.ts";
import { CachedRepo } from "./hub_cache.ts";
import { downloadFiles } from "./hub_download.ts";
import { connectToHub, type HubEnvironment, readHubEnvironment } from "./hub_env.ts";
import { type Progress, startProgress } from "./progress.ts";

/** Asking whether a branch has moved is worth two short tries where the cache could be used instead. */
const REVALIDATION = { attempts: 2, baseDelayMs: 300, maxRetryAfterMs: 2000 };

/** Options of {@linkcode openHubRepo}. */
export interface OpenHubRepoOptions {
  /** What the reference means without `models/` or `datasets/`. @default {"model"} */
  readonly type?: HubReference["type"];
  /** @default what the variables say */
  readonly environment?: HubEnvironment;
  /** A connection opened before. @default one to the environment's Hub */
  readonly connection?: HubConnection;
  /** Takes lines for people. @default stderr */
  readonly say?: (line: string) => void;
  /** Shows no progress. @default {false} */
  readonly quiet?: boolean;
  /** Ends the opening, and reads by range, with an `AbortError`. */
  readonly signal?: AbortSignal;
}

/**
 * Opens a repository at the commit that its revision stands for now; where the Hub cannot be asked, at the commit that it stood
 * for when it was last used.
 *
 * @param reference `org/name`, `org/name@revision`, or either behind `datasets/` or `models/`
 * @throws {UserError} If there is no such repository, it may not be seen, or it is neither reachable nor in the cache
 */
export async function openHubRepo(
  reference: string | HubReference,
  options: OpenHubRepoOptions = {},
): Promise<HubRepo> {
  const type = options.type ?? "model";
  const parsed = typeof reference === "string" ? parseHubReference(reference, type) : reference;
  if (parsed === undefined) {
    throw new UserError(
      `Cannot find "${reference}" at the Hub: expected org/name or org/name@revision, as in google/siglip-base-patch16-224`,
    );
  }
  const environment = options.environment ?? readHubEnvironment();
  const talk = new Talk(options.say ?? ((line) => console.error(line)));
  const say = (line: string) => talk.say(line);
  const connection = options.connection ?? connectToHub(environment, { onRetry: say });
  const cache = new CachedRepo(parsed, environment);
  const { sha, files } = await findFiles(parsed, { ...options, say, connection, cache });
  return new CachedHubRepo(parsed, { ...options, say, talk, connection, cache, sha, files });
}

/** Lines for people, above the progress bar while there is one. */
class Talk {
  progress: Progress | undefined;
  readonly #say: (line: string) => void;

  constructor(say: (line: string) => void) {
    this.#say = say;
  }

  say(line: string): void {
    if (this.progress === undefined) this.#say(line);
    else this.progress.log(line);
  }
}

interface Parts extends Pick<OpenHubRepoOptions, "quiet" | "signal"> {
  say: (line: string) => void;
  connection: HubConnection;
  cache: CachedRepo;
}

/** The commit, and its files: from the Hub, else from the cache. */
async function findFiles(
  reference: HubReference,
  { cache, connection, say, signal }: Parts,
): Promise<{ sha: string; files: HubFile[] }> {
  const ask = signal === undefined ? {} : { signal };
  const known = isCommit(reference.revision) ? reference.revision : await cache.readRef(reference.revision);
  const knownFiles = known === undefined ? undefined : await cachedFiles(cache, known);
  const isCached = known !== undefined && knownFiles !== undefined;
  try {
    const hub = isCached ? connection.with(REVALIDATION) : connection;
    const sha = isCommit(reference.revision) ? reference.revision : await resolveCommit(hub, reference, ask);
    let files = await cache.readListing(sha);
    if (files === undefined) {
      files = await listFiles(hub, { ...reference, revision: sha }, {
        windows: Deno.build.os === "windows",
        ...ask,
      });
      // Spares a request the next time; a disk that takes no more does not stop reads from afar.
      await cache.writeListing(sha, files).catch(() => {});
    }
    return { sha, files };
  } catch (error) {
    const isOffline = error instanceof HubOfflineError;
    if (!isOffline && !(error instanceof HubUnreachableError)) throw error;
    const name = formatHubReference(reference);
    if (!isCached) {
      if (!isOffline) throw error;
      throw new HubOfflineError(
        `Cannot find "${name}": ${connection.offline}, and nothing of it is in the cache ("${cache.path}"); ` +
          `run once with the Hub within reach, or copy it there`,
      );
    }
    if (!isOffline) say(`Uses "${name}" as it is in the cache (${known.slice(0, 8)}): ${error.message}`);
    return { sha: known, files: knownFiles };
  }
}

/** What the cache knows of a commit: its listing, else what lies in its snapshot, as Python leaves it. */
async function cachedFiles(cache: CachedRepo, sha: string): Promise<HubFile[] | undefined> {
  const listed = await cache.readListing(sha);
  if (listed !== undefined) return listed;
  const snapshot = cache.snapshotPath(sha);
  if (!(await stat(snapshot))?.isDirectory) return undefined;
  const files: HubFile[] = [];
  for (const { path } of await filesBelow(snapshot)) {
    const info = await stat(`${snapshot}/${path}`);
    if (info?.isFile) {
      files.push({ path, sizeBytes: info.size, checksum: await checksumOf(`${snapshot}/${path}`) });
    }
  }
  return files.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Of a file in a snapshot: the name of the blob it links to, else computed. */
async function checksumOf(path: string): Promise<HubFile["checksum"]> {
  const target = await Deno.readLink(path).catch(() => "");
  const [hex] = /(?<=\/)(?:[0-9a-f]{40}|[0-9a-f]{64})$/.exec(target) ?? [];
  if (hex !== undefined) return { algorithm: hex.length === 40 ? "git-sha1" : "sha256", hex };
  const hash = createHash("sha256");
  using file = await Deno.open(path);
  const buffer = new Uint8Array(1024 * 1024);
  for (let count; (count = await file.read(buffer)) !== null;) hash.update(buffer.subarray(0, count));
  return { algorithm: "sha256", hex: hash.digest("hex") };
}

class CachedHubRepo implements HubRepo {
  readonly type: HubRepo["type"];
  readonly id: string;
  readonly revision: string;
  readonly sha: string;
  readonly files: readonly HubFile[];
  readonly #parts: Parts & { talk: Talk };
  readonly #byPath: ReadonlyMap<string, HubFile>;

  constructor(
    reference: HubReference,
    parts: Parts & { talk: Talk; sha: string; files: readonly HubFile[] },
  ) {
    this.type = reference.type;
    this.id = reference.id;
    this.revision = reference.revision;
    this.sha = parts.sha;
    this.files = parts.files;
    this.#parts = parts;
    this.#byPath = new Map(parts.files.map((file) => [file.path, file]));
  }

  get #name(): string {
    return formatHubReference(this);
  }

  get #atCommit(): HubReference {
    return { type: this.type, id: this.id, revision: this.sha };
  }

  async open(path: string): Promise<ByteSource> {
    const { cache, connection, signal } = this.#parts;
    const file = this.#find(path);
    const name = `${this.#name}/${path}`;
    if (await cache.hasFile(this.sha, file)) return await openFile(`${cache.snapshotPath(this.sha)}/${path}`);
    if (await cache.hasBlob(file)) return await openFile(cache.blobPath(file.checksum.hex));
    if (connection.offline !== undefined) throw this.#missing([path]);
    const { sizeBytes } = file;
    const remote = {
      url: resolveUrl(connection.endpoint, this.#atCommit, path),
      what: `read "${path}" of "${this.#name}"`,
      sizeBytes,
      pageUrl: repoPageUrl(connection.endpoint, this),
    };
    return openRemote(connection, remote, { name, signal });
  }

  async fetch(paths: readonly string[], options: HubFetchOptions = {}): Promise<FileFolder> {
    const { cache, connection, quiet = false, say, talk } = this.#parts;
    const files = [...new Set(paths)].map((path) => this.#find(path));
    if (connection.offline !== undefined) {
      const missing: string[] = [];
      for (const file of files) {
        if (!await cache.hasFile(this.sha, file) && !await cache.hasBlob(file)) missing.push(file.path);
      }
      if (missing.length > 0) throw this.#missing(missing);
    }
    const showProgress = (done: number, total: number) => {
      const label = `download ${this.#name}`;
      talk.progress ??= startProgress({ label, total, initial: done, unit: "bytes" });
      talk.progress.update(done);
    };
    const onProgress = options.onProgress ?? (quiet ? undefined : showProgress);
    try {
      await downloadFiles(files, {
        connection,
        cache,
        reference: this.#atCommit,
        say,
        signal: options.signal,
        ...(onProgress === undefined ? {} : { onProgress }),
      });
    } finally {
      talk.progress?.stop();
      talk.progress = undefined;
    }
    // Only now: until it is complete, the branch means what was complete before.
    await cache.writeRef(this.revision, this.sha);
    await Deno.mkdir(cache.snapshotPath(this.sha), { recursive: true });
    return await openFileFolder(cache.snapshotPath(this.sha));
  }

  #find(path: string): HubFile {
    const file = this.#byPath.get(path);
    if (file !== undefined) return file;
    throw new UserError(
      `Cannot open "${path}" of "${this.#name}": it has no such file at ${this.sha.slice(0, 8)}`,
    );
  }

  #missing(paths: readonly string[]): HubOfflineError {
    const { cache, connection } = this.#parts;
    return new HubOfflineError(
      `Cannot use "${this.#name}": ${connection.offline}, and the cache ("${cache.path}") lacks ` +
        `${describeNames(paths)}; run once with the Hub within reach`,
    );
  }
}
