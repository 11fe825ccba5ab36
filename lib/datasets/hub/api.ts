/**
 * What is asked of a Hub beside bytes: commits, listings, new repositories, uploads. The one file that knows the package
 * `@huggingface/hub`. Its requests go through a {@linkcode HubConnection}, which adds token, patience and repetition; its own
 * downloads are not used: they check neither size nor checksum.
 *
 * @module
 */

import {
  commitIter,
  createBranch as createBranchAtHub,
  createRepo as createRepoAtHub,
  datasetInfo,
  listFiles as listFilesAtHub,
  modelInfo,
  whoAmI as whoAmIAtHub,
} from "@huggingface/hub";
import type { HubConnection } from "./connection.ts";
import { HubError } from "./hub_error.ts";
import { ListingReader } from "./listing.ts";
import { formatHubReference, isCommit, repoApiUrl, repoPageUrl } from "./names.ts";
import type { HubFile, HubReference } from "./repo.ts";

/** The package wants a token of a certain form; the connection puts the real one in its place. */
const TOKEN_FORM = { accessToken: "hf_" };

/** Most pages of a listing: a server may not lead on for ever. */
const MAX_PAGES = 2000;

/**
 * The commit that a revision stands for.
 *
 * @throws {HubError} If there is no such repository or revision, or it may not be seen
 */
export async function resolveCommit(
  connection: HubConnection,
  reference: HubReference,
  options: { signal?: AbortSignal } = {},
): Promise<string> {
  const what = `find "${formatHubReference(reference)}"`;
  const params = {
    name: reference.id,
    revision: reference.revision,
    additionalFields: ["sha" as const],
    hubUrl: connection.endpoint,
    fetch: through(connection, { what, reference, ...options }),
  };
  const { sha } = reference.type === "model" ? await modelInfo(params) : await datasetInfo(params);
  if (typeof sha !== "string" || !isCommit(sha)) {
    throw new HubError(`Cannot ${what}: the answer has no commit`);
  }
  return sha;
}

/**
 * Every file of a repository at a commit.
 *
 * @throws {HubError} If it may not be seen, or the listing has a file that no honest one has
 */
export async function listFiles(
  connection: HubConnection,
  reference: HubReference,
  options: { windows?: boolean; signal?: AbortSignal } = {},
): Promise<HubFile[]> {
  const name = formatHubReference(reference);
  const reader = new ListingReader(name, options);
  let pages = 0;
  const send = through(connection, { what: `list the files of "${name}"`, reference, ...options });
  const entries = listFilesAtHub({
    repo: { type: reference.type, name: reference.id },
    recursive: true,
    revision: encodeURIComponent(reference.revision),
    hubUrl: connection.endpoint,
    fetch(input, init) {
      if (++pages > MAX_PAGES) throw new HubError(`Cannot use the listing of "${name}": it does not end`);
      return send(input, init);
    },
  });
  for await (const entry of entries) reader.add(entry);
  return reader.files();
}

/** Name of the account that the token belongs to. @throws {HubError} If there is none, or it is not accepted */
export async function findAccount(connection: HubConnection): Promise<string> {
  const { name } = await whoAmIAtHub({
    hubUrl: connection.endpoint,
    fetch: through(connection, { what: "find the account of the token" }),
    ...TOKEN_FORM,
  });
  return name;
}

/** Makes a repository; gives `false` where there is one already. @throws {HubError} If that is not allowed */
export async function createRepo(
  connection: HubConnection,
  repo: Pick<HubReference, "type" | "id">,
  options: { isPrivate: boolean },
): Promise<boolean> {
  return await unlessThere(async () => {
    await createRepoAtHub({
      repo: { type: repo.type, name: repo.id },
      visibility: options.isPrivate ? "private" : "public",
      hubUrl: connection.endpoint,
      fetch: through(connection, { what: `create "${repo.id}"`, reference: repo, canRepeat: false }),
      ...TOKEN_FORM,
    });
  });
}

/** Makes a branch at the head of the main one; gives `false` where there is one already. */
export async function createBranch(connection: HubConnection, reference: HubReference): Promise<boolean> {
  const what = `create the branch "${reference.revision}" of "${reference.id}"`;
  return await unlessThere(async () => {
    await createBranchAtHub({
      repo: { type: reference.type, name: reference.id },
      branch: reference.revision,
      hubUrl: connection.endpoint,
      fetch: through(connection, { what, reference, canRepeat: false }),
    });
  });
}

/** Gives a commit a name. @throws {HubError} If the name is taken, or that is not allowed */
export async function createTag(
  connection: HubConnection,
  reference: HubReference,
  tag: string,
): Promise<void> {
  const what = `tag "${formatHubReference(reference)}" as "${tag}"`;
  const url = `${repoApiUrl(connection.endpoint, reference)}/tag/${encodeURIComponent(reference.revision)}`;
  await through(connection, { what, reference, canRepeat: false })(url, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ tag }),
  });
}

/** What is pushed in one commit. */
export interface CommitOptions {
  /** First line of its message. */
  readonly message: string;
  /** Files by path in the repository; `file:` addresses are read piece by piece. */
  readonly files: ReadonlyMap<string, URL | Blob>;
  /** Told which share of a file, from 0 to 1, has been sent. */
  readonly onProgress?: (path: string, share: number) => void;
  /** Ends it with an `AbortError`; what was sent by then is not sent again the next time. */
  readonly signal?: AbortSignal;
}

/**
 * Adds or replaces files of a branch in one commit and gives that commit. Large files the Hub already has are not sent.
 *
 * @throws {HubError} If it is refused, or a file cannot be sent; nothing has changed at the Hub then
 */
export async function commitFiles(
  connection: HubConnection,
  reference: HubReference,
  options: CommitOptions,
): Promise<string> {
  const { signal } = options;
  const what = `push to "${formatHubReference(reference)}"`;
  const commit = commitIter({
    repo: { type: reference.type, name: reference.id },
    branch: reference.revision,
    title: options.message,
    operations: [...options.files].map(([path, content]) => ({ operation: "addOrUpdate", path, content })),
    hubUrl: connection.endpoint,
    // Git LFS is what the tests' Hub speaks; the newer protocol could not be tried.
    useXet: false,
    ...(signal === undefined ? {} : { abortSignal: signal }),
    fetch: (input, init) => {
      const isCommit = new URL(String(input)).pathname.includes(`/${reference.id}/commit/`);
      return through(connection, { what, reference, canRepeat: !isCommit })(input, init);
    },
  });
  for (;;) {
    const { done, value } = await commit.next();
    if (done) {
      const oid = value?.commit.oid;
      if (oid === undefined || !isCommit(oid)) throw new HubError(`Cannot ${what}: the answer has no commit`);
      return oid;
    }
    if (value.event !== "fileProgress") continue;
    if (value.state === "uploading") options.onProgress?.(value.path, value.progress);
  }
}

/** A `fetch` for the package. */
function through(
  connection: HubConnection,
  options: {
    what: string;
    reference?: Pick<HubReference, "type" | "id">;
    canRepeat?: boolean;
    signal?: AbortSignal | undefined;
  },
): typeof fetch {
  const { reference, ...request } = options;
  const pageUrl = reference && repoPageUrl(connection.endpoint, reference);
  return (input, init) =>
    connection.call(String(input), {
      ...init,
      ...request,
      signal: request.signal ?? init?.signal ?? undefined,
      ...(pageUrl === undefined ? {} : { pageUrl }),
    });
}

/** Does what may have been done before; gives whether it was needed. */
async function unlessThere(work: () => Promise<void>): Promise<boolean> {
  try {
    await work();
    return true;
  } catch (error) {
    if (error instanceof HubError && error.status === 409) return false;
    throw error;
  }
}
