/**
 * Answers of language models, kept in one SQLite file: what was paid for once is not asked again.
 *
 * @module
 */

import { DatabaseSync } from "node:sqlite";
import { describeError, UserError } from "../base/errors.ts";
import type { CuratedAnswer } from "../quality/curation.ts";

/** What became of a question. */
export type StoredAnswer =
  | { readonly answer: CuratedAnswer; readonly rejected?: undefined }
  | { readonly rejected: string; readonly answer?: undefined };

/** Tokens that were paid for. */
export interface Spent {
  /** Requests that were answered. */
  readonly requests: number;
  /** Tokens sent. */
  readonly input: number;
  /** Tokens answered. */
  readonly output: number;
}

/** How a file of SQLite is opened. */
export interface StoreOptions {
  /** SQLite's `application_id` of our files of this kind. */
  readonly applicationId: number;
  /** What it keeps, for messages. */
  readonly what: string;
  /** The flag that names another file. */
  readonly flag: string;
  /** Statements that make its tables where they are not there. */
  readonly schema: string;
}

/**
 * Opens a file of SQLite, or makes it. What is written to it is on the disk when the call returns.
 *
 * @throws {UserError} If it is another program's, or cannot be opened
 */
export function openStore(
  path: string,
  { applicationId, what, flag, schema }: StoreOptions,
): DatabaseSync {
  let db: DatabaseSync | undefined;
  try {
    db = new DatabaseSync(path);
    const { application_id: id } = db.prepare("PRAGMA application_id").get() as { application_id: number };
    const { count } = db.prepare("SELECT count(*) AS count FROM sqlite_master").get() as { count: number };
    if (id !== applicationId && count > 0) throw new Error("it is another program's database");
    db.exec(`
      PRAGMA application_id = ${applicationId};
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = FULL;
      PRAGMA busy_timeout = 5000;
      ${schema}`);
    return db;
  } catch (error) {
    db?.close();
    throw new UserError(
      `Cannot keep ${what} in "${path}": ${describeError(error)}; name another file with ${flag}`,
    );
  }
}

/** Marks the file as ours; SQLite's `application_id`. */
const APPLICATION_ID = 0x616c7474; // "altt"

/** The file. Every change is on the disk when its call returns. */
export class AnswerStore implements Disposable {
  readonly #db: DatabaseSync;

  /**
   * Opens the file, or makes it.
   *
   * @throws {UserError} If it is another program's, or cannot be opened
   */
  constructor(path: string) {
    this.#db = openStore(path, {
      applicationId: APPLICATION_ID,
      what: "answers",
      flag: "--cache",
      schema: `
        CREATE TABLE IF NOT EXISTS answers (
          key TEXT PRIMARY KEY, model TEXT NOT NULL, source TEXT NOT NULL,
          alt_text TEXT, objects TEXT, rejected TEXT, answered_at TEXT NOT NULL
        ) STRICT;
        CREATE TABLE IF NOT EXISTS requests (
          id INTEGER PRIMARY KEY, model TEXT NOT NULL, input_tokens INTEGER NOT NULL,
          output_tokens INTEGER NOT NULL, is_estimate INTEGER NOT NULL, answered_at TEXT NOT NULL
        ) STRICT;`,
    });
  }

  /** What is known of a question, if anything. */
  get(key: string): StoredAnswer | undefined {
    const row = this.#db.prepare("SELECT alt_text, objects, rejected FROM answers WHERE key = ?").get(key) as
      | { alt_text: string | null; objects: string | null; rejected: string | null }
      | undefined;
    if (row === undefined) return undefined;
    if (row.rejected !== null) return { rejected: row.rejected };
    return { answer: { altText: row.alt_text!, objects: JSON.parse(row.objects!) as string[] } };
  }

  /** Keeps what became of a question. */
  put(key: string, stored: StoredAnswer, { model, source }: { model: string; source: string }): void {
    const { answer, rejected } = stored;
    this.#db.prepare(
      "REPLACE INTO answers (key, model, source, alt_text, objects, rejected, answered_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
    ).run(
      key,
      model,
      source,
      answer?.altText ?? null,
      answer === undefined ? null : JSON.stringify(answer.objects),
      rejected ?? null,
      new Date().toISOString(),
    );
  }

  /** Notes what a request took. */
  spend(model: string, tokens: { input: number; output: number; isEstimate: boolean }): void {
    this.#db.prepare(
      "INSERT INTO requests (model, input_tokens, output_tokens, is_estimate, answered_at) VALUES (?, ?, ?, ?, ?)",
    ).run(model, tokens.input, tokens.output, tokens.isEstimate ? 1 : 0, new Date().toISOString());
  }

  /** What all requests to a model took, those of earlier runs too. */
  spent(model: string): Spent {
    return this.#db.prepare(
      "SELECT count(*) AS requests, coalesce(sum(input_tokens), 0) AS input, coalesce(sum(output_tokens), 0) AS output FROM requests WHERE model = ?",
    ).get(model) as unknown as Spent;
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#db.close();
  }
}
