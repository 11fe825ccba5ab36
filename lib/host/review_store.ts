/**
 * What people decided of pairs of image and caption, in one SQLite file.
 *
 * @module
 */

import { DatabaseSync } from "node:sqlite";
import { openStore } from "./answer_store.ts";

/** What becomes of a pair. */
export type Decision = "accept" | "edit" | "reject";

/** A decision as it is kept. */
export interface StoredDecision {
  readonly decision: Decision;
  /** The caption that was written, of an edited pair. */
  readonly caption?: string;
}

/** Marks the file as ours; SQLite's `application_id`. */
const APPLICATION_ID = 0x72657677; // "revw"

/** The file. A decision is on the disk when its call returns. */
export class ReviewStore implements Disposable {
  readonly #db: DatabaseSync;

  /** Opens the file, or makes it. @throws {UserError} If it is another program's, or cannot be opened */
  constructor(path: string) {
    this.#db = openStore(path, {
      applicationId: APPLICATION_ID,
      what: "decisions",
      flag: "--decisions",
      schema: `CREATE TABLE IF NOT EXISTS decisions (
        key TEXT PRIMARY KEY, decision TEXT NOT NULL CHECK (decision IN ('accept', 'edit', 'reject')),
        caption TEXT, source TEXT NOT NULL, decided_at TEXT NOT NULL
      ) STRICT;`,
    });
  }

  /** Every decision, by the key of its pair. */
  all(): Map<string, StoredDecision> {
    const rows = this.#db.prepare("SELECT key, decision, caption FROM decisions").all() as unknown as {
      key: string;
      decision: Decision;
      caption: string | null;
    }[];
    return new Map(
      rows.map(({ key, decision, caption }) => [key, { decision, ...(caption !== null && { caption }) }]),
    );
  }

  /** Keeps a decision; `undefined` takes it back. */
  put(key: string, stored: StoredDecision | undefined, source: string): void {
    if (stored === undefined) {
      this.#db.prepare("DELETE FROM decisions WHERE key = ?").run(key);
      return;
    }
    this.#db.prepare(
      "REPLACE INTO decisions (key, decision, caption, source, decided_at) VALUES (?, ?, ?, ?, ?)",
    ).run(key, stored.decision, stored.caption ?? null, source, new Date().toISOString());
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#db.close();
  }
}
