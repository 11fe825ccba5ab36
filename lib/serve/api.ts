/**
 * The HTTP interface to a captioner: requests in, responses out, with nothing of the host in it.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import { Batcher, QueueFullError } from "./batcher.ts";
import type { RequestOptions } from "../models/caption_options.ts";
import { type Confidence, formatConfidence } from "../models/calibration.ts";
import { eventStream } from "./events.ts";
import { openApi } from "./open_api.ts";
import page from "./page.html" with { type: "text" };
import { Counter, formatPrometheus, Gauge, Histogram } from "./prometheus.ts";
import { type BodyLimits, HttpError, readImages } from "./request_images.ts";
import { withinTime } from "./time_limit.ts";

/** A caption as the interface gives it. */
export interface ServedCaption {
  caption: string;
  logProb: number;
  tokens: number;
  /** How sure the model is, where it says so. */
  confidence?: Confidence | undefined;
  /** True when the model was made for other images. */
  outOfDomain: boolean;
}

/** A model as the interface lists it. */
export interface ServedModel {
  /** Name in requests and answers. */
  id: string;
  encoder: string;
  decoder: string;
  maxLength: number;
}

/** One line of the log, without anything of an image or a caption. */
export interface LogEntry {
  time: string;
  method: string;
  path: string;
  status: number;
  ms: number;
  images: number;
  /** Code of the error, if there was one. */
  error?: string;
  /** What failed, where it was the server's fault. */
  detail?: string;
}

/** What the interface stands on. */
export interface ApiOptions<Image> {
  model: ServedModel;
  /** Decodes and preprocesses one image; what it throws is the sender's fault. */
  prepare(bytes: Uint8Array): Promise<Image>;
  /** Captions images of one kind of search together; `onTexts` is told how every caption reads so far. */
  caption(
    images: readonly Image[],
    options: RequestOptions,
    onTexts: (texts: readonly string[]) => void,
  ): Promise<ServedCaption[]>;
  limits: Omit<BodyLimits, "signal"> & {
    /** Most images that run together. */
    maxBatch: number;
    /** How long the first image of a batch waits for others. */
    maxWaitMs: number;
    /** Most images that wait. */
    maxQueue: number;
    /** Longest time of a request. */
    timeoutMs: number;
  };
  /** Wanted as `Authorization: Bearer TOKEN` for everything below /api. @default {nothing is wanted} */
  token?: string;
  /** Answered to browsers of other origins. @default {none: they are kept out} */
  corsOrigin?: string;
  log(entry: LogEntry): void;
  /** Milliseconds on a clock that never goes back. */
  now(): number;
}

/** The interface, and how to end it. */
export interface Api {
  /** Answers a request; never throws. @param gone aborts when its sender has gone */
  handle(request: Request, gone?: AbortSignal): Promise<Response>;
  /** Refuses new images, waits for those that are in, and answers /healthz with 503 from now on. */
  shutDown(): Promise<void>;
}

interface Job<Image> {
  image: Image;
  options: RequestOptions;
  onText: ((text: string) => void) | undefined;
}

/** Headers of the page: it speaks with this server alone. */
const PAGE_HEADERS = {
  "content-type": "text/html; charset=utf-8",
  "content-security-policy": "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " +
    "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "referrer-policy": "no-referrer",
};

/** Makes the interface. @throws {RangeError} when a limit makes no sense */
export function createApi<Image>(options: ApiOptions<Image>): Api {
  const { model, limits, now } = options;
  const metrics = createMetrics(() => batcher.depth);
  const batcher = new Batcher<Job<Image>, ServedCaption>({
    ...limits,
    keyOf: (job) => JSON.stringify(Object.entries(job.options).sort()),
    run: async (jobs) => {
      metrics.batchSize.observe(jobs.length);
      return await options.caption(
        jobs.map(({ image }) => image),
        jobs[0]!.options,
        (texts) => texts.forEach((text, i) => jobs[i]?.onText?.(text)),
      );
    },
  });
  let isClosing = false;

  /** Captions every image of a request; a bad one gives its error, the others go on. */
  const captionAll = (
    request: Request,
    gone: AbortSignal | undefined,
    onText?: (text: string) => void,
  ): Promise<(ServedCaption | HttpError)[]> =>
    withinTime((signal) => captionInTime(request, signal, onText), { timeoutMs: limits.timeoutMs, gone });
  const captionInTime = async (
    request: Request,
    signal: AbortSignal,
    onText: ((text: string) => void) | undefined,
  ): Promise<(ServedCaption | HttpError)[]> => {
    const { images, options: search } = await readImages(request, { ...limits, signal });
    signal.throwIfAborted();
    if (search.maxNewTokens !== undefined && search.maxNewTokens > model.maxLength) {
      throw new HttpError(
        400,
        "bad_option",
        `"max_new_tokens" is ${search.maxNewTokens}, the model writes at most ${model.maxLength}`,
      );
    }
    const results = await Promise.all(images.map(async (bytes) => {
      if (bytes instanceof HttpError) return bytes;
      let image: Image;
      try {
        image = await options.prepare(bytes);
      } catch (error) {
        metrics.badImages.add();
        return new HttpError(422, "bad_image", describeError(error));
      }
      try {
        const caption = await batcher.submit({ image, options: search, onText }, signal);
        metrics.captions.add();
        return caption;
      } catch (error) {
        if (error instanceof QueueFullError) {
          return new HttpError(isClosing ? 503 : 429, "busy", error.message);
        }
        throw error;
      }
    }));
    counted.set(request, results.length);
    return results;
  };
  const counted = new WeakMap<Request, number>();

  const routes: Record<
    string,
    Partial<Record<string, (request: Request, gone: AbortSignal | undefined) => Promise<Response> | Response>>
  > = {
    "/": { GET: () => new Response(page, { headers: PAGE_HEADERS }) },
    "/healthz": { GET: () => json({ status: isClosing ? "closing" : "ok" }, isClosing ? 503 : 200) },
    "/metrics": {
      GET: () =>
        new Response(formatPrometheus(Object.values(metrics)), {
          headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
        }),
    },
    "/openapi.json": { GET: () => json(openApi()) },
    "/api/models": { GET: () => json({ models: [modelFields(model)] }) },
    "/api/caption": {
      POST: async (request, gone) => {
        const captionOne = async (onText?: (text: string) => void): Promise<Record<string, unknown>> => {
          const [result, ...others] = await captionAll(request, gone, onText);
          if (others.length > 0) {
            throw new HttpError(
              400,
              "too_many",
              "The request has several images; send them to /api/caption/batch",
            );
          }
          if (result instanceof HttpError) throw result;
          return { model: model.id, ...captionFields(result!) };
        };
        const wantsEvents = (request.headers.get("accept") ?? "").includes("text/event-stream");
        return wantsEvents
          ? eventStream(captionOne, (thrown) => logFailure(request, thrown))
          : json(await captionOne());
      },
    },
    "/api/caption/batch": {
      POST: async (request, gone) => {
        const results = await captionAll(request, gone);
        const busy = results.find((result) =>
          result instanceof HttpError && (result.status === 429 || result.status === 503)
        );
        if (busy instanceof HttpError && results.every((result) => result instanceof HttpError)) throw busy;
        return json({
          model: model.id,
          results: results.map((result) =>
            result instanceof HttpError ? errorFields(result) : captionFields(result)
          ),
        });
      },
    },
  };

  const routeOf = (request: Request): (typeof routes)[string] | undefined => {
    const { pathname } = new URL(request.url);
    return Object.hasOwn(routes, pathname) ? routes[pathname] : undefined;
  };
  const writeLog = (request: Request, entry: Omit<LogEntry, "time" | "method" | "path" | "images">): void => {
    const { pathname } = new URL(request.url);
    const { status, ms, ...rest } = entry;
    options.log({
      time: new Date().toISOString(),
      method: request.method,
      path: Object.hasOwn(routes, pathname) ? pathname : "other",
      status,
      ms,
      images: counted.get(request) ?? 0,
      ...rest,
    });
  };
  /** Notes what failed after its stream had begun. */
  const logFailure = (request: Request, thrown: unknown): void => {
    metrics.failures.add();
    writeLog(request, { status: 500, ms: 0, error: "internal", detail: describeError(thrown) });
  };

  const answer = async (request: Request, gone: AbortSignal | undefined): Promise<Response> => {
    const { pathname } = new URL(request.url);
    const route = routeOf(request);
    if (route === undefined) {
      throw new HttpError(404, "not_found", `There is nothing at ${pathname}; see /openapi.json`);
    }
    if (request.method === "OPTIONS" && options.corsOrigin !== undefined) {
      return new Response(null, {
        status: 204,
        headers: {
          "access-control-allow-methods": Object.keys(route).join(", "),
          "access-control-allow-headers": "authorization, content-type",
          "access-control-max-age": "600",
        },
      });
    }
    const handler = route[request.method === "HEAD" ? "GET" : request.method];
    if (handler === undefined) {
      throw new HttpError(405, "method_not_allowed", `${pathname} takes ${Object.keys(route).join(", ")}`);
    }
    if (
      pathname.startsWith("/api/") && options.token !== undefined && !isAuthorized(request, options.token)
    ) {
      throw new HttpError(
        401,
        "unauthorized",
        "The token is missing or wrong; send it as Authorization: Bearer TOKEN",
      );
    }
    return await handler(request, gone);
  };

  return {
    async handle(request, gone) {
      const start = now();
      let error: HttpError | undefined;
      let detail: string | undefined;
      let response: Response;
      try {
        response = await answer(request, gone);
      } catch (thrown) {
        error = thrown instanceof HttpError
          ? thrown
          : new HttpError(500, "internal", "The server failed; its log says more");
        if (error !== thrown) {
          metrics.failures.add();
          detail = describeError(thrown);
        }
        response = json(errorFields(error), error.status);
        if (error.status === 429 || error.status === 503) response.headers.set("retry-after", "1");
        if (error.status === 405) response.headers.set("allow", Object.keys(routeOf(request)!).join(", "));
        if (error.status === 401) response.headers.set("www-authenticate", "Bearer");
      }
      response.headers.set("x-content-type-options", "nosniff");
      if (options.corsOrigin !== undefined) {
        response.headers.set("access-control-allow-origin", options.corsOrigin);
        response.headers.set("vary", "origin");
      }
      const { pathname } = new URL(request.url);
      const ms = now() - start;
      const path = Object.hasOwn(routes, pathname) ? pathname : "other";
      metrics.requests.add({ path, status: String(response.status) });
      metrics.seconds.observe(ms / 1000);
      writeLog(request, {
        status: response.status,
        ms: Math.round(ms),
        ...(error && { error: error.code }),
        ...(detail !== undefined && { detail }),
      });
      return response;
    },
    async shutDown() {
      isClosing = true;
      await batcher.close();
    },
  };
}

function createMetrics(depth: () => number) {
  return {
    requests: new Counter("captioner_requests_total", "Requests answered, by path and status", true),
    seconds: new Histogram("captioner_request_seconds", "Time to answer a request", [
      0.05,
      0.1,
      0.25,
      0.5,
      1,
      2.5,
      5,
      10,
      30,
      60,
    ]),
    captions: new Counter("captioner_captions_total", "Captions written"),
    badImages: new Counter("captioner_bad_images_total", "Images that could not be decoded"),
    failures: new Counter("captioner_failures_total", "Requests that failed by the server's fault"),
    batchSize: new Histogram("captioner_batch_size", "Images captioned together", [1, 2, 4, 8, 16, 32]),
    queue: new Gauge("captioner_queue_depth", "Images that wait", depth),
  };
}

/** Compares in a time that does not depend on where the texts differ. */
function isAuthorized(request: Request, token: string): boolean {
  const encoder = new TextEncoder();
  const [given, wanted] = [request.headers.get("authorization") ?? "", `Bearer ${token}`].map((text) =>
    encoder.encode(text)
  );
  let difference = given!.length ^ wanted!.length;
  for (let i = 0; i < wanted!.length; i++) difference |= wanted![i]! ^ (given![i] ?? 0);
  return difference === 0;
}

const json = (value: unknown, status = 200): Response =>
  Response.json(value, { status, headers: { "cache-control": "no-store" } });

const captionFields = ({ caption, logProb, tokens, confidence, outOfDomain }: ServedCaption) => ({
  caption,
  log_probability: logProb,
  ...(confidence && formatConfidence(confidence)),
  tokens,
  ...(outOfDomain && { out_of_domain: true }),
});

const errorFields = ({ code, message }: HttpError) => ({ error: { code, message } });

const modelFields = ({ id, encoder, decoder, maxLength }: ServedModel) => ({
  id,
  encoder,
  decoder,
  max_length: maxLength,
});
