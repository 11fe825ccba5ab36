/**
 * What a Hub keeps: repositories, their commits and references, and large files by checksum.
 */

import { createHash } from "node:crypto";

/** One file of a commit. */
export interface StoredFile {
  bytes: Uint8Array<ArrayBuffer>;
  /** SHA-1 that git gives its blob (for large files, of the pointer at the real Hub). */
  oid: string;
  /** SHA-256 of large files. */
  sha256?: string;
}

/** A repository. */
export interface StoredRepo {
  type: "model" | "dataset";
  id: string;
  isPrivate: boolean;
  isGated: boolean;
  commits: Map<string, Map<string, StoredFile>>;
  refs: Map<string, string>;
}

const LARGE = /\.(safetensors|parquet)$/;

export const sha256Of = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const gitSha1Of = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");

/** Text or bytes of a file. */
export type Content = string | Uint8Array<ArrayBuffer>;

export const toBytes = (content: Content): Uint8Array<ArrayBuffer> =>
  typeof content === "string" ? new TextEncoder().encode(content) : content;

/** The repositories of a Hub. */
export class HubStore {
  readonly repos = new Map<string, StoredRepo>();
  readonly large = new Map<string, Uint8Array<ArrayBuffer>>();

  create(
    type: StoredRepo["type"],
    id: string,
    options: { isPrivate?: boolean; isGated?: boolean } = {},
  ): StoredRepo {
    const { isPrivate = false, isGated = false } = options;
    const repo: StoredRepo = { type, id, isPrivate, isGated, commits: new Map(), refs: new Map() };
    this.repos.set(`${type} ${id}`, repo);
    this.commit(repo, { ".gitattributes": "*.safetensors filter=lfs\n" });
    return repo;
  }

  isLarge(path: string): boolean {
    return LARGE.test(path);
  }

  /** Adds files to a branch; gives the commit. */
  commit(repo: StoredRepo, files: Record<string, Content>, branch = "main"): string {
    const head = repo.refs.get(branch);
    const tree = new Map(head === undefined ? [] : repo.commits.get(head));
    for (const [path, content] of Object.entries(files)) {
      const bytes = toBytes(content);
      const sha256 = this.isLarge(path) ? { sha256: sha256Of(bytes) } : {};
      tree.set(path, { bytes, oid: gitSha1Of(bytes), ...sha256 });
    }
    const sha = createHash("sha1").update(`${repo.id} ${repo.commits.size} ${[...tree.keys()]}`).digest(
      "hex",
    );
    repo.commits.set(sha, tree);
    repo.refs.set(branch, sha);
    return sha;
  }

  /** The commit that a revision stands for. */
  resolve(repo: StoredRepo, revision: string): string | undefined {
    if (repo.commits.has(revision)) return revision;
    return repo.refs.get(revision === "HEAD" ? "main" : revision);
  }
}
