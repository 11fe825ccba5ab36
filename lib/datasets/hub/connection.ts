/**
 * Requests to a Hub: the token goes to its origin alone, nothing waits for ever, and what may succeed later is tried again.
 *
 * @module
 */

import { describeError } from "../../base/errors.ts";
import { collectBody, type HubBody, Patience, readPieces } from "./body.ts";
import { explainRefusal, HubError, HubOfflineError, HubUnreachableError, redact } from "./hub_error.ts";
import {
  DEFAULT_RETRY,
  isTransientStatus,
  parseRetryAfter,
  retryDelayMs,
  type RetryPolicy,
  TransientError,
} from "./retry.ts";

/** Longest answer of the interface for programs; a page of a listing has 1000 entries. */
const MAX_ANSWER_BYTES = 64e6;
/** Slower uploads count as stalled: 50 kB/s. */
const MIN_UPLOAD_BYTES_PER_MS = 50;
/** Of a server's message, so much is shown. */
const MAX_MESSAGE_LENGTH = 300;

/** Options of {@linkcode HubConnection}. */
export interface HubConnectionOptions {
  /** Address of the Hub, without a slash at its end: `https://huggingface.co`. */
  readonly endpoint: string;
  /** Sent to the endpoint's origin. @default none */
  readonly token?: string | undefined;
  /** Longest wait for an answer, and between two pieces of one. @default {10000} */
  readonly timeoutMs?: number;
  /** How often and how patiently requests are repeated. */
  readonly retry?: Partial<RetryPolicy>;
  /** Why nothing may be sent, as `HF_HUB_OFFLINE is set`; every request is then refused. @default none */
  readonly offline?: string | undefined;
  /** Told why a request is repeated, and when. @default nobody */
  readonly onRetry?: (message: string) => void;
  /** Sends requests. @default fetch */
  readonly fetch?: typeof fetch;
  /** Numbers in [0, 1) that spread the pauses. @default Math.random */
  readonly random?: () => number;
}

/** What a request is for, beside what `fetch` takes. */
export interface HubRequest extends Omit<RequestInit, "signal"> {
  /** What is being done, for messages: `download "org/name"`. */
  readonly what: string;
  /** Where the repository is looked at, for messages. */
  readonly pageUrl?: string;
  /** Ends it with an `AbortError`. */
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose body is read piece by piece. */
export interface HubAnswer {
  /** 2xx. */
  readonly status: number;
  /** Its headers. */
  readonly headers: Headers;
  /** Its pieces. */
  readonly body: HubBody;
}

/** A Hub, and how it is spoken to. */
export class HubConnection {
  /** Address without a slash at its end. */
  readonly endpoint: string;
  /** Why nothing may be sent, if so. */
  readonly offline: string | undefined;
  readonly #options: HubConnectionOptions;
  readonly #policy: RetryPolicy;
  readonly #timeoutMs: number;

  /** Nothing is sent yet. */
  constructor(options: HubConnectionOptions) {
    this.endpoint = options.endpoint;
    this.offline = options.offline;
    this.#options = options;
    this.#policy = { ...DEFAULT_RETRY, ...options.retry };
    this.#timeoutMs = options.timeoutMs ?? 10_000;
  }

  /** Whether there is a token to send. */
  get hasToken(): boolean {
    return this.#options.token !== undefined;
  }

  /** The same Hub, spoken to with fewer attempts or another patience. */
  with(retry: Partial<RetryPolicy>): HubConnection {
    return new HubConnection({ ...this.#options, retry: { ...this.#policy, ...retry } });
  }

  /**
   * Sends one request, once.
   *
   * @throws {TransientError} If it may succeed later
   * @throws {HubError} If it was refused
   */
  async send(url: string, request: HubRequest): Promise<HubAnswer> {
    const { what, pageUrl, signal, ...init } = request;
    if (this.offline !== undefined) throw new HubOfflineError(`Cannot ${what}: ${this.offline}`);
    const headers = new Headers(init.headers);
    // Whatever a caller put there: the token is for the Hub alone. On a redirect to another origin fetch drops it.
    headers.delete("authorization");
    const isOwn = new URL(url).origin === new URL(this.endpoint).origin;
    if (isOwn && this.hasToken) headers.set("authorization", `Bearer ${this.#options.token}`);
    const patience = new Patience(this.#timeoutMs, signal);
    let response: Response;
    try {
      response = await patience.during(
        (this.#options.fetch ?? fetch)(url, { ...init, headers, signal: patience.signal }),
        sendingTimeMs(init.body),
      );
    } catch (error) {
      signal?.throwIfAborted();
      throw new TransientError(
        patience.isOver
          ? `no answer within ${this.#timeoutMs / 1000} s`
          : redact(describeError(error), this.#options.token),
        { cause: error },
      );
    }
    const body = readPieces(response, patience, signal);
    if (response.ok) return { status: response.status, headers: response.headers, body };
    const message = await this.#messageOf(response, body);
    if (isTransientStatus(response.status)) {
      throw new TransientError(
        `the server answered ${response.status}${message === "" ? "" : ` ("${message}")`}`,
        {
          status: response.status,
          retryAfterMs: parseRetryAfter(response.headers.get("retry-after"), Date.now()),
        },
      );
    }
    const code = response.headers.get("x-error-code");
    const why = explainRefusal({ status: response.status, code, message, hasToken: this.hasToken, pageUrl });
    throw new HubError(`Cannot ${what}: ${why}`, { status: response.status });
  }

  /**
   * Does work that sends requests, again and again while it fails for reasons that may pass.
   *
   * @param request What the work is for; `failures` counts those in a row, over several calls where the caller keeps it
   * @param work Tried until it succeeds
   * @throws {HubUnreachableError} If the attempts are used up, or the server asks for too long a pause
   */
  async repeat<T>(
    { what, signal, failures: counter = { count: 0 } }: Pick<HubRequest, "what" | "signal"> & {
      failures?: { count: number };
    },
    work: () => Promise<T>,
  ): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!(error instanceof TransientError)) throw error;
        const failures = ++counter.count;
        const { retryAfterMs } = error;
        const random = (this.#options.random ?? Math.random)();
        const delayMs = retryDelayMs(failures, this.#policy, { retryAfterMs, random });
        if (delayMs === undefined) {
          const wish = (retryAfterMs ?? 0) > this.#policy.maxRetryAfterMs
            ? ` and asks for a pause of ${Math.ceil(retryAfterMs! / 1000)} s`
            : ` (${failures} ${failures === 1 ? "attempt" : "attempts"})`;
          throw new HubUnreachableError(
            `Cannot ${what} from ${this.endpoint}: ${error.message}${wish}; run again later to continue`,
            { cause: error },
          );
        }
        this.#options.onRetry?.(
          `Tries to ${what} again in ${(delayMs / 1000).toFixed(1)} s: ${error.message}`,
        );
        await pause(delayMs, signal);
      }
    }
  }

  /**
   * Sends a request and reads its whole answer, as `fetch` does; this is what libraries are given. Whatever is refused or fails
   * for good is thrown. What changes something at the Hub is repeated only when the server said that it did nothing.
   */
  async call(url: string, request: HubRequest & { canRepeat?: boolean }): Promise<Response> {
    const { canRepeat = true, ...rest } = request;
    return await this.repeat(request, async () => {
      try {
        const { status, headers, body } = await this.send(url, rest);
        const bytes = await collectBody(body, MAX_ANSWER_BYTES, rest.what);
        return new Response(status === 204 ? null : bytes, { status, headers });
      } catch (error) {
        if (!(error instanceof TransientError) || canRepeat) throw error;
        if (error.status === 429 || error.status === 503) throw error;
        throw new HubUnreachableError(
          `Cannot ${rest.what}: ${error.message}; whether it was done is not known, look before you run again`,
          { cause: error },
        );
      }
    });
  }

  async #messageOf(response: Response, body: HubBody): Promise<string> {
    let text = response.headers.get("x-error-message") ?? "";
    try {
      const bytes = await collectBody(body, 64_000, "read");
      if (/json/.test(response.headers.get("content-type") ?? "")) {
        const { error } = JSON.parse(new TextDecoder().decode(bytes)) as { error?: unknown };
        if (typeof error === "string") text = error;
      }
    } catch {
      // A message that cannot be read is no reason to hide the status.
    }
    return redact(text, this.#options.token).replace(/\s+/g, " ").trim().slice(0, MAX_MESSAGE_LENGTH);
  }
}

/** Time to send a body and to have it dealt with, beside the usual timeout; how far it got cannot be seen. */
function sendingTimeMs(body: RequestInit["body"]): number {
  if (body === undefined || body === null) return 0;
  const sizeBytes = body instanceof Blob ? body.size : typeof body === "string" ? body.length : 0;
  return 60_000 + sizeBytes / MIN_UPLOAD_BYTES_PER_MS;
}

/** Waits; ends with the signal's reason. */
async function pause(delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, delayMs);
    const stop = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    signal?.addEventListener("abort", stop, { once: true });
  });
}
