/**
 * Files on disk: read by range, and written so that a kill, a crash or a full disk leaves either the old or the new.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import type { ByteSource, FileFolder } from "../format/byte_source.ts";

/** What can be written: bytes, text, or a stream of chunks. */
export type FileContent = Uint8Array | string | Iterable<Uint8Array> | AsyncIterable<Uint8Array>;

/** An open file that is being written. */
export interface WritableFile {
  /** Writes some of the bytes and gives how many. */
  write(bytes: Uint8Array): Promise<number>;
  /** Waits until what was written is on the disk. */
  sync(): Promise<void>;
  /** Releases the file. */
  close(): void;
}

/** Options of the atomic writers. */
export interface AtomicOptions {
  /**
   * Creates a new file for writing; a test can pass one whose disk is full.
   *
   * @default Deno.open
   */
  create?: (path: string) => Promise<WritableFile>;
}

/** A folder that is being written; see {@linkcode writeFolderAtomically}. */
export interface FolderWriter {
  /** Where the files lie until the folder is complete. */
  readonly path: string;
  /** Writes a file at a path relative to the folder, and flushes it. Folders on the way are made. */
  write(path: string, content: FileContent): Promise<void>;
}

/** Names of unfinished files and folders, and of those about to be replaced, start with these. */
const TEMPORARY = ".tmp-", REPLACED = ".old-";

/**
 * Opens a file for reading by range. No handle stays open between reads.
 *
 * @throws {UserError} If there is no such file.
 */
export async function openFile(path: string): Promise<ByteSource> {
  const info = await stat(path);
  if (!info?.isFile) {
    throw new UserError(`Cannot read "${path}": ${info ? "it is not a file" : "it does not exist"}`);
  }
  return {
    name: path,
    size: info.size,
    async read(start, end) {
      using file = await Deno.open(path);
      await file.seek(start, Deno.SeekMode.Start);
      const bytes = new Uint8Array(Math.max(0, end - start));
      let filled = 0;
      while (filled < bytes.length) {
        const count = await file.read(bytes.subarray(filled));
        if (count === null) break;
        filled += count;
      }
      return filled === bytes.length ? bytes : bytes.slice(0, filled);
    },
  };
}

/**
 * Opens a folder of checkpoint files.
 *
 * @throws {UserError} If there is no such folder.
 */
export async function openFileFolder(path: string): Promise<FileFolder> {
  const info = await stat(path);
  if (!info?.isDirectory) {
    throw new UserError(`Cannot open folder "${path}": ${info ? "it is a file" : "it does not exist"}`);
  }
  return {
    name: path,
    async open(file) {
      const below = `${path}/${file}`;
      return (await stat(below))?.isFile ? await openFile(below) : undefined;
    },
  };
}

/**
 * Makes a folder and those above it; one that is there is left alone.
 *
 * @throws {UserError} If the system refuses; the message says why
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await Deno.mkdir(path, { recursive: true });
  } catch (error) {
    throw explain(error, path);
  }
}

/**
 * Writes a file: beside its place, flushed, then renamed. Whatever happens, the path holds the old or the new content.
 *
 * @throws {UserError} If the disk is full or the system refuses; the unfinished file is removed and the old one untouched.
 */
export async function writeFileAtomically(
  path: string,
  content: FileContent,
  options: AtomicOptions = {},
): Promise<void> {
  const { parent, name } = splitPath(path);
  const temporary = `${parent}/${temporaryName(name)}`;
  try {
    await writeAndFlush(temporary, content, options);
    await Deno.rename(temporary, path);
    await flushFolder(parent);
  } catch (error) {
    await removeIfThere(temporary).catch(() => {}); // the first error is the one to tell
    throw explain(error, path);
  }
}

/**
 * Writes a folder: `fill` writes its files beside its place, then the whole is flushed and renamed. An existing folder is
 * replaced; {@linkcode cleanUpAfterKill} puts it back if the process dies at the one moment where neither has the name.
 *
 * @throws {UserError} If the disk is full or the system refuses; what was written is removed and the old folder untouched.
 */
export async function writeFolderAtomically(
  path: string,
  fill: (folder: FolderWriter) => Promise<void>,
  options: AtomicOptions = {},
): Promise<void> {
  const { parent, name } = splitPath(path);
  const temporary = `${parent}/${temporaryName(name)}`;
  const folders = new Set([temporary]);
  try {
    await Deno.mkdir(temporary, { recursive: true });
    await fill({
      path: temporary,
      async write(file, content) {
        const place = splitPath(`${temporary}/${file}`);
        await Deno.mkdir(place.parent, { recursive: true });
        folders.add(place.parent);
        await writeAndFlush(`${place.parent}/${place.name}`, content, options);
      },
    });
    for (const folder of folders) await flushFolder(folder);
    if (await stat(path) === undefined) {
      await Deno.rename(temporary, path);
    } else {
      const replaced = `${parent}/${REPLACED}${name}`;
      await removeIfThere(replaced);
      await Deno.rename(path, replaced);
      await Deno.rename(temporary, path);
      await removeIfThere(replaced);
    }
    await flushFolder(parent);
  } catch (error) {
    await removeIfThere(temporary).catch(() => {}); // the first error is the one to tell
    throw explain(error, path);
  }
}

/**
 * Removes what a killed process left unfinished in a folder, and puts back what it was about to replace. For a folder that
 * only this process writes to, as the holder of its run lock does.
 */
export async function cleanUpAfterKill(folder: string): Promise<void> {
  if (await stat(folder) === undefined) return;
  const names: string[] = [];
  for await (const entry of Deno.readDir(folder)) names.push(entry.name);
  for (const name of names) {
    const path = `${folder}/${name}`;
    if (name.startsWith(TEMPORARY)) await removeIfThere(path);
    if (!name.startsWith(REPLACED)) continue;
    const place = `${folder}/${name.slice(REPLACED.length)}`;
    if (await stat(place) === undefined) await Deno.rename(path, place);
    else await removeIfThere(path);
  }
}

/** File information, or `undefined` where nothing is. */
export async function stat(path: string): Promise<Deno.FileInfo | undefined> {
  try {
    return await Deno.stat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw error;
  }
}

/** Every file and link below a folder, by path relative to it with `/`; none where there is no folder. Links are not followed. */
export async function filesBelow(root: string, below = ""): Promise<{ path: string; isSymlink: boolean }[]> {
  const found: { path: string; isSymlink: boolean }[] = [];
  const folder = `${root}/${below}`;
  if (!(await stat(folder))?.isDirectory) return found;
  for await (const { name, isDirectory, isSymlink } of Deno.readDir(folder)) {
    const path = below + name;
    if (isDirectory) found.push(...await filesBelow(root, `${path}/`));
    else found.push({ path, isSymlink });
  }
  return found;
}

async function writeAndFlush(path: string, content: FileContent, options: AtomicOptions): Promise<void> {
  const file = await (options.create ?? createFile)(path);
  try {
    for await (const chunk of chunksOf(content)) await writeAll(file, chunk);
    await file.sync();
  } finally {
    file.close();
  }
}

/** Writes all bytes, however many the system takes at a time. */
export async function writeAll(file: Pick<WritableFile, "write">, bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length;) written += await file.write(bytes.subarray(written));
}

function createFile(path: string): Promise<Deno.FsFile> {
  return Deno.open(path, { write: true, createNew: true });
}

function chunksOf(content: FileContent): Iterable<Uint8Array> | AsyncIterable<Uint8Array> {
  if (typeof content === "string") return [new TextEncoder().encode(content)];
  return content instanceof Uint8Array ? [content] : content;
}

/** Makes renames in a folder last through a power failure. Windows cannot open folders, and does not need it. */
async function flushFolder(path: string): Promise<void> {
  if (Deno.build.os === "windows") return;
  using folder = await Deno.open(path);
  await folder.sync();
}

/** Removes a file or folder, whatever is below it, if it is there. */
export async function removeIfThere(path: string): Promise<void> {
  try {
    await Deno.remove(path, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Unique among processes and calls, so that two writers of one path do not meet. */
function temporaryName(name: string): string {
  return `${TEMPORARY}${name}-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}`;
}

function splitPath(path: string): { parent: string; name: string } {
  const trimmed = path.replace(/[/\\]+$/, "");
  const slash = Math.max(
    trimmed.lastIndexOf("/"),
    Deno.build.os === "windows" ? trimmed.lastIndexOf("\\") : -1,
  );
  const name = trimmed.slice(slash + 1);
  if (name === "" || name === "." || name === "..") {
    throw new RangeError(`Cannot write "${path}": it has no name`);
  }
  return { parent: slash < 0 ? "." : trimmed.slice(0, slash) || "/", name };
}

/** Whether an error says that the disk, or the user's share of it, is full. */
export function isDiskFull(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return code === "ENOSPC" || code === "EDQUOT" || /\(os error (28|112|122)\)/.test(describeError(error));
}

/** Why the system refuses a path, by its error code. */
const REFUSALS: Readonly<Record<string, string>> = {
  EROFS: "the file system is read-only",
  EACCES: "permission was denied",
  EPERM: "permission was denied",
  ENOTDIR: "a part of the path is a file",
  EEXIST: "a file has its name",
  EISDIR: "it is a folder",
  ENAMETOOLONG: "the name is too long",
};

/** A failed write in words; an error of another kind is given back as it is. */
function explain(error: unknown, path: string): unknown {
  if (error instanceof UserError) return error;
  if (isDiskFull(error)) {
    return new UserError(
      `Cannot write "${path}": the disk is full; what was there before is untouched, free some space and run again`,
      { cause: error },
    );
  }
  const reason = REFUSALS[String((error as { code?: unknown } | null)?.code)];
  return reason === undefined
    ? error
    : new UserError(`Cannot write "${path}": ${reason}; name another place`, { cause: error });
}
