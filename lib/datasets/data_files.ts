/**
 * The files of a data set, wherever they lie: a folder on disk, a repository of the Hub, what a browser was given, memory in
 * tests.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { type ByteSource, memorySource, readExactly } from "../format/byte_source.ts";
import type { FileEntry, FileSource } from "./file_source.ts";

/** Files by path, all known by name before any is opened. */
export interface DataFiles {
  /** What messages call them, usually the path or the name of the data set. */
  readonly name: string;
  /** Relative, with `/`, inside the data set; in the order of their UTF-16 units, which no locale changes. */
  readonly paths: readonly string[];
  /** Opens a file of `paths` for reading by range. */
  open(path: string): Promise<ByteSource>;
  /** Brings files near that will be read whole. @default they are as near as they get */
  fetch?(paths: readonly string[]): Promise<void>;
  /** Changes whenever the content of a file does; `undefined` if that cannot be told without reading it. */
  identity?(path: string): Promise<string | undefined>;
  /** Checksum of a file, where it is known without reading it. */
  checksum?(path: string): string;
}

/** Sorts paths the same way on every machine. */
export function sortPaths(paths: Iterable<string>): string[] {
  return [...paths].sort((a, b) => a < b ? -1 : a > b ? 1 : 0);
}

/** Files in memory by path. */
export function memoryDataFiles(name: string, files: ReadonlyMap<string, Uint8Array>): DataFiles {
  return {
    name,
    paths: sortPaths(files.keys()),
    open(path) {
      const bytes = files.get(path);
      return bytes === undefined
        ? Promise.reject(new UserError(`Cannot read "${name}/${path}": there is no such file`))
        : Promise.resolve(memorySource(path, bytes));
    },
  };
}

/** The same files as a tree that can be listed, for what searches folders. */
export function fileSourceOf(files: DataFiles): FileSource {
  const known = new Set(files.paths);
  return {
    name: files.name,
    list(folder) {
      const prefix = folder === "" ? "" : `${folder}/`;
      const entries = new Map<string, FileEntry>();
      for (const path of files.paths) {
        if (!path.startsWith(prefix)) continue;
        const [name, ...rest] = path.slice(prefix.length).split("/");
        entries.set(name!, { name: name!, isFolder: rest.length > 0 });
      }
      return Promise.resolve(sortPaths(entries.keys()).map((name) => entries.get(name)!));
    },
    read: (path, { maxBytes }) => readFile(files, path, maxBytes),
    exists: (path) => Promise.resolve(known.has(path)),
  };
}

/** All bytes of a file. @throws {RangeError} If it is larger than `maxBytes` */
export async function readFile(
  files: DataFiles,
  path: string,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const source = await files.open(path);
  if (source.size > maxBytes) {
    throw new RangeError(`Cannot read "${source.name}": ${source.size} bytes, expected at most ${maxBytes}`);
  }
  return await readExactly(source, 0, source.size);
}
