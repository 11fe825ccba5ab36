/**
 * onnxruntime-web's WebGPU provider as a peer: one MatMul, or several alike, on the adapter that the project uses too.
 *
 * @module
 */

import { type InferenceSession, openOnnxRuntime } from "../lib/generate/onnxruntime.ts";
import { ProtobufWriter } from "../lib/format/protobuf.ts";
import { type Cost, processCpuMs } from "./measure.ts";

/** A matrix product, and how many of it run one after the other. */
export interface PeerShape {
  M: number;
  N: number;
  K: number;
  count: number;
}

/** The peer with its operands on the GPU. */
export interface MatmulPeer {
  /** Runs every product once. */
  run(): Promise<Cost>;
  /** The last product. */
  read(): Promise<Float32Array>;
  /** Frees session and operands. */
  destroy(): Promise<void>;
}

const FLOAT = 1; // TensorProto.DataType
const OPSET = 17;

/**
 * `count` nodes C_i = MatMul(A [M, K], B [K, N]), B an initializer. Weights are stored [K, N]: the layout that MatMul takes
 * without a transposition.
 *
 * Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers)
 */
export function matmulModel({ M, N, K, count }: PeerShape, b: Float32Array): Uint8Array<ArrayBuffer> {
  const value = (w: ProtobufWriter, name: string, dims: number[]): void => {
    w.string(1, name).message(2, (type) =>
      type.message(1, (tensor) => {
        tensor.varint(1, FLOAT).message(2, (shape) => {
          for (const dim of dims) shape.message(1, (d) => d.varint(1, dim));
        });
      }));
  };
  const outputs = Array.from({ length: count }, (_, i) => `c${i}`);
  return new ProtobufWriter()
    .varint(1, 8) // ir_version
    .message(7, (graph) => {
      for (const output of outputs) {
        graph.message(1, (node) => node.string(1, "a").string(1, "b").string(2, output).string(4, "MatMul"));
      }
      graph.string(2, "matmul");
      graph.message(5, (tensor) => {
        tensor.packedVarints(1, [K, N]).varint(2, FLOAT).string(8, "b");
        tensor.bytes(9, new Uint8Array(b.buffer, b.byteOffset, b.byteLength));
      });
      graph.message(11, (input) => value(input, "a", [M, K]));
      for (const output of outputs) graph.message(12, (w) => value(w, output, [M, N]));
    })
    .message(8, (opset) => opset.string(1, "").varint(2, OPSET))
    .finish();
}

/** Makes a session for a product of `a` [M, K] and `b` [K, N]. */
export async function createMatmulPeer(
  shape: PeerShape,
  operands: { a: Float32Array; b: Float32Array },
): Promise<MatmulPeer> {
  const { env, InferenceSession, Tensor } = await openOnnxRuntime("webgpu");
  env.webgpu.powerPreference = "high-performance";
  const session = await InferenceSession.create(matmulModel(shape, operands.b), {
    executionProviders: ["webgpu"],
    preferredOutputLocation: "gpu-buffer",
    // The nodes are alike on purpose, and would be merged into one.
    graphOptimizationLevel: "disabled",
  });
  const device = await env.webgpu.device as GPUDevice;
  const { M, K } = shape;
  const buffer = device.createBuffer({ size: operands.a.byteLength, usage: 0x80 | 0x8 | 0x4 }); // STORAGE | COPY_DST | COPY_SRC
  device.queue.writeBuffer(buffer, 0, operands.a as Float32Array<ArrayBuffer>);
  const a = Tensor.fromGpuBuffer(buffer as never, { dataType: "float32", dims: [M, K] });
  let last: InferenceSession.OnnxValueMapType | undefined;
  const free = (): void => {
    for (const tensor of Object.values(last ?? {})) tensor.dispose();
    last = undefined;
  };
  return {
    async run(): Promise<Cost> {
      free();
      const cpu = processCpuMs();
      const start = performance.now();
      last = await session.run({ a });
      const done = device.queue.onSubmittedWorkDone();
      if (!("Deno" in globalThis)) await done;
      const cost = { wallMs: performance.now() - start, cpuMs: processCpuMs() - cpu };
      await done;
      return cost;
    },
    async read(): Promise<Float32Array> {
      const tensor = last?.[`c${shape.count - 1}`];
      if (tensor === undefined) throw new Error("Cannot read a product: nothing has run");
      return await tensor.getData() as Float32Array;
    },
    async destroy(): Promise<void> {
      free();
      buffer.destroy();
      await session.release();
    },
  };
}
