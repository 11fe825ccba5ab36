/**
 * All products of a decoding step of SmolLM-135M with every kernel that can compute them.
 *
 *     deno run -A bench/decode_candidates.ts [--rows 1] [--repeat 5]
 *
 * The weights are those of 30 layers and the output head, so that they come from memory as in a real step, and not from a
 * processor's caches as when one product is repeated.
 *
 * @module
 */

import { parseArgs } from "node:util";
import { openGpu } from "../lib/gpu/device.ts";
import type { Plan } from "../lib/gpu/plan.ts";
import { Recorder } from "../lib/gpu/recorder.ts";
import { type Tensor, tensorFrom } from "../lib/gpu/tensor.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";
import { decoderHead, decoderLinears } from "../lib/models/decoder.ts";
import { loraModules } from "../lib/models/lora.ts";
import { matmul } from "../lib/ops/matmul.ts";
import { matmulCandidates, type MatmulProblem } from "../lib/ops/matmul_kernels.ts";
import { comparePlans, type Cost } from "./measure.ts";
import { benchModels, randomDecoder } from "./models.ts";

const { values: args } = parseArgs({
  options: { rows: { type: "string", default: "1" }, repeat: { type: "string", default: "5" } },
});
const M = Number(args.rows);
prepareDriverEnvironment();
const gpu = await openGpu();
const { config } = (await benchModels()).at(-1)!;
const { decoder: sizes, lora } = config;
const { decoder } = randomDecoder(gpu, config);
const adapted = new Set(loraModules(sizes, lora).map(({ path }) => path));
const zeros = (rows: number, columns: number): Tensor =>
  tensorFrom(gpu, new Float32Array(rows * columns), { shape: [rows, columns] });
const u = zeros(M, lora.rank);
const problemOf = (weight: Tensor, R: number): MatmulProblem => {
  const [N, K] = [weight.dim(0), weight.dim(1)];
  return { layout: "NT", M, N, K, R, bType: "bf16", cStride: N, cStart: 0 };
};

/** Products in a row, all by one kernel. */
async function planOf(kernel: string, products: { path: string; weight: Tensor }[]): Promise<Plan> {
  const r = new Recorder(gpu);
  for (const { path, weight } of products) {
    const isAdapted = adapted.has(path);
    const problem = problemOf(weight, isAdapted ? lora.rank : 0);
    matmul(r, "NT", zeros(M, problem.K), weight, {
      out: r.tensor([M, problem.N], "out"),
      lora: isAdapted ? { u, b: zeros(problem.N, lora.rank), scale: 1 } : undefined,
      choice: matmulCandidates(gpu, problem).find((candidate) => candidate.kernel === kernel),
    });
  }
  return await r.compile();
}

const head = decoderHead(decoder, sizes);
const layers = decoderLinears(sizes).map(({ path }) => ({ path, weight: decoder.get(`${path}.weight`) }));
const kernels = [...new Set(matmulCandidates(gpu, problemOf(head, 0)).map(({ kernel }) => kernel))];
const costs: Cost[][] = [];
for (const products of [layers, [{ path: "lm_head", weight: head }]]) {
  const plans: Plan[] = [];
  for (const kernel of kernels) plans.push(await planOf(kernel, products));
  costs.push(await comparePlans(gpu, plans, Number(args.repeat)));
}
gpu.check();
console.log(`${gpu.info.description}, ${M} rows, milliseconds`);
console.log(formatTable(
  kernels.map((kernel, i) => [
    kernel,
    ...costs.flatMap((each) => [each[i]!.cpuMs.toFixed(1), each[i]!.wallMs.toFixed(1)]),
  ]),
  {
    header: ["kernel", "layers, processor", "clock", "output head, processor", "clock"],
    right: [1, 2, 3, 4],
  },
));
gpu.destroy();
