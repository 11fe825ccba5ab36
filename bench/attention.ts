/**
 * Attention beside the plain version with a matrix of scores in memory, on the same adapter in the same process.
 *
 * @module
 */

import naiveCode from "./attention_naive.wgsl" with { type: "text" };
import { type Gpu, openGpu } from "../lib/gpu/device.ts";
import { Kernel } from "../lib/gpu/kernel.ts";
import type { Plan } from "../lib/gpu/plan.ts";
import { Recorder } from "../lib/gpu/recorder.ts";
import { createTensor, makeTrainable, readF32, type Tensor, tensorFrom } from "../lib/gpu/tensor.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { attention } from "../lib/ops/attention.ts";
import { attentionDecode } from "../lib/ops/attention_decode.ts";
import { compare, type Cost, steadyMs, timeSubmitted } from "./measure.ts";

/** What is measured: SmolLM-135M's heads over four captions of 226 tokens. */
export const ATTENTION_SHAPE = { B: 4, heads: 9, kvHeads: 3, headDim: 64, tokens: 226 } as const;

/** Layers of a decoding step, measured together because one is over too soon. */
const DECODE_LAYERS = 30;

/** One variant. */
export interface AttentionRow extends Cost {
  name: string;
  /** Time of the first run, which compiles the kernels, by the clock; less where the driver has them on disk. */
  firstMs: number;
  /** The plain forward's time over this one's; only where both compute the same. */
  ratio?: number;
}

/** The variants, and how far our forward is from the plain version's. */
export interface AttentionResult {
  rows: AttentionRow[];
  /** Largest difference of an element. */
  difference: number;
}

/** Measures forward, forward and backward, with and without subgroups, and decoding. */
export async function measureAttention(gpu: Gpu, options: { repeat: number }): Promise<AttentionResult> {
  const { B, heads: H, kvHeads: K, headDim, tokens: S } = ATTENTION_SHAPE;
  const portable = await openGpu({ subgroups: false });
  const head = { heads: H, kvHeads: K, headDim };
  const shapes = [[B, S, H * headDim], [B, S, K * headDim], [B, S, K * headDim]];
  const random = (on: Gpu): [Tensor, Tensor, Tensor] =>
    shapes.map((shape) => randomTensor(on, shape)) as [Tensor, Tensor, Tensor];
  const trained = (on: Gpu) => (r: Recorder): void => {
    const [q, k, v] = random(on).map((tensor) => makeTrainable(on, tensor)) as [Tensor, Tensor, Tensor];
    r.seedGradient(attention(r, q, k, v, { ...head, causal: true }), randomTensor(on, shapes[0]!));
    r.backward();
  };
  const inputs = random(gpu);
  const naiveOut = createTensor(gpu, shapes[0]!, { label: "y" });
  let out: Tensor | undefined;
  const variants = [
    await prepare(gpu, "three kernels, scores in memory", (r) => recordNaive(r, inputs, naiveOut)),
    await prepare(gpu, "forward", (r) => {
      out = r.keep(attention(r, ...inputs, { ...head, causal: true }));
    }),
    await prepare(gpu, "forward and backward", trained(gpu), true),
    await prepare(
      portable,
      "forward, without subgroups",
      (r) => void attention(r, ...random(portable), { ...head, causal: true }),
    ),
    await prepare(portable, "forward and backward, without subgroups", trained(portable), true),
  ];
  for (const rows of [1, 4, 24]) variants.push(await prepareDecoding(gpu, rows));
  const costs = await compare(
    variants.map(({ on, plan }) => () => timeSubmitted(on, () => plan.run())),
    options.repeat,
  );
  const [got, want] = [await readF32(gpu, out!), await readF32(gpu, naiveOut)];
  const difference = got.reduce((most, x, i) => Math.max(most, Math.abs(x - want[i]!)), 0);
  const rows = variants.map(({ name, firstMs, layers }, i): AttentionRow => ({
    name,
    firstMs,
    wallMs: costs[i]!.wallMs / layers,
    cpuMs: costs[i]!.cpuMs / layers,
    ...(/^(three|forward$|forward,)/.test(name)
      ? { ratio: steadyMs(gpu, costs[0]!) / steadyMs(gpu, costs[i]!) }
      : {}),
  }));
  for (const { plan } of variants) plan.destroy({ arena: true });
  gpu.check();
  portable.destroy();
  return { rows, difference };
}

interface Variant {
  name: string;
  on: Gpu;
  plan: Plan;
  firstMs: number;
  /** How often the plan does what is measured. */
  layers: number;
}

async function prepare(
  on: Gpu,
  name: string,
  record: (r: Recorder) => void,
  training = false,
): Promise<Variant> {
  const recorder = new Recorder(on, training);
  record(recorder);
  const plan = await recorder.compile();
  const { wallMs: firstMs } = await timeSubmitted(on, () => plan.run());
  return { name, on, plan, firstMs, layers: 1 };
}

function recordNaive(r: Recorder, [q, k, v]: [Tensor, Tensor, Tensor], y: Tensor): void {
  const { B, heads: H, kvHeads: K, headDim, tokens: S } = ATTENTION_SHAPE;
  const kernel = new Kernel("attention_naive", naiveCode).with({ DH: headDim });
  const p = createTensor(r.gpu, [B, H, S, S], { label: "scores" });
  const params = { B, S, H, K, scale: 1 / Math.sqrt(headDim) };
  const tiles = Math.ceil(S / 8);
  r.dispatch(kernel, "scores", { bind: { q, k, p }, params, workgroups: [tiles, tiles, B * H] });
  r.dispatch(kernel, "normalise", { bind: { p }, params, workgroups: [Math.ceil(B * H * S / 64)] });
  const workgroups = [Math.ceil(headDim / 64), Math.ceil(S / 4), B * H] as const;
  r.dispatch(kernel, "values", { bind: { p, v, y }, params, workgroups });
}

/** One query of each of `rows` rows over a cache of as many positions as a caption's image and text have. */
async function prepareDecoding(gpu: Gpu, rows: number): Promise<Variant> {
  const { heads, kvHeads, headDim, tokens } = ATTENTION_SHAPE;
  const maxLength = tokens + 24;
  const cache = [rows, maxLength, kvHeads * headDim];
  const [kCache, vCache] = [randomTensor(gpu, cache), randomTensor(gpu, cache)];
  const query = randomTensor(gpu, [rows, heads * headDim]);
  const slots = Uint32Array.from({ length: rows * maxLength }, (_, i) => Math.floor(i / maxLength));
  const table = tensorFrom(gpu, slots, { shape: [rows, maxLength] });
  const lengths = tensorFrom(gpu, new Uint32Array(rows).fill(tokens));
  const variant = await prepare(gpu, `decoding, ${rows} rows, one layer`, (r) => {
    for (let layer = 0; layer < DECODE_LAYERS; layer++) {
      attentionDecode(r, query, kCache, vCache, { heads, kvHeads, headDim, table, lengths });
    }
  });
  return { ...variant, layers: DECODE_LAYERS };
}

function randomTensor(gpu: Gpu, shape: number[]): Tensor {
  const values = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => Math.random() * 4 - 2);
  return tensorFrom(gpu, values, { shape });
}

/** The variants as a table. */
export function formatAttention({ rows, difference }: AttentionResult): string {
  const ms = (value: number): string => value.toFixed(2);
  const table = formatTable(
    rows.map((row) => [
      row.name,
      ms(row.wallMs),
      ms(row.cpuMs),
      row.firstMs.toFixed(0),
      row.ratio === undefined ? "-" : row.ratio.toFixed(1),
    ]),
    { header: ["variant", "clock ms", "processor ms", "first ms", "ratio"], right: [1, 2, 3, 4] },
  );
  return `${table}\nlargest difference from the plain version: ${difference.toExponential(1)}`;
}
