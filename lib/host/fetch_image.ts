/**
 * Images at addresses that a data set names.
 *
 * @module
 */

import { joinBytes } from "../base/bytes.ts";
import { describeError } from "../base/errors.ts";
import {
  DEFAULT_RETRY,
  isTransientStatus,
  parseRetryAfter,
  retryDelayMs,
  TransientError,
} from "../datasets/hub/retry.ts";
import { readHubEnvironment } from "./hub_env.ts";

const TIMEOUT_MS = 30_000;
/** A data set has many images, and one that cannot be had costs little: less patience than with the Hub. */
const POLICY = { ...DEFAULT_RETRY, attempts: 3, maxRetryAfterMs: 10_000 };

/** Options of {@linkcode fetchImage}. */
export interface FetchImageOptions {
  /** More bytes are not read. */
  readonly maxBytes: number;
  /** Ends the request. */
  readonly signal?: AbortSignal;
  /** @default the global one */
  readonly fetch?: typeof fetch;
  /** Pause before the second attempt, which doubles. @default {1000} */
  readonly baseDelayMs?: number;
}

/**
 * Fetches an image, trying again where that may help.
 *
 * @throws {Error} If it cannot be had, is too large, or programs are told to stay offline
 */
export async function fetchImage(url: string, options: FetchImageOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { offline } = readHubEnvironment();
  if (offline !== undefined) throw new Error(`Cannot fetch "${url}": ${offline}`);
  const policy = { ...POLICY, baseDelayMs: options.baseDelayMs ?? POLICY.baseDelayMs };
  for (let failures = 1;; failures++) {
    try {
      return await fetchOnce(url, options);
    } catch (error) {
      if (!(error instanceof TransientError)) throw error;
      const { retryAfterMs } = error;
      const delayMs = retryDelayMs(failures, policy, { retryAfterMs, random: Math.random() });
      options.signal?.throwIfAborted();
      if (delayMs === undefined) throw error;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
    }
  }
}

async function fetchOnce(url: string, options: FetchImageOptions): Promise<Uint8Array<ArrayBuffer>> {
  const { maxBytes, signal, fetch: ask = fetch } = options;
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const answer = await ask(url, { signal: signal ? AbortSignal.any([signal, timeout]) : timeout });
    if (!answer.ok) {
      await answer.body?.cancel();
      const { status } = answer;
      const message = `Cannot fetch "${url}": status ${status}`;
      if (!isTransientStatus(status)) throw new RangeError(message);
      const retryAfterMs = parseRetryAfter(answer.headers.get("retry-after"), Date.now());
      throw new TransientError(message, { status, retryAfterMs });
    }
    const pieces: Uint8Array[] = [];
    let size = 0;
    for await (const piece of answer.body ?? []) {
      size += piece.length;
      if (size > maxBytes) throw new RangeError(`Cannot fetch "${url}": more than ${maxBytes} bytes`);
      pieces.push(piece);
    }
    return joinBytes(pieces);
  } catch (cause) {
    if (cause instanceof RangeError || cause instanceof TransientError || signal?.aborted) throw cause;
    throw new TransientError(`Cannot fetch "${url}": ${describeError(cause)}`, { cause });
  }
}
