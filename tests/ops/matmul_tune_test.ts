import assert from "node:assert/strict";
import { Autotuner, type Choice, tunedChoice, type TuningStore } from "../../lib/gpu/autotune.ts";
import { chooseMatmul, matmulCandidates, matmulKey } from "../../lib/ops/matmul_kernels.ts";
import { tuneMatmul } from "../../lib/ops/matmul_tune.ts";
import { testGpu } from "../support/gpu.ts";

function memoryStore(text?: string): TuningStore & { text: string | undefined } {
  return {
    text,
    load() {
      return Promise.resolve(this.text);
    },
    save(text) {
      this.text = text;
      return Promise.resolve();
    },
  };
}

const SHAPE = { layout: "NT", M: 20, N: 24, K: 16, bType: "f32" } as const;
const PROBLEM = { ...SHAPE, R: 0, cStride: 24, cStart: 0 };

Deno.test("tuneMatmul remembers a correct candidate, which recording then looks up", async () => {
  const gpu = await testGpu();
  const store = memoryStore();
  const tuner = new Autotuner(gpu, store);
  tuner.clear();
  const seen: Choice[] = [];
  await tuneMatmul(tuner, [SHAPE], { repeats: 2, onChoice: (_shape, choice) => seen.push(choice) });
  assert.equal(tuner.size, 1);
  assert.deepEqual(tunedChoice(gpu, matmulKey(PROBLEM)), seen[0]);
  assert.ok(matmulCandidates(gpu, PROBLEM).some((c) => JSON.stringify(c) === JSON.stringify(seen[0])));
  assert.deepEqual(chooseMatmul(gpu, PROBLEM), seen[0]);
  await tuner.save();

  tuner.clear();
  assert.equal(tunedChoice(gpu, matmulKey(PROBLEM)), undefined);
  assert.equal(await new Autotuner(gpu, store).load(), 1);
  assert.deepEqual(chooseMatmul(gpu, PROBLEM), seen[0]);
  tuner.clear();
});

Deno.test("Autotuner takes the fastest of the correct candidates and measures a key once", async () => {
  const tuner = new Autotuner(await testGpu());
  tuner.clear();
  const times: Record<string, number> = { wrong: 1, slow: 9, fast: 3 };
  const candidates = Object.keys(times).map((kernel) => ({ kernel, constants: {} }));
  const measured: string[] = [];
  const options = {
    candidates,
    isCorrect: ({ kernel }: Choice) => Promise.resolve(kernel !== "wrong"),
    measureMs: ({ kernel }: Choice) => {
      measured.push(kernel);
      return Promise.resolve(times[kernel]!);
    },
  };
  assert.equal((await tuner.choose("key", options))?.kernel, "fast");
  assert.equal((await tuner.choose("key", options))?.kernel, "fast");
  assert.deepEqual(measured, ["slow", "fast"]);
  tuner.clear();
});

Deno.test("a tuned kernel that cannot compute the problem at hand is not used", async () => {
  const gpu = await testGpu();
  const tuner = new Autotuner(gpu);
  tuner.clear();
  const odd = { ...PROBLEM, K: 15 };
  await tuner.choose(matmulKey(odd), {
    candidates: [{ kernel: "subgroupNt", constants: { RA: 3 } }],
    isCorrect: () => Promise.resolve(true),
    measureMs: () => Promise.resolve(1),
  });
  assert.equal(chooseMatmul(gpu, odd).kernel, "plain");
  tuner.clear();
});

Deno.test("Autotuner keeps the choices of other devices and refuses a text that is no table", async () => {
  const gpu = await testGpu();
  const other = { "a|b|c": { key: { kernel: "plain", constants: {} } } };
  const store = memoryStore(JSON.stringify(other));
  const tuner = new Autotuner(gpu, store);
  tuner.clear();
  assert.equal(await tuner.load(), 0);
  await tuner.save();
  assert.deepEqual(JSON.parse(store.text!)["a|b|c"], other["a|b|c"]);
  for (const text of ["{", "[]", '{"x":3}', '{"x":{"k":{"kernel":"plain","constants":{"RA":"3"}}}}']) {
    await assert.rejects(new Autotuner(gpu, memoryStore(text)).load(), SyntaxError);
  }
});
