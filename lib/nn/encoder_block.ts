/**
 * The transformer block of every vision and text encoder: attention and an MLP, each with a residual and a layer norm.
 *
 * @module
 */

import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { add } from "../ops/add.ts";
import { attention } from "../ops/attention.ts";
import { gelu, type GeluForm } from "../ops/gelu.ts";
import { dense, denseSpecs, norm, normSpecs } from "./layers.ts";
import type { WeightSource, WeightSpec } from "./weights.ts";

/** Where the modules of a block stand below its path. Each has a `.weight` and, unless told otherwise, a `.bias`. */
export interface EncoderBlockNames {
  /** Layer norm of the attention: before it, or after its residual. */
  attentionNorm: string;
  query: string;
  key: string;
  value: string;
  /** Linear layer after the heads. */
  attentionOutput: string;
  /** Layer norm of the MLP: before it, or after its residual. */
  mlpNorm: string;
  mlpInput: string;
  mlpOutput: string;
}

/** What a family's blocks have in common, whatever their sizes. */
export interface EncoderBlockForm {
  names: EncoderBlockNames;
  /** x + f(norm(x)), as most, or norm(x + f(x)), as BERT. */
  normFirst: boolean;
  /** Whether a position sees itself and earlier ones only. */
  causal: boolean;
}

/** Sizes of a block. */
export interface EncoderBlockConfig {
  /** D. */
  hiddenSize: number;
  /** F. */
  intermediateSize: number;
  heads: number;
  /** Of the layer norms. */
  eps: number;
  /** Activation of the MLP. */
  gelu: GeluForm;
  /** Whether query, key and value have biases. */
  qkvBias: boolean;
}

/** Which block, and what its positions may see. */
export interface EncoderBlockOptions {
  config: EncoderBlockConfig;
  form: EncoderBlockForm;
  /** Path of the block's tensors, such as `encoder.layer.0`. */
  path: string;
  /** u32 [B, S], 1 = the position may be attended. @default every position may */
  keyMask?: Tensor | undefined;
}

/** Tensors of the block at `path`. */
export function encoderBlockSpecs(
  { config, form: { names }, path }: Omit<EncoderBlockOptions, "keyMask">,
): WeightSpec[] {
  const { hiddenSize: D, intermediateSize: F, qkvBias } = config;
  return [
    ...normSpecs(`${path}.${names.attentionNorm}`, D),
    ...[names.query, names.key, names.value].flatMap((name) =>
      denseSpecs(`${path}.${name}`, [D, D], { bias: qkvBias })
    ),
    ...denseSpecs(`${path}.${names.attentionOutput}`, [D, D]),
    ...normSpecs(`${path}.${names.mlpNorm}`, D),
    ...denseSpecs(`${path}.${names.mlpInput}`, [F, D]),
    ...denseSpecs(`${path}.${names.mlpOutput}`, [D, F]),
  ];
}

/**
 * Records one block on hiddenStates [B, S, D].
 *
 * Sources: Dosovitskiy et al. 2020, arXiv:2010.11929, eq. 2 and 3 (norm first); Vaswani et al. 2017, arXiv:1706.03762,
 * section 3.1 (norm last).
 */
export function encoderBlock(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  { config, form, path, keyMask }: EncoderBlockOptions,
): Tensor {
  const { hiddenSize, heads, eps, gelu, qkvBias } = config;
  const { names, normFirst, causal } = form;
  const attend = (input: Tensor): Tensor => {
    const [q, k, v] = [names.query, names.key, names.value].map((name) =>
      dense(r, w, input, { path: `${path}.${name}`, bias: qkvBias })
    );
    const options = { heads, kvHeads: heads, headDim: hiddenSize / heads, causal, keyMask };
    const mixed = attention(r, q!, k!, v!, options);
    return dense(r, w, mixed, { path: `${path}.${names.attentionOutput}` });
  };
  const transform = (input: Tensor): Tensor =>
    encoderMlp(r, w, input, {
      input: `${path}.${names.mlpInput}`,
      output: `${path}.${names.mlpOutput}`,
      gelu,
    });
  const residual = (input: Tensor, f: (x: Tensor) => Tensor, normPath: string): Tensor =>
    normFirst
      ? add(r, input, f(norm(r, w, input, { path: normPath, eps })))
      : norm(r, w, add(r, input, f(input)), { path: normPath, eps });
  const attended = residual(x, attend, `${path}.${names.attentionNorm}`);
  return residual(attended, transform, `${path}.${names.mlpNorm}`);
}

/** Two linear layers with a GELU between them, at the paths `input` and `output`. */
export function encoderMlp(
  r: Recorder,
  w: WeightSource,
  x: Tensor,
  options: { input: string; output: string; gelu: GeluForm },
): Tensor {
  const hidden = gelu(r, dense(r, w, x, { path: options.input }), options.gelu);
  return dense(r, w, hidden, { path: options.output });
}
