/**
 * Serves a folder of static files on this machine.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { stat } from "./files.ts";

/** Types by the end of a file's name; browsers run modules and WebAssembly only with the right one. */
const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  json: "application/json",
  md: "text/markdown; charset=utf-8",
  svg: "image/svg+xml",
  png: "image/png",
  wasm: "application/wasm",
};

/** What is served. */
export interface StaticServerOptions {
  /** The folder. */
  path: string;
  /** 0 takes a free one. */
  port: number;
  /** Headers of every answer. */
  headers: Readonly<Record<string, string>>;
}

/** Serves to this machine alone. @throws {UserError} when the port is taken */
export function serveFolder(options: StaticServerOptions): Deno.HttpServer<Deno.NetAddr> {
  return serveLocally(options.port, (request) => answer(request, options));
}

/** Answers requests of this machine alone; 0 takes a free port. @throws {UserError} when the port is taken */
export function serveLocally(
  port: number,
  handler: (request: Request) => Response | Promise<Response>,
): Deno.HttpServer<Deno.NetAddr> {
  try {
    return Deno.serve({ hostname: "127.0.0.1", port, onListen: () => {} }, handler);
  } catch (error) {
    throw new UserError(`Cannot serve at port ${port}: ${describeError(error)}; give another with --port`);
  }
}

async function answer(request: Request, { path, headers }: StaticServerOptions): Promise<Response> {
  const every = { ...headers, "x-content-type-options": "nosniff", "cache-control": "no-cache" };
  const refuse = (status: number) => new Response(null, { status, headers: every });
  if (request.method !== "GET" && request.method !== "HEAD") return refuse(405);
  const file = fileOf(request.url);
  if (file === undefined) return refuse(404);
  const info = await stat(`${path}/${file}`);
  if (!info?.isFile) return refuse(404);
  const type = TYPES[file.slice(file.lastIndexOf(".") + 1)] ?? "application/octet-stream";
  const body = request.method === "HEAD" ? null : (await Deno.open(`${path}/${file}`)).readable;
  return new Response(body, {
    headers: { ...every, "content-type": type, "content-length": String(info.size) },
  });
}

/** A file's path by the URL that asks for it; `undefined` for what could lead out of the folder. */
function fileOf(url: string): string | undefined {
  let path: string;
  try {
    path = decodeURIComponent(new URL(url).pathname).slice(1);
  } catch {
    return undefined;
  }
  const file = path === "" || path.endsWith("/") ? `${path}index.html` : path;
  const isPlain = file.split("/").every((part) => part !== "" && !part.startsWith(".")) &&
    !/[\\:\0]/.test(file);
  return isPlain ? file : undefined;
}
