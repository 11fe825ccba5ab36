/**
 * LoRA folded into the weights it adapts: W + scale · B · A, rounded once, to the precision W has.
 *
 * Source: Hu et al. 2021, arXiv:2106.09685, section 4.1 (no additional inference latency).
 *
 * @module
 */

import type { TensorSource } from "../format/safetensors.ts";
import type { CaptionerConfig } from "../models/captioner.ts";
import type { TrainedTensors } from "../models/captioner_files.ts";
import { decoderFiles, decoderSpecs } from "../models/decoder.ts";
import { loraModules, loraNames } from "../models/lora.ts";
import { matchWeights } from "../nn/weights.ts";
import { type TensorPlan, type WrittenDtype, writtenDtype } from "./tensor_plan.ts";

/** What is merged. */
export interface MergeOptions {
  config: Pick<CaptionerConfig, "decoder" | "lora">;
  /** The decoder's own tensors. */
  source: TensorSource;
  /** Has the LoRA pairs. */
  trained: TrainedTensors;
  /** Precision of what is written. @default {"keep"} */
  dtype?: WrittenDtype;
  /** Names in the file. @default {those of the Hugging Face model} */
  rename?: (name: string) => string;
}

/**
 * Adds every tensor of the decoder to `plan`, the adapted ones with their LoRA pair folded in, lying as the family's files have them.
 *
 * @throws {RangeError | TypeError} As loading the decoder does
 */
export function planMergedDecoder(plan: TensorPlan, options: MergeOptions): void {
  const { config, source, trained, dtype = "keep", rename = (name) => name } = options;
  const specs = decoderSpecs(config.decoder);
  const names = matchWeights(source, specs, decoderFiles(config.decoder));
  const adapted = new Map(
    loraModules(config.decoder, config.lora).map((module) => [`${module.path}.weight`, module]),
  );
  for (const { name, transposed = false } of specs) {
    const stored = names.get(name)!;
    const module = adapted.get(name);
    if (module === undefined) {
      plan.copy(rename(name), { source, stored, dtype });
      continue;
    }
    const own = source.tensors.get(stored)!;
    const pair = loraNames(module.path);
    const [a, b] = [trained.get(pair.a)!.data, trained.get(pair.b)!.data];
    plan.addF32(rename(name), { dtype: writtenDtype(own.dtype, dtype), shape: own.shape }, async () => {
      const values = await source.readF32(stored);
      addProduct(values, { a, b, ...module, transposed });
      return values;
    });
  }
}

/** Adds scale · b · a to `values` [out, in], or to its transpose, summing in f64. */
export function addProduct(
  values: Float32Array<ArrayBufferLike>,
  options: {
    /** [R, in]. */
    a: Float32Array<ArrayBufferLike>;
    /** [out, R]. */
    b: Float32Array<ArrayBufferLike>;
    inFeatures: number;
    outFeatures: number;
    rank: number;
    scale: number;
    transposed: boolean;
  },
): void {
  const { a, b, inFeatures: K, outFeatures: N, rank: R, scale, transposed } = options;
  const row = new Float64Array(K);
  for (let n = 0; n < N; n++) {
    row.fill(0);
    for (let r = 0; r < R; r++) {
      const factor = scale * b[n * R + r]!;
      const start = r * K;
      for (let k = 0; k < K; k++) row[k]! += factor * a[start + k]!;
    }
    for (let k = 0; k < K; k++) values[transposed ? k * N + n : n * K + k]! += row[k]!;
  }
}
