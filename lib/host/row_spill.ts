/**
 * Rows set down on disk by the place that they will have, so that a shuffle of any size needs the memory of one bucket.
 *
 * @module
 */

import { parseJsonObject } from "../format/json.ts";
import { stat } from "./files.ts";

/** Rows of a bucket: what is in memory at once when they are put in order. */
export const BUCKET_ROWS = 512;
const LENGTHS_BYTES = 8;
const MAX_HEADER_BYTES = 64e6;

/** A row without its image. */
export interface SpilledHead {
  /** Place among all rows of its split. */
  place: number;
  /** SHA-256 of the image, hexadecimal. */
  sha256: string;
  /** Captions. */
  captions: string[];
  /** The data set it came from. */
  source: string;
  /** Number in the source. */
  number: number;
  /** Name of the image file. */
  path: string;
}

/** A row as it was set down. */
export interface SpilledRow extends SpilledHead {
  /** Bytes of the image. */
  image: Uint8Array<ArrayBuffer>;
}

/** Buckets of the rows of several splits. Files are only added to, so that a size says how much of one counts. */
export class RowSpill {
  readonly #folder: string;
  readonly #sizes: Map<string, number>;

  /**
   * @param folder Folder of the buckets
   * @param sizes What {@linkcode RowSpill.sizes} gave when it was last known to be whole
   */
  constructor(folder: string, sizes: Readonly<Record<string, number>> = {}) {
    this.#folder = folder;
    this.#sizes = new Map(Object.entries(sizes));
  }

  /** Bytes of each bucket so far. */
  get sizes(): Record<string, number> {
    return Object.fromEntries(this.#sizes);
  }

  /** Whether the files hold what the sizes say; what is beyond is cut off. */
  async restore(): Promise<boolean> {
    for (const [name, size] of this.#sizes) {
      const info = await stat(`${this.#folder}/${name}`);
      if (info === undefined || info.size < size) return false;
      if (info.size > size) await Deno.truncate(`${this.#folder}/${name}`, size);
    }
    return true;
  }

  /** Sets a row down. */
  async add(split: string, { image, ...head }: SpilledRow): Promise<void> {
    const name = bucketName(split, Math.floor(head.place / BUCKET_ROWS));
    const text = new TextEncoder().encode(JSON.stringify(head));
    const record = new Uint8Array(LENGTHS_BYTES + text.length + image.length);
    const lengths = new DataView(record.buffer);
    lengths.setUint32(0, text.length, true);
    lengths.setUint32(4, image.length, true);
    record.set(text, LENGTHS_BYTES);
    record.set(image, LENGTHS_BYTES + text.length);
    // Without a size this run knows nothing of the file: it is another's that was given up.
    const isNew = !this.#sizes.has(name);
    using file = await Deno.open(`${this.#folder}/${name}`, {
      write: true,
      create: true,
      append: !isNew,
      truncate: isNew,
    });
    for (let written = 0; written < record.length;) written += await file.write(record.subarray(written));
    this.#sizes.set(name, (this.#sizes.get(name) ?? 0) + record.length);
  }

  /** Rows of all buckets without their images. */
  async *heads(): AsyncGenerator<{ split: string; head: SpilledHead }> {
    for (const [name, size] of this.#sizes) {
      using file = await Deno.open(`${this.#folder}/${name}`);
      for (let at = 0; at < size;) {
        await file.seek(at, Deno.SeekMode.Start);
        const lengths = new DataView((await readFully(file, LENGTHS_BYTES)).buffer);
        const headBytes = Math.min(lengths.getUint32(0, true), MAX_HEADER_BYTES);
        yield { split: name.split(".")[0]!, head: parseHead(await readFully(file, headBytes), name) };
        at += LENGTHS_BYTES + headBytes + lengths.getUint32(4, true);
      }
    }
  }

  /** Rows of a bucket in their places. */
  async read(split: string, bucket: number): Promise<SpilledRow[]> {
    const name = bucketName(split, bucket);
    const size = this.#sizes.get(name);
    if (size === undefined) return [];
    const bytes = await Deno.readFile(`${this.#folder}/${name}`);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const rows: SpilledRow[] = [];
    for (let at = 0; at < size;) {
      const headEnd = at + LENGTHS_BYTES + view.getUint32(at, true);
      const end = headEnd + view.getUint32(at + 4, true);
      rows.push({
        ...parseHead(bytes.subarray(at + LENGTHS_BYTES, headEnd), name),
        image: bytes.subarray(headEnd, end),
      });
      at = end;
    }
    return rows.sort((a, b) => a.place - b.place);
  }

  /** Removes a bucket that is not needed any more. */
  async remove(split: string, bucket: number): Promise<void> {
    const name = bucketName(split, bucket);
    if (await stat(`${this.#folder}/${name}`)) await Deno.remove(`${this.#folder}/${name}`);
  }
}

function bucketName(split: string, bucket: number): string {
  return `${split}.${String(bucket).padStart(6, "0")}`;
}

function parseHead(bytes: Uint8Array, name: string): SpilledHead {
  return parseJsonObject(new TextDecoder().decode(bytes), name) as unknown as SpilledHead;
}

async function readFully(file: Deno.FsFile, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  for (let filled = 0; filled < length;) {
    const count = await file.read(bytes.subarray(filled));
    if (count === null) throw new SyntaxError("Cannot read rows that were set down: the file is cut short");
    filled += count;
  }
  return bytes;
}
