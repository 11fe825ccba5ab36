/**
 * Layers as ONNX nodes, in the precision a file is written in. Between layers numbers are f32; what a precision changes is inside here:
 *
 * | precision | linear layers                                                        | embedding           | the rest |
 * | --------- | -------------------------------------------------------------------- | ------------------- | -------- |
 * | fp32      | `MatMul`                                                             | f32                 | f32      |
 * | fp16      | `MatMul`, weights and inputs f16                                     | f16                 | attention and MLP f16; norms, residuals and logits f32 |
 * | q8        | `MatMulInteger`: rows of int8 weights, inputs uint8 by their range   | rows of int8        | f32      |
 * | q4        | `MatMulNBits`: blocks of 32 four-bit weights, inputs f32             | rows of int8        | f32      |
 *
 * @module
 */

import { encodeF16 } from "../../base/half.ts";
import type { WeightSpec } from "../../nn/weights.ts";
import { transpose } from "../../nn/weights.ts";
import type { Activation } from "../../nn/decoder_block.ts";
import type { OnnxDtype } from "../../models/onnx_layouts.ts";
import type { TensorPlan } from "../tensor_plan.ts";
import { type FloatType, type GraphBuilder, MICROSOFT, type Value } from "./graph.ts";
import {
  BLOCK,
  type Blocks4,
  quantizeBlocks4,
  quantizeRows8,
  type Rows8,
  transposeInts,
} from "./quantize.ts";

/** Weights of a model as f32, by their names and in the shapes that the model has. */
export interface GraphWeights {
  spec(name: string): WeightSpec;
  has(name: string): boolean;
  /** A vector, a table, or a matrix [out, in]. */
  read(name: string): Promise<Float32Array<ArrayBuffer>>;
  /** A matrix as [in, out]. */
  readTransposed(name: string): Promise<Float32Array<ArrayBuffer>>;
  /** What `make` gives, kept until something else is derived: numbers and scales of one matrix are written one after the other. */
  derive<T>(key: string, make: () => Promise<T>): Promise<T>;
}

/** Ends the names of matrices that a graph holds as [in, out]. */
export const TRANSPOSED = " transposed";

/** Keeps what was derived last. */
export function latestOnly(): GraphWeights["derive"] {
  let latest: { key: string; value: unknown } | undefined;
  return async <T>(key: string, make: () => Promise<T>): Promise<T> => {
    if (latest?.key !== key) {
      latest = undefined; // freed before the next is made
      latest = { key, value: await make() };
    }
    return latest.value as T;
  };
}

/** Weights of a plan in f32, whose matrices may lie [in, out]. */
export function plannedWeights(plan: TensorPlan, specs: readonly WeightSpec[]): GraphWeights {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const find = (name: string): WeightSpec => {
    const spec = byName.get(name);
    if (spec === undefined) throw new RangeError(`Cannot write a graph: there is no weight "${name}"`);
    return spec;
  };
  // A tensor that is copied comes as bytes.
  const asStored = async (name: string): Promise<Float32Array<ArrayBuffer>> => {
    const { buffer, byteOffset, byteLength } = await plan.read(name);
    return new Float32Array(buffer as ArrayBuffer, byteOffset, byteLength / 4);
  };
  return {
    derive: latestOnly(),
    spec: find,
    has: (name) => byName.has(name),
    read: async (name) => {
      const { shape, transposed } = find(name);
      const values = await asStored(name);
      return transposed ? transpose(values, shape) : values;
    },
    readTransposed: async (name) => {
      const { shape, transposed } = find(name);
      const values = await asStored(name);
      return transposed ? values : transpose(values, shape.toReversed());
    },
  };
}

/** What layers are written with. */
export interface Layers {
  g: GraphBuilder;
  weights: GraphWeights;
  dtype: OnnxDtype;
}

/** Type in which attention and MLP are computed. */
export function innerType(dtype: OnnxDtype): FloatType {
  return dtype === "fp16" ? "float16" : "float32";
}

/** Elements as they are stored. @throws {RangeError} when f16 cannot hold one: largest it has is 65504 */
function asFloats(
  name: string,
  values: Float32Array<ArrayBuffer>,
  type: FloatType,
): Float32Array<ArrayBuffer> | Uint16Array<ArrayBuffer> {
  if (type === "float32") return values;
  if (values.some((value) => Math.abs(value) >= 65520)) {
    throw new RangeError(
      `Cannot write "${name}" as fp16: it has values above 65504; leave fp16 out with --dtype`,
    );
  }
  return encodeF16(values);
}

/** A vector or table as it is. */
export function floats({ g, weights }: Layers, name: string, type: FloatType): Value {
  const { shape } = weights.spec(name);
  return g.weight(type === "float32" ? name : `${name} ${type}`, type, {
    dims: shape,
    read: async () => asFloats(name, await weights.read(name), type),
  });
}

/** y [..., N] = x [..., K] Wᵗ + b, of the weight at `path`; in the inner type. */
export function linear(l: Layers, x: Value, path: string): Value {
  const { g, weights, dtype } = l;
  const product = matmul(l, x, `${path}.weight`);
  const bias = `${path}.bias`;
  return weights.has(bias) ? g.binary("Add", product, floats(l, bias, innerType(dtype))) : product;
}

function matmul(l: Layers, x: Value, name: string): Value {
  const { g, weights, dtype } = l;
  const [N, K] = weights.spec(name).shape as [number, number];
  if (dtype === "q8") {
    const rows = rows8(l, name);
    const values = g.weight(`${name} int8`, "int8", {
      dims: [K, N],
      read: async () => transposeInts((await rows()).values, [N, K]),
    });
    return matmulInteger(l, x, { values, scales: scales8(l, name, rows) });
  }
  if (dtype === "q4") return matmulBlocks(l, x, name);
  const type = innerType(dtype);
  const matrix = g.weight(`${name}${TRANSPOSED}`, type, {
    dims: [K, N],
    read: async () => asFloats(name, await weights.readTransposed(name), type),
  });
  return g.node("MatMul", [g.as(x, type), matrix]);
}

function rows8({ weights }: Layers, name: string): () => Promise<Rows8> {
  const [N, K] = weights.spec(name).shape as [number, number];
  return () => weights.derive(`${name} 8`, async () => quantizeRows8(await weights.read(name), [N, K]));
}

function scales8({ g, weights }: Layers, name: string, rows: () => Promise<Rows8>): Value {
  const [N] = weights.spec(name).shape;
  return g.weight(`${name} scales`, "float32", { dims: [N!], read: async () => (await rows()).scales });
}

/** x in whole numbers by its own range, times int8 columns: [..., N] f32. */
function matmulInteger(
  { g }: Layers,
  x: Value,
  { values, scales }: { values: Value; scales: Value },
): Value {
  // Query, key and value share their input in whole numbers; gate and up, too.
  const [whole, scale, zero] = g.once(
    `${x.name} quantised`,
    () => g.nodes("DynamicQuantizeLinear", [x], { types: ["uint8", "float32", "uint8"] }),
  );
  const sums = g.node("MatMulInteger", [whole!, values, zero!], { type: "int32" });
  return g.binary("Mul", g.as(sums, "float32"), g.binary("Mul", scales, scale!));
}

function matmulBlocks({ g, weights }: Layers, x: Value, name: string): Value {
  const [N, K] = weights.spec(name).shape as [number, number];
  const blocks = Math.ceil(K / BLOCK);
  const made = (): Promise<Blocks4> =>
    weights.derive(`${name} 4`, async () => quantizeBlocks4(await weights.read(name), [N, K]));
  const values = g.weight(`${name} 4 bits`, "uint8", {
    dims: [N, blocks, BLOCK / 2],
    read: async () => (await made()).values,
  });
  const scales = g.weight(`${name} block scales`, "float32", {
    dims: [N * blocks],
    read: async () => (await made()).scales,
  });
  const zeros = g.weight(`${name} block zeros`, "uint8", {
    dims: [N * Math.ceil(blocks / 2)],
    read: async () => (await made()).zeros,
  });
  return g.node("MatMulNBits", [x, values, scales, zeros], {
    domain: MICROSOFT,
    // Inputs stay as they are: what is checked on one runtime holds on the others.
    attributes: { K: { int: K }, N: { int: N }, bits: { int: 4 }, block_size: { int: BLOCK } },
  });
}

/** Rows of the table `name` [V, D] by ids [...]: [..., D] f32. */
export function embeddingRows(l: Layers, ids: Value, name: string): Value {
  const { g, dtype } = l;
  if (dtype === "fp32" || dtype === "fp16") {
    return g.as(g.gather(floats(l, name, innerType(dtype)), ids), "float32");
  }
  const rows = rows8(l, name);
  const values = g.as(g.gather(table8(l, name, rows), ids), "float32");
  const scales = g.gather(scales8(l, name, rows), ids);
  return g.binary("Mul", values, g.unsqueeze(scales, [-1]));
}

/** The table in whole numbers, rows as they are: embedding and output head share it where they are tied. */
function table8({ g, weights }: Layers, name: string, rows: () => Promise<Rows8>): Value {
  return g.weight(`${name} int8 rows`, "int8", {
    dims: weights.spec(name).shape,
    read: async () => (await rows()).values,
  });
}

/** Logits [B, S, V] f32 of hiddenStates x [B, S, D] by the head `name` [V, D]. */
export function headLogits(l: Layers, x: Value, name: string): Value {
  const { g, weights, dtype } = l;
  const [V, D] = weights.spec(name).shape as [number, number];
  if (dtype === "q4") return matmulBlocks(l, x, name);
  if (dtype === "q8") {
    const rows = rows8(l, name);
    const values = g.transpose(table8(l, name, rows), [1, 0]);
    return matmulInteger(l, x, { values, scales: scales8(l, name, rows) });
  }
  const type = innerType(dtype);
  const flat = g.node("Gemm", [g.as(g.reshape(x, [-1, D]), type), floats(l, name, type)], {
    attributes: { transB: { int: 1 } },
  });
  const size = (axis: number): Value => g.unsqueeze(g.size(x, axis), [0]);
  const shape = g.concat([size(0), size(1), g.ints([V])], 0);
  return g.as(g.node("Reshape", [flat, shape]), "float32");
}

/** Norm of x [..., C] with its tensors at `path`, in f32. */
export function normalize(
  l: Layers,
  x: Value,
  { path, norm, eps }: { path: string; norm: "rms" | "layer"; eps: number },
): Value {
  const { g } = l;
  const wide = g.as(x, "float32");
  const weight = floats(l, `${path}.weight`, "float32");
  if (norm === "layer") {
    return g.node("LayerNormalization", [wide, weight, floats(l, `${path}.bias`, "float32")], {
      attributes: { axis: { int: -1 }, epsilon: { float: eps } },
    });
  }
  const mean = g.node("ReduceMean", [g.node("Mul", [wide, wide])], {
    attributes: { axes: { ints: [-1] }, keepdims: { int: 1 } },
  });
  const root = g.node("Sqrt", [g.binary("Add", mean, eps)]);
  return g.binary("Mul", g.binary("Div", wide, root), weight);
}

/** The activation of x, element by element. */
export function activate({ g }: Layers, x: Value, form: Activation): Value {
  switch (form) {
    case "relu":
      return g.node("Relu", [x]);
    case "quick":
      return g.binary("Mul", x, g.node("Sigmoid", [g.binary("Mul", x, 1.702)]));
    case "erf": {
      const erf = g.node("Erf", [g.binary("Mul", x, Math.SQRT1_2)]);
      return g.binary("Mul", g.binary("Mul", x, 0.5), g.binary("Add", erf, 1));
    }
    case "tanh": {
      const cube = g.binary("Mul", g.binary("Mul", x, x), x);
      const inner = g.binary("Add", x, g.binary("Mul", cube, 0.044715));
      const tanh = g.node("Tanh", [g.binary("Mul", inner, Math.sqrt(2 / Math.PI))]);
      return g.binary("Mul", g.binary("Mul", x, 0.5), g.binary("Add", tanh, 1));
    }
  }
}

/** x · sigmoid(x). */
export function silu({ g }: Layers, x: Value): Value {
  return g.binary("Mul", x, g.node("Sigmoid", [x]));
}

/** Sum of the residual x and what was added, in f32. */
export function addResidual({ g }: Layers, x: Value, y: Value): Value {
  return g.binary("Add", g.as(x, "float32"), y);
}

/** softmax(q kᵗ / sqrt(Dh) + bias) v of q [B, H, Sq, Dh], kᵗ [B, H, Dh, Sk] and v [B, H, Sk, Dh]. */
export function attend(
  { g }: Layers,
  { q, kTransposed, v, bias, headDim }: {
    q: Value;
    kTransposed: Value;
    v: Value;
    bias?: Value;
    headDim: number;
  },
): Value {
  const scores = g.node("MatMul", [g.binary("Mul", q, 1 / Math.sqrt(headDim)), kTransposed]);
  const masked = bias === undefined ? scores : g.binary("Add", scores, bias);
  return g.node("MatMul", [g.node("Softmax", [masked], { attributes: { axis: { int: -1 } } }), v]);
}
