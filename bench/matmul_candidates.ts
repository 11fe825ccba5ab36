/**
 * Rates of the matmul kernels at the shapes of SmolLM-135M and SigLIP-base, in the three layouts of a linear layer.
 *
 *     deno run -A bench/matmul_candidates.ts [--tokens 226] [--candidates]
 *
 * Every number is the best of several dispatches, each timed on the device.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { type Gpu, openGpu } from "../lib/gpu/device.ts";
import { Recorder } from "../lib/gpu/recorder.ts";
import { createTensor, destroyTensor, tensorFrom } from "../lib/gpu/tensor.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";
import { matmul, type MatmulLayout } from "../lib/ops/matmul.ts";
import { matmulCandidates, type MatmulProblem } from "../lib/ops/matmul_kernels.ts";

/** [out, in] of the weights: SmolLM-135M attention, key/value, mlp up and down; SigLIP-base attention and mlp. */
const WEIGHTS = [[576, 576], [192, 576], [1536, 576], [576, 1536], [768, 768], [3072, 768]] as const;

/** Best rate in GFLOP/s of a product with every kernel that can compute it, the one used by default first. */
async function measureRates(gpu: Gpu, problem: MatmulProblem, all: boolean): Promise<string[]> {
  const { layout, M, N, K, bType } = problem;
  const a = tensorFrom(gpu, new Float32Array(M * K).fill(0.5), {
    shape: layout === "TN" ? [K, M] : [M, K],
  });
  // 0x3f00 is 0.5 in bf16.
  const b = bType === "f32"
    ? tensorFrom(gpu, new Float32Array(N * K).fill(0.5), { shape: layout === "NT" ? [N, K] : [K, N] })
    : tensorFrom(gpu, new Uint16Array(N * K).fill(0x3f00), {
      shape: layout === "NT" ? [N, K] : [K, N],
      dtype: bType,
    });
  const out = createTensor(gpu, [M, N]);
  const rates: string[] = [];
  const candidates = matmulCandidates(gpu, problem);
  for (const choice of all ? candidates : candidates.slice(0, 1)) {
    const recorder = new Recorder(gpu);
    for (let i = 0; i < 12; i++) matmul(recorder, layout, a, b, { out, choice, label: String(i) });
    const plan = await recorder.compile();
    plan.run(); // compiles
    const best = Math.min(...(await plan.profile()).map(({ milliseconds }) => milliseconds));
    const constants = Object.values(choice.constants).join("/");
    rates.push(
      `${(2 * M * N * K / best / 1e6).toFixed(1)} (${choice.kernel}${constants && ` ${constants}`})`,
    );
    plan.destroy({ arena: true });
  }
  for (const tensor of [a, b, out]) destroyTensor(tensor);
  gpu.check();
  return rates;
}

const { values: args } = parseArgs({
  options: { tokens: { type: "string", default: "226" }, candidates: { type: "boolean", default: false } },
});
prepareDriverEnvironment();
const gpu = await openGpu();
const M = Number(args.tokens);
console.log(`${gpu.info.description}, ${M} tokens, GFLOP/s`);
for (const [N, K] of WEIGHTS) {
  const products: [MatmulLayout, number, number, number, ("f32" | "bf16")[]][] = [
    ["NT", M, N, K, ["f32", "bf16"]],
    ["NN", M, K, N, ["f32", "bf16"]],
    ["TN", N, K, M, ["f32"]],
  ];
  for (const [layout, M, N, K, bTypes] of products) {
    for (const bType of bTypes) {
      const problem = { layout, M, N, K, R: 0, bType, cStride: N, cStart: 0 };
      const rates = await measureRates(gpu, problem, args.candidates);
      console.log(`${layout} ${`${M}x${N}x${K}`.padEnd(14)} ${bType.padEnd(5)} ${rates.join("  ")}`);
    }
  }
}
gpu.destroy();
