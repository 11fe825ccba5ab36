/**
 * What lies in the cache of Hub files, whoever put it there, and how to take some of it away.
 *
 * @module
 */

import { parseHubReference } from "../datasets/hub/names.ts";
import type { HubRepoType } from "../datasets/hub/repo.ts";
import { filesBelow, removeIfThere, stat } from "./files.ts";
import { CachedRepo, parseCacheFolderName } from "./hub_cache.ts";

/** One commit in the cache. */
export interface CachedRevision {
  /** Commit, or whatever the snapshot's folder is called. */
  sha: string;
  /** Branches and tags that stand for it, sorted. */
  refs: string[];
  /** Size of its files, those shared with other commits included. */
  sizeBytes: number;
  /** Files that are there. */
  fileCount: number;
  /** When something was last added, in milliseconds since 1970. */
  modifiedMs: number;
  /** Names of the blobs that it links to. */
  blobs: string[];
}

/** One repository in the cache. */
export interface CachedRepoReport {
  /** Kind. */
  type: HubRepoType;
  /** `org/name`. */
  id: string;
  /** Its folder. */
  path: string;
  /** Bytes on the disk: every blob once, copies, and what is unfinished. */
  sizeBytes: number;
  /** Of unfinished downloads. */
  incompleteBytes: number;
  /** Sorted by age, newest first. */
  revisions: CachedRevision[];
}

/** Looks through the cache; repositories are sorted by kind and id. */
export async function scanHubCache(cacheDir: string): Promise<CachedRepoReport[]> {
  const reports: CachedRepoReport[] = [];
  for (const { name, isDirectory } of await entries(cacheDir)) {
    const repo = isDirectory ? parseCacheFolderName(name) : undefined;
    if (repo !== undefined) reports.push(await scanRepo(repo, `${cacheDir}/${name}`));
  }
  return reports.sort((a, b) => `${a.type} ${a.id}` < `${b.type} ${b.id}` ? -1 : 1);
}

async function scanRepo(repo: { type: HubRepoType; id: string }, path: string): Promise<CachedRepoReport> {
  let blobBytes = 0, incompleteBytes = 0, copyBytes = 0;
  /** Where snapshots have no links they may be further names of the blobs. */
  const blobByInode = new Map<number, string>();
  for (const { name } of await entries(`${path}/blobs`)) {
    const info = await stat(`${path}/blobs/${name}`);
    blobBytes += info?.size ?? 0;
    if (name.endsWith(".incomplete")) incompleteBytes += info?.size ?? 0;
    if (info?.ino) blobByInode.set(info.ino, name);
  }
  const refs = new Map<string, string[]>();
  for (const { path: ref } of await filesBelow(`${path}/refs`)) {
    const sha = (await Deno.readTextFile(`${path}/refs/${ref}`).catch(() => "")).trim();
    refs.set(sha, [...refs.get(sha) ?? [], ref].sort());
  }
  const revisions: CachedRevision[] = [];
  for (const { name: sha, isDirectory } of await entries(`${path}/snapshots`)) {
    if (!isDirectory) continue;
    const root = `${path}/snapshots/${sha}`;
    const revision: CachedRevision = {
      sha,
      refs: refs.get(sha) ?? [],
      sizeBytes: 0,
      fileCount: 0,
      modifiedMs: (await stat(root))?.mtime?.getTime() ?? 0,
      blobs: [],
    };
    for (const { path: file, isSymlink } of await filesBelow(root)) {
      const info = await stat(`${root}/${file}`);
      if (info === undefined) continue; // a link whose blob is gone
      revision.fileCount++;
      revision.sizeBytes += info.size;
      revision.modifiedMs = Math.max(revision.modifiedMs, info.mtime?.getTime() ?? 0);
      const blob = isSymlink
        ? (await Deno.readLink(`${root}/${file}`)).split(/[/\\]/).at(-1)
        : blobByInode.get(info.ino ?? -1);
      if (blob === undefined) copyBytes += info.size;
      else revision.blobs.push(blob);
    }
    revisions.push(revision);
  }
  revisions.sort((a, b) => b.modifiedMs - a.modifiedMs);
  return { ...repo, path, sizeBytes: blobBytes + copyBytes, incompleteBytes, revisions };
}

/** What is to be pruned; a revision goes if everything that is given holds for it. */
export interface PruneOptions {
  /** Commits that no branch or tag stands for. */
  unreferenced?: boolean;
  /** Commits to which nothing was added for so many days. */
  olderThanDays?: number;
  /** Commits of this repository: `org/name`, or `datasets/org/name`. */
  repo?: string;
}

/** One repository's part of a prune. */
export interface PrunePlan {
  /** The repository. */
  repo: CachedRepoReport;
  /** Revisions that go. */
  revisions: CachedRevision[];
  /** Blobs that no other revision needs, and unfinished downloads where the whole repository goes. */
  blobs: string[];
  /** Bytes that become free, about. */
  freedBytes: number;
  /** Whether nothing is left. */
  isWhole: boolean;
}

/** Decides what a prune takes away. */
export async function planPrune(
  reports: readonly CachedRepoReport[],
  options: PruneOptions,
  nowMs: number,
): Promise<PrunePlan[]> {
  const plans: PrunePlan[] = [];
  const named = options.repo === undefined ? undefined : parseHubReference(options.repo, "model");
  for (const repo of reports) {
    if (options.repo !== undefined && (repo.type !== named?.type || repo.id !== named.id)) continue;
    const minAgeMs = (options.olderThanDays ?? 0) * 86_400_000;
    const revisions = repo.revisions.filter((revision) =>
      (options.unreferenced !== true || revision.refs.length === 0) && nowMs - revision.modifiedMs >= minAgeMs
    );
    const isWhole = revisions.length === repo.revisions.length &&
      (revisions.length > 0 || options.repo !== undefined);
    if (revisions.length === 0 && !isWhole) continue;
    const kept = new Set(
      repo.revisions.filter((one) => !revisions.includes(one)).flatMap(({ blobs }) => blobs),
    );
    const blobs = [...new Set(revisions.flatMap((one) => one.blobs))].filter((blob) => !kept.has(blob));
    let freedBytes = repo.sizeBytes;
    if (!isWhole) {
      freedBytes = 0;
      for (const blob of blobs) freedBytes += (await stat(`${repo.path}/blobs/${blob}`))?.size ?? 0;
    }
    plans.push({ repo, revisions, blobs, freedBytes, isWhole });
  }
  return plans;
}

/** Takes away what was planned: links before what they point to, so that a kill leaves blobs without links, not the reverse. */
export async function prune(plan: PrunePlan, cacheDir: string): Promise<void> {
  const { repo, revisions, blobs, isWhole } = plan;
  const cache = new CachedRepo(repo, { cacheDir });
  for (const { sha, refs } of revisions) {
    for (const ref of refs) await removeIfThere(`${repo.path}/refs/${ref}`);
    await removeIfThere(cache.snapshotPath(sha));
    await removeIfThere(`${repo.path}/.listings/${sha}.json`);
  }
  for (const blob of blobs) {
    using _lock = await cache.lock(blob);
    await removeIfThere(cache.blobPath(blob));
  }
  if (isWhole) await removeIfThere(repo.path);
}

async function entries(folder: string): Promise<Deno.DirEntry[]> {
  if (!(await stat(folder))?.isDirectory) return [];
  return await Array.fromAsync(Deno.readDir(folder));
}
