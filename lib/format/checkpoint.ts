/**
 * A Hugging Face checkpoint folder: one safetensors file, or shards listed by an index.
 *
 * @module
 */

import { describeNames, quote } from "../base/errors.ts";
import type { FileFolder } from "./byte_source.ts";
import { readText } from "./byte_source.ts";
import { describeJson, isJsonObject, parseJsonObject } from "./json.ts";
import {
  type Dtype,
  openSafetensors,
  requireTensor,
  type SafetensorsFile,
  tensorReaders,
  type TensorSource,
  type TensorSpec,
} from "./safetensors.ts";

/** Which files of a folder are the checkpoint. */
export interface CheckpointOptions {
  /**
   * Name before `.safetensors` and `.safetensors.index.json`.
   *
   * @default {"model"}
   */
  stem?: string;
}

/**
 * Opens `model.safetensors`, or `model.safetensors.index.json` and its shards. Headers are read and checked, tensors
 * are read when asked for.
 *
 * @throws {RangeError} If neither file exists, or the index names a shard that does not.
 * @throws {SyntaxError} If a header or the index is malformed, or the index and the shards disagree about a tensor.
 */
export async function openCheckpoint(
  folder: FileFolder,
  options: CheckpointOptions = {},
): Promise<TensorSource> {
  const single = `${options.stem ?? "model"}.safetensors`;
  const file = await folder.open(single);
  if (file !== undefined) return await openSafetensors(file);
  const index = await folder.open(`${single}.index.json`);
  if (index === undefined) {
    throw new RangeError(
      `Cannot load "${folder.name}": it has neither "${single}" nor "${single}.index.json"`,
    );
  }
  const owners = parseWeightMap(await readText(index), index.name);
  const shards = new Map<string, SafetensorsFile>();
  for (const shard of new Set(owners.values())) {
    const source = await folder.open(shard);
    if (source === undefined) {
      const lost = [...owners].filter(([, owner]) => owner === shard).map(([tensor]) => tensor);
      throw new RangeError(
        `Cannot load "${folder.name}": the shard ${quote(shard)} is missing, which holds ${
          describeNames(lost, 3)
        }`,
      );
    }
    shards.set(shard, await openSafetensors(source));
  }
  return joinShards(folder.name, owners, shards);
}

/** Tensor name to file name, from the text of an index. */
function parseWeightMap(text: string, name: string): Map<string, string> {
  const weightMap = parseJsonObject(text, name)["weight_map"];
  if (!isJsonObject(weightMap)) {
    throw new SyntaxError(
      `Cannot load "${name}": "weight_map" is ${describeJson(weightMap)}, expected an object`,
    );
  }
  const owners = new Map<string, string>();
  for (const [tensor, shard] of Object.entries(weightMap)) {
    // A plain file name: an index must not reach outside its folder.
    if (typeof shard !== "string" || !/^[^/\\:]+\.safetensors$/.test(shard)) {
      throw new SyntaxError(
        `Cannot load "${name}": tensor ${quote(tensor)} lies in ${describeJson(shard)}, ` +
          `expected the name of a .safetensors file in the same folder`,
      );
    }
    owners.set(tensor, shard);
  }
  return owners;
}

function joinShards(
  name: string,
  owners: ReadonlyMap<string, string>,
  shards: ReadonlyMap<string, SafetensorsFile>,
): TensorSource {
  const tensors = new Map<string, TensorSpec>();
  for (const [tensor, shard] of owners) {
    const found = shards.get(shard)!.tensors.get(tensor);
    if (found === undefined) {
      throw new SyntaxError(
        `Cannot load "${name}": the index says that tensor ${quote(tensor)} is in ${
          quote(shard)
        }, which does not have it`,
      );
    }
    tensors.set(tensor, found);
  }
  const metadata = new Map<string, string>();
  for (const [shard, file] of shards) {
    for (const tensor of file.tensors.keys()) {
      if (owners.get(tensor) !== shard) {
        throw new SyntaxError(
          `Cannot load "${name}": ${quote(shard)} holds tensor ${
            quote(tensor)
          }, which the index does not place there`,
        );
      }
    }
    for (const [key, text] of file.metadata) metadata.set(key, text);
  }
  const read = async (tensor: string) => {
    requireTensor(tensors, tensor, name);
    return await shards.get(owners.get(tensor)!)!.read(tensor);
  };
  return { name, metadata, tensors, ...tensorReaders(tensors, read, name) };
}

/** NaN and infinite elements of a tensor. */
export interface NonFiniteReport {
  /** How many elements are NaN or infinite. */
  readonly count: number;
  /** How many of them are NaN. */
  readonly nanCount: number;
  /** Index of the first, in row-major order. */
  readonly firstIndex: number;
}

/** Dtypes that have NaN and infinities of the IEEE kind. */
export type FloatDtype = Extract<Dtype, "F64" | "F32" | "F16" | "BF16">;

/**
 * Looks for NaN and infinities in a loaded float tensor, given as its bits or values of the given dtype (F32 unless told).
 * Half floats are judged by their bits, without widening them. `undefined` when every element is finite.
 */
export function findNonFinite(
  values: ArrayBufferView<ArrayBuffer>,
  dtype: FloatDtype = "F32",
): NonFiniteReport | undefined {
  // The exponent's bits, all set in NaN and infinity alone, in the element's highest 16 or 32 bits.
  const [wordBytes, stride, exponent, fraction] = ({
    BF16: [2, 1, 0x7f80, 0x7f],
    F16: [2, 1, 0x7c00, 0x3ff],
    F32: [4, 1, 0x7f800000, 0x7fffff],
    F64: [4, 2, 0x7ff00000, 0xfffff],
  } as const)[dtype];
  const bytes = values.byteOffset % 4 === 0 ? values : new Uint8Array(values.buffer).slice(
    values.byteOffset,
    values.byteOffset + values.byteLength,
  );
  const count = bytes.byteLength / wordBytes;
  const words = wordBytes === 2
    ? new Uint16Array(bytes.buffer, bytes.byteOffset, count)
    : new Uint32Array(bytes.buffer, bytes.byteOffset, count);
  let found = 0, nans = 0, first = -1;
  for (let i = stride - 1; i < words.length; i += stride) {
    const word = words[i]!;
    if ((word & exponent) !== exponent) continue;
    if (found++ === 0) first = (i - stride + 1) / stride;
    if ((word & fraction) !== 0 || (stride === 2 && words[i - 1] !== 0)) nans++;
  }
  return found === 0 ? undefined : { count: found, nanCount: nans, firstIndex: first };
}
