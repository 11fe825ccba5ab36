/**
 * A captioner behind HTTP on this machine.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { type Api, createApi } from "../serve/api.ts";
import { Captioner, type PreparedImage } from "./captioner.ts";
import { fetchRemoteImage } from "./remote_image.ts";

/** What is served, and within which limits. */
export interface ServeOptions {
  /** Run folder or embedded name. */
  model: string;
  host: string;
  /** 0 takes a free one. */
  port: number;
  /** Most images that run together. */
  maxBatch: number;
  /** Milliseconds that the first image of a batch waits for others. */
  maxWaitMs: number;
  /** Most images that wait. */
  maxQueue: number;
  /** Largest body, in MB of 1e6 bytes. */
  maxBodyMb: number;
  /** Most images of one request. */
  maxImages: number;
  /** Longest time of a request in seconds. */
  timeout: number;
  /** Wanted of requests below /api. */
  token?: string;
  /** Fetch images by URL. */
  allowUrl: boolean;
  /** Origin that browsers may ask from. */
  corsOrigin?: string;
  /** Print no line for requests. */
  quiet: boolean;
}

/** A running server. */
export interface RunningServer {
  /** Where it listens. */
  url: string;
  /** Ends it when `signal` aborts: no new requests, those under way are answered. */
  finished: Promise<void>;
}

/** Loads the captioner and listens. @throws {UserError} when the address is not free */
export async function startServer(options: ServeOptions, signal: AbortSignal): Promise<RunningServer> {
  const captioner = await Captioner.load(options.model);
  const api = apiOf(captioner, options);
  const { promise: listening, resolve } = Promise.withResolvers<string>();
  let server: Deno.HttpServer<Deno.NetAddr>;
  try {
    server = Deno.serve({
      hostname: options.host,
      port: options.port,
      onListen: ({ hostname, port }) =>
        resolve(`http://${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}/`),
    }, (request, { completed }) => {
      const gone = new AbortController();
      completed.catch(() => gone.abort());
      return api.handle(request, gone.signal);
    });
  } catch (error) {
    captioner[Symbol.dispose]();
    throw new UserError(
      `Cannot serve at ${options.host}, port ${options.port}: ${
        describeError(error)
      }; give others with --host and --port`,
    );
  }
  const url = await listening;
  const finished = (async () => {
    await new Promise<void>((done) =>
      signal.aborted ? done() : signal.addEventListener("abort", () => done(), { once: true })
    );
    await api.shutDown();
    await server.shutdown();
    captioner[Symbol.dispose]();
  })();
  return { url, finished };
}

function apiOf(captioner: Captioner, options: ServeOptions): Api {
  const { maxBatch, maxWaitMs, maxQueue, maxImages } = options;
  const maxBodyBytes = options.maxBodyMb * 1e6;
  const timeoutMs = options.timeout * 1000;
  return createApi<PreparedImage>({
    model: {
      id: options.model.replace(/\/+$/, "").split("/").at(-1)!,
      ...captioner.baseModels,
      maxLength: captioner.maxLength,
    },
    prepare: (bytes) => captioner.prepare(bytes),
    caption: (images, search, onText) =>
      captioner.captionPrepared(images, {
        ...search,
        onText,
        // Few shapes, so that plans are recorded once: the next power of two.
        batchSize: Math.min(maxBatch, 2 ** Math.ceil(Math.log2(images.length))),
      }),
    limits: {
      maxBatch,
      maxWaitMs,
      maxQueue,
      maxImages,
      maxBodyBytes,
      timeoutMs,
      ...(options.allowUrl && {
        fetchImage: (url: string, given: { maxBytes: number; signal: AbortSignal }) =>
          fetchRemoteImage(url, { ...given, timeoutMs }),
      }),
    },
    ...(options.token !== undefined && { token: options.token }),
    ...(options.corsOrigin !== undefined && { corsOrigin: options.corsOrigin }),
    log: (entry) => {
      if (!options.quiet) console.log(JSON.stringify(entry));
    },
    now: () => performance.now(),
  });
}
