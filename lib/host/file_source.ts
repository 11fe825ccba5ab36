/**
 * Folders on disk as data sets see files.
 *
 * @module
 */

import type { FileEntry, FileSource } from "../datasets/file_source.ts";

/**
 * Files below a folder on disk.
 *
 * @param root Path of the folder
 * @throws {Error} If there is no such folder
 */
export function openFolder(root: string): FileSource {
  const info = statOrUndefined(root);
  if (!info?.isDirectory) {
    throw new Error(`Cannot open folder "${root}": ${info ? "it is a file" : "it does not exist"}`);
  }
  const onDisk = (path: string) => path === "" ? root : `${root}/${path}`;
  return {
    name: root,
    async list(folder) {
      const entries: FileEntry[] = [];
      for await (const entry of Deno.readDir(onDisk(folder))) {
        const path = folder === "" ? entry.name : `${folder}/${entry.name}`;
        const isFolder = entry.isSymlink
          ? (await stat(onDisk(path)))?.isDirectory ?? false
          : entry.isDirectory;
        entries.push({ name: entry.name, isFolder });
      }
      return entries.sort((a, b) => a.name < b.name ? -1 : 1);
    },
    async read(path, { maxBytes }) {
      return await readBounded(onDisk(path), maxBytes);
    },
    async exists(path) {
      return (await stat(onDisk(path)))?.isFile ?? false;
    },
  };
}

/**
 * Bytes of a file that must not be larger than a limit.
 *
 * @throws {RangeError} If it is larger
 * @throws {Error} If there is no such file, or it cannot be read
 */
export async function readBounded(path: string, maxBytes: number): Promise<Uint8Array<ArrayBuffer>> {
  const info = await stat(path);
  if (!info?.isFile) {
    throw new Error(`Cannot read "${path}": ${info ? "it is not a file" : "it does not exist"}`);
  }
  if (info.size > maxBytes) {
    throw new RangeError(`Cannot read "${path}": ${info.size} bytes, expected at most ${maxBytes}`);
  }
  return await Deno.readFile(path);
}

async function stat(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

function statOrUndefined(path: string): Deno.FileInfo | undefined {
  try {
    return Deno.statSync(path);
  } catch (error) {
    if (isAbsence(error)) return undefined;
    throw error;
  }
}

function isAbsence(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory;
}
