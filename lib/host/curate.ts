/**
 * Data sets with captions rewritten under inclusive guidelines, by a language model or by rules.
 *
 * First every row is asked about whose answer is not kept yet, then the data set is written from the answers: whatever breaks, the
 * same command goes on where it was, and pays for nothing twice.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { sha256Hex } from "../base/sha256.ts";
import { type BadRow, BadRows } from "../datasets/bad_rows.ts";
import type { ReadRow } from "../datasets/caption_set.ts";
import type { Split } from "../datasets/rows.ts";
import {
  ANSWER_SCHEMA,
  captionFault,
  checkAnswer,
  type CurationItem,
  curationMessages,
  estimateRequest,
  GUIDELINES_VERSION,
  parseAnswer,
} from "../quality/curation.ts";
import { neutralizeCaption } from "../quality/neutralize.ts";
import { findProtectedTerms } from "../quality/protected_terms.ts";
import { AnswerStore, type StoredAnswer } from "./answer_store.ts";
import { ChatClient, type ChatClientOptions } from "./chat_client.ts";
import { type CuratedFormat, type CuratedRow, writeCuratedDataset } from "./curated_dataset.ts";
import { groupsOf, openDataset, type RowGroup } from "./datasets.ts";
import { stat } from "./files.ts";
import { startProgress } from "./progress.ts";
import { shrinkToJpeg } from "./shrink_image.ts";

/** What is read, and where the result goes. */
export interface CurateDataOptions {
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
  /** Share of rows that may be unusable. */
  maxBadRows: number;
  /** Of splits that no folder names. */
  seed: number;
  /** Folder that is made. */
  outputDir: string;
  /** How it is laid out. */
  format: CuratedFormat;
  /** Ends it; run again, it continues. */
  signal?: AbortSignal | undefined;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** Prices of a model, in US dollars for a million tokens. */
export interface TokenPrices {
  readonly input: number;
  readonly output: number;
}

/** How a model is asked. */
export interface AskOptions extends Omit<ChatClientOptions, "signal" | "onRetry"> {
  /** With the images, or from captions alone. */
  mode: "vision" | "text";
  /** Rows in a request. */
  batchSize: number;
  /** Requests at a time. */
  concurrency: number;
  /** How often a row is asked about until its answer can be used. */
  attempts: number;
  /** Ask again about rows whose answers could not be used in an earlier run. */
  retryRejected: boolean;
  /** Most words of a caption. */
  maxWords: number;
  /** Longer side of images as they are sent, pixels. */
  imageSize: number;
  /** What an image counts as, in tokens, for estimates. */
  imageTokens: number;
  /** For costs. */
  prices?: TokenPrices | undefined;
  /** The run ends before it costs more, in US dollars. */
  maxCost?: number | undefined;
  /** The run ends after so many requests. */
  maxRequests?: number | undefined;
  /** SQLite file of answers. */
  cache: string;
  /** What becomes of rows whose answers cannot be used: they are left out, or the rules rewrite them. */
  onFailure: "skip" | "rules";
}

/** Tokens, and what they cost where prices are known. */
export interface Bill {
  readonly requests: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly cost?: number;
}

/** What asking came to, or would come to. */
export interface AskResult {
  /** Rows whose answer was there before. */
  readonly known: number;
  /** Rows that were asked about, or would be. */
  readonly asked: number;
  /** Of this run, or an estimate. */
  readonly bill: Bill;
}

/** What a curation came to. */
export interface CurateResult {
  /** The folder. */
  readonly path: string;
  /** Rows of each split. */
  readonly rows: Partial<Record<Split, number>>;
  /** Rows whose captions differ from the original ones. */
  readonly changed: number;
  /** Protected terms in the captions before and after. */
  readonly terms: { readonly before: number; readonly after: number };
  /** Rows that were left out or rewritten by rules because no answer could be used, with the reason. */
  readonly rejected: readonly BadRow[];
  /** Rows that could not be read. */
  readonly badRows: readonly BadRow[];
  /** Captions by rules that still have a protected term, or are no caption any more. */
  readonly faults: readonly BadRow[];
  /** What was asked, where a model was. */
  readonly ask?: AskResult;
}

/** A row that is asked about. */
interface Question {
  readonly key: string;
  readonly id: string;
  item: CurationItem;
  attempts: number;
  /** It spoilt a whole answer and is asked about alone. */
  isAlone: boolean;
}

type GoodRow = Extract<ReadRow, { row: unknown }>;

/** Curates a data set. With `ask` a model rewrites its captions, else rules do. @throws {UserError} If something is in the way */
export async function curateDataset(data: CurateDataOptions, ask?: AskOptions): Promise<CurateResult> {
  if (ask === undefined) return await writeResult(data, undefined);
  using store = new AnswerStore(ask.cache);
  const asked = await new Asking(data, { ask, store }).run();
  return { ...await writeResult(data, { ask, store }), ask: asked };
}

/** Counts what {@linkcode curateDataset} would ask, and estimates its tokens. Nothing is sent or written. */
export async function estimateCuration(data: CurateDataOptions, ask: AskOptions): Promise<AskResult> {
  using store = new AnswerStore(await stat(ask.cache) === undefined ? ":memory:" : ask.cache);
  return await new Asking(data, { ask, store }).estimate();
}

/** Costs of tokens in US dollars, where prices are known. */
function costOf(
  tokens: { input: number; output: number },
  prices: TokenPrices | undefined,
): number | undefined {
  return prices && (tokens.input * prices.input + tokens.output * prices.output) / 1e6;
}

interface Asked {
  readonly ask: AskOptions;
  readonly store: AnswerStore;
}

class Asking {
  readonly #data: CurateDataOptions;
  readonly #ask: AskOptions;
  readonly #store: AnswerStore;
  readonly #stop = new AbortController();
  #bill = { requests: 0, input: 0, output: 0 };
  /** Tokens of requests that are on their way. */
  #pending = { requests: 0, input: 0, output: 0 };

  constructor(data: CurateDataOptions, { ask, store }: Asked) {
    this.#data = data;
    this.#ask = ask;
    this.#store = store;
  }

  async run(): Promise<AskResult> {
    const { signal, quiet = false } = this.#data;
    const { groups, total, badRows } = await openGroups(this.#data);
    using progress = startProgress({ label: "ask", total, quiet });
    const client = new ChatClient({
      ...this.#ask,
      signal: signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]),
      onRetry: (message) => progress.log(message),
    });
    let [known, asked, done] = [0, 0, 0];
    for (const group of groups) {
      signal?.throwIfAborted();
      const questions = new Map<string, Question>();
      for (const read of await group.read()) {
        if (read.error !== undefined) badRows.add(read.id, read.error);
        else {
          const question = await this.#questionOf(read, badRows);
          if (question === undefined) known++;
          else if (question !== "bad") questions.set(question.key, question);
        }
      }
      badRows.check(total);
      asked += questions.size;
      await this.#askAll([...questions.values()], client, (count) => {
        progress.update(done + count, this.#tokens());
      });
      done += group.count;
      progress.update(done, this.#tokens());
    }
    return { known, asked, bill: this.#result() };
  }

  async estimate(): Promise<AskResult> {
    const { groups, total, badRows } = await openGroups(this.#data);
    using progress = startProgress({ label: "count", total, quiet: this.#data.quiet ?? false });
    let [known, asked, done] = [0, 0, 0];
    for (const group of groups) {
      this.#data.signal?.throwIfAborted();
      const items = new Map<string, CurationItem>();
      for (const read of await group.read()) {
        if (read.error !== undefined) badRows.add(read.id, read.error);
        else {
          const question = await this.#questionOf(read, badRows);
          if (question === undefined) known++;
          else if (question !== "bad") items.set(question.key, question.item);
        }
      }
      badRows.check(total);
      const list = [...items.values()];
      for (let at = 0; at < list.length; at += this.#ask.batchSize) {
        const { input, output } = estimateRequest(
          list.slice(at, at + this.#ask.batchSize),
          this.#ask.imageTokens,
        );
        this.#bill.requests++;
        this.#bill.input += input;
        this.#bill.output += output;
      }
      asked += list.length;
      done += group.count;
      progress.update(done);
    }
    return { known, asked, bill: this.#result() };
  }

  #result(): Bill {
    const { requests, input, output } = this.#bill;
    const cost = costOf(this.#bill, this.#ask.prices);
    return { requests, inputTokens: input, outputTokens: output, ...(cost !== undefined && { cost }) };
  }

  #tokens(): Record<string, string> {
    const { requests, input, output } = this.#bill;
    const cost = costOf(this.#bill, this.#ask.prices);
    const tokens = { requests: String(requests), tokens: String(input + output) };
    return cost === undefined ? tokens : { ...tokens, cost: `$${cost.toFixed(4)}` };
  }

  /** What has to be asked about a row; `undefined` where the answer is known. */
  async #questionOf({ row, image }: GoodRow, badRows: BadRows): Promise<Question | "bad" | undefined> {
    const key = await keyOf(row.captions, image, this.#ask);
    const stored = this.#store.get(key);
    if (stored !== undefined && !(stored.rejected !== undefined && this.#ask.retryRejected)) {
      return undefined;
    }
    let item: CurationItem = { captions: row.captions };
    if (this.#ask.mode === "vision") {
      try {
        const jpeg = await shrinkToJpeg(image, this.#ask.imageSize);
        item = { ...item, image: { type: "image/jpeg", base64: jpeg.toBase64() } };
      } catch (error) {
        badRows.add(row.id, `its image cannot be sent: ${describeError(error)}`);
        return "bad";
      }
    }
    return { key, id: row.id, item, attempts: 0, isAlone: false };
  }

  async #askAll(
    questions: Question[],
    client: ChatClient,
    onAnswer: (count: number) => void,
  ): Promise<void> {
    const queue = questions;
    let answered = 0;
    const work = async () => {
      for (;;) {
        const batch = takeBatch(queue, this.#ask.batchSize);
        if (batch.length === 0) return;
        const again = await this.#askBatch(batch, client);
        queue.push(...again);
        answered += batch.length - again.length;
        onAnswer(answered);
      }
    };
    const workers = Array.from({ length: this.#ask.concurrency }, async () => {
      try {
        await work();
      } catch (error) {
        // The others would go on asking, and paying, for a run that has failed.
        this.#stop.abort(error);
        throw error;
      }
    });
    const results = await Promise.allSettled(workers);
    this.#data.signal?.throwIfAborted();
    if (this.#stop.signal.aborted) throw this.#stop.signal.reason;
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  /** Asks about some rows. @returns Those that have to be asked about again */
  async #askBatch(batch: readonly Question[], client: ChatClient): Promise<Question[]> {
    const { model, attempts, maxWords } = this.#ask;
    const items = batch.map(({ item }) => item);
    const estimate = estimateRequest(items, this.#ask.imageTokens);
    this.#checkLimits(estimate);
    this.#pending.requests++;
    this.#pending.input += estimate.input;
    this.#pending.output += estimate.output;
    let said: { text: string };
    try {
      const tokens = estimate.input + estimate.output;
      const answer = await client.ask(curationMessages(items), { schema: ANSWER_SCHEMA, tokens });
      said = answer;
      const { input, output } = answer.usage ?? estimate;
      this.#bill.requests++;
      this.#bill.input += input;
      this.#bill.output += output;
      this.#store.spend(model, { input, output, isEstimate: answer.usage === undefined });
    } finally {
      this.#pending.requests--;
      this.#pending.input -= estimate.input;
      this.#pending.output -= estimate.output;
    }
    let values: unknown[] | undefined;
    let fault = "";
    try {
      values = parseAnswer(said.text, batch.length);
    } catch (error) {
      fault = describeError(error);
    }
    return batch.filter((question, place) => {
      const checked = values === undefined ? { complaint: fault } : checkAnswer(values[place], { maxWords });
      const about = { model, source: question.id };
      if (checked.answer !== undefined) {
        this.#store.put(question.key, { answer: checked.answer }, about);
        return false;
      }
      question.attempts++;
      question.isAlone ||= values === undefined && batch.length > 1;
      question.item = { ...question.item, complaint: checked.complaint };
      if (question.attempts < attempts) return true;
      this.#store.put(question.key, { rejected: checked.complaint }, about);
      return false;
    });
  }

  /** @throws {UserError} If another request could go beyond a limit */
  #checkLimits(estimate: { input: number; output: number }): void {
    const { prices, maxCost, maxRequests } = this.#ask;
    const go = "what is answered is kept: run the same command again with a higher limit to continue";
    if (maxRequests !== undefined && this.#bill.requests + this.#pending.requests >= maxRequests) {
      throw new UserError(`Stopped after ${this.#bill.requests} requests (--max-requests); ${go}`);
    }
    const sum = (field: "input" | "output") => this.#bill[field] + this.#pending[field] + estimate[field];
    const cost = costOf({ input: sum("input"), output: sum("output") }, prices);
    if (maxCost !== undefined && cost !== undefined && cost > maxCost) {
      const spent = costOf(this.#bill, prices)!;
      throw new UserError(
        `Stopped at $${
          spent.toFixed(4)
        }: the next request could cost more than $${maxCost} in all (--max-cost); ${go}`,
      );
    }
  }
}

function takeBatch(queue: Question[], size: number): Question[] {
  const first = queue.shift();
  if (first === undefined) return [];
  const batch = [first];
  while (!first.isAlone && batch.length < size && queue[0] !== undefined && !queue[0].isAlone) {
    batch.push(queue.shift()!);
  }
  return batch;
}

/** What tells a question from others: the model, what it is shown, and how it is asked. */
async function keyOf(
  captions: readonly string[],
  image: Uint8Array<ArrayBuffer>,
  ask: AskOptions,
): Promise<string> {
  const { model, mode, temperature = 0 } = ask;
  const seen = mode === "vision" ? { image: await sha256Hex(image), imageSize: ask.imageSize } : {};
  const parts = { version: GUIDELINES_VERSION, model, mode, temperature, captions, ...seen };
  return await sha256Hex(new TextEncoder().encode(JSON.stringify(parts)));
}

async function openGroups(
  data: CurateDataOptions,
): Promise<{ groups: RowGroup[]; total: number; badRows: BadRows }> {
  const badRows = new BadRows({ maxFraction: data.maxBadRows });
  const dataset = await openDataset(data.dataset, {
    badRows,
    seed: data.seed,
    sample: data.sample,
    captionColumn: data.captionColumn,
    imageColumn: data.imageColumn,
    quiet: data.quiet ?? false,
    ...(data.signal && { signal: data.signal }),
  });
  const groups = (await groupsOf(dataset)).filter(({ split }) =>
    data.split === "all" || split === data.split
  );
  const total = groups.reduce((sum, { count }) => sum + count, 0);
  if (total === 0) {
    throw new UserError(`Cannot curate "${data.dataset}": it has no rows in the split "${data.split}"`);
  }
  return { groups, total, badRows };
}

async function writeResult(data: CurateDataOptions, asked: Asked | undefined): Promise<CurateResult> {
  const { groups, total, badRows } = await openGroups(data);
  const rejected = new BadRows({ maxFraction: 1 });
  const faults = new BadRows({ maxFraction: 1 });
  const terms = { before: 0, after: 0 };
  const counts: Partial<Record<Split, number>> = {};
  let [changed, done] = [0, 0];
  using progress = startProgress({ label: "write", total, quiet: data.quiet ?? false });
  const count = (captions: readonly string[]) =>
    captions.reduce((sum, caption) => sum + findProtectedTerms(caption).length, 0);
  const curate = async (read: GoodRow, split: Split): Promise<CuratedRow | undefined> => {
    const { row, image } = read;
    const stored = asked && asked.store.get(await keyOf(row.captions, image, asked.ask));
    const curated = curateRow(row.captions, stored, asked?.ask);
    if (asked !== undefined && stored?.answer === undefined) {
      // A row that cannot be sent was never asked about.
      rejected.add(row.id, stored?.rejected ?? "it was not asked about");
    }
    if (curated === undefined) return undefined;
    const fault = curated.captions.map((caption) => captionFault(caption, Infinity)).find((fault) =>
      fault !== undefined
    );
    if (fault !== undefined) faults.add(row.id, fault);
    terms.before += count(row.captions);
    terms.after += count(curated.captions);
    if (curated.captions.join("\n") !== row.captions.join("\n")) changed++;
    counts[split] = (counts[split] ?? 0) + 1;
    return {
      split,
      image,
      captions: curated.captions,
      original: row.captions,
      objects: curated.objects ?? row.objects ?? [],
      curation: curated.by,
    };
  };
  const rows = async function* (): AsyncGenerator<CuratedRow> {
    for (const group of groups) {
      data.signal?.throwIfAborted();
      for (const read of await group.read()) {
        if (read.error !== undefined) badRows.add(read.id, read.error);
        else {
          const row = await curate(read, group.split);
          if (row !== undefined) yield row;
        }
      }
      badRows.check(total);
      done += group.count;
      progress.update(done);
    }
  };
  const by = asked === undefined ? "rules" : asked.ask.model;
  await writeCuratedDataset(data.outputDir, rows(), {
    format: data.format,
    dataset: data.dataset,
    by,
    task: "curate",
  });
  return {
    path: data.outputDir,
    rows: counts,
    changed,
    terms,
    rejected: rejected.rows,
    badRows: badRows.rows,
    faults: faults.rows,
  };
}

/** What becomes of a row's captions, and who rewrote them; `undefined` where it is left out. */
function curateRow(
  captions: readonly string[],
  stored: StoredAnswer | undefined,
  ask: AskOptions | undefined,
): { captions: readonly string[]; objects?: readonly string[]; by: string } | undefined {
  if (stored?.answer !== undefined) {
    return { captions: [stored.answer.altText], objects: stored.answer.objects, by: ask!.model };
  }
  if (ask !== undefined && ask.onFailure === "skip") return undefined;
  return { captions: captions.map((caption) => neutralizeCaption(caption).caption), by: "rules" };
}
