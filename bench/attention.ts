/**
 * Measures attention beside the plain version with a matrix of scores, on the same adapter in the same process.
 *
 * deno run -A bench/attention.ts [batch heads kvHeads headDim length]
 *
 * Every variant runs in turn, the best of several rounds counts. On a software adapter the CPU time of the whole process
 * is what is compared, because it hardly depends on what else the machine does; elsewhere it is the time of the call.
 */

import naiveCode from "./attention_naive.wgsl" with { type: "text" };
import { type Gpu, openGpu } from "../lib/gpu/device.ts";
import { Kernel } from "../lib/gpu/kernel.ts";
import type { Plan } from "../lib/gpu/plan.ts";
import { Recorder } from "../lib/gpu/recorder.ts";
import { createTensor, makeTrainable, readF32, type Tensor, tensorFrom } from "../lib/gpu/tensor.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";
import { attention } from "../lib/ops/attention.ts";
import { attentionDecode } from "../lib/ops/attention_decode.ts";

const ROUNDS = 8;

interface Variant {
  name: string;
  plan: Plan;
  firstMs: number;
  wallMs: number;
  cpuMs: number;
}

/** CPU time of all threads in milliseconds, NaN where the system does not tell. */
function processCpuMs(): number {
  let nanoseconds = 0;
  try {
    for (const { name } of Deno.readDirSync("/proc/self/task")) {
      nanoseconds += Number(Deno.readTextFileSync(`/proc/self/task/${name}/schedstat`).split(" ")[0]);
    }
  } catch {
    return NaN;
  }
  return nanoseconds / 1e6;
}

async function runOnce(gpu: Gpu, plan: Plan): Promise<{ wallMs: number; cpuMs: number }> {
  const cpu = processCpuMs();
  const start = performance.now();
  plan.run();
  // Deno's call blocks until the work is done; the promise then takes 10 ms more.
  const done = gpu.device.queue.onSubmittedWorkDone();
  const times = { wallMs: performance.now() - start, cpuMs: processCpuMs() - cpu };
  await done;
  return times;
}

async function variant(
  gpu: Gpu,
  name: string,
  record: (r: Recorder) => void,
  training = false,
): Promise<Variant> {
  const r = new Recorder(gpu, training);
  record(r);
  const plan = await r.compile();
  const { wallMs: firstMs } = await runOnce(gpu, plan);
  gpu.check();
  return { name, plan, firstMs, wallMs: Infinity, cpuMs: Infinity };
}

async function measure(gpu: Gpu, variants: Variant[]): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) {
    for (const each of variants) {
      const { wallMs, cpuMs } = await runOnce(gpu, each.plan);
      each.wallMs = Math.min(each.wallMs, wallMs);
      each.cpuMs = Math.min(each.cpuMs, cpuMs);
    }
  }
  gpu.check();
}

function randomTensor(gpu: Gpu, shape: number[]): Tensor {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => Math.random() * 4 - 2);
  return tensorFrom(gpu, values, { shape });
}

const [B = 4, H = 9, K = 3, headDim = 64, S = 226] = Deno.args.map(Number);
prepareDriverEnvironment();
const gpu = await openGpu();
const plain = await openGpu({ subgroups: false });
console.log(`${gpu.info.description}: B ${B}, heads ${H}/${K} x ${headDim}, ${S} tokens, causal`);

const options = { heads: H, kvHeads: K, headDim, causal: true };
const shapes = [[B, S, H * headDim], [B, S, K * headDim], [B, S, K * headDim]];
const [q, k, v] = shapes.map((shape) => randomTensor(gpu, shape)) as [Tensor, Tensor, Tensor];
const p = createTensor(gpu, [B, H, S, S], { label: "scores" });
const yNaive = createTensor(gpu, q.shape, { label: "y" });
const naive = await variant(gpu, "three kernels, scores in memory", (r) => {
  const kernel = new Kernel("attention_naive", naiveCode).with({ DH: headDim });
  const params = { B, S, H, K, scale: 1 / Math.sqrt(headDim) };
  const tiles = Math.ceil(S / 8);
  r.dispatch(kernel, "scores", { bind: { q, k, p }, params, workgroups: [tiles, tiles, B * H] });
  r.dispatch(kernel, "normalise", { bind: { p }, params, workgroups: [Math.ceil(B * H * S / 64)] });
  const workgroups = [Math.ceil(headDim / 64), Math.ceil(S / 4), B * H] as const;
  r.dispatch(kernel, "values", { bind: { p, v, y: yNaive }, params, workgroups });
});
let y!: Tensor;
const forward = await variant(gpu, "attention", (r) => y = r.keep(attention(r, q, k, v, options)));
const trained = (on: Gpu) => {
  const inputs = shapes.map((shape) => makeTrainable(on, randomTensor(on, shape))) as [
    Tensor,
    Tensor,
    Tensor,
  ];
  const dOutput = randomTensor(on, shapes[0]!);
  return (r: Recorder): void => {
    r.seedGradient(attention(r, ...inputs, options), dOutput);
    r.backward();
  };
};
const both = await variant(gpu, "attention, forward and backward", trained(gpu), true);
const portableInputs = shapes.map((shape) => randomTensor(plain, shape)) as [Tensor, Tensor, Tensor];
const portable = await variant(
  plain,
  "attention, portable kernels",
  (r) => void attention(r, ...portableInputs, options),
);
const portableBoth = await variant(plain, "the same, forward and backward", trained(plain), true);

const [got, want] = [await readF32(gpu, y), await readF32(gpu, yNaive)];
const difference = got.reduce((most, x, i) => Math.max(most, Math.abs(x - want[i]!)), 0);
console.log(`largest difference from the plain version ${difference.toExponential(1)}`);

for (let round = 0; round < 2; round++) {
  await measure(gpu, [naive, forward, both]);
  await measure(plain, [portable, portableBoth]);
}
const cost = (each: Variant): number => gpu.software && !isNaN(each.cpuMs) ? each.cpuMs : each.wallMs;
for (const each of [naive, forward, both, portable, portableBoth]) {
  console.log(
    each.name.padEnd(34),
    `${each.wallMs.toFixed(2).padStart(8)} ms, CPU ${each.cpuMs.toFixed(2).padStart(8)} ms,`,
    `first run ${each.firstMs.toFixed(0).padStart(5)} ms, ${
      (cost(naive) / cost(each)).toFixed(2)
    } x the plain forward's speed`,
  );
}
console.log(
  `backward takes ${((cost(both) - cost(forward)) / cost(forward)).toFixed(2)} x the forward's time`,
);

for (const rows of [1, 4, 24]) {
  const maxLength = S + 24;
  const cache = [rows, maxLength, K * headDim];
  const [kCache, vCache] = [randomTensor(gpu, cache), randomTensor(gpu, cache)];
  const query = randomTensor(gpu, [rows, H * headDim]);
  const slots = Uint32Array.from({ length: rows * maxLength }, (_, i) => Math.floor(i / maxLength));
  const table = tensorFrom(gpu, slots, { shape: [rows, maxLength] });
  const lengths = tensorFrom(gpu, new Uint32Array(rows).fill(S));
  const layers = 30;
  const decode = await variant(gpu, "", (r) => {
    for (let layer = 0; layer < layers; layer++) {
      attentionDecode(r, query, kCache, vCache, { ...options, table, lengths });
    }
  });
  await measure(gpu, [decode]);
  console.log(
    `decoding, ${rows} rows of ${S} positions: ${(decode.wallMs / layers).toFixed(3)} ms, ` +
      `CPU ${(decode.cpuMs / layers).toFixed(3)} ms a layer`,
  );
}
