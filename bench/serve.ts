/**
 * A server under load: requests a second and their times by number of clients, memory over thousands of requests, with bad ones in
 * between.
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import { projectPath } from "../lib/host/model_folders.ts";
import { startServer } from "../lib/host/serve.ts";
import { formatTable } from "../lib/host/terminal.ts";

/** Requests of a number of clients that each send the next when the last is answered. */
export interface LoadResult {
  clients: number;
  requests: number;
  perSecond: number;
  p50Ms: number;
  p95Ms: number;
  /** Answers other than 200 and, to bad images, 422. */
  wrong: number;
}

/** What was measured of a server. */
export interface ServeResult {
  model: string;
  loads: LoadResult[];
  /** Resident memory in bytes after a tenth of the long run, and at its end. */
  memory: { requests: number; early: number; end: number };
}

const CLIENTS = [1, 8, 64];
const BAD_SHARE = 0.05;

/** Measures a server with the embedded captioner, greedily. */
export async function measureServe(options: { quick: boolean }): Promise<ServeResult> {
  const model = "embedded:captioner";
  const end = new AbortController();
  const { url, finished } = await startServer({
    model,
    host: "127.0.0.1",
    port: 0,
    maxBatch: 8,
    maxWaitMs: 20,
    maxQueue: 128,
    maxBodyMb: 32,
    maxImages: 32,
    timeout: 600,
    allowUrl: false,
    quiet: true,
  }, end.signal);
  const images = await Promise.all(
    Array.from(
      { length: 20 },
      (_, i) => Deno.readFile(projectPath(`data/sample/test/${String(i).padStart(4, "0")}.png`)),
    ),
  );
  const target = `${url}api/caption?num_beams=1`;
  const ask = async (rng: Rng): Promise<{ ms: number; isRight: boolean }> => {
    const image = images[rng.int(images.length)]!;
    const isBad = rng.next() < BAD_SHARE;
    const start = performance.now();
    const response = await fetch(target, {
      method: "POST",
      body: isBad ? image.slice(0, image.length / 2) : image,
      headers: { "content-type": "image/png" },
    });
    await response.arrayBuffer();
    return { ms: performance.now() - start, isRight: response.status === (isBad ? 422 : 200) };
  };
  const load = async (clients: number, requests: number): Promise<LoadResult> => {
    const times: number[] = [];
    let [left, wrong] = [requests, 0];
    const start = performance.now();
    await Promise.all(Array.from({ length: clients }, async (_, i) => {
      const rng = new Rng(i + 1);
      while (left-- > 0) {
        const { ms, isRight } = await ask(rng);
        times.push(ms);
        if (!isRight) wrong++;
      }
    }));
    const seconds = (performance.now() - start) / 1000;
    times.sort((a, b) => a - b);
    const at = (share: number): number =>
      times[Math.min(times.length - 1, Math.floor(share * times.length))]!;
    return { clients, requests, perSecond: requests / seconds, p50Ms: at(0.5), p95Ms: at(0.95), wrong };
  };
  for (const clients of CLIENTS) await load(clients, 2 * clients); // plans are recorded, pipelines compiled
  const loads: LoadResult[] = [];
  for (const clients of CLIENTS) loads.push(await load(clients, options.quick ? 4 * clients + 16 : 300));
  const requests = options.quick ? 200 : 5000;
  await load(16, requests / 10);
  const early = Deno.memoryUsage().rss;
  await load(16, requests - requests / 10);
  const memory = { requests, early, end: Deno.memoryUsage().rss };
  end.abort();
  await finished;
  return { model, loads, memory };
}

/** The results as text. */
export function formatServe({ model, loads, memory }: ServeResult): string {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  return formatTable(
    loads.map(({ clients, requests, perSecond, p50Ms, p95Ms, wrong }) => [
      String(clients),
      String(requests),
      perSecond.toFixed(1),
      `${p50Ms.toFixed(0)} ms`,
      `${p95Ms.toFixed(0)} ms`,
      String(wrong),
    ]),
    {
      header: [`${model}, greedy: clients`, "requests", "a second", "p50", "p95", "wrong answers"],
      right: [0, 1, 2, 3, 4, 5],
    },
  ) +
    `\nmemory after ${memory.requests / 10} of ${memory.requests} requests ${
      megabytes(memory.early)
    }, at the end ${megabytes(memory.end)}`;
}
