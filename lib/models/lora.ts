/**
 * Which modules of a decoder LoRA adapts, with which rank and factor, and what the pairs are called.
 *
 * Sources: Hu et al. 2021, arXiv:2106.09685; rank-stabilised factor: Kalajdzievski 2023, arXiv:2312.03732; patterns as in PEFT.
 *
 * @module
 */

import { describeNames, quote } from "../base/errors.ts";
import { endsWithPath } from "../format/peft.ts";
import { type DecoderConfig, decoderLinears, type LinearModule } from "./decoder.ts";

/** Low-rank updates of the decoder's linear layers. */
export interface LoraConfig {
  /** R; 0 for none. */
  rank: number;
  /** The update is scaled by alpha / R. */
  alpha: number;
  /** Probability with which an input of A is dropped while training. */
  dropout: number;
  /** Ends of module paths, such as `q_proj` or `mlp.down_proj`; {@linkcode ALL_LINEAR} alone for all. */
  targetModules: readonly string[];
  /** Other ranks, by the end of a module's path. @default {none} */
  rankPattern?: Readonly<Record<string, number>>;
  /** Other alphas, by the end of a module's path. @default {none} */
  alphaPattern?: Readonly<Record<string, number>>;
  /** Scales by alpha / sqrt(R) instead. @default {false} */
  useRslora?: boolean;
}

/** Target that stands for every linear module of the blocks. */
export const ALL_LINEAR = "all-linear";

/** Where decoder tensors stand in PEFT's and the Python project's files. */
export const DECODER_PREFIX = "language_model.base_model.model.";

/** Names of a module's LoRA pair. */
export function loraNames(module: string): { a: string; b: string } {
  return { a: `${DECODER_PREFIX}${module}.lora_A.weight`, b: `${DECODER_PREFIX}${module}.lora_B.weight` };
}

/**
 * Targets by their modules' own names: {@linkcode ALL_LINEAR} written out.
 *
 * @throws {RangeError} when a target or a pattern names no module of the decoder
 */
export function resolveLora(config: DecoderConfig, lora: LoraConfig): LoraConfig {
  if (lora.rank === 0) return lora;
  const paths = decoderLinears(config).map(({ path }) => path);
  const names = [...new Set(paths.map((path) => path.split(".").at(-1)!))];
  const targetModules = lora.targetModules.includes(ALL_LINEAR) ? names : lora.targetModules;
  const patterns = [...Object.keys(lora.rankPattern ?? {}), ...Object.keys(lora.alphaPattern ?? {})];
  const unknown = [...targetModules, ...patterns].find((end) =>
    !paths.some((path) => endsWithPath(path, end))
  );
  if (unknown !== undefined) {
    throw new RangeError(
      `Cannot add LoRA to ${quote(unknown)}: the decoder has ${describeNames(names)}; or name ${ALL_LINEAR}`,
    );
  }
  return { ...lora, targetModules };
}

/** A linear module with its LoRA pair's sizes. */
export interface AdaptedModule extends LinearModule {
  /** R. */
  rank: number;
  /** Factor of the update. */
  scale: number;
}

/**
 * The decoder modules that LoRA adapts, in the model's order; none at rank 0.
 *
 * @throws {RangeError} as {@linkcode resolveLora}
 */
export function loraModules(config: DecoderConfig, lora: LoraConfig): AdaptedModule[] {
  if (lora.rank === 0) return [];
  const { targetModules, rankPattern = {}, alphaPattern = {}, useRslora = false } = resolveLora(config, lora);
  const pick = (pattern: Readonly<Record<string, number>>, path: string): number | undefined =>
    Object.entries(pattern).find(([end]) => endsWithPath(path, end))?.[1];
  return decoderLinears(config)
    .filter(({ path }) => targetModules.some((target) => endsWithPath(path, target)))
    .map((module) => {
      const rank = pick(rankPattern, module.path) ?? lora.rank;
      const alpha = pick(alphaPattern, module.path) ?? lora.alpha;
      return { ...module, rank, scale: alpha / (useRslora ? Math.sqrt(rank) : rank) };
    });
}
