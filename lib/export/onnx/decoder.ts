/**
 * The decoder as ONNX nodes, with a cache of keys and values that goes in and comes out, from the same description as the kernels' graph
 * (`models/decoder.ts`). Query heads that share a key head are rows of one matrix, so that keys and values are never repeated.
 *
 * @module
 */

import { type DecoderConfig, decoderHeadName } from "../../models/decoder.ts";
import { ropeValues } from "../../ops/rope.ts";
import { TO_END, type Value } from "./graph.ts";
import {
  activate,
  addResidual,
  attend,
  embeddingRows,
  floats,
  headLogits,
  innerType,
  type Layers,
  linear,
  normalize,
  silu,
} from "./layers.ts";

/** Keys and values of one layer, [B, K, positions, Dh] each. */
export interface LayerCache {
  key: Value;
  value: Value;
}

/** What a run of the decoder is given. */
export interface DecoderNodesInputs {
  config: DecoderConfig;
  /** Of the positions before; none: this is the first run. */
  past?: readonly LayerCache[];
  /** int64 [B, past and new], 1 = may be attended. @default every position may */
  attentionMask?: Value;
  /** int64 [B, new]. @default those after the past */
  positionIds?: Value;
}

/** Most positions that a graph's tables have rows for: captions never need more. */
const MAX_TABLE = 4096;

/** Positions that a graph can tell apart. */
export function tablePositions({ maxPositions, slidingWindow = Infinity }: DecoderConfig): number {
  return Math.min(maxPositions, slidingWindow, MAX_TABLE);
}

/** Declares the past of every layer, `past_key_values.N.key` and `.value`. */
export function pastInputs(l: Layers, config: DecoderConfig, batch: string): LayerCache[] {
  const type = innerType(l.dtype);
  const dims = [batch, config.kvHeads, "past_sequence_length", config.headDim];
  return Array.from({ length: config.layers }, (_, layer) => ({
    key: l.g.input(`past_key_values.${layer}.key`, type, dims),
    value: l.g.input(`past_key_values.${layer}.value`, type, dims),
  }));
}

/** Declares the cache that comes out, `present.N.key` and `.value`. */
export function presentOutputs(
  l: Layers,
  present: readonly LayerCache[],
  { config, batch, length }: { config: DecoderConfig; batch: string; length: string },
): void {
  const dims = [batch, config.kvHeads, length, config.headDim];
  for (const [layer, { key, value }] of present.entries()) {
    l.g.output(`present.${layer}.key`, key, dims);
    l.g.output(`present.${layer}.value`, value, dims);
  }
}

/** Embeddings of int64 ids [B, T]: [B, T, D] f32. */
export function tokenNodes(l: Layers, ids: Value, config: DecoderConfig): Value {
  return embeddingRows(l, ids, `${config.names.embed}.weight`);
}

/** Logits of hiddenStates [B, S, D]: [B, S, V] f32, or [B, 1, V] of the last position alone. */
export function logitNodes(
  l: Layers,
  hidden: Value,
  { config, lastOnly }: { config: DecoderConfig; lastOnly: boolean },
): Value {
  const { g } = l;
  const rows = lastOnly ? g.slice(hidden, 1, { start: g.ints([-1]), end: g.ints([TO_END]) }) : hidden;
  return headLogits(l, rows, decoderHeadName(config));
}

/** Embeddings [B, S, D] through the blocks and the final norm: hiddenStates [B, S, D] f32 and the cache. */
export function decoderNodes(
  l: Layers,
  embeddings: Value,
  inputs: DecoderNodesInputs,
): { hidden: Value; present: LayerCache[] } {
  const { config, past } = inputs;
  const places = placeNodes(l, embeddings, inputs);
  let x = embeddings;
  if (config.positions.type === "learned") {
    const rows = l.g.binary("Add", places.positions, l.g.ints(config.positions.offset));
    const table = floats(l, `${config.names.positions}.weight`, innerType(l.dtype));
    x = addResidual(l, x, l.g.gather(table, rows));
  }
  const rotary = rotaryNodes(l, places.positions, config);
  const present: LayerCache[] = [];
  for (let layer = 0; layer < config.layers; layer++) {
    x = blockNodes(l, x, {
      config,
      path: `${config.names.blocks}.${layer}`,
      past: past?.[layer],
      bias: places.bias,
      rotary,
      onCache: (cache) => present.push(cache),
    });
  }
  const { names: { finalNorm: path }, norm, eps } = config;
  return { hidden: normalize(l, x, { path, norm, eps }), present };
}

/** Positions of the new rows, [S] or [B, S], and what is added to scores: [1 or B, 1, G·S, past and new]. */
function placeNodes(
  l: Layers,
  embeddings: Value,
  { config, past, attentionMask, positionIds }: DecoderNodesInputs,
): { positions: Value; bias: Value } {
  const { g, dtype } = l;
  const type = innerType(dtype);
  const start = past === undefined ? g.ints(0) : g.size(past[0]!.key, 2);
  const end = g.binary("Add", start, g.size(embeddings, 1));
  const range = (from: Value): Value => g.node("Range", [from, end, g.ints(1)]);
  const queries = range(start);
  const earlier = g.node("LessOrEqual", [
    g.unsqueeze(range(g.ints(0)), [0]),
    g.unsqueeze(queries, [1]),
  ], { type: "bool" });
  const causal = g.unsqueeze(earlier, [0, 1]);
  const seen = attentionMask === undefined
    ? causal
    : g.node("And", [g.unsqueeze(g.as(attentionMask, "bool"), [1, 2]), causal]);
  // Far below any score; in f16 not so far that adding a score to it would overflow.
  const hidden = type === "float16" ? -3e4 : -1e9;
  const bias = g.node("Where", [seen, g.number(0, type), g.number(hidden, type)], { type });
  const group = config.heads / config.kvHeads;
  return {
    positions: positionIds ?? queries,
    bias: group === 1 ? bias : g.concat(Array<Value>(group).fill(bias), 2),
  };
}

/** Rotates [B, S, heads, Dh]; `undefined` where positions are learned. */
type Rotate = ((x: Value) => Value) | undefined;

function rotaryNodes(l: Layers, positions: Value, config: DecoderConfig): Rotate {
  if (config.positions.type !== "rotary") return undefined;
  const { g, dtype } = l;
  const { headDim } = config;
  const [half, rows, type] = [headDim / 2, tablePositions(config), innerType(dtype)];
  const values = ropeValues({ headDim, theta: config.positions.theta, maxPositions: rows });
  // Each angle stands for channel i and for channel i + Dh / 2.
  const table = (name: string, offset: number): Value => {
    const read = (): Promise<Float32Array<ArrayBuffer>> => {
      const wide = new Float32Array(rows * headDim);
      for (let p = 0; p < rows; p++) {
        const angles = values.subarray(p * headDim + offset, p * headDim + offset + half);
        wide.set(angles, p * headDim);
        wide.set(angles, p * headDim + half);
      }
      return Promise.resolve(wide);
    };
    const all = g.weight(`rotary ${name}`, "float32", { dims: [rows, headDim], read });
    return g.as(g.unsqueeze(g.gather(all, positions), [-2]), type);
  };
  const [cos, sin] = [table("cos", 0), table("sin", half)];
  return (x) => {
    const [first, second] = g.split(x, [half, half]);
    const turned = g.concat([g.node("Neg", [second!]), first!], -1);
    return g.binary("Add", g.binary("Mul", x, cos), g.binary("Mul", turned, sin));
  };
}

interface BlockInputs {
  config: DecoderConfig;
  path: string;
  past: LayerCache | undefined;
  bias: Value;
  rotary: Rotate;
  onCache(cache: LayerCache): void;
}

function blockNodes(l: Layers, x: Value, block: BlockInputs): Value {
  const { config, path } = block;
  const { names, norm, eps } = config;
  const normed = normalize(l, x, { path: `${path}.${names.norm1}`, norm, eps });
  const mixed = attentionNodes(l, normed, block);
  const attended = addResidual(l, x, linear(l, mixed, `${path}.${names.out}`));
  const normed2 = normalize(l, attended, { path: `${path}.${names.norm2}`, norm, eps });
  const hidden = expandNodes(l, normed2, { config, path });
  return addResidual(l, attended, linear(l, hidden, `${path}.${names.down}`));
}

function attentionNodes(
  l: Layers,
  x: Value,
  { config, path, past, bias, rotary, onCache }: BlockInputs,
): Value {
  const { g } = l;
  const { names, heads, kvHeads: K, headDim: Dh, eps } = config;
  const project = (name: string): Value => linear(l, x, `${path}.${name}`);
  const [q, k, v] = names.qkv.length === 1
    ? g.split(project(names.qkv[0]), [heads * Dh, K * Dh, K * Dh])
    : names.qkv.map(project);
  const rotated = (states: Value, { count, of }: { count: number; of: 0 | 1 }): Value => {
    let split = g.reshape(states, [0, 0, count, Dh]);
    const name = names.headNorms?.[of];
    if (name !== undefined) {
      split = g.as(
        normalize(l, split, { path: `${path}.${name}`, norm: "rms", eps }),
        innerType(l.dtype),
      );
    }
    return rotary === undefined ? split : rotary(split);
  };
  const joined = (states: Value, before: Value | undefined): Value => {
    const fresh = g.transpose(states, [0, 2, 1, 3]);
    return before === undefined ? fresh : g.concat([before, fresh], 2);
  };
  const key = joined(rotated(k!, { count: K, of: 1 }), past?.key);
  const value = joined(g.reshape(v!, [0, 0, K, Dh]), past?.value);
  onCache({ key, value });
  const group = heads / K;
  // Head h is query h % G of key head h / G: [B, S, K, G, Dh] to [B, K, G·S, Dh].
  const grouped = g.transpose(g.reshape(rotated(q!, { count: heads, of: 0 }), [0, 0, K, group, Dh]), [
    0,
    2,
    3,
    1,
    4,
  ]);
  const mixed = attend(l, {
    q: g.reshape(grouped, [0, K, -1, Dh]),
    kTransposed: g.transpose(key, [0, 1, 3, 2]),
    v: value,
    bias,
    headDim: Dh,
  });
  const rows = g.transpose(g.reshape(mixed, [0, K, group, -1, Dh]), [0, 3, 1, 2, 4]);
  return g.reshape(rows, [0, 0, heads * Dh]);
}

/** The MLP up to its second linear: [B, S, F]. */
function expandNodes(l: Layers, x: Value, { config, path }: Pick<BlockInputs, "config" | "path">): Value {
  const { g } = l;
  const { names: { up }, intermediateSize: F } = config;
  const project = (name: string): Value => linear(l, x, `${path}.${name}`);
  if ("gate" in up) return g.binary("Mul", silu(l, project(up.gate)), project(up.up));
  if ("fused" in up) {
    const [gate, value] = g.split(project(up.fused), [F, F]);
    return g.binary("Mul", silu(l, gate!), value!);
  }
  if (config.activation === undefined) {
    throw new TypeError("Cannot write an MLP without a gate: it has no activation");
  }
  return activate(l, project(up.plain), config.activation);
}
