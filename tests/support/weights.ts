/** Random weights of a model: as numbers, as frozen tensors, as a file. */
import { encodeBf16, encodeF16 } from "../../lib/base/half.ts";
import type { TensorData } from "../../lib/format/safetensors.ts";
import type { Gpu } from "../../lib/gpu/device.ts";
import { tensorFrom } from "../../lib/gpu/tensor.ts";
import { FrozenWeights, type WeightSpec } from "../../lib/nn/weights.ts";
import { randomValues } from "./gpu.ts";

/** Values by name: matrices keep the size of what they multiply, norms are around 1, biases are not 0. */
export function drawWeights(
  specs: readonly WeightSpec[],
  seed = 1,
): Map<string, Float32Array<ArrayBuffer>> {
  return new Map(specs.map(({ name, shape }, i) => {
    const size = shape.reduce((product, n) => product * n, 1);
    const isNorm = /norm[^.]*\.weight$/i.test(name);
    const isTable = /embedding|probe|token/.test(name) && !/patch_embedding/.test(name);
    const scale = shape.length < 2 ? 0.3 : isTable ? 1 : 2.2 / Math.sqrt(size / shape[0]!);
    return [name, randomValues(size, seed + i, scale).map((value) => value + (isNorm ? 1 : 0))];
  }));
}

/** The values as frozen f32 tensors. */
export function freezeWeights(
  gpu: Gpu,
  specs: readonly WeightSpec[],
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
): FrozenWeights {
  return new FrozenWeights(
    "random weights",
    new Map(
      specs.map(({ name, shape }) => [name, tensorFrom(gpu, values.get(name)!, { shape, label: name })]),
    ),
  );
}

/** The values as tensors of a file, in a precision. */
export function storeWeights(
  specs: readonly WeightSpec[],
  values: ReadonlyMap<string, Float32Array<ArrayBuffer>>,
  dtype: "F32" | "F16" | "BF16" = "F32",
): Map<string, TensorData> {
  const encode = { F32: (data: Float32Array) => data, F16: encodeF16, BF16: encodeBf16 }[dtype];
  return new Map(specs.map(({ name, shape }) => [name, { dtype, shape, data: encode(values.get(name)!) }]));
}
