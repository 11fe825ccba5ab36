/**
 * The listing of a repository, checked before it is believed.
 *
 * @module
 */

import { HubError } from "./hub_error.ts";
import { hubPathFault } from "./names.ts";
import type { HubFile } from "./repo.ts";

/** Most files of a repository; a listing of so many takes about 200 MB of memory. */
const MAX_FILES = 500_000;
/** Largest file believed in, 10 TB. */
const MAX_FILE_BYTES = 1e13;

/** Collects the files of a listing, entry by entry. */
export class ListingReader {
  readonly #name: string;
  readonly #windows: boolean;
  readonly #files = new Map<string, HubFile>();

  /**
   * @param name What messages call the repository
   * @param options Whether the files will have to lie on a disk of Windows
   */
  constructor(name: string, options: { windows?: boolean } = {}) {
    this.#name = name;
    this.#windows = options.windows ?? false;
  }

  /**
   * Takes one entry as the Hub sends it: `{type, path, size, oid, lfs?: {oid, size}}`. Folders are passed over.
   *
   * @throws {HubError} If it is not what an entry can be; the whole listing is then not to be trusted
   */
  add(entry: unknown): void {
    if (typeof entry !== "object" || entry === null) throw this.#refuse("an entry is no object");
    const { type, path, size, oid, lfs } = entry as Record<string, unknown>;
    if (type === "directory") return;
    if (typeof path !== "string") throw this.#refuse("an entry has no path");
    const refuse = (why: string) => this.#refuse(`the file ${JSON.stringify(path.slice(0, 200))}: ${why}`);
    const fault = hubPathFault(path, { windows: this.#windows });
    if (fault !== undefined) throw refuse(fault);
    if (type !== "file") throw refuse(`it is of the kind ${JSON.stringify(type)}`);
    const large = typeof lfs === "object" && lfs !== null ? lfs as Record<string, unknown> : undefined;
    const sizeBytes = large?.["size"] ?? size;
    if (!Number.isSafeInteger(sizeBytes) || (sizeBytes as number) < 0) throw refuse("it has no size");
    if ((sizeBytes as number) > MAX_FILE_BYTES) throw refuse(`it has ${sizeBytes} bytes`);
    const hex = large === undefined ? oid : large["oid"];
    const digits = large === undefined ? 40 : 64;
    if (typeof hex !== "string" || hex.length !== digits || !/^[0-9a-f]+$/.test(hex)) {
      throw refuse(`its checksum is not ${digits} hexadecimal digits`);
    }
    if (this.#files.has(path)) throw refuse("it is listed twice");
    if (this.#files.size >= MAX_FILES) throw this.#refuse(`it lists more than ${MAX_FILES} files`);
    const algorithm = large === undefined ? "git-sha1" : "sha256";
    this.#files.set(path, { path, sizeBytes: sizeBytes as number, checksum: { algorithm, hex } });
  }

  /** The files, sorted by path. */
  files(): HubFile[] {
    return [...this.#files.values()].sort((a, b) => a.path < b.path ? -1 : 1);
  }

  #refuse(why: string): HubError {
    return new HubError(`Cannot use the listing of "${this.#name}": ${why}`);
  }
}

/** A listing as text, to be kept; {@linkcode parseListing} reads it. */
export function formatListing(files: readonly HubFile[]): string {
  const lines = files.map(({ path, sizeBytes, checksum }) => {
    const { algorithm, hex } = checksum;
    return JSON.stringify({
      type: "file",
      path,
      size: sizeBytes,
      ...(algorithm === "sha256" ? { lfs: { oid: hex, size: sizeBytes } } : { oid: hex }),
    });
  });
  return `[\n${lines.join(",\n")}\n]\n`;
}

/** Reads a kept listing. @throws {HubError | SyntaxError} If it is damaged */
export function parseListing(text: string, name: string): HubFile[] {
  const entries: unknown = JSON.parse(text);
  if (!Array.isArray(entries)) throw new HubError(`Cannot use the listing of "${name}": it is no list`);
  const reader = new ListingReader(name);
  for (const entry of entries) reader.add(entry);
  return reader.files();
}
