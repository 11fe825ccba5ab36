import assert from "node:assert/strict";
import { cacheBlocks } from "../../../lib/datasets/hub/block_cache.ts";
import {
  DEFAULT_RETRY,
  isTransientStatus,
  parseRetryAfter,
  retryDelayMs,
} from "../../../lib/datasets/hub/retry.ts";
import { memorySource } from "../../../lib/format/byte_source.ts";
import { Rng } from "../../../lib/base/rng.ts";
import { noise } from "../../support/hub_client.ts";

Deno.test("pauses double up to a limit, spread over half their length", () => {
  const delays = (random: number) =>
    [1, 2, 3, 4].map((failures) => retryDelayMs(failures, DEFAULT_RETRY, { random }));
  assert.deepEqual(delays(0), [500, 1000, 2000, 4000]);
  assert.deepEqual(delays(0.5), [750, 1500, 3000, 6000]);
  assert.equal(retryDelayMs(5, DEFAULT_RETRY, { random: 0 }), undefined);
  assert.equal(retryDelayMs(19, { ...DEFAULT_RETRY, attempts: 20 }, { random: 1 }), 30_000);
});

Deno.test("a server's wish for a pause is kept, unless it is too much", () => {
  const wish = (retryAfterMs: number) => retryDelayMs(1, DEFAULT_RETRY, { random: 0, retryAfterMs });
  assert.equal(wish(7000), 7000);
  assert.equal(wish(0), 500);
  assert.equal(wish(300_001), undefined);
  assert.equal(parseRetryAfter("120", 0), 120_000);
  assert.equal(parseRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT", Date.UTC(2015, 9, 21, 7, 27, 50)), 10_000);
  assert.equal(parseRetryAfter("Wed, 21 Oct 2015 07:28:00 GMT", Date.UTC(2020, 1, 1)), 0);
  for (const text of [null, "", "soon", "-1", "May 5"]) assert.equal(parseRetryAfter(text, 0), undefined);
});

Deno.test("statuses that pass", () => {
  assert.deepEqual([408, 429, 500, 502, 503, 504].filter((status) => !isTransientStatus(status)), []);
  assert.deepEqual([400, 401, 403, 404, 409, 416, 501, 505].filter(isTransientStatus), []);
});

/** A cached source over noise, and the ranges it asked for. */
function watched(size: number, options: Parameters<typeof cacheBlocks>[1]) {
  const bytes = noise(size);
  const asked: [number, number][] = [];
  let failures = 0;
  const inner = memorySource("noise", bytes);
  const source = cacheBlocks({
    ...inner,
    read(start, end) {
      if (failures-- > 0) return Promise.reject(new Error("broken"));
      asked.push([start, end]);
      return inner.read(start, end);
    },
  }, options);
  return { bytes, asked, source, breakNext: () => failures = 1 };
}

Deno.test("any reads of a cached source give the source's bytes", async () => {
  const { bytes, source } = watched(10_007, { blockBytes: 64, maxBytes: 1000, maxReadBytes: 200 });
  const rng = new Rng(5);
  for (let i = 0; i < 500; i++) {
    const start = Math.floor(rng.next() * 10_007);
    const end = start + Math.floor(rng.next() ** 4 * (10_007 - start));
    assert.deepEqual(await source.read(start, end), bytes.slice(start, end), `${start} to ${end}`);
  }
  assert.deepEqual(await source.read(10_000, 20_000), bytes.slice(10_000));
  assert.deepEqual(await source.read(0, 0), new Uint8Array());
});

Deno.test("neighbours are asked for together, once, and the longest unused are forgotten", async () => {
  const { asked, source } = watched(1000, { blockBytes: 10, maxBytes: 200, maxReadBytes: 1000 });
  await Promise.all([source.read(5, 35), source.read(12, 38), source.read(31, 32)]);
  assert.deepEqual(asked, [[0, 40]]);
  await source.read(0, 60);
  assert.deepEqual(asked.slice(1), [[40, 60]]);
  for (let start = 500; start < 700; start += 10) await source.read(start, start + 1);
  asked.length = 0;
  await source.read(0, 10);
  await source.read(690, 700);
  assert.deepEqual(asked, [[0, 10]]);
});

Deno.test("long reads go past the cache in parts, and a failed read is asked for again", async () => {
  const { asked, bytes, source, breakNext } = watched(1000, {
    blockBytes: 10,
    maxBytes: 200,
    maxReadBytes: 300,
  });
  assert.deepEqual(await source.read(3, 803), bytes.slice(3, 803));
  assert.deepEqual(asked, [[3, 303], [303, 603], [603, 803]]);
  breakNext();
  await assert.rejects(source.read(0, 10), /broken/);
  assert.deepEqual(await source.read(0, 10), bytes.slice(0, 10));
});
