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
import { gelu } from "../ops/gelu.ts";
import { linear, type Lora } from "../ops/linear.ts";
import { rope, type RopeOptions } from "../ops/rope.ts";
import { decoder, type DecoderConfig, embedTokens } from "./decoder.ts";
import { type LoraConfig, loraModules, loraNames } from "./lora.ts";
import { type VisionConfig, visionEncoder, visionLayerSpecs, visionTokens } from "./vision.ts";

/** Form of the trainable map from vision width to decoder width. */
export type ProjectionConfig =
  | { type: "linear" }
  | { type: "mlp"; hiddenSize: number; dropout: number };

/** Everything that decides a captioner's graph. */
export interface CaptionerConfig {
  vision: VisionConfig;
  decoder: DecoderConfig;
  projection: ProjectionConfig;
  lora: LoraConfig;
  /** How many of the last vision layers are trained. */
  unfrozenVisionLayers: number;
}

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
  const pairs = loraModules(config.decoder, lora).flatMap((module): TrainableSpec[] => {
    const names = loraNames(module.path);
    // PEFT: A as torch.nn.Linear (Kaiming uniform with a = sqrt 5), B zero, so that training starts from the base model.
    const initBound = 1 / Math.sqrt(module.inFeatures);
    return [
      { name: names.a, shape: [module.rank, module.inFeatures], group: "lora", initBound },
      { name: names.b, shape: [module.outFeatures, module.rank], group: "lora", initBound: 0 },
    ];
  });
  if (unfrozenVisionLayers > vision.layers) {
    throw new RangeError(
      `Cannot unfreeze ${unfrozenVisionLayers} vision layers: the encoder has ${vision.layers}`,
    );
  }
  if (unfrozenVisionLayers > 0 && vision.dropout > 0) {
    throw new RangeError(
      `Cannot unfreeze vision layers: the encoder's configuration asks for a dropout of ${vision.dropout} in training, which is ` +
        "not supported; train with all of them frozen",
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
  /** cos and sin of the rotary embedding, [maxPositions, Dh]; `undefined` where positions are learned. */
  rope: Tensor | undefined;
}

/** Random numbers of dropout while training: `undefined` when captioning. */
export type DropoutSeed = Tensor | undefined;

/** Records the vision tower on pixelValues [B, C, I, I], with unfrozen layers where there are any: [B, P, Dv]. */
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
  return visionEncoder(r, overlayWeights(trained, w.vision), pixelValues, config.vision);
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
  const modules = new Map(
    loraModules(config.decoder, config.lora).map((module, i) => [module.path, { ...module, site: i + 1 }]),
  );
  return (path) => {
    const module = modules.get(path);
    if (module === undefined) return undefined;
    const names = loraNames(path);
    const dropped = dropoutSite(dropoutSeed, config.lora.dropout, module.site);
    return {
      a: w.trainable.get(names.a),
      b: w.trainable.get(names.b),
      scale: module.scale,
      ...(dropped === undefined ? {} : { dropout: dropped }),
    };
  };
}

/** Records the rotation of queries or keys; without a table they go on as they are. */
export function rotate(r: Recorder, x: Tensor, table: Tensor | undefined, options: RopeOptions): Tensor {
  return table === undefined ? x : rope(r, x, table, options);
}

/** Positions that a captioner was loaded for. */
export function positionLimit(config: CaptionerConfig, w: Pick<CaptionerWeights, "rope">): number {
  return w.rope?.dim(0) ?? config.decoder.maxPositions;
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
  const text = embedTokens(r, w.decoder, inputs.inputIds, config.decoder);
  const sequence = assemblePrefix(r, inputs.prefix, text);
  const attend = (q: Tensor, k: Tensor, v: Tensor): Tensor =>
    attention(
      r,
      rotate(r, q, w.rope, { heads, headDim }),
      rotate(r, k, w.rope, { heads: kvHeads, headDim }),
      v,
      {
        heads,
        kvHeads,
        headDim,
        causal: true,
      },
    );
  const lora = loraOf(w, config, dropoutSeed);
  return decoder(r, w.decoder, sequence, { config: config.decoder, lora, attend: () => attend });
}

/** Prefix tokens of one image: P. */
export function prefixTokens(config: CaptionerConfig): number {
  return visionTokens(config.vision);
}
