/**
 * Asks a language model by OpenAI's interface for chats: paced, within its limits of cost, again where it may help.
 *
 * Source: https://platform.openai.com/docs/api-reference/chat
 *
 * @module
 */

import { describeError, printable, UserError } from "../base/errors.ts";
import { isTransientStatus, parseRetryAfter, retryDelayMs, type RetryPolicy } from "../datasets/hub/retry.ts";
import { isJsonObject } from "../format/json.ts";
import type { ChatMessage } from "../quality/curation.ts";

/** How an answer is made to be JSON: by its schema, as any object, or by being asked alone. */
export type JsonMode = "schema" | "object" | "text";

/** Options of {@linkcode ChatClient}. */
export interface ChatClientOptions {
  /** Address of the interface: `https://api.openai.com/v1`. */
  apiBase: string;
  /** The model, as the server calls it. */
  model: string;
  /** Sent as a bearer token. @default none, as servers on one's own machine take it */
  apiKey?: string | undefined;
  /** How JSON is asked for. @default {"schema"} */
  jsonMode?: JsonMode;
  /** 0 for the likeliest words. @default {0} */
  temperature?: number;
  /** Requests a minute at most. @default {no limit} */
  requestsPerMinute?: number | undefined;
  /** Tokens a minute at most, of questions and answers. @default {no limit} */
  tokensPerMinute?: number | undefined;
  /** Longest wait for a whole answer. @default {120000} */
  timeoutMs?: number;
  /** How often and how patiently requests are repeated. */
  retry?: Partial<RetryPolicy>;
  /** Ends everything with an `AbortError`. */
  signal?: AbortSignal | undefined;
  /** Told why a request is repeated. */
  onRetry?: (message: string) => void;
}

/** An answer. */
export interface ChatAnswer {
  /** What was said. */
  readonly text: string;
  /** Tokens that the server counted; absent where it does not say. */
  readonly usage?: { readonly input: number; readonly output: number };
}

const RETRY: RetryPolicy = { attempts: 6, baseDelayMs: 1000, maxDelayMs: 60_000, maxRetryAfterMs: 600_000 };
const MAX_ANSWER_BYTES = 4e6;
const MAX_MESSAGE_UNITS = 300;
const MINUTE_MS = 60_000;

/** A server that answers chats. */
export class ChatClient {
  readonly #options: ChatClientOptions;
  readonly #policy: RetryPolicy;
  /** When the next request may go. */
  #nextMs = 0;
  /** Tokens of the last minute, by when they were used. */
  #used: { atMs: number; tokens: number }[] = [];

  /** Nothing is sent yet. @throws {UserError} If the address is none */
  constructor(options: ChatClientOptions) {
    if (!/^https?:\/\/[^/]/.test(options.apiBase) || !URL.canParse(options.apiBase)) {
      throw new UserError(
        `Cannot ask "${options.apiBase}": expected an address such as https://api.openai.com/v1 for --api-base`,
      );
    }
    this.#options = options;
    this.#policy = { ...RETRY, ...options.retry };
  }

  /**
   * Asks once, and again while it fails for reasons that may pass.
   *
   * @param schema What the answer's JSON must look like
   * @throws {UserError} If the server refuses, or the attempts are used up
   */
  async ask(
    messages: readonly ChatMessage[],
    { schema, tokens }: { schema: object; tokens: number },
  ): Promise<ChatAnswer> {
    const { signal, onRetry } = this.#options;
    for (let failures = 1;; failures++) {
      const turn = await this.#waitForTurn(tokens);
      const result = await this.#send(messages, schema);
      if ("text" in result) {
        if (result.usage !== undefined) turn.tokens = result.usage.input + result.usage.output;
        return result;
      }
      const { why, retryAfterMs } = result;
      const delayMs = retryDelayMs(failures, this.#policy, { retryAfterMs, random: Math.random() });
      if (delayMs === undefined) {
        throw new UserError(
          `Cannot ask ${this.#options.apiBase}: ${why}, after ${failures} attempts; what is answered is kept: run the same command again to continue`,
        );
      }
      onRetry?.(`${why}; asks again in ${(delayMs / 1000).toFixed(1)} s`);
      // A server that is busy for one is busy for all.
      if (retryAfterMs !== undefined) this.#nextMs = Math.max(this.#nextMs, Date.now() + retryAfterMs);
      await sleep(delayMs, signal);
    }
  }

  async #waitForTurn(tokens: number): Promise<{ atMs: number; tokens: number }> {
    const { requestsPerMinute, tokensPerMinute, signal } = this.#options;
    const nowMs = Date.now();
    const startMs = Math.max(nowMs, this.#nextMs);
    this.#nextMs = requestsPerMinute === undefined
      ? Math.max(this.#nextMs, nowMs)
      : startMs + MINUTE_MS / requestsPerMinute;
    await sleep(startMs - nowMs, signal);
    for (;;) {
      const now = Date.now();
      this.#used = this.#used.filter(({ atMs }) => atMs > now - MINUTE_MS);
      const sum = this.#used.reduce((total, used) => total + used.tokens, 0);
      const [oldest] = this.#used;
      if (tokensPerMinute === undefined || oldest === undefined || sum + tokens <= tokensPerMinute) {
        const turn = { atMs: now, tokens };
        this.#used.push(turn);
        return turn;
      }
      await sleep(oldest.atMs + MINUTE_MS - now, signal);
    }
  }

  async #send(
    messages: readonly ChatMessage[],
    schema: object,
  ): Promise<ChatAnswer | { why: string; retryAfterMs?: number | undefined }> {
    const { apiBase, apiKey, model, temperature = 0, timeoutMs = 120_000, signal } = this.#options;
    const over = new AbortController();
    const timer = setTimeout(() => over.abort(), timeoutMs);
    try {
      const response = await fetch(`${apiBase.replace(/\/+$/, "")}/chat/completions`, {
        method: "POST",
        redirect: "error",
        headers: {
          "content-type": "application/json",
          ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
        },
        body: JSON.stringify({ model, messages, temperature, ...this.#format(schema) }),
        signal: signal === undefined ? over.signal : AbortSignal.any([over.signal, signal]),
      });
      const text = await readBounded(response);
      if (response.ok) return readAnswer(text);
      const message = this.#redact(messageOf(text));
      if (!isTransientStatus(response.status) || /insufficient_quota/.test(text)) {
        throw this.#refusal(response.status, message);
      }
      return {
        why: `the server answered ${response.status}${message === "" ? "" : ` ("${message}")`}`,
        retryAfterMs: parseRetryAfter(response.headers.get("retry-after"), Date.now()),
      };
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof UserError) throw error;
      return {
        why: over.signal.aborted
          ? `no answer within ${timeoutMs / 1000} s`
          : this.#redact(describeError(error)),
      };
    } finally {
      clearTimeout(timer);
    }
  }

  #format(schema: object): object {
    const { jsonMode = "schema" } = this.#options;
    if (jsonMode === "text") return {};
    if (jsonMode === "object") return { response_format: { type: "json_object" } };
    return {
      response_format: { type: "json_schema", json_schema: { name: "alt_texts", strict: true, schema } },
    };
  }

  #refusal(status: number, message: string): UserError {
    const { model, jsonMode = "schema", apiKey } = this.#options;
    const said = message === "" ? "" : `: ${message}`;
    const advice = status === 401 || status === 403
      ? apiKey === undefined ? "set the key in the environment (--api-key-env)" : "check the key"
      : status === 404
      ? `check --api-base and --model ("${model}")`
      : status === 402 || status === 429
      ? "the account has no credit left"
      : status === 400 && jsonMode === "schema" && /response_format|schema/i.test(message)
      ? "try --json-mode object"
      : "check --model and --mode";
    return new UserError(`Cannot ask ${this.#options.apiBase}: it answered ${status}${said}; ${advice}`);
  }

  #redact(text: string): string {
    const { apiKey } = this.#options;
    return apiKey === undefined || apiKey === "" ? text : text.replaceAll(apiKey, "…");
  }
}

/** The text and the count of tokens of a response's JSON; a response that has none may have one the next time. */
function readAnswer(body: string): ChatAnswer | { why: string } {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return { why: "the server's answer is not JSON" };
  }
  const choices = isJsonObject(value) ? value.choices : undefined;
  const choice = Array.isArray(choices) ? choices[0] : undefined;
  const message = isJsonObject(choice) ? choice.message : undefined;
  if (!isJsonObject(message)) return { why: "the server's answer has no message" };
  const { content, refusal } = message;
  const text = typeof content === "string" ? content : typeof refusal === "string" ? refusal : "";
  const usage = isJsonObject(value) && isJsonObject(value.usage) ? value.usage : {};
  const [input, output] = [usage.prompt_tokens, usage.completion_tokens];
  return isCount(input) && isCount(output) ? { text, usage: { input, output } } : { text };
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= 0;
}

function messageOf(body: string): string {
  let message: unknown = body;
  try {
    const value: unknown = JSON.parse(body);
    const error = isJsonObject(value) ? value.error : undefined;
    message = isJsonObject(error) ? error.message : error;
  } catch {
    // A page or a line of text.
  }
  const text = typeof message === "string" ? message.replace(/\s+/g, " ").trim() : "";
  return printable(/^\s*</.test(text) ? "" : text.slice(0, MAX_MESSAGE_UNITS));
}

async function readBounded(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let [text, size] = ["", 0];
  for await (const piece of response.body ?? []) {
    size += piece.length;
    if (size > MAX_ANSWER_BYTES) throw new Error(`the answer has more than ${MAX_ANSWER_BYTES} bytes`);
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

/** Waits. @throws {DOMException} `AbortError` if it was ended */
async function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  if (ms <= 0) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => resolve(), { once: true });
  await promise;
  clearTimeout(timer);
  signal?.throwIfAborted();
}
