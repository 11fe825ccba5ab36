/**
 * The one seam between file formats and the world: bytes that can be read by range, and folders of them. The host makes
 * them from files, a browser from blobs or HTTP ranges, tests from memory.
 *
 * @module
 */

/** Bytes that are read by range. */
export interface ByteSource {
  /** What error messages call it, usually its path. */
  readonly name: string;
  /** Size in bytes. */
  readonly size: number;
  /** Reads bytes `start` to `end` (excluded) into memory of the caller's own. */
  read(start: number, end: number): Promise<Uint8Array<ArrayBuffer>>;
}

/** A folder of files, opened by name. */
export interface FileFolder {
  /** What error messages call it, usually its path. */
  readonly name: string;
  /** Opens the file at `path`, relative with `/`, or gives `undefined` where there is none. */
  open(path: string): Promise<ByteSource | undefined>;
}

/** A byte source over bytes in memory. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read: (start, end) => Promise.resolve(bytes.slice(start, end)),
  };
}

/** A folder over named bytes in memory. */
export function memoryFolder(name: string, files: ReadonlyMap<string, Uint8Array>): FileFolder {
  return {
    name,
    open(path) {
      const bytes = files.get(path);
      return Promise.resolve(bytes === undefined ? undefined : memorySource(`${name}/${path}`, bytes));
    },
  };
}

/**
 * Reads bytes `start` to `end` of a source.
 *
 * @throws {SyntaxError} If the source gives fewer bytes than it promised, as a file does that was cut short meanwhile.
 */
export async function readExactly(
  source: ByteSource,
  start: number,
  end: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await source.read(start, end);
  if (bytes.length !== end - start) {
    throw new SyntaxError(
      `Cannot read bytes ${start} to ${end} of "${source.name}": found ${bytes.length} bytes, ` +
        `expected ${end - start}`,
    );
  }
  return bytes;
}

/**
 * Reads a whole source as UTF-8 text; a byte order mark is dropped.
 *
 * @throws {RangeError} If it is larger than `maxBytes` (64 MB unless told).
 * @throws {SyntaxError} If it is not UTF-8.
 */
export async function readText(source: ByteSource, maxBytes = 64e6): Promise<string> {
  if (source.size > maxBytes) {
    throw new RangeError(`Cannot read "${source.name}": ${source.size} bytes, expected at most ${maxBytes}`);
  }
  const bytes = await readExactly(source, 0, source.size);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new SyntaxError(`Cannot read "${source.name}": it is not UTF-8 text`);
  }
}
