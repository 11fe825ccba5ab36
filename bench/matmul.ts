/**
 * Matmul rates at the shapes of SmolLM-135M and SigLIP-base in the three layouts, beside onnxruntime-web in the same process.
 *
 * @module
 */

import { encodeBf16 } from "../lib/base/half.ts";
import { Rng } from "../lib/base/rng.ts";
import type { Gpu } from "../lib/gpu/device.ts";
import type { Plan } from "../lib/gpu/plan.ts";
import { Recorder } from "../lib/gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, tensorFrom } from "../lib/gpu/tensor.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { matmul, type MatmulLayout } from "../lib/ops/matmul.ts";
import { compare, type Cost, gflops, steadyMs, timeSubmitted } from "./measure.ts";
import { createMatmulPeer } from "./onnxruntime.ts";

/** [out, in]: SmolLM-135M's attention, key/value, MLP up and down; SigLIP-base's attention and MLP. */
const WEIGHTS = [[576, 576], [192, 576], [1536, 576], [576, 1536], [768, 768], [3072, 768]] as const;
/** SmolLM-135M's output head over the 120 text tokens of four captions. */
const HEAD = { layout: "NT", M: 120, N: 49152, K: 576 } as const;

/** One product of one layer. */
export interface MatmulRow {
  /** `NT` is a layer's forward, `NN` its input gradient, `TN` its weight gradient. */
  layout: MatmulLayout;
  M: number;
  N: number;
  K: number;
  /** GFLOP/s with f32 weights. */
  f32: number;
  /** GFLOP/s with bf16 weights; absent for `TN`, which multiplies activations. */
  bf16?: number;
  /** GFLOP/s of onnxruntime-web, which has f32 weights stored the way it likes best. */
  onnxruntime: number;
  /** onnxruntime-web's time over ours. */
  f32Ratio: number;
  /** See `f32Ratio`. */
  bf16Ratio?: number;
  /** Largest difference between our product and onnxruntime-web's over the largest element. */
  difference: number;
}

/** Options of {@linkcode measureMatmuls}. */
export interface MatmulBenchOptions {
  /** Rounds of every shape. */
  repeat: number;
  /** One batch size instead of two, no output head. */
  quick: boolean;
  /** Told of every finished row. */
  onRow?: (row: MatmulRow) => void;
}

/** Products that run one after the other in a timed submission. */
const COUNT = 2;

/** Measures every shape: our kernels and the peer in turn. */
export async function measureMatmuls(gpu: Gpu, options: MatmulBenchOptions): Promise<MatmulRow[]> {
  const rows: MatmulRow[] = [];
  for (const tokens of options.quick ? [226] : [226, 904]) {
    for (const [N, K] of WEIGHTS) {
      const products = [
        { layout: "NT", M: tokens, N, K },
        { layout: "NN", M: tokens, N: K, K: N },
        // The peer multiplies by fours only where the sums' length is a multiple of four.
        { layout: "TN", M: N, N: K, K: Math.ceil(tokens / 4) * 4 },
      ] as const;
      for (const product of products) rows.push(await measureProduct(gpu, product, options));
    }
  }
  if (!options.quick) rows.push(await measureProduct(gpu, HEAD, options));
  return rows;
}

interface Product {
  layout: MatmulLayout;
  M: number;
  N: number;
  K: number;
}

async function measureProduct(gpu: Gpu, product: Product, options: MatmulBenchOptions): Promise<MatmulRow> {
  const { layout, M, N, K } = product;
  const rng = new Rng(M + N + K);
  const random = (count: number): Float32Array<ArrayBuffer> =>
    Float32Array.from({ length: count }, () => rng.next() - 0.5);
  const [a, b] = [random(M * K), random(K * N)];
  const [bStored, bShape] = layout === "NT" ? [transpose(b, K, N), [N, K]] : [b, [K, N]];
  const ours = [
    tensorFrom(gpu, layout === "TN" ? transpose(a, M, K) : a, { shape: layout === "TN" ? [K, M] : [M, K] }),
    tensorFrom(gpu, bStored, { shape: bShape }),
    createTensor(gpu, [M, N]),
  ] as const;
  const bf16 = layout === "TN"
    ? undefined
    : tensorFrom(gpu, encodeBf16(bStored), { shape: bShape, dtype: "bf16" });
  const [aTensor, f32, out] = ours;
  const plans = [await recordProduct(gpu, layout, [aTensor, f32, out])];
  if (bf16 !== undefined) plans.push(await recordProduct(gpu, layout, [aTensor, bf16, out]));
  const peer = await createMatmulPeer({ M, N, K, count: COUNT }, { a, b });
  const submit = (plan: Plan) => (): Promise<Cost> => timeSubmitted(gpu, () => plan.run());
  const costs = await compare([...plans.map(submit), peer.run], options.repeat);
  plans[0]!.run();
  const difference = largestDifference(await readF32(gpu, out), await peer.read());
  for (const plan of plans) plan.destroy({ arena: true });
  for (const tensor of [...ours, ...(bf16 === undefined ? [] : [bf16])]) destroyTensor(tensor);
  await peer.destroy();
  gpu.check();
  const flops = COUNT * 2 * M * N * K;
  const theirs = costs.at(-1)!;
  const row: MatmulRow = {
    ...product,
    f32: gflops(gpu, flops, costs[0]!),
    ...(bf16 === undefined ? {} : { bf16: gflops(gpu, flops, costs[1]!) }),
    onnxruntime: gflops(gpu, flops, theirs),
    f32Ratio: steadyMs(gpu, theirs) / steadyMs(gpu, costs[0]!),
    ...(bf16 === undefined ? {} : { bf16Ratio: steadyMs(gpu, theirs) / steadyMs(gpu, costs[1]!) }),
    difference,
  };
  options.onRow?.(row);
  return row;
}

async function recordProduct(
  gpu: Gpu,
  layout: MatmulLayout,
  [a, b, out]: [Tensor, Tensor, Tensor],
): Promise<Plan> {
  const recorder = new Recorder(gpu);
  for (let i = 0; i < COUNT; i++) matmul(recorder, layout, a, b, { out });
  return await recorder.compile();
}

/** [rows, columns] to [columns, rows]. */
function transpose(values: Float32Array, rows: number, columns: number): Float32Array<ArrayBuffer> {
  const turned = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) turned[c * rows + r] = values[r * columns + c]!;
  }
  return turned;
}

function largestDifference(ours: Float32Array, theirs: Float32Array): number {
  let scale = 0;
  let most = 0;
  for (const [i, value] of ours.entries()) {
    scale = Math.max(scale, Math.abs(value));
    most = Math.max(most, Math.abs(value - theirs[i]!));
  }
  return most / scale;
}

/** The rows as a table. */
export function formatMatmuls(rows: readonly MatmulRow[]): string {
  const one = (value: number | undefined): string => value === undefined ? "-" : value.toFixed(1);
  return formatTable(
    rows.map((row) => [
      row.layout,
      `${row.M} x ${row.N} x ${row.K}`,
      one(row.f32),
      one(row.bf16),
      one(row.onnxruntime),
      one(row.f32Ratio),
      one(row.bf16Ratio),
    ]),
    { header: ["layout", "M x N x K", "f32", "bf16", "onnxruntime", "f32 ratio", "bf16 ratio"] },
  );
}
