/**
 * A part of a remote file, through broken connections: what has come is kept, and the rest is asked for.
 *
 * @module
 */

import type { HubBody } from "./body.ts";
import type { HubConnection } from "./connection.ts";
import { HubError } from "./hub_error.ts";
import { TransientError } from "./retry.ts";

/** Attempts start to count anew after so many bytes; a server that drips is not waited for. */
const PROGRESS_BYTES = 64 * 1024;

/** A file at a Hub. */
export interface RemoteFile {
  /** Where its bytes are. */
  readonly url: string;
  /** What is done with it, for messages: `download "model.safetensors" of "org/name"`. */
  readonly what: string;
  /** Size that the listing gives, in bytes. */
  readonly sizeBytes: number;
  /** Where its repository is looked at, for messages. */
  readonly pageUrl?: string;
}

/** Which part of a file, and how it may come. */
export interface RangeOptions {
  /** First byte. @default {0} */
  readonly start?: number;
  /** Byte after the last. @default the file's size */
  readonly end?: number;
  /** Where a server knows no ranges, most bytes that are read and dropped to reach the start. @default any number */
  readonly maxSkipBytes?: number;
  /** Remembers the version that the first answer had; every later one must have the same. */
  readonly version?: { etag?: string };
  /** Ends it with an `AbortError`. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * The bytes of a part, piece by piece, in order and exactly as many as asked for. Whether they are the right ones is for the
 * caller's checksum to say.
 *
 * @throws {HubUnreachableError} If attempts without progress are used up
 * @throws {HubError} If the server refuses, or its file is not the one that was listed
 */
export async function* readRange(
  connection: HubConnection,
  file: RemoteFile,
  options: RangeOptions = {},
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  const end = options.end ?? file.sizeBytes;
  const failures = { count: 0 };
  let position = options.start ?? 0, countedFrom = position;
  let body: HubBody | undefined;
  const nextPiece = async () => {
    try {
      // A body that broke is dropped below, and the next attempt asks for the rest.
      body ??= await openRange(connection, file, { ...options, start: position, end });
      const { done, value } = await body.next();
      if (done) throw new TransientError(`the body ended ${end - position} bytes too early`);
      return value;
    } catch (error) {
      body = undefined;
      throw error;
    }
  };
  try {
    while (position < end) {
      const piece = await connection.repeat({ what: file.what, signal: options.signal, failures }, nextPiece);
      if (piece.length > end - position) {
        throw new HubError(`Cannot ${file.what}: more bytes came than the ${end - position} that were left`);
      }
      position += piece.length;
      if (position - countedFrom >= PROGRESS_BYTES) {
        countedFrom = position;
        failures.count = 0;
      }
      yield piece;
    }
  } finally {
    await body?.return();
  }
}

/** Sends the request for a part and checks that the answer is that part. */
async function openRange(
  connection: HubConnection,
  file: RemoteFile,
  options: RangeOptions & { start: number; end: number },
): Promise<HubBody> {
  const { start, end, maxSkipBytes = Infinity, version, signal } = options;
  const isWhole = start === 0 && end === file.sizeBytes;
  const answer = await connection.send(file.url, {
    what: file.what,
    ...(file.pageUrl === undefined ? {} : { pageUrl: file.pageUrl }),
    headers: {
      // Compressed bytes would be neither of this size nor of this range.
      "accept-encoding": "identity",
      ...(isWhole ? {} : { range: `bytes=${start}-${end - 1}` }),
    },
    signal,
  });
  try {
    checkVersion(answer.headers, file, version);
    if (answer.status === 206) {
      const [, from, to, total] =
        /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.headers.get("content-range") ?? "") ?? [];
      if (Number(from) !== start || Number(to) !== end - 1) {
        throw new TransientError(`bytes ${from}-${to} came, bytes ${start}-${end - 1} were asked for`);
      }
      if (total !== "*" && Number(total) !== file.sizeBytes) throw wrongSize(file, total!);
      return answer.body;
    }
    const length = answer.headers.get("content-length");
    if (length !== null && Number(length) !== file.sizeBytes) throw wrongSize(file, length);
    if (start > maxSkipBytes) {
      throw new HubError(
        `Cannot ${file.what}: the server does not send parts of files; fetch the whole file`,
      );
    }
    return isWhole ? answer.body : part(answer.body, start, end);
  } catch (error) {
    await answer.body.return();
    throw error;
  }
}

/** Servers behind a proxy may be wrong for a moment, so this is tried again. */
function wrongSize(file: RemoteFile, found: string): TransientError {
  return new TransientError(`the file has ${found} bytes there, ${file.sizeBytes} in the listing`);
}

function checkVersion(headers: Headers, file: RemoteFile, version: RangeOptions["version"]): void {
  const etag = headers.get("etag");
  if (version === undefined || etag === null || etag.startsWith("W/")) return;
  version.etag ??= etag;
  if (version.etag !== etag) {
    throw new HubError(`Cannot ${file.what}: the file has changed while it was being read`);
  }
}

/** Bytes `start` to `end` of a body that begins at 0. */
async function* part(
  body: HubBody,
  start: number,
  end: number,
): AsyncGenerator<Uint8Array<ArrayBuffer>, void, void> {
  let position = 0;
  for await (const piece of body) {
    const inside = piece.subarray(Math.max(0, start - position), Math.max(0, end - position));
    position += piece.length;
    if (inside.length > 0) yield inside;
    if (position >= end) return;
  }
}
