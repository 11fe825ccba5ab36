import assert from "node:assert/strict";
import { HttpError } from "../../lib/serve/request_images.ts";
import { withinTime } from "../../lib/serve/time_limit.ts";

const never = () => new Promise<never>(() => {});

// A timer that is left would fail these tests: Deno looks for them.
Deno.test("work that ends in time gives its value or its error and leaves no timer", async () => {
  const limits = { timeoutMs: 600_000, gone: new AbortController().signal };
  assert.equal(await withinTime(() => Promise.resolve(7), limits), 7);
  await assert.rejects(withinTime(() => Promise.reject(new RangeError("odd")), limits), RangeError);
  await assert.rejects(
    withinTime(() => {
      throw new RangeError("at once");
    }, limits),
    /at once/,
  );
});

Deno.test("work that takes longer gets 503, work of a sender who has gone 499, and its signal says so", async () => {
  const signals: AbortSignal[] = [];
  const work = (signal: AbortSignal): Promise<never> => {
    signals.push(signal);
    return never();
  };
  const status = (wanted: number) => (error: unknown) =>
    error instanceof HttpError && error.status === wanted;
  await assert.rejects(withinTime(work, { timeoutMs: 5, gone: undefined }), status(503));
  const sender = new AbortController();
  const asked = withinTime(work, { timeoutMs: 600_000, gone: sender.signal });
  sender.abort();
  await assert.rejects(asked, status(499));
  await assert.rejects(withinTime(work, { timeoutMs: 600_000, gone: sender.signal }), status(499));
  assert.deepEqual(signals.map(({ aborted }) => aborted), [true, true, true]);
  assert.equal(status(499)(signals[1]!.reason), true);
});
