/**
 * Images out of request bodies, every size bounded before it is believed: raw bytes, forms, JSON with base64, and (where allowed) URLs.
 *
 * @module
 */

import { joinBytes } from "../base/bytes.ts";
import { readRequestOptions, type RequestOptions } from "../models/caption_options.ts";

/** What went wrong with a request, as HTTP says it. */
export class HttpError extends Error {
  /** Always `"HttpError"`. */
  override name = "HttpError";

  /** @param status of the answer @param code for programs @param message for people */
  constructor(readonly status: number, readonly code: string, message: string) {
    super(message);
  }
}

/** Limits of a body. */
export interface BodyLimits {
  /** Most bytes of a body. */
  maxBodyBytes: number;
  /** Most images of one request. */
  maxImages: number;
  /** Fetches an image by URL; absent where URLs are not allowed. */
  fetchImage?: (url: string, options: { maxBytes: number; signal: AbortSignal }) => Promise<Uint8Array>;
  /** Ends the fetching. */
  signal: AbortSignal;
}

/** Images and options of a request. */
export interface ImageRequest {
  /** In the order in which they were given; one that cannot be had is its error, which leaves the others alone. */
  images: (Uint8Array | HttpError)[];
  options: RequestOptions;
}

/**
 * Reads a request's images.
 *
 * @throws {HttpError} 400 for what cannot be read, 413 for what is too large, 415 for another kind of body, 499 when the sender
 *   breaks off
 */
export async function readImages(request: Request, limits: BodyLimits): Promise<ImageRequest> {
  const type = (request.headers.get("content-type") ?? "").toLowerCase();
  const bytes = await readBody(request, limits.maxBodyBytes);
  if (bytes.length === 0) throw new HttpError(400, "empty_body", "The body is empty, expected an image");
  const query = new URL(request.url).searchParams;
  if (type.startsWith("multipart/form-data")) return await readForm(bytes, { type, query, limits });
  if (type.startsWith("application/json")) {
    return await readJson(bytes, { query, limits });
  }
  if (type === "" || RAW.some((raw) => type.startsWith(raw))) {
    return { images: [bytes], options: readOptions(query) };
  }
  throw new HttpError(
    415,
    "unsupported_media_type",
    `The body is ${type.split(";")[0]}, expected an image, multipart/form-data or application/json`,
  );
}

/** Bodies that are the image itself; the last is what curl says of any. */
const RAW = ["image/", "application/octet-stream", "application/x-www-form-urlencoded"];

/** @throws {HttpError} 413 as soon as more than `most` bytes have come, 499 when no more come */
async function readBody(request: Request, most: number): Promise<Uint8Array<ArrayBuffer>> {
  const tooLarge = () => new HttpError(413, "too_large", `The body is larger than ${most} bytes`);
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge();
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.length;
      if (size > most) throw tooLarge();
      chunks.push(chunk);
    }
  } catch (error) {
    if (error instanceof HttpError) throw error;
    throw new HttpError(499, "closed", "The body broke off");
  }
  return joinBytes(chunks);
}

async function readForm(
  bytes: Uint8Array<ArrayBuffer>,
  { type, query, limits }: { type: string; query: URLSearchParams; limits: BodyLimits },
): Promise<ImageRequest> {
  let form: FormData;
  try {
    form = await new Response(bytes, { headers: { "content-type": type } }).formData();
  } catch {
    throw new HttpError(400, "bad_form", "The form cannot be read");
  }
  const images: Uint8Array[] = [];
  const fields: [string, unknown][] = [...query];
  for (const [name, value] of form) {
    if (typeof value === "string") fields.push([name, value]);
    else images.push(new Uint8Array(await value.arrayBuffer()));
  }
  return { images: checkCount(images, limits), options: readOptions(fields) };
}

async function readJson(
  bytes: Uint8Array,
  { query, limits }: { query: URLSearchParams; limits: BodyLimits },
): Promise<ImageRequest> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new HttpError(400, "bad_json", "The body is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new HttpError(400, "bad_json", 'The body is not a JSON object, expected {"image": "<base64>"}');
  }
  const { image, images: many, url, urls, ...options } = json as Record<string, unknown>;
  const list = (value: unknown): unknown[] =>
    value === undefined ? [] : Array.isArray(value) ? value : [value];
  const encoded = [...list(image), ...list(many)];
  const addresses = [...list(url), ...list(urls)];
  checkCount([...encoded, ...addresses], limits);
  if (addresses.length > 0 && limits.fetchImage === undefined) {
    throw new HttpError(
      400,
      "urls_not_allowed",
      "Images by URL are not allowed on this server; send the image itself",
    );
  }
  const search = readOptions([...query, ...Object.entries(options)]);
  const images: ImageRequest["images"] = [];
  for (const value of encoded) images.push(await orError(() => decodeBase64(value)));
  // Images behind addresses count like ones that were sent: together they may be as large as a body.
  let left = limits.maxBodyBytes;
  for (const address of addresses) {
    const image = await orError(() => fetchOne(address, { ...limits, maxBodyBytes: left }));
    if (image instanceof Uint8Array) left -= image.length;
    images.push(image);
  }
  return { images, options: search };
}

async function fetchOne(address: unknown, limits: BodyLimits): Promise<Uint8Array> {
  if (typeof address !== "string") throw new HttpError(400, "bad_url", "An URL is not text");
  return await limits.fetchImage!(address, { maxBytes: limits.maxBodyBytes, signal: limits.signal });
}

/** What is wrong with one image is its result; anything else is thrown. */
async function orError(image: () => Uint8Array | Promise<Uint8Array>): Promise<Uint8Array | HttpError> {
  try {
    return await image();
  } catch (error) {
    if (error instanceof HttpError) return error;
    throw error;
  }
}

/** Base64, or a data URL of it. */
function decodeBase64(value: unknown): Uint8Array {
  if (typeof value !== "string") {
    throw new HttpError(400, "bad_base64", "An image is not text, expected base64");
  }
  try {
    return Uint8Array.fromBase64(value.replace(/^data:[^,]*;base64,/, ""));
  } catch {
    throw new HttpError(400, "bad_base64", "An image is not base64");
  }
}

function checkCount<T>(images: T[], { maxImages }: BodyLimits): T[] {
  if (images.length === 0) throw new HttpError(400, "no_image", "The request has no image");
  if (images.length > maxImages) {
    throw new HttpError(
      413,
      "too_many",
      `The request has ${images.length} images, expected at most ${maxImages}`,
    );
  }
  return images;
}

function readOptions(values: Iterable<readonly [string, unknown]>): RequestOptions {
  try {
    return readRequestOptions(values);
  } catch (error) {
    throw new HttpError(400, "bad_option", (error as Error).message);
  }
}
