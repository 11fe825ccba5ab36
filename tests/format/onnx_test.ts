import assert from "node:assert/strict";
import { onnxFiles, type OnnxGraph } from "../../lib/format/onnx.ts";
import { openOnnxSession } from "../../lib/generate/onnxruntime.ts";
import { collectFiles } from "../support/collect_files.ts";
import { testRuntime } from "../support/onnx_captioner.ts";

const OPTIONS = { opsets: { "": 17 }, producer: { name: "test", version: "1" } };
const value = (name: string, dims: (number | string)[]) => ({ name, type: "float32" as const, dims });
const weight = (name: string, data: Float32Array<ArrayBuffer>) => ({
  name,
  type: "float32" as const,
  dims: [data.length],
  read: () => Promise.resolve(data),
});

/** y = (x + a) * b, a and b of 300 numbers, and a constant of one. */
function graph(): OnnxGraph {
  const node = (op: string, inputs: string[], outputs: string[]) => ({
    op,
    domain: "",
    inputs,
    outputs,
    attributes: {},
  });
  return {
    name: "sum",
    inputs: [value("x", ["rows", 300])],
    outputs: [value("y", ["rows", 300])],
    nodes: [node("Add", ["x", "a"], ["s"]), node("Mul", ["s", "b"], ["p"]), node("Add", ["p", "c"], ["y"])],
    initializers: [
      weight("a", Float32Array.from({ length: 300 }, (_, i) => i)),
      weight("b", Float32Array.from({ length: 300 }, (_, i) => i % 7)),
      weight("c", Float32Array.of(0.5)),
    ],
  };
}

async function run(files: ReadonlyMap<string, Uint8Array>): Promise<ArrayLike<number>> {
  const [[, bytes], ...beside] = [...files] as [[string, Uint8Array], ...[string, Uint8Array][]];
  const weights = new Map(beside.map(([name, data]) => [name.split("/").at(-1)!, data]));
  const runtime = await testRuntime();
  const session = await openOnnxSession(runtime, { graph: bytes, weights });
  const x = new runtime.Tensor("float32", new Float32Array(600).fill(2), [2, 300]);
  const { y } = await session.run({ x });
  await session.release();
  return y!.data as Float32Array;
}

const WANT = Float32Array.from({ length: 600 }, (_, i) => (2 + i % 300) * (i % 300 % 7) + 0.5);

Deno.test("a graph is written with its weights inside", async () => {
  const files = await collectFiles(onnxFiles("folder/model.onnx", graph(), OPTIONS));
  assert.deepEqual([...files.keys()], ["folder/model.onnx"]);
  // IR version 8, as field 1; then the producer, as field 2.
  assert.deepEqual(
    [...files.get("folder/model.onnx")!.subarray(0, 8)],
    [0x08, 8, 0x12, 4, ..."test"].map((b) => typeof b === "string" ? b.charCodeAt(0) : b),
  );
  assert.deepEqual(await run(files), WANT);
});

Deno.test("large weights lie beside the graph, in files of bounded size at whole pages; small ones stay inside", async () => {
  const one = await collectFiles(
    onnxFiles("folder/model.onnx", graph(), { ...OPTIONS, maxInlineBytes: 2000 }),
  );
  assert.deepEqual([...one].map(([name, { length }]) => [name, length]).slice(1), [
    ["folder/model.onnx_data", 4096 + 1200],
  ]);
  assert.ok(one.get("folder/model.onnx")!.length < 1000);
  assert.deepEqual(await run(one), WANT);
  const two = await collectFiles(
    onnxFiles("folder/model.onnx", graph(), { ...OPTIONS, maxInlineBytes: 2000, maxChunkBytes: 5000 }),
  );
  assert.deepEqual([...two.keys()], [
    "folder/model.onnx",
    "folder/model.onnx_data",
    "folder/model.onnx_data_1",
  ]);
  assert.deepEqual(await run(two), WANT);
});

Deno.test("a weight of another size than its shape calls for is refused", async () => {
  const wrong = { ...graph(), initializers: [{ ...weight("a", new Float32Array(299)), dims: [300] }] };
  await assert.rejects(collectFiles(onnxFiles("model.onnx", wrong, OPTIONS)), {
    name: "TypeError",
    message: 'Cannot write "a": found 1196 bytes, expected 1200 (float32 [300])',
  });
});
