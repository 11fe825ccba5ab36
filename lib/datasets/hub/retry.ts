/**
 * When a request is tried again, and after what pause.
 *
 * @module
 */

/** How often and how patiently. */
export interface RetryPolicy {
  /** Attempts in all that may fail one after the other without any progress. */
  readonly attempts: number;
  /** Pause before the second attempt, in milliseconds; it doubles with each. */
  readonly baseDelayMs: number;
  /** Longest pause of our own choice, in milliseconds. */
  readonly maxDelayMs: number;
  /** Longest pause that a server may ask for (`Retry-After`), in milliseconds. */
  readonly maxRetryAfterMs: number;
}

/** What is used unless told otherwise. */
export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 5,
  baseDelayMs: 1000,
  maxDelayMs: 30_000,
  maxRetryAfterMs: 300_000,
};

/** A failure that another attempt may not meet: a broken connection, a stall, a busy server. */
export class TransientError extends Error {
  /** Always `"TransientError"`. */
  override name = "TransientError";
  /** Pause that the server asked for, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** HTTP status, where there was an answer. */
  readonly status: number | undefined;

  /** With what happened and, where there was an answer, its status and the pause it asks for. */
  constructor(
    message: string,
    options: { status?: number; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = options.status;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Whether an HTTP status says that the same request may succeed later: 408, 429 and 5xx, but not 501 and 505. */
export function isTransientStatus(status: number): boolean {
  return status === 408 || status === 429 || (status >= 500 && status !== 501 && status !== 505);
}

/** The pause a `Retry-After` header asks for, in milliseconds: a number of seconds, or a date; `undefined` if it is neither. */
export function parseRetryAfter(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined;
  const text = header.trim();
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  // Only the dates of HTTP: Date.parse takes much that is none.
  const dateMs = /^[A-Z][a-z]{2,8}, \d/.test(text) ? Date.parse(text) : NaN;
  return Number.isNaN(dateMs) ? undefined : Math.max(0, dateMs - nowMs);
}

/**
 * Pause before the next attempt, in milliseconds, or `undefined` when there shall be none: the attempts are used up, or the
 * server asks for more patience than the policy has.
 *
 * @param failures Attempts that have failed one after the other, at least 1
 * @param policy How often and how patiently
 * @param options The server's wish, and a number in [0, 1) that spreads the pauses of many clients over half their length
 */
export function retryDelayMs(
  failures: number,
  policy: RetryPolicy,
  options: { retryAfterMs?: number | undefined; random: number },
): number | undefined {
  if (failures >= policy.attempts) return undefined;
  const fullMs = Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** (failures - 1));
  const ownMs = fullMs * (0.5 + 0.5 * options.random);
  if (options.retryAfterMs === undefined) return ownMs;
  if (options.retryAfterMs > policy.maxRetryAfterMs) return undefined;
  return Math.max(options.retryAfterMs, ownMs);
}
