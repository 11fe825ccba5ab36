/**
 * The one seam through which data sets reach files: a folder on disk, files a browser holds, or memory in tests.
 *
 * @module
 */

/** One entry of a folder. */
export interface FileEntry {
  /** Without its folder. */
  readonly name: string;
  /** Folders can be listed, everything else read. */
  readonly isFolder: boolean;
}

/** A tree of files. Paths are relative to its root, with `/`; the root is `""`. */
export interface FileSource {
  /** What messages call it, usually its path. */
  readonly name: string;
  /** Entries of a folder, sorted by name. Rejects if there is no such folder. */
  list(folder: string): Promise<FileEntry[]>;
  /** Bytes of a file. Rejects if there is none, or if it is larger than `maxBytes`. */
  read(path: string, options: { readonly maxBytes: number }): Promise<Uint8Array<ArrayBuffer>>;
  /** Whether there is a file (not a folder) at the path. */
  exists(path: string): Promise<boolean>;
}

/**
 * Path of a file named in a data set, inside the data set.
 *
 * @param folder Folder that the name is relative to, `""` for the root
 * @param name As written in the data set; `./` and `../` are resolved
 * @throws {RangeError} If the name is empty, absolute, or leads out of the root
 */
export function resolveInside(folder: string, name: string): string {
  const refuse = (reason: string) =>
    new RangeError(`Cannot use the file name ${JSON.stringify(name)}: it ${reason}`);
  const unified = name.replaceAll("\\", "/");
  if (unified.trim() === "") throw refuse("is empty");
  if (unified.startsWith("/") || /^[a-z][a-z0-9+.-]*:/i.test(unified)) {
    throw refuse("is not relative to the data set");
  }
  if (unified.includes("\0")) throw refuse("holds a zero byte");
  const parts: string[] = folder === "" ? [] : folder.split("/");
  for (const part of unified.split("/")) {
    if (part === "" || part === ".") continue;
    if (part !== "..") parts.push(part);
    else if (parts.pop() === undefined) throw refuse("leads out of the data set");
  }
  if (parts.length === 0) throw refuse("names a folder");
  return parts.join("/");
}

/** Files in memory by path. */
export function memoryFiles(name: string, files: ReadonlyMap<string, Uint8Array>): FileSource {
  return {
    name,
    list(folder) {
      const prefix = folder === "" ? "" : `${folder}/`;
      const entries = new Map<string, boolean>();
      for (const path of files.keys()) {
        if (!path.startsWith(prefix)) continue;
        const [head, ...rest] = path.slice(prefix.length).split("/");
        entries.set(head as string, rest.length > 0);
      }
      if (entries.size === 0 && folder !== "") {
        return Promise.reject(new Error(`Cannot list "${name}/${folder}": there is no such folder`));
      }
      const sorted = [...entries].sort(([a], [b]) => a < b ? -1 : 1);
      return Promise.resolve(sorted.map(([entry, isFolder]) => ({ name: entry, isFolder })));
    },
    read(path, { maxBytes }) {
      const bytes = files.get(path);
      if (!bytes) return Promise.reject(new Error(`Cannot read "${name}/${path}": there is no such file`));
      if (bytes.length > maxBytes) {
        return Promise.reject(
          new RangeError(
            `Cannot read "${name}/${path}": ${bytes.length} bytes, expected at most ${maxBytes}`,
          ),
        );
      }
      return Promise.resolve(bytes.slice());
    },
    exists: (path) => Promise.resolve(files.has(path)),
  };
}
