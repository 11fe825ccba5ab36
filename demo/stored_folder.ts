/**
 * Folders of files on a site, the Hub or this device, kept in the browser's Cache Storage: what was read once is there without network.
 *
 * @module
 */

import type { ByteSource, FileFolder } from "../lib/format/byte_source.ts";
import type { Download } from "./messages.ts";

/** Where a folder is. */
export interface FolderLocation {
  /** For people. */
  title: string;
  /** URL with a final slash. */
  base: string;
  /** Changes with the files; empty where that is not known. */
  version: string;
}

/** A folder that takes room on this device. */
export interface StoredFolderInfo {
  location: FolderLocation;
  bytes: number;
}

const PREFIX = "captioner folder ";
const cacheName = ({ title, base, version }: FolderLocation): string =>
  PREFIX + JSON.stringify({ title, base, version });

/** Files are downloaded when they are first asked for. */
export class StoredFolder implements FileFolder {
  readonly name: string;
  readonly #location: FolderLocation;
  readonly #store: Cache | undefined;
  readonly #unstored = new Map<string, Blob>();
  /** Names that can be opened, so that nothing is asked for in vain; `undefined` while that is not known. */
  names: ReadonlySet<string> | undefined;

  private constructor(location: FolderLocation, store: Cache | undefined) {
    this.#location = location;
    this.#store = store;
    this.name = location.title;
  }

  /** Pages that are not secure (http, but for this device's own) have no storage: then files are read each time. */
  static async at(location: FolderLocation): Promise<StoredFolder> {
    const store = "caches" in globalThis ? await caches.open(cacheName(location)) : undefined;
    return new StoredFolder(location, store);
  }

  /** Whether everything read so far stays on the device. */
  get isStored(): boolean {
    return this.#store !== undefined && this.#unstored.size === 0;
  }

  /** Makes files ready, all at once. @throws {Error} when one is missing or cannot be had */
  async download(paths: readonly string[], onProgress: (download: Download) => void): Promise<void> {
    const sum: Download = { loaded: 0, total: 0 };
    await Promise.all(paths.map(async (path) => {
      const file = await this.#take(path, (change) => {
        sum.loaded += change.loaded;
        sum.total += change.total;
        onProgress(sum);
      });
      if (file === undefined) throw new RangeError(`Cannot use "${this.name}": it has no "${path}"`);
    }));
  }

  async open(path: string): Promise<ByteSource | undefined> {
    if (this.names !== undefined && !this.names.has(path)) return undefined;
    const file = await this.#take(path, () => {});
    if (file === undefined) return undefined;
    return {
      name: `${this.name}/${path}`,
      size: file.size,
      read: async (start, end) => new Uint8Array(await file.slice(start, end).arrayBuffer()),
    };
  }

  async #take(path: string, onChange: (change: Download) => void): Promise<Blob | undefined> {
    const url = new URL(path, this.#location.base);
    if (this.#location.version !== "") url.searchParams.set("v", this.#location.version);
    const stored = this.#unstored.get(url.href) ?? await (await this.#store?.match(url))?.blob();
    if (stored !== undefined) return stored;
    const response = await request(url);
    if (response === undefined) return undefined;
    const file = await readCounted(response, onChange);
    try {
      if (this.#store === undefined) throw new Error("there is no storage");
      const headers = { "content-length": String(file.size) };
      await this.#store.put(url, new Response(file, { headers }));
    } catch {
      // No room, or none allowed: the page says so, and the file is used all the same.
      this.#unstored.set(url.href, file);
    }
    return file;
  }
}

async function request(url: URL): Promise<Response | undefined> {
  let response: Response;
  try {
    // Kept by this program, not once more by the browser. A site is told nothing but the name of the file.
    response = await fetch(url, { cache: "no-store", credentials: "omit", referrerPolicy: "no-referrer" });
  } catch (cause) {
    throw new Error(`Cannot download "${url.href}": there is no connection, or the site does not allow it`, {
      cause,
    });
  }
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`Cannot download "${url.href}": the site answers ${response.status}`);
  return response;
}

async function readCounted(response: Response, onChange: (change: Download) => void): Promise<Blob> {
  // Of packed bodies the length says nothing.
  const isPacked = response.headers.has("content-encoding");
  const announced = isPacked ? 0 : Number(response.headers.get("content-length") ?? 0);
  onChange({ loaded: 0, total: announced });
  const counter = new TransformStream<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      onChange({ loaded: chunk.length, total: announced === 0 ? chunk.length : 0 });
      controller.enqueue(chunk);
    },
  });
  return await new Response(response.body!.pipeThrough(counter)).blob();
}

/** Puts files of this device where {@linkcode StoredFolder} finds them. */
export async function storeFiles(location: FolderLocation, files: ReadonlyMap<string, Blob>): Promise<void> {
  const store = await caches.open(cacheName(location));
  for (const [path, file] of files) {
    const headers = { "content-length": String(file.size) };
    await store.put(new URL(path, location.base), new Response(file, { headers }));
  }
}

/** Folders on this device, by title. */
export async function listStoredFolders(): Promise<StoredFolderInfo[]> {
  if (!("caches" in globalThis)) return [];
  const found: StoredFolderInfo[] = [];
  for (const name of await caches.keys()) {
    if (!name.startsWith(PREFIX)) continue;
    const store = await caches.open(name);
    let bytes = 0;
    for (const file of await store.matchAll()) bytes += Number(file.headers.get("content-length"));
    const location = JSON.parse(name.slice(PREFIX.length)) as FolderLocation;
    if (bytes === 0) await caches.delete(name);
    else found.push({ location, bytes });
  }
  return found.sort((a, b) => a.location.title.localeCompare(b.location.title));
}

/** Frees a folder's room. */
export async function deleteStoredFolder(location: FolderLocation): Promise<void> {
  await caches.delete(cacheName(location));
}

/** Frees other versions of the same folder. */
export async function deleteOtherVersions({ base, version }: FolderLocation): Promise<void> {
  for (const { location } of await listStoredFolders()) {
    if (location.base === base && location.version !== version) await deleteStoredFolder(location);
  }
}
