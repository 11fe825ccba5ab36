/** SigLIP vision tower, projection, Llama with LoRA and the loss in plain f64 loops: one image at a time, nothing shared. */

import {
  type CaptionerConfig,
  loraNames,
  trainableSpecs,
  VISION_PREFIX,
} from "../../lib/models/captioner.ts";

/** A matrix by rows. */
type Rows = Float64Array<ArrayBufferLike>[];

/** Weights by name: the vision tower's, the decoder's, and the trainable ones, which go before the tower's. */
export type ReferenceWeights = ReadonlyMap<string, Float64Array>;

function get(w: ReferenceWeights, name: string): Float64Array {
  const values = w.get(name);
  if (values === undefined) throw new RangeError(`there is no "${name}"`);
  return values;
}

/** y = x · wᵗ + b, w [N, K] row-major. */
function linear(x: Rows, w: Float64Array, b?: Float64Array): Rows {
  return x.map((row) => {
    const K = row.length;
    return Float64Array.from({ length: w.length / K }, (_, n) => {
      let sum = b?.[n] ?? 0;
      for (let k = 0; k < K; k++) sum += row[k]! * w[n * K + k]!;
      return sum;
    });
  });
}

const add = (a: Rows, b: Rows): Rows => a.map((row, i) => row.map((value, c) => value + b[i]![c]!));

function layerNorm(x: Rows, w: Float64Array, b: Float64Array, eps: number): Rows {
  return x.map((row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / row.length;
    return row.map((value, c) => (value - mean) / Math.sqrt(variance + eps) * w[c]! + b[c]!);
  });
}

function rmsNorm(x: Rows, w: Float64Array, eps: number): Rows {
  return x.map((row) => {
    const square = row.reduce((sum, value) => sum + value * value, 0) / row.length;
    return row.map((value, c) => value / Math.sqrt(square + eps) * w[c]!);
  });
}

/** erf by its Taylor series, which converges everywhere, and 1 far out. */
function erf(x: number): number {
  if (Math.abs(x) > 5) return Math.sign(x);
  let [term, sum] = [x, x];
  for (let n = 1; n < 200; n++) {
    term *= -x * x / n;
    sum += term / (2 * n + 1);
  }
  return 2 / Math.sqrt(Math.PI) * sum;
}

const geluTanh = (x: number): number =>
  x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
const geluErf = (x: number): number => x / 2 * (1 + erf(x / Math.SQRT2));

interface Heads {
  heads: number;
  kvHeads: number;
  headDim: number;
  causal: boolean;
}

function attention(q: Rows, k: Rows, v: Rows, { heads, kvHeads, headDim, causal }: Heads): Rows {
  return q.map((query, i) => {
    const y = new Float64Array(heads * headDim);
    for (let h = 0; h < heads; h++) {
      const from = Math.floor(h * kvHeads / heads) * headDim;
      const last = causal ? i : k.length - 1;
      const scores = Float64Array.from({ length: last + 1 }, (_, j) => {
        let sum = 0;
        for (let c = 0; c < headDim; c++) sum += query[h * headDim + c]! * k[j]![from + c]!;
        return sum / Math.sqrt(headDim);
      });
      const max = scores.reduce((a, b) => Math.max(a, b));
      const weights = scores.map((score) => Math.exp(score - max));
      const total = weights.reduce((a, b) => a + b);
      for (const [j, weight] of weights.entries()) {
        for (let c = 0; c < headDim; c++) y[h * headDim + c]! += weight / total * v[j]![from + c]!;
      }
    }
    return y;
  });
}

/** Features [P][Dv] of one image, pixels [3, I, I]. */
export function referenceFeatures(
  w: ReferenceWeights,
  pixels: ArrayLike<number>,
  config: CaptionerConfig["vision"],
): Rows {
  const { imageSize: I, patchSize: p, channels, hiddenSize: D, heads, eps } = config;
  const own = (name: string): Float64Array => w.get(VISION_PREFIX + name) ?? get(w, name);
  const side = Math.floor(I / p);
  const patches = Array.from({ length: side * side }, (_, n) => {
    const [top, left] = [Math.floor(n / side) * p, (n % side) * p];
    return Float64Array.from({ length: channels * p * p }, (_, i) => {
      const [c, y, x] = [Math.floor(i / (p * p)), Math.floor(i / p) % p, i % p];
      return pixels[(c * I + top + y) * I + left + x]!;
    });
  });
  const dense = (name: string, x: Rows): Rows => linear(x, own(`${name}.weight`), own(`${name}.bias`));
  const norm = (name: string, x: Rows): Rows => layerNorm(x, own(`${name}.weight`), own(`${name}.bias`), eps);
  const positions = own("vision_model.embeddings.position_embedding.weight");
  let x: Rows = dense("vision_model.embeddings.patch_embedding", patches)
    .map((row, n) => row.map((value, c) => value + positions[n * D + c]!));
  const act = config.gelu === "tanh" ? geluTanh : geluErf;
  for (let layer = 0; layer < config.layers; layer++) {
    const path = `vision_model.encoder.layers.${layer}`;
    const normed = norm(`${path}.layer_norm1`, x);
    const [q, k, v] = ["q", "k", "v"].map((name) => dense(`${path}.self_attn.${name}_proj`, normed));
    const mixed = attention(q!, k!, v!, { heads, kvHeads: heads, headDim: D / heads, causal: false });
    x = add(x, dense(`${path}.self_attn.out_proj`, mixed));
    const hidden = dense(`${path}.mlp.fc1`, norm(`${path}.layer_norm2`, x)).map((row) => row.map(act));
    x = add(x, dense(`${path}.mlp.fc2`, hidden));
  }
  return norm("vision_model.post_layernorm", x);
}

/** Prefix embeddings [P][D] of one image's features. */
export function referencePrefix(w: ReferenceWeights, features: Rows, config: CaptionerConfig): Rows {
  const dense = (name: string, x: Rows): Rows => linear(x, get(w, `${name}.weight`), get(w, `${name}.bias`));
  if (config.projection.type === "linear") return dense("projection.projection", features);
  const hidden = dense("projection.projection.0", features).map((row) => row.map(geluErf));
  return dense("projection.projection.3", hidden);
}

/** Logits [P + T][V] of one sequence: prefix, then text. */
export function referenceLogits(
  w: ReferenceWeights,
  { prefix, ids }: { prefix: Rows; ids: readonly number[] },
  config: CaptionerConfig,
): Rows {
  const { decoder, lora } = config;
  const { hiddenSize: D, heads, kvHeads, headDim, eps } = decoder;
  const adapted = new Set(trainableSpecs(config).map(({ name }) => name));
  const dense = (module: string, x: Rows): Rows => {
    const y = linear(x, get(w, `${module}.weight`));
    const { a, b } = loraNames(module);
    if (!adapted.has(a)) return y;
    const update = linear(linear(x, get(w, a)), get(w, b));
    return add(y, update.map((row) => row.map((value) => value * lora.alpha / lora.rank)));
  };
  const rotate = (x: Rows, count: number): Rows =>
    x.map((row, position) =>
      row.map((value, c) => {
        const [i, half] = [c % headDim, headDim / 2];
        const angle = position * decoder.ropeTheta ** (-2 * (i % half) / headDim);
        const partner = i < half ? -row[c + half]! : row[c - half]!;
        return c < count * headDim ? value * Math.cos(angle) + partner * Math.sin(angle) : NaN;
      })
    );
  const table = get(w, "model.embed_tokens.weight");
  let x: Rows = [...prefix, ...ids.map((id) => table.slice(id * D, (id + 1) * D))];
  for (let layer = 0; layer < decoder.layers; layer++) {
    const path = `model.layers.${layer}`;
    const normed = rmsNorm(x, get(w, `${path}.input_layernorm.weight`), eps);
    const [q, k, v] = ["q", "k", "v"].map((name) => dense(`${path}.self_attn.${name}_proj`, normed));
    const shape = { heads, kvHeads, headDim, causal: true };
    x = add(
      x,
      dense(`${path}.self_attn.o_proj`, attention(rotate(q!, heads), rotate(k!, kvHeads), v!, shape)),
    );
    const normed2 = rmsNorm(x, get(w, `${path}.post_attention_layernorm.weight`), eps);
    const up = dense(`${path}.mlp.up_proj`, normed2);
    const gated = dense(`${path}.mlp.gate_proj`, normed2)
      .map((row, i) => row.map((gate, c) => gate / (1 + Math.exp(-gate)) * up[i]![c]!));
    x = add(x, dense(`${path}.mlp.down_proj`, gated));
  }
  return linear(
    rmsNorm(x, get(w, "model.norm.weight"), eps),
    decoder.tied ? table : get(w, "lm_head.weight"),
  );
}

/** Mean cross-entropy of a batch's labels (-100: none), each predicted from the position before it. */
export function referenceLoss(
  logits: readonly Rows[],
  labels: readonly (readonly number[])[],
): number {
  let [sum, count] = [0, 0];
  for (const [b, row] of labels.entries()) {
    const P = logits[b]!.length - row.length;
    for (const [t, label] of row.entries()) {
      if (label === -100) continue;
      const scores = logits[b]![P + t - 1]!;
      const max = scores.reduce((a, c) => Math.max(a, c));
      sum += Math.log(scores.reduce((total, score) => total + Math.exp(score - max), 0)) + max -
        scores[label]!;
      count++;
    }
  }
  return sum / count;
}
