/**
 * Images of the groups read last, for rows that are asked for one by one.
 *
 * @module
 */

import type { TableRow, TableShard } from "./table.ts";

/** Images kept, in bytes; the newest group is kept whatever its size. */
const MAX_BYTES = 192e6;

interface Entry {
  rows: Promise<TableRow[]>;
  bytes: number;
}

/** Keeps one column of whole groups, the least recently used dropped first. */
export class GroupCache {
  readonly #entries = new Map<string, Entry>();

  /** Rows of a group, read once for all who ask meanwhile. */
  async get(shard: TableShard, group: number, column: string): Promise<TableRow[]> {
    const key = `${shard.name}\n${group}`;
    let entry = this.#entries.get(key);
    if (entry === undefined) {
      entry = { rows: shard.read(group, [column]), bytes: 0 };
      const read = entry;
      entry.rows.then(
        (rows) => {
          read.bytes = rows.reduce((sum, row) => sum + sizeOf(row[column]), 0);
          this.#drop(key);
        },
        () => this.#entries.delete(key),
      );
    }
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return await entry.rows;
  }

  #drop(newest: string): void {
    let bytes = 0;
    for (const entry of this.#entries.values()) bytes += entry.bytes;
    for (const [key, entry] of this.#entries) {
      if (bytes <= MAX_BYTES) return;
      if (key === newest) continue;
      bytes -= entry.bytes;
      this.#entries.delete(key);
    }
  }
}

function sizeOf(value: unknown): number {
  if (value instanceof Uint8Array) return value.length;
  const bytes = (value as { bytes?: unknown } | null)?.bytes;
  return bytes instanceof Uint8Array ? bytes.length : 0;
}
