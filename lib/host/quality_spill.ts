/**
 * What was found of each row, on disk as it is found: a line a row, and embeddings in a file of their own. The lines say how far a broken
 * report came; nothing that was found is looked for again.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { QualityExample } from "../quality/example.ts";
import { stat, writeAll } from "./files.ts";

/** What a line holds: the examples of a row, or why it has none. */
export type SpilledRow =
  | readonly QualityExample[]
  | { readonly id: string; readonly error: string };

const EXAMPLES = "examples.jsonl", EMBEDDINGS = "embeddings.f32";
const READ_BYTES = 2 ** 20;
const NEWLINE = 10;

/** Lines and embeddings of a folder. */
export class QualitySpill implements Disposable {
  readonly #folder: string;
  readonly #lines: Deno.FsFile;
  readonly #embeddings: Deno.FsFile;
  #rows = 0;
  #embeddingCount = 0;
  #width = 0;

  private constructor(folder: string, files: { lines: Deno.FsFile; embeddings: Deno.FsFile }) {
    this.#folder = folder;
    this.#lines = files.lines;
    this.#embeddings = files.embeddings;
  }

  /** Opens what a folder has. A line that a kill cut short is dropped, and embeddings that no line knows of. */
  static async open(folder: string): Promise<QualitySpill> {
    const open = (name: string) => Deno.open(`${folder}/${name}`, { read: true, write: true, create: true });
    const spill = new QualitySpill(folder, {
      lines: await open(EXAMPLES),
      embeddings: await open(EMBEDDINGS),
    });
    await spill.#restore();
    return spill;
  }

  /** Rows that have a line. */
  get rows(): number {
    return this.#rows;
  }

  /** Embeddings so far. */
  get embeddingCount(): number {
    return this.#embeddingCount;
  }

  /** Numbers of an embedding; 0 before the first. */
  get width(): number {
    return this.#width;
  }

  /** Keeps the first rows and forgets the others. */
  async keep(rows: number): Promise<void> {
    if (rows < this.#rows) await this.#restore(rows);
  }

  async #restore(most = Infinity): Promise<void> {
    const size = (await stat(`${this.#folder}/${EXAMPLES}`))?.size ?? 0;
    let [whole, offset] = [0, 0];
    [this.#rows, this.#embeddingCount] = [0, 0];
    for await (const bytes of this.#chunks()) {
      for (
        let at = bytes.indexOf(NEWLINE);
        at >= 0 && this.#rows < most;
        at = bytes.indexOf(NEWLINE, at + 1)
      ) {
        this.#rows++;
        whole = offset + at + 1;
      }
      offset += bytes.length;
    }
    if (whole < size) await this.#lines.truncate(whole);
    await this.#lines.seek(0, Deno.SeekMode.End);
    if (this.#rows > 0) {
      for await (const row of this.read()) {
        if (!("error" in row)) { for (const { embedding } of row) this.#count(embedding); }
      }
    }
    const bytes = (await stat(`${this.#folder}/${EMBEDDINGS}`))?.size ?? 0;
    const width = Number(await Deno.readTextFile(`${this.#folder}/width`).catch(() => "0"));
    const wanted = this.#embeddingCount * width * 4;
    if (bytes < wanted) {
      throw new UserError(
        `Cannot go on with "${this.#folder}": embeddings are missing; remove it and run again`,
      );
    }
    this.#width = width;
    await this.#embeddings.truncate(wanted);
    await this.#embeddings.seek(0, Deno.SeekMode.End);
  }

  #count(embedding: number | undefined): void {
    if (embedding !== undefined) this.#embeddingCount = Math.max(this.#embeddingCount, embedding + 1);
  }

  /** Sets an embedding down. @returns Its place */
  async addEmbedding(vector: Float32Array): Promise<number> {
    if (this.#width === 0) {
      this.#width = vector.length;
      await Deno.writeTextFile(`${this.#folder}/width`, String(vector.length));
    }
    await writeAll(this.#embeddings, new Uint8Array(vector.slice().buffer));
    return this.#embeddingCount++;
  }

  /** Sets rows down, in their order. Their embeddings must be there already. */
  async add(rows: readonly SpilledRow[]): Promise<void> {
    const text = rows.map((row) => `${JSON.stringify(row)}\n`).join("");
    await writeAll(this.#lines, new TextEncoder().encode(text));
    this.#rows += rows.length;
  }

  /** Waits until all is on the disk. */
  async sync(): Promise<void> {
    await this.#embeddings.sync();
    await this.#lines.sync();
  }

  /** All rows in their order. */
  async *read(): AsyncGenerator<SpilledRow> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const bytes of this.#chunks()) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = lines.pop()!;
      for (const line of lines) yield JSON.parse(line);
    }
  }

  /** A reader of embeddings by their place: from memory where they are few, else from the disk. */
  embeddingReader(): (index: number) => Float32Array {
    const width = this.#width;
    const bytes = this.#embeddingCount * width * 4;
    const buffer = new Float32Array(bytes <= 256e6 ? bytes / 4 : width);
    const read = (at: number, into: Uint8Array) => {
      this.#embeddings.seekSync(at, Deno.SeekMode.Start);
      for (let filled = 0; filled < into.length;) {
        const count = this.#embeddings.readSync(into.subarray(filled));
        if (count === null) throw new SyntaxError("Cannot read embeddings: the file is cut short");
        filled += count;
      }
    };
    const whole = new Uint8Array(buffer.buffer);
    if (bytes <= 256e6) {
      read(0, whole);
      return (index) => buffer.subarray(index * width, (index + 1) * width);
    }
    return (index) => {
      read(index * width * 4, whole);
      return buffer;
    };
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    this.#lines.close();
    this.#embeddings.close();
  }

  async *#chunks(): AsyncGenerator<Uint8Array> {
    using file = await Deno.open(`${this.#folder}/${EXAMPLES}`);
    const buffer = new Uint8Array(READ_BYTES);
    for (;;) {
      const count = await file.read(buffer);
      if (count === null) return;
      yield buffer.subarray(0, count);
    }
  }
}
