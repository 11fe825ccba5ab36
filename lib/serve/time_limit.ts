/**
 * The longest time of a request, holding on to nothing once it is answered.
 *
 * @module
 */

import { HttpError } from "./request_images.ts";

/**
 * Runs `work` until it ends, its time is up or its sender has gone. The timer ends with the work: one that ran on, as
 * `AbortSignal.timeout` does, would keep the request's images until the limit.
 *
 * @param work is told by its signal to stop
 * @param gone aborts when the sender has gone
 * @throws {HttpError} 503 when the time is up, 499 when the sender has gone; else what `work` throws
 */
export async function withinTime<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { timeoutMs, gone }: { timeoutMs: number; gone: AbortSignal | undefined },
): Promise<T> {
  const end = new AbortController();
  const ended = Promise.withResolvers<never>();
  const stop = (error: HttpError): void => {
    end.abort(error);
    ended.reject(error);
  };
  const leave = (): void => stop(new HttpError(499, "closed", "The sender has gone"));
  const timer = setTimeout(
    () => stop(new HttpError(503, "timeout", `The request took longer than ${timeoutMs} ms`)),
    timeoutMs,
  );
  gone?.addEventListener("abort", leave, { once: true });
  try {
    if (gone?.aborted) leave();
    return await Promise.race([ended.promise, work(end.signal)]);
  } finally {
    clearTimeout(timer);
    gone?.removeEventListener("abort", leave);
  }
}
