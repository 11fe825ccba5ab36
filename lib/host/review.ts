/**
 * Pairs of image and caption to be accepted, edited or rejected by people, at a page on this machine.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";
import { BadRows } from "../datasets/bad_rows.ts";
import { type ImageRow, type Split, SPLITS } from "../datasets/rows.ts";
import { isJsonObject } from "../format/json.ts";
import { identifyImage } from "../image/decode.ts";
import { findProtectedTerms } from "../quality/protected_terms.ts";
import page from "../serve/review_page.html" with { type: "text" };
import { normalizeCaption } from "../text/normalize.ts";
import { type CuratedFormat, type CuratedRow, writeCuratedDataset } from "./curated_dataset.ts";
import { openDataset } from "./datasets.ts";
import { type Decision, ReviewStore, type StoredDecision } from "./review_store.ts";
import { serveLocally } from "./static_server.ts";

/** Which pairs are shown. */
export type ReviewChoice = "all" | "terms" | "changed";

/** Options of {@linkcode openReview}. */
export interface ReviewOptions {
  /** Name of the registry, id of the Hub, folder or file. */
  dataset: string;
  /** Which part of it. */
  split: Split | "all";
  /** At most so many rows of every split. */
  sample?: number | undefined;
  /** Column of captions. @default the first usual name that the data set has */
  captionColumn?: string | undefined;
  /** Column of images. @default the first usual name that the data set has */
  imageColumn?: string | undefined;
  /** Of splits that no folder names. */
  seed: number;
  /** Share of rows that may be unusable. */
  maxBadRows: number;
  /** All pairs, those with protected terms, or those whose caption is not the original one. */
  show: ReviewChoice;
  /** SQLite file of decisions. */
  decisions: string;
  /** Folder that the export makes. */
  outputDir: string;
  /** How it is laid out. */
  format: CuratedFormat;
  /** Whether pairs that nobody decided are exported. */
  undecided: "keep" | "drop";
  /** Shows no progress of downloads. @default {false} */
  quiet?: boolean;
}

/** What an export came to. */
export interface ReviewExport {
  /** The folder. */
  readonly path: string;
  /** Pairs in it. */
  readonly rows: number;
  /** Pairs left out because somebody rejected them. */
  readonly rejected: number;
  /** Pairs that nobody decided. */
  readonly undecided: number;
}

interface Pair {
  readonly split: Split;
  readonly row: ImageRow;
  readonly originals: readonly string[];
  readonly key: string;
}

const MAX_CAPTION_UNITS = 10_000;
const MAX_BODY_BYTES = 100_000;

/** Pairs, what was decided of them, and the server that shows them. */
export class Review implements Disposable {
  readonly #options: ReviewOptions;
  readonly #all: readonly Pair[];
  readonly #shown: readonly Pair[];
  readonly #store: ReviewStore;
  readonly #policy: string;
  /** What is in the store, by key. */
  readonly #decided: Map<string, StoredDecision>;

  private constructor(
    options: ReviewOptions,
    parts: { all: readonly Pair[]; shown: readonly Pair[]; store: ReviewStore; policy: string },
  ) {
    this.#options = options;
    this.#all = parts.all;
    this.#shown = parts.shown;
    this.#store = parts.store;
    this.#policy = parts.policy;
    this.#decided = parts.store.all();
  }

  /** Opens a data set for review. @throws {UserError} If there is nothing to review, or it cannot be read */
  static async open(options: ReviewOptions): Promise<Review> {
    const badRows = new BadRows({ maxFraction: options.maxBadRows });
    const dataset = await openDataset(options.dataset, { ...options, badRows });
    const all: Pair[] = [];
    for (const split of options.split === "all" ? SPLITS : [options.split]) {
      for (const row of await dataset.load(split)) all.push(await pairOf(row, split));
    }
    badRows.check(dataset.total);
    const shown = all.filter(({ row, originals }) =>
      options.show === "all" ||
      (options.show === "terms"
        ? row.captions.some((caption) => findProtectedTerms(caption).length > 0)
        : originals.join("\n") !== row.captions.join("\n"))
    );
    if (shown.length === 0) {
      throw new UserError(
        `Cannot review "${options.dataset}": no pair of the split "${options.split}" is to be shown (--show ${options.show})`,
      );
    }
    return new Review(options, {
      all,
      shown,
      store: new ReviewStore(options.decisions),
      policy: await pagePolicy(),
    });
  }

  /** Pairs that are shown. */
  get size(): number {
    return this.#shown.length;
  }

  /** Pairs by what was decided of them. */
  counts(): Record<Decision, number> {
    const counts = { accept: 0, edit: 0, reject: 0 };
    for (const { key } of this.#shown) {
      const stored = this.#decided.get(key);
      if (stored !== undefined) counts[stored.decision]++;
    }
    return counts;
  }

  /** Serves the page to this machine alone; 0 takes a free port. @throws {UserError} when the port is taken */
  serve(port: number): Deno.HttpServer<Deno.NetAddr> {
    const server = serveLocally(port, (request) => this.#answer(request, server.addr.port));
    return server;
  }

  /** Writes the pairs as they were decided. @throws {UserError} If no pair is left, or the folder is of other origin */
  async export(): Promise<ReviewExport> {
    const { outputDir, format, dataset, undecided } = this.#options;
    let [rejected, open, kept] = [0, 0, 0];
    const decided = this.#decided;
    const all = this.#all;
    const rows = async function* (): AsyncGenerator<CuratedRow> {
      for (const { split, row, originals, key } of all) {
        const stored = decided.get(key);
        if (stored === undefined) open++;
        if (stored?.decision === "reject") rejected++;
        if (stored?.decision === "reject" || (stored === undefined && undecided === "drop")) continue;
        kept++;
        const { curation } = row.columns;
        const before = typeof curation === "string" ? curation : "none";
        yield {
          split,
          image: await row.readImage(),
          captions: stored?.caption === undefined ? row.captions : stored.caption.split("\n"),
          original: originals,
          objects: row.objects ?? [],
          curation: stored?.caption === undefined ? before : "person",
        };
      }
    };
    await writeCuratedDataset(outputDir, rows(), { format, dataset, by: "people", task: "review" });
    return { path: outputDir, rows: kept, rejected, undecided: open };
  }

  async #answer(request: Request, port: number): Promise<Response> {
    const headers = {
      "content-security-policy": this.#policy,
      "x-content-type-options": "nosniff",
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
    };
    const refuse = (status: number, error: string) => Response.json({ error }, { status, headers });
    // Other sites may lead a browser here under a name of their own, or send it with what they want decided.
    const hosts = [`127.0.0.1:${port}`, `localhost:${port}`];
    if (!hosts.includes(request.headers.get("host") ?? "")) return refuse(403, "not asked by this machine");
    const { pathname } = new URL(request.url);
    const isReading = request.method === "GET" || request.method === "HEAD";
    if (!isReading) {
      const origin = request.headers.get("origin");
      if (origin !== null && !hosts.includes(origin.replace(/^http:\/\//, ""))) {
        return refuse(403, "not asked by the page");
      }
      if (request.headers.get("content-type") !== "application/json") {
        return refuse(415, "expected application/json");
      }
    }
    try {
      if (isReading && pathname === "/") {
        return new Response(page, { headers: { ...headers, "content-type": "text/html; charset=utf-8" } });
      }
      if (isReading && pathname === "/api/state") {
        const state = { dataset: this.#options.dataset, total: this.size, counts: this.counts() };
        return Response.json({ ...state, first: this.#undecidedFrom(0) ?? 0 }, { headers });
      }
      const [, kind, number] = /^\/api\/(rows|images)\/(\d{1,9})$/.exec(pathname) ?? [];
      const index = Number(number);
      if (kind !== undefined && index >= this.size) return refuse(404, `there are ${this.size} pairs`);
      if (isReading && kind === "images") return await this.#image(index, headers);
      if (isReading && kind === "rows") return Response.json(this.#describe(index), { headers });
      if (request.method === "PUT" && kind === "rows") {
        const fault = this.#decide(index, await readBody(request));
        return fault === undefined ? Response.json(this.#describe(index), { headers }) : refuse(400, fault);
      }
      if (request.method === "POST" && pathname === "/api/check") {
        const body = await readBody(request);
        const caption = isJsonObject(body) && typeof body.caption === "string" ? body.caption : undefined;
        if (caption === undefined) return refuse(400, "caption is not a string");
        return Response.json({ terms: findProtectedTerms(caption.slice(0, MAX_CAPTION_UNITS)) }, { headers });
      }
      if (request.method === "POST" && pathname === "/api/export") {
        return Response.json(await this.export(), { headers });
      }
      return refuse(404, "there is nothing of this name");
    } catch (error) {
      const isTheirs = error instanceof SyntaxError || error instanceof RangeError;
      return refuse(isTheirs ? 400 : 500, describeError(error));
    }
  }

  #decide(index: number, body: unknown): string | undefined {
    const { key, row } = this.#shown[index]!;
    if (!isJsonObject(body)) return "expected an object";
    const { decision, caption } = body;
    if (decision === null) return this.#keep(key, undefined, row.id);
    if (decision === "accept" || decision === "reject") {
      return this.#keep(key, { decision }, row.id);
    }
    if (decision !== "edit") return "decision is none of accept, edit, reject and null";
    // Where a row has several captions, each stands on a line of its own.
    const lines = typeof caption !== "string"
      ? []
      : row.captions.length > 1
      ? caption.split("\n")
      : [caption];
    const text = lines.map(normalizeCaption).filter((line) => line !== "").join("\n");
    if (text === "") return "an edited caption cannot be empty; reject the pair instead";
    if (text.length > MAX_CAPTION_UNITS) return `a caption has at most ${MAX_CAPTION_UNITS} letters`;
    this.#keep(key, { decision, caption: text }, row.id);
  }

  #keep(key: string, stored: StoredDecision | undefined, source: string): undefined {
    this.#store.put(key, stored, source);
    if (stored === undefined) this.#decided.delete(key);
    else this.#decided.set(key, stored);
  }

  #describe(index: number): object {
    const { row, originals, key } = this.#shown[index]!;
    const stored = this.#decided.get(key);
    const caption = stored?.caption ?? row.captions.join("\n");
    return {
      index,
      total: this.size,
      caption,
      terms: findProtectedTerms(caption),
      originals,
      objects: row.objects ?? [],
      decision: stored?.decision ?? null,
      edited: stored?.caption ?? null,
      counts: this.counts(),
      nextUndecided: this.#undecidedFrom(index + 1) ?? this.#undecidedFrom(0) ?? null,
    };
  }

  #undecidedFrom(start: number): number | undefined {
    for (let index = start; index < this.size; index++) {
      if (this.#decided.get(this.#shown[index]!.key) === undefined) return index;
    }
    return undefined;
  }

  async #image(index: number, headers: Record<string, string>): Promise<Response> {
    const bytes = await this.#shown[index]!.row.readImage();
    const format = identifyImage(bytes);
    return new Response(bytes, {
      headers: {
        ...headers,
        "content-type": format === undefined ? "application/octet-stream" : `image/${format}`,
      },
    });
  }

  /** Closes the file of decisions. */
  [Symbol.dispose](): void {
    this.#store[Symbol.dispose]();
  }
}

async function pairOf(row: ImageRow, split: Split): Promise<Pair> {
  const { original_alt_text: original } = row.columns;
  const list = typeof original === "string" ? [original] : original;
  const isText = Array.isArray(list) && list.length > 0 && list.every((text) => typeof text === "string");
  const originals = isText ? (list as string[]) : row.captions;
  // A pair whose caption has changed since is another one.
  const key = await sha256Hex(new TextEncoder().encode(JSON.stringify([split, row.image, row.captions])));
  return { split, row, originals, key };
}

/** The page may run its own script and style, known by their hashes, show its images and ask its own server. */
async function pagePolicy(): Promise<string> {
  const hash = async (tag: string) => {
    const [, text] = new RegExp(`<${tag}>([^]*?)</${tag}>`).exec(page)!;
    const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
    return `'sha256-${new Uint8Array(digest).toBase64()}'`;
  };
  return [
    "default-src 'none'",
    `script-src ${await hash("script")}`,
    `style-src ${await hash("style")}`,
    "img-src 'self' data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; ");
}

/** @throws {SyntaxError} If it is not JSON @throws {RangeError} If it is too long */
async function readBody(request: Request): Promise<unknown> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const piece of request.body ?? []) {
    size += piece.length;
    if (size > MAX_BODY_BYTES) throw new RangeError(`a body has at most ${MAX_BODY_BYTES} bytes`);
    pieces.push(piece);
  }
  return JSON.parse(await new Blob(pieces).text());
}
