/**
 * The captioner: image features, a projection to prefix embeddings, a decoder with LoRA.
 *
 * sequence = [projection(vision features), text embeddings]; text token t is predicted from the position before it, the
 * first one from the last prefix position.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import type { Recorder } from "../gpu/recorder.ts";
import type { Tensor } from "../gpu/tensor.ts";
import { overlayWeights, type WeightSource, type WeightSpec } from "../nn/weights.ts";
import { assemblePrefix } from "../ops/prefix.ts";
import { attention } from "../ops/attention.ts";
import { dropout, type DropoutSite } from "../ops/dropout.ts";
import { embedding } from "../ops/embedding.ts";
import { gelu } from "../ops/gelu.ts";
import { linear, type Lora } from "../ops/linear.ts";
import { rope } from "../ops/rope.ts";
import { type LinearModule, llama, type LlamaConfig, llamaLinears } from "./llama.ts";
import { patchCount, siglipVision, type SiglipVisionConfig, visionLayerSpecs } from "./siglip.ts";

/** Form of the trainable map from vision width to decoder width. */
export type ProjectionConfig =
  | { type: "linear" }
  | { type: "mlp"; hiddenSize: number; dropout: number };

/** Low-rank updates of the decoder's linear layers. Source: Hu et al. 2021, arXiv:2106.09685. */
export interface LoraConfig {
  /** R. */
  rank: number;
  /** The update is scaled by alpha / R. */
  alpha: number;
  /** Probability with which an input of A is dropped while training. */
  dropout: number;
  /** Last parts of module paths, such as `q_proj`. */
  targetModules: readonly string[];
}

/** Everything that decides a captioner's graph. */
export interface CaptionerConfig {
  vision: SiglipVisionConfig;
  decoder: LlamaConfig;
  projection: ProjectionConfig;
  lora: LoraConfig;
  /** How many of the last vision layers are trained. */
  unfrozenVisionLayers: number;
}

/** Where decoder tensors stand in PEFT's and the Python project's files. */
export const DECODER_PREFIX = "language_model.base_model.model.";
/** Where vision tensors stand in the Python project's files. */
export const VISION_PREFIX = "vision_encoder.";

/** Trainable groups, each with a learning rate of its own. */
export type TrainableGroup = "projection" | "lora" | "vision";

/** A trainable tensor and how it starts. */
export interface TrainableSpec extends WeightSpec {
  group: TrainableGroup;
  /** Bound of the uniform start, or 0 for zeros; `undefined` where it starts from the checkpoint. */
  initBound: number | undefined;
}

/** Names of a module's LoRA pair. */
export function loraNames(module: string): { a: string; b: string } {
  return { a: `${DECODER_PREFIX}${module}.lora_A.weight`, b: `${DECODER_PREFIX}${module}.lora_B.weight` };
}

/**
 * The decoder modules that LoRA adapts.
 *
 * @throws {RangeError} when a target names no module
 */
export function loraModules(config: LlamaConfig, lora: LoraConfig): LinearModule[] {
  const modules = llamaLinears(config);
  const unknown = lora.targetModules.find((target) =>
    !modules.some(({ path }) => path.endsWith(`.${target}`))
  );
  if (unknown !== undefined) {
    const names = [...new Set(modules.map(({ path }) => path.split(".").at(-1)!))];
    throw new RangeError(`Cannot add LoRA to "${unknown}": the decoder has ${names.join(", ")}`);
  }
  return modules.filter(({ path }) => lora.targetModules.some((target) => path.endsWith(`.${target}`)));
}

/** The projection's tensors. */
export function projectionSpecs(config: CaptionerConfig): TrainableSpec[] {
  const { vision, decoder, projection } = config;
  const [Dv, D] = [vision.hiddenSize, decoder.hiddenSize];
  // torch.nn.Linear starts weight and bias in ±1/sqrt(in).
  const dense = (name: string, width: number, inWidth: number): TrainableSpec[] => [
    {
      name: `${name}.weight`,
      shape: [width, inWidth],
      group: "projection",
      initBound: 1 / Math.sqrt(inWidth),
    },
    { name: `${name}.bias`, shape: [width], group: "projection", initBound: 1 / Math.sqrt(inWidth) },
  ];
  if (projection.type === "linear") return dense("projection.projection", D, Dv);
  const { hiddenSize } = projection;
  return [
    ...dense("projection.projection.0", hiddenSize, Dv),
    ...dense("projection.projection.3", D, hiddenSize),
  ];
}

/** Every trainable tensor, by group: projection, LoRA pairs, unfrozen vision layers. */
export function trainableSpecs(config: CaptionerConfig): TrainableSpec[] {
  const { lora, vision, unfrozenVisionLayers } = config;
  const pairs = lora.rank === 0
    ? []
    : loraModules(config.decoder, lora).flatMap((module): TrainableSpec[] => {
      const names = loraNames(module.path);
      // PEFT: A as torch.nn.Linear (Kaiming uniform with a = sqrt 5), B zero, so that training starts from the base model.
      const initBound = 1 / Math.sqrt(module.inFeatures);
      return [
        { name: names.a, shape: [lora.rank, module.inFeatures], group: "lora", initBound },
        { name: names.b, shape: [module.outFeatures, lora.rank], group: "lora", initBound: 0 },
      ];
    });
  if (unfrozenVisionLayers > vision.layers) {
    throw new RangeError(
      `Cannot unfreeze ${unfrozenVisionLayers} vision layers: the encoder has ${vision.layers}`,
    );
  }
  const layers = Array.from(
    { length: unfrozenVisionLayers },
    (_, i) => vision.layers - unfrozenVisionLayers + i,
  );
  const unfrozen = layers.flatMap((layer) => visionLayerSpecs(vision, layer))
    .map(({ name, shape }): TrainableSpec => ({
      name: VISION_PREFIX + name,
      shape,
      group: "vision",
      initBound: undefined,
    }));
  return [...projectionSpecs(config), ...pairs, ...unfrozen];
}

/** Start values of a trainable tensor that does not come from a checkpoint; the seed and the name decide. */
export function initialValues(spec: TrainableSpec, rng: Rng): Float32Array<ArrayBuffer> {
  const values = new Float32Array(spec.shape.reduce((product, n) => product * n, 1));
  const bound = spec.initBound ?? 0;
  if (bound !== 0) { for (let i = 0; i < values.length; i++) values[i] = (rng.next() * 2 - 1) * bound; }
  return values;
}

/** The weights a captioner's graph reads. */
export interface CaptionerWeights {
  /** The vision tower; absent where only cached features are used. */
  vision: WeightSource | undefined;
  decoder: WeightSource;
  /** Projection, LoRA and unfrozen vision tensors under their {@linkcode TrainableSpec} names. */
  trainable: WeightSource;
  /** cos and sin of the rotary embedding, [maxPositions, Dh]. */
  rope: Tensor;
}

/** Random numbers of dropout while training: `undefined` when captioning. */
export type DropoutSeed = Tensor | undefined;

/** Records the vision tower on pixelValues [B, 3, I, I], with unfrozen layers where there are any: [B, P, Dv]. */
export function encodeImages(
  r: Recorder,
  w: CaptionerWeights,
  pixelValues: Tensor,
  config: CaptionerConfig,
): Tensor {
  if (w.vision === undefined) throw new Error("Cannot encode images: the vision tower was not loaded");
  const trained: WeightSource = {
    get: (name) => w.trainable.get(VISION_PREFIX + name),
    has: (name) => w.trainable.has(VISION_PREFIX + name),
  };
  return siglipVision(r, overlayWeights(trained, w.vision), pixelValues, config.vision);
}

/** Records the projection on visionFeatures [B, P, Dv]: prefix embeddings [B, P, D]. */
export function projectFeatures(
  r: Recorder,
  w: CaptionerWeights,
  visionFeatures: Tensor,
  options: { config: CaptionerConfig; dropoutSeed?: DropoutSeed },
): Tensor {
  const { projection } = options.config;
  const dense = (name: string, x: Tensor): Tensor =>
    linear(r, x, w.trainable.get(`${name}.weight`), {
      bias: w.trainable.get(`${name}.bias`),
      label: "linear",
    });
  if (projection.type === "linear") return dense("projection.projection", visionFeatures);
  const hidden = gelu(r, dense("projection.projection.0", visionFeatures), "erf");
  const site = dropoutSite(options.dropoutSeed, projection.dropout, 0);
  return dense("projection.projection.3", site === undefined ? hidden : dropout(r, hidden, site));
}

function dropoutSite(seed: DropoutSeed, rate: number, site: number): DropoutSite | undefined {
  return seed === undefined || rate === 0 ? undefined : { rate, seed, site };
}

/** Gives every adapted module its LoRA pair, with a dropout site of its own while training. */
export function loraOf(
  w: CaptionerWeights,
  config: CaptionerConfig,
  dropoutSeed?: DropoutSeed,
): (module: string) => Lora | undefined {
  const { lora } = config;
  if (lora.rank === 0) return () => undefined;
  const sites = new Map(loraModules(config.decoder, lora).map(({ path }, i) => [path, i + 1]));
  return (module) => {
    const site = sites.get(module);
    if (site === undefined) return undefined;
    const names = loraNames(module);
    const dropped = dropoutSite(dropoutSeed, lora.dropout, site);
    return {
      a: w.trainable.get(names.a),
      b: w.trainable.get(names.b),
      scale: lora.alpha / lora.rank,
      ...(dropped === undefined ? {} : { dropout: dropped }),
    };
  };
}

/** Options of {@linkcode decodeHidden}. */
export interface DecodeHiddenOptions {
  config: CaptionerConfig;
  /** Seed and step of dropout, u32 [2]; absent when not training. */
  dropoutSeed?: DropoutSeed;
}

/** Records the whole sequence: prefix [B, P, D] and inputIds [B, T] to hiddenStates [B, P+T, D] after the final norm. */
export function decodeHidden(
  r: Recorder,
  w: CaptionerWeights,
  inputs: { prefix: Tensor; inputIds: Tensor },
  options: DecodeHiddenOptions,
): Tensor {
  const { config, dropoutSeed } = options;
  const { heads, kvHeads, headDim } = config.decoder;
  const text = embedding(r, inputs.inputIds, w.decoder.get("model.embed_tokens.weight"));
  const sequence = assemblePrefix(r, inputs.prefix, text);
  const attend = (q: Tensor, k: Tensor, v: Tensor): Tensor =>
    attention(r, rope(r, q, w.rope, { heads, headDim }), rope(r, k, w.rope, { heads: kvHeads, headDim }), v, {
      heads,
      kvHeads,
      headDim,
      causal: true,
    });
  const lora = loraOf(w, config, dropoutSeed);
  return llama(r, w.decoder, sequence, { config: config.decoder, lora, attend: () => attend });
}

/** Prefix tokens of one image: P. */
export function prefixTokens(config: CaptionerConfig): number {
  return patchCount(config.vision);
}
