/**
 * Files of data sets on disk and at the Hub.
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import { type DataFiles, sortPaths } from "../datasets/data_files.ts";
import { resolveInside } from "../datasets/file_source.ts";
import type { HubRepo } from "../datasets/hub/repo.ts";
import { openFile, stat } from "./files.ts";

/** Folders with more files are not walked to their end. */
const MAX_FILES = 2_000_000;
const MAX_DEPTH = 16;

/** A folder on disk, or one file of it. Hidden files and folders are left out; links to files are followed. */
export async function openLocalFiles(path: string): Promise<DataFiles> {
  const info = await stat(path);
  const isFile = info?.isFile === true;
  const slash = path.lastIndexOf("/");
  const root = isFile ? (slash < 0 ? "." : path.slice(0, slash) || "/") : path;
  const paths = isFile ? [path.slice(slash + 1)] : sortPaths(await walk(path));
  return {
    name: path,
    paths,
    open: async (file) => await openFile(`${root}/${resolveInside("", file)}`),
    async identity(file) {
      const found = await stat(`${root}/${file}`);
      return found && `${await Deno.realPath(`${root}/${file}`)}|${found.size}|${found.mtime?.getTime()}`;
    },
  };
}

async function walk(root: string): Promise<string[]> {
  const found: string[] = [];
  const queue = [{ folder: "", depth: 0 }];
  for (const { folder, depth } of queue) {
    for await (const entry of Deno.readDir(`${root}/${folder}`)) {
      if (entry.name.startsWith(".")) continue;
      const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
      if (entry.isDirectory) {
        if (depth < MAX_DEPTH) queue.push({ folder: path, depth: depth + 1 });
      } else if (!entry.isSymlink || (await stat(`${root}/${path}`))?.isFile) found.push(path);
      if (found.length > MAX_FILES) {
        throw new UserError(`Cannot use "${root}": more than ${MAX_FILES} files; name a folder below it`);
      }
    }
  }
  return found;
}

/** Options of {@linkcode hubDataFiles}. */
export interface HubDataFilesOptions {
  /** Read by range instead of downloading what will be read whole. */
  readonly remote: boolean;
  /** Ends downloads. */
  readonly signal?: AbortSignal;
}

/** The files of a repository at the Hub. */
export function hubDataFiles(repo: HubRepo, { remote, signal }: HubDataFilesOptions): DataFiles {
  const checksums = new Map(repo.files.map(({ path, checksum }) => [path, checksum.hex]));
  return {
    name: repo.id,
    paths: sortPaths(checksums.keys()),
    open(path) {
      if (!checksums.has(path)) {
        const near = repo.files.slice(0, 8).map((file) => file.path);
        throw new UserError(`Cannot read "${path}" of "${repo.id}": it has ${describeNames(near)}`);
      }
      return repo.open(path);
    },
    identity: (path) => Promise.resolve(checksums.get(path)),
    checksum: (path) => checksums.get(path)!,
    ...(!remote && {
      async fetch(paths: readonly string[]) {
        await repo.fetch(paths, signal ? { signal } : {});
      },
    }),
  };
}
