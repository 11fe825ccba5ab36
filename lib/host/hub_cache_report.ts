/**
 * The cache of Hub files as tables.
 *
 * @module
 */

import type { CachedRepoReport, CachedRevision, PrunePlan } from "./hub_cache_scan.ts";
import { formatBytes, formatTable } from "./terminal.ts";

/** A line for every commit, its repository before the first. */
export function describeHubCache(repos: readonly CachedRepoReport[]): string {
  if (repos.length === 0) return "No Hub files are cached";
  const rows = repos.flatMap((repo) => [
    ...repo.revisions.map((revision, i) => [
      i === 0 ? repoName(repo) : "",
      ...describeRevision(revision),
    ]),
    ...(repo.incompleteBytes > 0 || repo.revisions.length === 0
      ? [[
        repo.revisions.length === 0 ? repoName(repo) : "",
        "unfinished",
        formatBytes(repo.incompleteBytes),
        "",
        "",
        "",
      ]]
      : []),
  ]);
  return formatTable(rows, {
    header: ["repository", "commit", "size", "files", "added", "stands for"],
    right: [2, 3],
  });
}

/** What a prune takes away. */
export function describePrune(plans: readonly PrunePlan[]): string {
  if (plans.length === 0) return "Nothing to prune";
  const rows = plans.flatMap(({ repo, revisions, freedBytes, isWhole }) => [
    [
      repoName(repo),
      isWhole ? "all of it" : `${revisions.length} of ${repo.revisions.length}`,
      formatBytes(freedBytes),
    ],
  ]);
  return formatTable(rows, { header: ["repository", "commits", "frees"], right: [2] });
}

function describeRevision({ sha, sizeBytes, fileCount, modifiedMs, refs }: CachedRevision): string[] {
  const added = modifiedMs > 0 ? new Date(modifiedMs).toISOString().slice(0, 10) : "";
  return [sha.slice(0, 8), formatBytes(sizeBytes), String(fileCount), added, refs.join(", ")];
}

function repoName({ type, id }: CachedRepoReport): string {
  return type === "dataset" ? `datasets/${id}` : id;
}
