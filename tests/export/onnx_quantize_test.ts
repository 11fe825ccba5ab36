/** Weights in fewer bits: what is rounded how, and that onnxruntime computes with it what plain loops do. */
import assert from "node:assert/strict";
import { decodeF16, encodeF16 } from "../../lib/base/half.ts";
import { onnxFiles } from "../../lib/format/onnx.ts";
import { GraphBuilder, opsetsOf } from "../../lib/export/onnx/graph.ts";
import {
  embeddingRows,
  type GraphWeights,
  headLogits,
  linear,
  plannedWeights,
} from "../../lib/export/onnx/layers.ts";
import { BLOCK, quantizeBlocks4, quantizeRows8 } from "../../lib/export/onnx/quantize.ts";
import { TensorPlan } from "../../lib/export/tensor_plan.ts";
import { openOnnxSession } from "../../lib/generate/onnxruntime.ts";
import type { OnnxDtype } from "../../lib/models/onnx_layouts.ts";
import { collectFiles } from "../support/collect_files.ts";
import { randomValues } from "../support/gpu.ts";
import { testRuntime } from "../support/onnx_captioner.ts";

/** To the nearest whole number, halves to the even one, as ONNX rounds inputs. */
function roundHalfEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

Deno.test("rows in eight bits: half a step off at most, the largest number exact, a row of zeros zero", () => {
  const [N, K] = [3, 37];
  const weight = randomValues(N * K, 1, 2);
  weight.fill(0, K, 2 * K);
  const { values, scales } = quantizeRows8(weight, [N, K]);
  for (let i = 0; i < N * K; i++) {
    const scale = scales[Math.floor(i / K)]!;
    assert.ok(Math.abs(values[i]! * scale - weight[i]!) <= scale * 0.5001);
  }
  assert.equal(Math.max(...values.subarray(0, K).map(Math.abs)), 127);
  assert.ok(values.subarray(K, 2 * K).every((value) => value === 0));
});

/** Numbers of a matrix in blocks of four bits, read back by the definition. */
function dequantizeBlocks(weight: Float32Array, [N, K]: readonly [number, number]): Float64Array {
  const { values, scales, zeros } = quantizeBlocks4(weight, [N, K]);
  const blocks = Math.ceil(K / BLOCK);
  const half = (bytes: Uint8Array, i: number): number => (bytes[i >> 1]! >> (i & 1) * 4) & 15;
  return Float64Array.from({ length: N * K }, (_, i) => {
    const [n, k] = [Math.floor(i / K), i % K];
    const block = n * blocks + Math.floor(k / BLOCK);
    const zero = half(zeros, n * 2 * Math.ceil(blocks / 2) + Math.floor(k / BLOCK));
    return (half(values, block * BLOCK + k % BLOCK) - zero) * scales[block]!;
  });
}

Deno.test("blocks in four bits: a step off at most, better than without a search, zeros stay zero", () => {
  const [N, K] = [5, 3 * BLOCK + 7];
  const weight = randomValues(N * K, 2, 1).map((value) => value ** 3);
  weight.fill(0, 0, BLOCK);
  const back = dequantizeBlocks(weight, [N, K]);
  let [error, plain] = [0, 0];
  for (let n = 0; n < N; n++) {
    for (let start = 0; start < K; start += BLOCK) {
      const block = Array.from(weight.subarray(n * K + start, n * K + Math.min(K, start + BLOCK)));
      const step = (Math.max(0, ...block) - Math.min(0, ...block)) / 15;
      for (const [i, value] of block.entries()) {
        const off = Math.abs(back[n * K + start + i]! - value);
        // Cut off at the ends of a narrower range: a fifth of it at most.
        assert.ok(off <= step * 3.5, `${off} with steps of ${step}`);
        error += off ** 2;
        const nearest = step === 0 ? 0 : Math.round(value / step) * step;
        plain += (nearest - value) ** 2;
      }
    }
  }
  assert.ok(error <= plain * 1.02, `${error}, plain rounding ${plain}`);
  assert.ok(back.subarray(0, BLOCK).every((value) => value === 0));
});

const [ROWS, N, K] = [5, 13, BLOCK + 9];

function weightsOf(weight: Float32Array<ArrayBuffer>, bias: Float32Array<ArrayBuffer>): GraphWeights {
  const plan = new TensorPlan();
  plan.addF32("l.weight", { dtype: "F32", shape: [N, K] }, () => weight);
  plan.addF32("l.bias", { dtype: "F32", shape: [N] }, () => bias);
  return plannedWeights(plan, [{ name: "l.weight", shape: [N, K] }, { name: "l.bias", shape: [N] }]);
}

type Build = (l: { g: GraphBuilder; weights: GraphWeights; dtype: OnnxDtype }) => void;

async function runGraph(
  build: Build,
  { weights, dtype, feeds }: {
    weights: GraphWeights;
    dtype: OnnxDtype;
    feeds: Record<string, [Float32Array | BigInt64Array, number[]]>;
  },
): Promise<Float32Array> {
  const g = new GraphBuilder();
  build({ g, weights, dtype });
  const graph = g.finish("m");
  const files = await collectFiles(
    onnxFiles("m.onnx", graph, { opsets: opsetsOf(graph), producer: { name: "", version: "" } }),
  );
  const runtime = await testRuntime();
  const session = await openOnnxSession(runtime, { graph: files.get("m.onnx")!, weights: new Map() });
  const inputs = Object.fromEntries(
    Object.entries(feeds).map(([name, [data, dims]]) => [
      name,
      data instanceof BigInt64Array
        ? new runtime.Tensor("int64", data, dims)
        : new runtime.Tensor("float32", data, dims),
    ]),
  );
  const { y } = await session.run(inputs);
  await session.release();
  return y!.data as Float32Array;
}

/** What a linear layer gives by the definition of its precision, in f64. */
const EMULATED: Record<OnnxDtype, (x: Float32Array, weight: Float32Array) => Float64Array> = {
  fp32: (x, weight) => product(x, weight),
  fp16: (x, weight) => product(decodeF16(encodeF16(x)), decodeF16(encodeF16(weight))),
  q8: (x, weight) => {
    // Inputs: 256 steps over their range, 0 among them.
    const [low, high] = [Math.min(0, ...x), Math.max(0, ...x)];
    const scale = Math.fround(Math.fround(high - low) / 255);
    const zero = Math.max(0, Math.min(255, roundHalfEven(-low / scale)));
    const whole = x.map((value) => Math.max(0, Math.min(255, roundHalfEven(value / scale) + zero)) - zero);
    const { values, scales } = quantizeRows8(weight, [N, K]);
    return product(whole, values).map((sum, i) => sum * scale * scales[i % N]!);
  },
  q4: (x, weight) => product(x, dequantizeBlocks(weight, [N, K])),
};

function product(x: ArrayLike<number>, weight: ArrayLike<number>): Float64Array {
  return Float64Array.from({ length: ROWS * N }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < K; k++) sum += x[Math.floor(i / N) * K + k]! * weight[(i % N) * K + k]!;
    return sum;
  });
}

const X = randomValues(ROWS * K, 3, 2);
const WEIGHT = randomValues(N * K, 4, 0.5);
const BIAS = randomValues(N, 5, 1);

for (const [dtype, emulate] of Object.entries(EMULATED) as [OnnxDtype, typeof EMULATED["q8"]][]) {
  const wanted = emulate(X, WEIGHT);
  // f16 rounds the result, too.
  const tolerance = dtype === "fp16" ? 1e-2 : 1e-4;

  Deno.test(`a linear layer in ${dtype} is what plain loops make of the same rounded numbers`, async () => {
    const found = await runGraph(
      (l) =>
        l.g.output("y", l.g.as(linear(l, l.g.input("x", "float32", ["rows", K]), "l"), "float32"), [
          "rows",
          N,
        ]),
      { weights: weightsOf(WEIGHT, BIAS), dtype, feeds: { x: [X, [ROWS, K]] } },
    );
    for (const [i, value] of found.entries()) {
      assert.ok(
        Math.abs(value - wanted[i]! - BIAS[i % N]!) < tolerance,
        `${value}, expected ${wanted[i]! + BIAS[i % N]!}`,
      );
    }
    // The test can tell precisions apart.
    const exact = product(X, WEIGHT);
    const off = Math.max(...found.map((value, i) => Math.abs(value - exact[i]! - BIAS[i % N]!)));
    assert.ok(dtype === "fp32" ? off < 1e-5 : off > 2e-4, `${off} off`);
  });

  Deno.test(`an output head in ${dtype} is that layer without a bias`, async () => {
    const found = await runGraph(
      (l) =>
        l.g.output("y", headLogits(l, l.g.input("x", "float32", [1, "rows", K]), "l.weight"), [1, "rows", N]),
      { weights: weightsOf(WEIGHT, BIAS), dtype, feeds: { x: [X, [1, ROWS, K]] } },
    );
    for (const [i, value] of found.entries()) assert.ok(Math.abs(value - wanted[i]!) < tolerance);
  });

  Deno.test(`an embedding in ${dtype} gives a row as it is stored`, async () => {
    const ids = [0, N - 1, 4, 4];
    const found = await runGraph(
      (l) =>
        l.g.output("y", embeddingRows(l, l.g.input("ids", "int64", ["count"]), "l.weight"), ["count", K]),
      { weights: weightsOf(WEIGHT, BIAS), dtype, feeds: { ids: [BigInt64Array.from(ids, BigInt), [4]] } },
    );
    const { values, scales } = quantizeRows8(WEIGHT, [N, K]);
    const stored = dtype === "fp32"
      ? WEIGHT
      : dtype === "fp16"
      ? decodeF16(encodeF16(WEIGHT))
      : Float32Array.from(values, (value, i) => value * scales[Math.floor(i / K)]!);
    assert.deepEqual([...found], ids.flatMap((id) => [...stored.subarray(id * K, (id + 1) * K)]));
  });
}

Deno.test("a weight that half precision cannot hold is refused by name", async () => {
  const large = WEIGHT.slice();
  large[7] = 65536;
  const run = runGraph(
    (l) =>
      l.g.output("y", l.g.as(linear(l, l.g.input("x", "float32", ["rows", K]), "l"), "float32"), ["rows", N]),
    { weights: weightsOf(large, BIAS), dtype: "fp16", feeds: {} },
  );
  await assert.rejects(run, {
    name: "RangeError",
    message: /Cannot write "l.weight" as fp16: .* above 65504/,
  });
});
