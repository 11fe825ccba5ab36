/**
 * Names at the Hub, which are all untrusted: ids, revisions, paths of files, and the addresses made of them.
 *
 * @module
 */

import type { HubReference, HubRepoType } from "./repo.ts";

/** Longest path of a file, in UTF-16 units. */
const MAX_PATH_LENGTH = 1024;
/** Device names that Windows gives to no file, whatever their extension. */
const WINDOWS_DEVICE = /^(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?$/i;

/** Whether a text has the form of a repository's id, `org/name`, as the Hub allows it. */
export function isHubId(text: string): boolean {
  const parts = text.split("/");
  return parts.length === 2 && text.length <= 96 &&
    parts.every((part) => /^[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?$/.test(part) && !/--|\.\./.test(part));
}

/** Whether a revision is a commit, which never changes its meaning. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/**
 * Reads `org/name`, `org/name@revision`, or either behind `datasets/` or `models/`; `undefined` for what has another form.
 *
 * @param text The reference; without a revision `main` is meant
 * @param type Kind of repository where the text does not say
 */
export function parseHubReference(text: string, type: HubRepoType): HubReference | undefined {
  const [, kind, id = "", revision = "main"] = /^(datasets\/|models\/)?([^@]*)(?:@(.*))?$/.exec(text) ?? [];
  if (!isHubId(id) || !isRevision(revision)) return undefined;
  return { type: kind === undefined ? type : kind === "datasets/" ? "dataset" : "model", id, revision };
}

/** A reference as {@linkcode parseHubReference} reads it. */
export function formatHubReference({ type, id, revision }: HubReference): string {
  return `${type === "dataset" ? "datasets/" : ""}${id}${revision === "main" ? "" : `@${revision}`}`;
}

/** Revisions become names of files in the cache, so they obey git's rules for references and a little more. */
function isRevision(text: string): boolean {
  return text.length <= 255 && /^[\w.+-]+(\/[\w.+-]+)*$/.test(text) && !text.includes("..") &&
    !text.split("/").some((part) => part.startsWith(".") || part.endsWith("."));
}

/**
 * What makes the path of a listed file unfit for use, or `undefined`. A path is relative, with `/`, inside the repository, and
 * neither git's own nor, for Windows, a device.
 */
export function hubPathFault(path: string, options: { windows?: boolean } = {}): string | undefined {
  if (path === "") return "it is empty";
  if (path.length > MAX_PATH_LENGTH) return `it is longer than ${MAX_PATH_LENGTH} characters`;
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f]/.test(path)) return "it holds a control character";
  if (path.includes("\\")) return "it holds a backslash";
  if (path.startsWith("/") || /^[A-Za-z]:/.test(path)) return "it is absolute";
  if (!path.isWellFormed()) return "it is not Unicode text";
  for (const part of path.split("/")) {
    if (part === "") return "it has an empty part";
    if (part === "." || part === "..") return `it has the part "${part}"`;
    if (/^\.git$/i.test(part)) return "it lies in a folder of git";
    if (options.windows && (WINDOWS_DEVICE.test(part) || /[<>:"|?*]|[ .]$/.test(part))) {
      return `Windows has no files called "${part}"`;
    }
  }
  return undefined;
}

/** A path or revision as part of an address. Slashes of a path stay. */
function encodePath(path: string): string {
  return path.split("/").map(encodeURIComponent).join("/");
}

/** Where a repository is looked at in a browser: `https://huggingface.co/datasets/org/name`. */
export function repoPageUrl(endpoint: string, { type, id }: Pick<HubReference, "type" | "id">): string {
  return `${endpoint}/${type === "dataset" ? "datasets/" : ""}${id}`;
}

/** Where a file's bytes are. */
export function resolveUrl(endpoint: string, reference: HubReference, path: string): string {
  const revision = encodeURIComponent(reference.revision);
  return `${repoPageUrl(endpoint, reference)}/resolve/${revision}/${encodePath(path)}`;
}

/** Where a repository's interface for programs is. */
export function repoApiUrl(endpoint: string, { type, id }: Pick<HubReference, "type" | "id">): string {
  return `${endpoint}/api/${type}s/${id}`;
}
