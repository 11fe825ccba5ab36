import assert from "node:assert/strict";
import { Batcher, QueueFullError } from "../../lib/serve/batcher.ts";

/** A batcher whose batches end when the test says so. */
function heldBatcher(options: { maxBatch?: number; maxQueue?: number; maxWaitMs?: number } = {}) {
  const batches: { jobs: readonly string[]; end: (error?: Error) => void }[] = [];
  const batcher = new Batcher<string, string>({
    maxBatch: 3,
    maxQueue: 100,
    maxWaitMs: 0,
    ...options,
    keyOf: (job) => job[0]!,
    run: (jobs) => {
      const { promise, resolve, reject } = Promise.withResolvers<string[]>();
      batches.push({
        jobs,
        end: (error) => error === undefined ? resolve(jobs.map((job) => job.toUpperCase())) : reject(error),
      });
      return promise;
    },
  });
  return { batcher, batches };
}

const turn = (): Promise<void> => new Promise((done) => setTimeout(done));

Deno.test("what comes while a batch runs goes together in the next, in order, at most so many, one kind at a time", async () => {
  const { batcher, batches } = heldBatcher();
  const results = ["a1", "a2", "b1", "a3", "a4", "a5"].map((job) => batcher.submit(job));
  assert.deepEqual(batches.map(({ jobs }) => jobs), [["a1"]]);
  assert.equal(batcher.depth, 5);
  batches[0]!.end();
  await turn();
  assert.deepEqual(batches[1]!.jobs, ["a2", "a3", "a4"]);
  batches[1]!.end();
  await turn();
  assert.deepEqual(batches[2]!.jobs, ["b1"], "the one that waits longest is next");
  batches[2]!.end();
  await turn();
  batches[3]!.end();
  assert.deepEqual(await Promise.all(results), ["A1", "A2", "B1", "A3", "A4", "A5"]);
});

Deno.test("a batch waits for others, but not once it is full", async () => {
  const { batcher, batches } = heldBatcher({ maxWaitMs: 1e6 });
  const results = [batcher.submit("a1"), batcher.submit("a2")];
  await turn();
  assert.equal(batches.length, 0);
  results.push(batcher.submit("a3"));
  assert.deepEqual(batches[0]!.jobs, ["a1", "a2", "a3"]);
  batches[0]!.end();
  await Promise.all(results);
});

Deno.test("a full queue refuses, a failed batch fails its own jobs alone, a withdrawn job is not run", async () => {
  const { batcher, batches } = heldBatcher({ maxQueue: 2 });
  const first = batcher.submit("a1");
  const leave = new AbortController();
  const gone = batcher.submit("a2", leave.signal);
  const second = batcher.submit("a3");
  assert.throws(() => batcher.submit("a4"), QueueFullError);
  leave.abort(new Error("gone"));
  await assert.rejects(gone, /gone/);
  const third = batcher.submit("a4");
  batches[0]!.end(new Error("device lost"));
  await assert.rejects(first, /device lost/);
  await turn();
  assert.deepEqual(batches[1]!.jobs, ["a3", "a4"]);
  batches[1]!.end();
  assert.deepEqual(await Promise.all([second, third]), ["A3", "A4"]);
});

Deno.test("closing runs what is in and refuses the rest", async () => {
  const { batcher, batches } = heldBatcher({ maxWaitMs: 1e6 });
  const results = [batcher.submit("a1"), batcher.submit("b1")];
  const closed = batcher.close();
  assert.throws(() => batcher.submit("a2"), /shutting down/);
  batches[0]!.end();
  await turn();
  batches[1]!.end();
  assert.deepEqual(await Promise.all(results), ["A1", "B1"]);
  await closed;
});

Deno.test("counts that make no sense are refused", () => {
  assert.throws(() => heldBatcher({ maxBatch: 0 }), RangeError);
  assert.throws(() => heldBatcher({ maxQueue: 1.5 }), RangeError);
});

Deno.test("a signal that outlives its job does not keep it, an aborted one hands none in", async () => {
  const { batcher, batches } = heldBatcher({});
  const { signal } = new AbortController();
  const listeners = new Set<unknown>();
  const [add, remove] = [signal.addEventListener.bind(signal), signal.removeEventListener.bind(signal)];
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners.add(args[1]);
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners.delete(args[1]);
    remove(...args);
  };
  const result = batcher.submit("a1", signal);
  assert.equal(listeners.size, 1);
  await turn();
  batches[0]!.end();
  await result;
  assert.equal(listeners.size, 0);
  assert.throws(() => batcher.submit("a2", AbortSignal.abort(new Error("gone"))), /gone/);
  assert.equal(batcher.depth, 0);
});
