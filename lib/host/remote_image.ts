/**
 * Images fetched by URL for people who are not trusted: never from private addresses, wherever a name or a redirect leads.
 *
 * @module
 */

import { lookup } from "node:dns";
import { get as getHttp, type IncomingMessage } from "node:http";
import { get as getHttps } from "node:https";
import { BlockList, isIP } from "node:net";
import { joinBytes } from "../base/bytes.ts";
import { HttpError } from "../serve/request_images.ts";

/** Options of {@linkcode fetchRemoteImage}. */
export interface RemoteImageOptions {
  /** Most bytes. */
  maxBytes: number;
  /** Longest time of all redirects together. */
  timeoutMs: number;
  /** Whether an address may be connected to; a test can allow its own. @default {public ones may} */
  isAllowed?: (address: string) => boolean;
  signal?: AbortSignal;
}

const MAX_REDIRECTS = 3;

/** Networks that are not the public internet. Source: IANA special-purpose address registries. */
// A list of both kinds would find every IPv4 address among the mapped ones.
const PRIVATE = { ipv4: new BlockList(), ipv6: new BlockList() };
for (
  const [network, bits] of [
    ["0.0.0.0", 8],
    ["10.0.0.0", 8],
    ["100.64.0.0", 10],
    ["127.0.0.0", 8],
    ["169.254.0.0", 16],
    ["172.16.0.0", 12],
    ["192.0.0.0", 24],
    ["192.0.2.0", 24],
    ["192.168.0.0", 16],
    ["198.18.0.0", 15],
    ["198.51.100.0", 24],
    ["203.0.113.0", 24],
    ["224.0.0.0", 4],
    ["240.0.0.0", 4],
  ] as const
) PRIVATE.ipv4.addSubnet(network, bits, "ipv4");
for (
  const [network, bits] of [
    ["::", 96],
    ["::ffff:0:0", 96],
    ["64:ff9b::", 96],
    ["64:ff9b:1::", 48],
    ["100::", 64],
    ["2001::", 23],
    ["2001:db8::", 32],
    ["2002::", 16],
    ["fc00::", 7],
    ["fe80::", 10],
    ["ff00::", 8],
  ] as const
) PRIVATE.ipv6.addSubnet(network, bits, "ipv6");

/** Whether an address is of the public internet. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address);
  if (version === 0) return false;
  const kind = version === 4 ? "ipv4" : "ipv6";
  return !PRIVATE[kind].check(address, kind);
}

/**
 * Fetches an image over http or https. The address that was checked is the one connected to, so that a name cannot lead elsewhere
 * meanwhile.
 *
 * @throws {HttpError} 400 for what may not or cannot be fetched, 413 for what is too large
 */
export async function fetchRemoteImage(url: string, options: RemoteImageOptions): Promise<Uint8Array> {
  const timeout = AbortSignal.timeout(options.timeoutMs);
  const signal = options.signal === undefined ? timeout : AbortSignal.any([timeout, options.signal]);
  let address = url;
  for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
    const response = await request(address, { ...options, signal });
    const { statusCode = 0, headers } = response;
    if (statusCode >= 300 && statusCode < 400 && headers.location !== undefined) {
      response.destroy();
      address = new URL(headers.location, address).href;
      continue;
    }
    if (statusCode !== 200) {
      response.destroy();
      throw refuse(`it answers ${statusCode}`);
    }
    return await readAll(response, options.maxBytes);
  }
  throw refuse(`it redirects more than ${MAX_REDIRECTS} times`);
}

const refuse = (why: string): HttpError => new HttpError(400, "bad_url", `Cannot fetch the image: ${why}`);

function request(
  address: string,
  { isAllowed = isPublicAddress, signal }: RemoteImageOptions & { signal: AbortSignal },
): Promise<IncomingMessage> {
  let url: URL;
  try {
    url = new URL(address);
  } catch {
    throw refuse("its address is not an URL");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") {
    throw refuse(`${url.protocol} is not http or https`);
  }
  if (url.username !== "" || url.password !== "") throw refuse("its address holds a name or password");
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (isIP(host) !== 0 && !isAllowed(host)) throw refuse("its address is not public");
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const fail = (error: unknown): void =>
    reject(error instanceof HttpError ? error : refuse((error as Error).message));
  const get = url.protocol === "https:" ? getHttps : getHttp;
  const sent = get(url, {
    signal,
    headers: { accept: "image/*", "user-agent": "captioner" },
    lookup: (name, settings, done) => {
      lookup(name, { ...settings, all: true }, (error, found) => {
        if (error !== null) return done(error, "");
        const bad = found.find(({ address }) => !isAllowed(address));
        if (bad !== undefined || found.length === 0) {
          return done(refuse("its name leads to an address that is not public"), "");
        }
        if (settings.all) return done(null, found);
        return done(null, found[0]!.address, found[0]!.family);
      });
    },
  }, resolve);
  sent.on("error", fail);
  return promise;
}

async function readAll(response: IncomingMessage, most: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Uint8Array>) {
      size += chunk.length;
      if (size > most) {
        throw new HttpError(413, "too_large", `The image behind the URL is larger than ${most} bytes`);
      }
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof HttpError ? error : refuse((error as Error).message);
  } finally {
    response.destroy();
  }
  return joinBytes(chunks);
}
