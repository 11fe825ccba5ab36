import assert from "node:assert/strict";
import { Recorder } from "../../lib/gpu/recorder.ts";
import { readTensors, tensorFrom } from "../../lib/gpu/tensor.ts";
import { logSoftmaxTopK, type RepetitionPenalty } from "../../lib/ops/top_k.ts";
import { assertClose } from "../support/close.ts";
import { randomValues, testGpu } from "../support/gpu.ts";

async function run(
  logits: Float32Array,
  V: number,
  k: number,
  penalty?: Omit<RepetitionPenalty, "history"> & { history: number[][] },
): Promise<{ values: Float32Array; ids: Uint32Array }> {
  const gpu = await testGpu();
  const rows = logits.length / V;
  const history = penalty && tensorFrom(gpu, Uint32Array.from(penalty.history.flat()), {
    shape: [rows, penalty.history[0]!.length],
  });
  const r = new Recorder(gpu);
  const input = tensorFrom(gpu, logits, { shape: [rows, V] });
  const { values, ids } = logSoftmaxTopK(r, input, {
    k,
    penalty: penalty && { ...penalty, history: history! },
  });
  r.keep(values);
  r.keep(ids);
  const plan = await r.compile();
  plan.run();
  const [valueBytes, idBytes, inputBytes] = await readTensors(gpu, [values, ids, input]);
  assert.deepEqual(new Float32Array(inputBytes!.buffer), logits, "the logits stay as they are");
  plan.destroy({ arena: true });
  return { values: new Float32Array(valueBytes!.buffer), ids: new Uint32Array(idBytes!.buffer) };
}

function logSoftmax(row: Float64Array<ArrayBuffer>): Float64Array<ArrayBuffer> {
  const highest = Math.max(...row);
  const normaliser = Math.log(row.reduce((sum, x) => sum + Math.exp(x - highest), 0));
  return row.map((x) => x - highest - normaliser);
}

function best(row: Float64Array, k: number): number[] {
  return [...row.keys()].sort((a, b) => row[b]! - row[a]! || a - b).slice(0, k);
}

for (const [rows, V, k] of [[1, 1, 1], [1, 7, 7], [3, 101, 4], [2, 128, 16], [5, 1031, 6]] as const) {
  Deno.test(`the top ${k} log-probabilities of ${rows} rows of ${V}`, async () => {
    const logits = randomValues(rows * V, V, 8);
    const { values, ids } = await run(logits, V, k);
    for (let n = 0; n < rows; n++) {
      const row = logSoftmax(Float64Array.from(logits.slice(n * V, (n + 1) * V)));
      const want = best(row, k);
      assert.deepEqual([...ids.slice(n * k, (n + 1) * k)], want);
      assertClose(values.slice(n * k, (n + 1) * k), want.map((id) => row[id]!), { label: `row ${n}` });
    }
  });
}

Deno.test("of equal log-probabilities the lower id comes first, and -Infinity comes last", async () => {
  const logits = new Float32Array(300).fill(1);
  logits[299] = 2;
  logits.fill(-Infinity, 0, 290);
  const { values, ids } = await run(logits, 300, 12);
  assert.deepEqual([...ids], [299, 290, 291, 292, 293, 294, 295, 296, 297, 298, 0, 1]);
  assert.deepEqual([...values.slice(10)], [-Infinity, -Infinity]);
  assert.ok(values[0]! > values[1]! && values[1] === values[9]);
});

Deno.test("a row of NaN gives NaN, not a token", async () => {
  const logits = randomValues(2 * 9, 1);
  logits[3] = NaN;
  const { values, ids } = await run(logits, 9, 2);
  assert.deepEqual(Array.from(values, Number.isNaN), [true, true, false, false]);
  assert.deepEqual([...ids.slice(0, 2)], [0, 0]);
});

for (const on of ["logits", "logProbabilities"] as const) {
  Deno.test(`the repetition penalty on ${on} counts every token of a row's history once`, async () => {
    const [rows, V, k, factor] = [2, 37, 5, 1.7];
    const logits = randomValues(rows * V, 5, 3);
    const none = 0xffffffff;
    const history = [[3, 9, 3, none, 36], [0, none, none, V, 0]];
    const { values, ids } = await run(logits, V, k, { history, factor, on });
    for (let n = 0; n < rows; n++) {
      let row = Float64Array.from(logits.slice(n * V, (n + 1) * V));
      if (on === "logProbabilities") row = logSoftmax(row);
      for (const id of new Set(history[n]!.filter((id) => id < V))) {
        row[id] = row[id]! < 0 ? row[id]! * factor : row[id]! / factor;
      }
      if (on === "logits") row = logSoftmax(row);
      const want = best(row, k);
      assert.deepEqual([...ids.slice(n * k, (n + 1) * k)], want);
      assertClose(values.slice(n * k, (n + 1) * k), want.map((id) => row[id]!), { label: `row ${n}` });
    }
  });
}

Deno.test("impossible numbers of candidates, penalties and histories are refused", async () => {
  const r = new Recorder(await testGpu());
  const logits = r.tensor([2, 10], "logits");
  for (const k of [0, 11, 1.5]) assert.throws(() => logSoftmaxTopK(r, logits, { k }), RangeError);
  const history = r.tensor([2, 3], "history", "u32");
  const penalty = { history, factor: 1.2, on: "logits" } as const;
  for (const factor of [0, -1, NaN, Infinity]) {
    assert.throws(() => logSoftmaxTopK(r, logits, { k: 1, penalty: { ...penalty, factor } }), RangeError);
  }
  const wrong = r.tensor([3, 3], "history", "u32");
  assert.throws(
    () => logSoftmaxTopK(r, logits, { k: 1, penalty: { ...penalty, history: wrong } }),
    TypeError,
  );
});
