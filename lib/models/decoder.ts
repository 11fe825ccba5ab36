/**
 * The decoder-only language model, whatever its family: its tensors and its graph, from a description.
 *
 * Families are described in `decoder_families.ts`.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import {
  decoderBlock,
  type DecoderBlockConfig,
  type DecoderBlockHooks,
  type DecoderBlockNames,
  decoderNorm,
} from "../nn/decoder_block.ts";
import type { LoadWeightsOptions, WeightSource, WeightSpec } from "../nn/weights.ts";
import { add } from "../ops/add.ts";
import { addRows } from "../ops/add_rows.ts";
import { embedding } from "../ops/embedding.ts";
import type { Lora } from "../ops/linear.ts";
import { ropeTable, type RopeTableOptions } from "../ops/rope.ts";

/** `model_type` of the decoders that can be loaded. */
export type DecoderFamilyName = "llama" | "mistral" | "qwen2" | "qwen3" | "phi3" | "gpt2" | "opt";

/** Where a decoder's tensors stand in a checkpoint that has the output head. */
export interface DecoderNames {
  /** Table of token embeddings, without `.weight`. */
  embed: string;
  /** Table of learned positions, without `.weight`. */
  positions?: string;
  /** Path of the blocks, to which a dot and the number are added. */
  blocks: string;
  /** Norm after the last block. */
  finalNorm: string;
}

/** How a decoder tells positions apart. */
export type DecoderPositions =
  /** Queries and keys are rotated. Su et al. 2021, arXiv:2104.09864. */
  | { type: "rotary"; theta: number }
  /** A table's row is added to every embedding; position 0 has row `offset`. */
  | { type: "learned"; offset: number };

/** Which linears of a block have a bias. */
export interface DecoderBiases {
  qkv: boolean;
  out: boolean;
  mlp: boolean;
}

/** Everything that decides a decoder's graph and its tensors. */
export interface DecoderConfig extends DecoderBlockConfig {
  family: DecoderFamilyName;
  layers: number;
  vocabSize: number;
  maxPositions: number;
  positions: DecoderPositions;
  /** A query sees at most so many keys; longer sequences are refused. `undefined`: all. */
  slidingWindow: number | undefined;
  biases: DecoderBiases;
  /** True when files hold the linears' weights as [in, out]. */
  conv1d: boolean;
  /** True when the output head is the embedding. */
  tied: boolean;
  bosId: number | undefined;
  eosIds: readonly number[];
  padId: number | undefined;
  /** Names of tensors: the model's and, below a block's path, the block's. */
  names: DecoderNames & DecoderBlockNames;
}

/** Name of the output head where it is not tied. */
const HEAD = "lm_head.weight";

/** A linear module that LoRA may adapt. */
export interface LinearModule {
  /** Path in the Hugging Face model, such as `model.layers.0.self_attn.q_proj`. */
  path: string;
  inFeatures: number;
  outFeatures: number;
  hasBias: boolean;
}

/** Every linear module of the blocks, in order. */
export function decoderLinears(config: DecoderConfig): LinearModule[] {
  const { hiddenSize: D, intermediateSize: F, headDim, names, biases } = config;
  const [q, kv] = [config.heads * headDim, config.kvHeads * headDim];
  const modules: [name: string, inFeatures: number, outFeatures: number, hasBias: boolean][] = [];
  if (names.qkv.length === 1) modules.push([names.qkv[0], D, q + 2 * kv, biases.qkv]);
  else names.qkv.forEach((name, i) => modules.push([name, D, i === 0 ? q : kv, biases.qkv]));
  modules.push([names.out, q, D, biases.out]);
  const up = "gate" in names.up
    ? [names.up.gate, names.up.up]
    : "fused" in names.up
    ? [names.up.fused]
    : [names.up.plain];
  for (const name of up) modules.push([name, D, "fused" in names.up ? 2 * F : F, biases.mlp]);
  modules.push([names.down, F, D, biases.mlp]);
  return Array.from(
    { length: config.layers },
    (_, layer) =>
      modules.map(([name, inFeatures, outFeatures, hasBias]) => ({
        path: `${names.blocks}.${layer}.${name}`,
        inFeatures,
        outFeatures,
        hasBias,
      })),
  ).flat();
}

/** Every tensor of the decoder. */
export function decoderSpecs(config: DecoderConfig): WeightSpec[] {
  const { hiddenSize: D, vocabSize: V, names, positions } = config;
  const norm = (path: string, kind: "rms" | "layer", width: number): WeightSpec[] => [
    { name: `${path}.weight`, shape: [width] },
    ...(kind === "layer" ? [{ name: `${path}.bias`, shape: [width] }] : []),
  ];
  const blocks = Array.from({ length: config.layers }, (_, layer) => `${names.blocks}.${layer}`);
  return [
    { name: `${names.embed}.weight`, shape: [V, D] },
    ...(positions.type === "learned"
      ? [{ name: `${names.positions}.weight`, shape: [config.maxPositions + positions.offset, D] }]
      : []),
    ...decoderLinears(config).flatMap(({ path, inFeatures, outFeatures, hasBias }): WeightSpec[] => [
      {
        name: `${path}.weight`,
        shape: [outFeatures, inFeatures],
        ...(config.conv1d ? { transposed: true } : {}),
      },
      ...(hasBias ? [{ name: `${path}.bias`, shape: [outFeatures] }] : []),
    ]),
    ...blocks.flatMap((path) => [
      ...norm(`${path}.${names.norm1}`, config.norm, D),
      ...norm(`${path}.${names.norm2}`, config.norm, D),
      ...(names.headNorms ?? []).flatMap((name) => norm(`${path}.${name}`, "rms", config.headDim)),
    ]),
    ...norm(names.finalNorm, config.norm, D),
    ...(config.tied ? [] : [{ name: HEAD, shape: [V, D] }]),
  ];
}

/** How decoder weights are met in files: of the whole model, or saved without its output head. */
export function decoderFiles(config: DecoderConfig): LoadWeightsOptions {
  // `model.decoder.` is met whole, as `decoder.` and not at all; `transformer.` whole or not at all.
  const root = `${config.names.blocks.slice(0, config.names.blocks.lastIndexOf("."))}.`;
  const parts = root.split(".").slice(0, -1);
  const shorter = parts.map((_, i) => parts.slice(i + 1).map((part) => `${part}.`).join(""));
  return {
    roots: shorter.map((to) => ({ from: root, to })),
    ignore: [
      { pattern: /rotary_emb\.inv_freq$/, reason: "a buffer, computed from rope_theta" },
      { pattern: /\.attn\.(bias|masked_bias)$/, reason: "buffers of GPT-2: the causal mask" },
      ...(config.tied ? [{ pattern: /^lm_head\.weight$/, reason: "tied: the head is the embedding" }] : []),
      { pattern: /^score\.weight$|^classifier\./, reason: "a classifier's head" },
    ],
  };
}

/** How names begin that the model without its output head has, too: `model.` or `transformer.`. */
export function decoderRoot({ names }: DecoderConfig): string {
  return names.blocks.slice(0, names.blocks.indexOf(".") + 1);
}

/** Name of the output head [V, D]: its own or the embedding's. */
export function decoderHeadName({ tied, names }: Pick<DecoderConfig, "tied" | "names">): string {
  return tied ? `${names.embed}.weight` : HEAD;
}

/** The output head [V, D]: its own tensor or the embedding. */
export function decoderHead(w: WeightSource, config: DecoderConfig): Tensor {
  return w.get(decoderHeadName(config));
}

/** The table of rotary angles, [maxPositions, Dh]; `undefined` where positions are learned. */
export function decoderRope(
  gpu: Gpu,
  { headDim, positions }: DecoderConfig,
  options: Pick<RopeTableOptions, "maxPositions" | "frequencies">,
): Tensor | undefined {
  return positions.type === "rotary"
    ? ropeTable(gpu, { headDim, theta: positions.theta, ...options })
    : undefined;
}

/** Records the embeddings of inputIds [...]: [..., D]. */
export function embedTokens(r: Recorder, w: WeightSource, inputIds: Tensor, config: DecoderConfig): Tensor {
  return embedding(r, inputIds, w.get(`${config.names.embed}.weight`));
}

/** What a run through the decoder needs beside its weights. */
export interface DecoderRun {
  config: DecoderConfig;
  /** LoRA pair of a linear module, by path. */
  lora?: (module: string) => Lora | undefined;
  /** How queries meet keys in a layer: training, prefill and decoding differ here alone. */
  attend: (layer: number) => DecoderBlockHooks["attend"];
  /** u32 [rows]: for learned positions, the table's row of every row of hiddenStates [rows, D]. @default {in order, from 0} */
  positionRows?: Tensor;
}

/** Records positions, blocks and final norm on embeddings [B, S, D], or [rows, D] with `positionRows`. */
export function decoder(r: Recorder, w: WeightSource, embeddings: Tensor, run: DecoderRun): Tensor {
  const { config, lora } = run;
  let x = addPositions(r, w, embeddings, run);
  for (let layer = 0; layer < config.layers; layer++) {
    x = decoderBlock(r, w, x, {
      config,
      prefix: `${config.names.blocks}.${layer}`,
      attend: run.attend(layer),
      ...(lora === undefined ? {} : { lora }),
    });
  }
  return decoderNorm(r, w, x, { path: config.names.finalNorm, norm: config.norm, eps: config.eps });
}

function addPositions(r: Recorder, w: WeightSource, x: Tensor, { config, positionRows }: DecoderRun): Tensor {
  if (config.positions.type !== "learned") return x;
  const table = w.get(`${config.names.positions}.weight`);
  if (positionRows === undefined) return addRows(r, x, table, { firstRow: config.positions.offset });
  return add(r, x, embedding(r, positionRows, table));
}
