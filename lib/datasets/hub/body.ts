/**
 * Bodies of answers, read under a clock.
 *
 * @module
 */

import { describeError } from "../../base/errors.ts";
import { HubError, redact } from "./hub_error.ts";
import { TransientError } from "./retry.ts";

/** A body, piece by piece. Whoever does not read it to its end calls `return`, as `for await` does. */
export interface HubBody extends AsyncIterableIterator<Uint8Array<ArrayBuffer>, void, void> {
  /** The next piece. @throws {TransientError} If the connection breaks or stalls */
  next(): Promise<IteratorResult<Uint8Array<ArrayBuffer>, void>>;
  /** Ends the connection. */
  return(): Promise<IteratorResult<Uint8Array<ArrayBuffer>, void>>;
}

/** Ends a request when nothing has come for too long, or its owner wants it ended. */
export class Patience {
  readonly #timeoutMs: number;
  readonly #over = new AbortController();
  /** To be given to `fetch`. */
  readonly signal: AbortSignal;

  /** Of the longest wait, and its owner's wish. */
  constructor(timeoutMs: number, signal: AbortSignal | undefined) {
    this.#timeoutMs = timeoutMs;
    this.signal = signal === undefined ? this.#over.signal : AbortSignal.any([this.#over.signal, signal]);
  }

  /** Whether it waited for too long. */
  get isOver(): boolean {
    return this.#over.signal.aborted;
  }

  /** Waits for something, at most for the timeout and what is added to it. */
  async during<T>(promise: Promise<T>, extraMs = 0): Promise<T> {
    const timer = setTimeout(() => this.#over.abort(), this.#timeoutMs + extraMs);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}

/** A body under the clock. No generator: `return` must end the connection of one that was never begun, too. */
export function readPieces(response: Response, patience: Patience, signal: AbortSignal | undefined): HubBody {
  const reader = response.body?.getReader();
  const end = { done: true, value: undefined } as const;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      if (reader === undefined) return end;
      try {
        const { done, value } = await patience.during(reader.read());
        return done ? end : { done, value };
      } catch (error) {
        await reader.cancel().catch(() => {}); // it may be broken already
        signal?.throwIfAborted();
        const why = patience.isOver ? "nothing more came" : redact(describeError(error));
        throw new TransientError(`the connection broke: ${why}`, { cause: error });
      }
    },
    async return() {
      await reader?.cancel().catch(() => {});
      return end;
    },
  };
}

/** All of a body. @throws {HubError} If it is longer than it may be */
export async function collectBody(
  body: HubBody,
  maxBytes: number,
  what: string,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  for await (const part of body) {
    size += part.length;
    if (size > maxBytes) {
      throw new HubError(`Cannot ${what}: the answer is longer than ${maxBytes} bytes`);
    }
    parts.push(part);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
