/**
 * Keeps the page's own files for when there is no network. Models and WebAssembly are kept by the page itself (see stored_folder.ts).
 *
 * @module
 */

import type { Site } from "../lib/serve/demo_site.ts";

/** The parts of a service worker's scope that are used; the types of pages do not have them. */
interface Scope {
  addEventListener(type: "install" | "activate", listener: (event: Extendable) => void): void;
  addEventListener(type: "fetch", listener: (event: Extendable & Fetching) => void): void;
  skipWaiting(): Promise<void>;
  clients: { claim(): Promise<void> };
  registration: { scope: string };
}

interface Extendable {
  waitUntil(work: Promise<unknown>): void;
}

interface Fetching {
  request: Request;
  respondWith(response: Promise<Response>): void;
}

// The builder puts the site's version before this file, so that the file differs whenever the page does.
declare const SITE_VERSION: string;

const scope = self as unknown as Scope;
const PREFIX = `captioner page ${scope.registration.scope} `;

async function keepPage(): Promise<void> {
  const site = await (await fetch("site.json", { cache: "no-cache" })).json() as Site;
  const store = await caches.open(PREFIX + SITE_VERSION);
  await store.addAll(site.files.map((path) => new Request(path, { cache: "no-cache" })));
  await scope.skipWaiting();
}

async function forgetOlder(): Promise<void> {
  const names = await caches.keys();
  const older = names.filter((name) => name.startsWith(PREFIX) && name !== PREFIX + SITE_VERSION);
  await Promise.all(older.map((name) => caches.delete(name)));
  await scope.clients.claim();
}

/** The network's answer, so that the page is never older than its site; without network, what was kept. */
async function answer(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const store = await caches.open(PREFIX + SITE_VERSION);
    const kept = await store.match(request, { ignoreSearch: true });
    if (kept === undefined) throw error;
    return kept;
  }
}

scope.addEventListener("install", (event) => event.waitUntil(keepPage()));
scope.addEventListener("activate", (event) => event.waitUntil(forgetOlder()));
scope.addEventListener("fetch", (event) => {
  const isOwn = event.request.url.startsWith(scope.registration.scope);
  if (isOwn && event.request.method === "GET") event.respondWith(answer(event.request));
});
