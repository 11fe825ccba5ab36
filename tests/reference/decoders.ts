/**
 * Decoders with LoRA in plain f64 loops, a function for every kind, written from the papers and Hugging Face's names: one sequence
 * at a time, nothing shared with the library but the names of LoRA pairs.
 */

import { type CaptionerConfig, trainableSpecs } from "../../lib/models/captioner.ts";
import { loraNames } from "../../lib/models/lora.ts";
import {
  add,
  attention,
  geluTanh,
  layerNorm,
  linear,
  type ReferenceWeights,
  rmsNorm,
  type Rows,
  weightOf,
} from "./layers.ts";

/** One sequence: prefix embeddings [P][D], then the ids of its text. */
export interface Sequence {
  prefix: Rows;
  ids: readonly number[];
}

/** Logits [P + T][V] of one sequence. */
export function referenceLogits(w: ReferenceWeights, sequence: Sequence, config: CaptionerConfig): Rows {
  const { family } = config.decoder;
  if (family === "gpt2") return gpt2(w, sequence, config);
  return family === "opt" ? opt(w, sequence, config) : llama(w, sequence, config);
}

type Dense = (module: string, x: Rows) => Rows;

/** Linear modules by path: bias where there is one, and a LoRA pair where one is trained. */
function denseOf(w: ReferenceWeights, config: CaptionerConfig): Dense {
  const { lora } = config;
  const adapted = new Map(trainableSpecs(config).map(({ name, shape }) => [name, shape]));
  return (module, x) => {
    const y = linear(x, weightOf(w, `${module}.weight`), w.get(`${module}.bias`));
    const { a, b } = loraNames(module);
    const rank = adapted.get(a)?.[0];
    if (rank === undefined) return y;
    const alpha =
      Object.entries(lora.alphaPattern ?? {}).find(([name]) => module.endsWith(name.replace("^", "")))?.[1] ??
        lora.alpha;
    const scale = lora.useRslora ? alpha / Math.sqrt(rank) : alpha / rank;
    const update = linear(linear(x, weightOf(w, a)), weightOf(w, b));
    return add(y, update.map((row) => row.map((value) => value * scale)));
  };
}

const embed = (table: Float64Array, { prefix, ids }: Sequence, D: number): Rows => [
  ...prefix,
  ...ids.map((id) => table.slice(id * D, (id + 1) * D)),
];

const columns = (x: Rows, from: number, width: number): Rows => x.map((row) => row.slice(from, from + width));

/** Llama, Mistral, Qwen2, Qwen3 and Phi-3: RMSNorm, rotation, SiLU gate. */
function llama(w: ReferenceWeights, sequence: Sequence, config: CaptionerConfig): Rows {
  const { family, hiddenSize: D, intermediateSize: F, heads, kvHeads, headDim, eps, positions } =
    config.decoder;
  const theta = positions.type === "rotary" ? positions.theta : NaN;
  const dense = denseOf(w, config);
  const rotate = (x: Rows): Rows =>
    x.map((row, position) =>
      row.map((value, c) => {
        const [i, half] = [c % headDim, headDim / 2];
        const angle = position * theta ** (-2 * (i % half) / headDim);
        const partner = i < half ? -row[c + half]! : row[c - half]!;
        return value * Math.cos(angle) + partner * Math.sin(angle);
      })
    );
  const headNorm = (x: Rows, name: string): Rows => {
    if (family !== "qwen3") return x;
    return x.map((row) => {
      const heads = Array.from(
        { length: row.length / headDim },
        (_, h) => row.slice(h * headDim, (h + 1) * headDim),
      );
      return Float64Array.from(rmsNorm(heads, weightOf(w, name), eps).flatMap((head) => [...head]));
    });
  };
  const table = weightOf(w, "model.embed_tokens.weight");
  let x = embed(table, sequence, D);
  for (let layer = 0; layer < config.decoder.layers; layer++) {
    const path = `model.layers.${layer}`;
    const normed = rmsNorm(x, weightOf(w, `${path}.input_layernorm.weight`), eps);
    const [Q, KV] = [heads * headDim, kvHeads * headDim];
    let q: Rows, k: Rows, v: Rows;
    if (family === "phi3") {
      const fused = dense(`${path}.self_attn.qkv_proj`, normed);
      [q, k, v] = [columns(fused, 0, Q), columns(fused, Q, KV), columns(fused, Q + KV, KV)];
    } else {[q, k, v] = ["q", "k", "v"].map((name) => dense(`${path}.self_attn.${name}_proj`, normed)) as [
        Rows,
        Rows,
        Rows,
      ];}
    q = rotate(headNorm(q, `${path}.self_attn.q_norm.weight`));
    k = rotate(headNorm(k, `${path}.self_attn.k_norm.weight`));
    x = add(
      x,
      dense(`${path}.self_attn.o_proj`, attention(q, k, v, { heads, kvHeads, headDim, causal: true })),
    );
    const normed2 = rmsNorm(x, weightOf(w, `${path}.post_attention_layernorm.weight`), eps);
    let gate: Rows, up: Rows;
    if (family === "phi3") {
      const fused = dense(`${path}.mlp.gate_up_proj`, normed2);
      [gate, up] = [columns(fused, 0, F), columns(fused, F, F)];
    } else [gate, up] = [dense(`${path}.mlp.gate_proj`, normed2), dense(`${path}.mlp.up_proj`, normed2)];
    const gated = gate.map((row, i) => row.map((value, c) => value / (1 + Math.exp(-value)) * up[i]![c]!));
    x = add(x, dense(`${path}.mlp.down_proj`, gated));
  }
  const head = config.decoder.tied ? table : weightOf(w, "lm_head.weight");
  return linear(rmsNorm(x, weightOf(w, "model.norm.weight"), eps), head);
}

/** GPT-2: learned positions, LayerNorm, fused q, k and v, tanh GELU. */
function gpt2(w: ReferenceWeights, sequence: Sequence, config: CaptionerConfig): Rows {
  const { hiddenSize: D, heads, eps } = config.decoder;
  const dense = denseOf(w, config);
  const norm = (path: string, x: Rows): Rows =>
    layerNorm(x, weightOf(w, `${path}.weight`), weightOf(w, `${path}.bias`), eps);
  const table = weightOf(w, "transformer.wte.weight");
  const positions = weightOf(w, "transformer.wpe.weight");
  let x: Rows = embed(table, sequence, D).map((row, i) =>
    row.map((value, c) => value + positions[i * D + c]!)
  );
  for (let layer = 0; layer < config.decoder.layers; layer++) {
    const path = `transformer.h.${layer}`;
    const fused = dense(`${path}.attn.c_attn`, norm(`${path}.ln_1`, x));
    const [q, k, v] = [columns(fused, 0, D), columns(fused, D, D), columns(fused, 2 * D, D)];
    const mixed = attention(q, k, v, { heads, kvHeads: heads, headDim: D / heads, causal: true });
    x = add(x, dense(`${path}.attn.c_proj`, mixed));
    const hidden = dense(`${path}.mlp.c_fc`, norm(`${path}.ln_2`, x)).map((row) => row.map(geluTanh));
    x = add(x, dense(`${path}.mlp.c_proj`, hidden));
  }
  return linear(norm("transformer.ln_f", x), config.decoder.tied ? table : weightOf(w, "lm_head.weight"));
}

/** OPT: positions from row 2 of their table, LayerNorm, ReLU. */
function opt(w: ReferenceWeights, sequence: Sequence, config: CaptionerConfig): Rows {
  const { hiddenSize: D, heads, eps } = config.decoder;
  const dense = denseOf(w, config);
  const norm = (path: string, x: Rows): Rows =>
    layerNorm(x, weightOf(w, `${path}.weight`), weightOf(w, `${path}.bias`), eps);
  const table = weightOf(w, "model.decoder.embed_tokens.weight");
  const positions = weightOf(w, "model.decoder.embed_positions.weight");
  let x: Rows = embed(table, sequence, D).map((row, i) =>
    row.map((value, c) => value + positions[(i + 2) * D + c]!)
  );
  for (let layer = 0; layer < config.decoder.layers; layer++) {
    const path = `model.decoder.layers.${layer}`;
    const normed = norm(`${path}.self_attn_layer_norm`, x);
    const [q, k, v] = ["q", "k", "v"].map((name) => dense(`${path}.self_attn.${name}_proj`, normed));
    const mixed = attention(q!, k!, v!, { heads, kvHeads: heads, headDim: D / heads, causal: true });
    x = add(x, dense(`${path}.self_attn.out_proj`, mixed));
    const hidden = dense(`${path}.fc1`, norm(`${path}.final_layer_norm`, x)).map((row) =>
      row.map((value) => Math.max(value, 0))
    );
    x = add(x, dense(`${path}.fc2`, hidden));
  }
  return linear(
    norm("model.decoder.final_layer_norm", x),
    config.decoder.tied ? table : weightOf(w, "lm_head.weight"),
  );
}
