/**
 * The models that are measured: the embedded ones' shapes and those of SigLIP-B/16-224 with SmolLM-135M, with random weights.
 *
 * @module
 */

import { encodeBf16 } from "../lib/base/half.ts";
import { Rng } from "../lib/base/rng.ts";
import { JsonConfig } from "../lib/format/json_config.ts";
import type { Gpu } from "../lib/gpu/device.ts";
import { type Tensor, tensorFrom } from "../lib/gpu/tensor.ts";
import { EMBEDDED_DECODER, EMBEDDED_ENCODER, openModelFolder } from "../lib/host/model_folders.ts";
import {
  type CaptionerConfig,
  type CaptionerWeights,
  initialValues,
  prefixTokens,
  trainableSpecs,
} from "../lib/models/captioner.ts";
import { decoderRope, decoderSpecs } from "../lib/models/decoder.ts";
import { parseDecoder } from "../lib/models/decoder_families.ts";
import { openDecoderConfig, openVisionConfig } from "../lib/models/load.ts";
import { type VisionConfig, visionSpecs } from "../lib/models/vision.ts";
import { FrozenWeights, type WeightSpec } from "../lib/nn/weights.ts";

/** Tokens of a caption in every measurement. */
export const CAPTION_TOKENS = 30;

/** google/siglip-base-patch16-224. */
const SIGLIP_BASE: VisionConfig = {
  family: "siglip",
  hiddenSize: 768,
  intermediateSize: 3072,
  layers: 12,
  heads: 12,
  eps: 1e-6,
  gelu: "tanh",
  imageSize: 224,
  patchSize: 16,
  channels: 3,
  qkvBias: true,
  dropout: 0,
};

/** HuggingFaceTB/SmolLM-135M. */
const SMOLLM_135M = parseDecoder(
  new JsonConfig({
    model_type: "llama",
    hidden_size: 576,
    intermediate_size: 1536,
    num_hidden_layers: 30,
    num_attention_heads: 9,
    num_key_value_heads: 3,
    vocab_size: 49152,
    max_position_embeddings: 2048,
    rope_theta: 10000,
    rms_norm_eps: 1e-5,
    tie_word_embeddings: true,
    bos_token_id: 0,
    eos_token_id: 0,
  }, "SmolLM-135M"),
);

/** A captioner's shapes with a name for tables. */
export interface BenchModel {
  name: string;
  config: CaptionerConfig;
}

/** The embedded shapes and the real ones; LoRA and projection as by default. */
export async function benchModels(): Promise<BenchModel[]> {
  const trained: Omit<CaptionerConfig, "vision" | "decoder"> = {
    projection: { type: "linear" },
    lora: { rank: 16, alpha: 16, dropout: 0.1, targetModules: ["q_proj", "k_proj", "v_proj", "o_proj"] },
    unfrozenVisionLayers: 0,
  };
  const vision = await openVisionConfig(await openModelFolder(EMBEDDED_ENCODER));
  const decoder = await openDecoderConfig(await openModelFolder(EMBEDDED_DECODER));
  return [
    { name: "embedded", config: { vision, decoder, ...trained } },
    {
      name: "SigLIP-B/16-224 + SmolLM-135M",
      config: { vision: SIGLIP_BASE, decoder: SMOLLM_135M, ...trained },
    },
  ];
}

/** A random decoder on the GPU, matrices in bf16. */
export interface RandomDecoder {
  decoder: FrozenWeights;
  rope: Tensor | undefined;
  /** Bytes of both. */
  sizeBytes: number;
}

/** Puts a random decoder on the GPU. */
export function randomDecoder(gpu: Gpu, config: CaptionerConfig): RandomDecoder {
  const decoder = randomWeights(gpu, "decoder", decoderSpecs(config.decoder));
  const rope = decoderRope(gpu, config.decoder, { maxPositions: prefixTokens(config) + CAPTION_TOKENS });
  return { decoder, rope, sizeBytes: decoder.sizeBytes + (rope?.sizeBytes ?? 0) };
}

/** Start values of the trainable tensors. LoRA's B is not zero, so that no product is with zeros alone. */
export function startValues(config: CaptionerConfig): Map<string, Float32Array<ArrayBuffer>> {
  const rng = new Rng(1);
  return new Map(
    trainableSpecs(config).map((spec) => [
      spec.name,
      initialValues({ ...spec, initBound: spec.initBound === 0 ? 0.01 : spec.initBound }, rng),
    ]),
  );
}

/** A captioner whose weights can be freed. */
export interface RandomCaptioner extends CaptionerWeights {
  vision: FrozenWeights;
  decoder: FrozenWeights;
  trainable: FrozenWeights;
}

/** Everything a captioner's graph reads, with random values. */
export function randomCaptioner(
  gpu: Gpu,
  config: CaptionerConfig,
): RandomCaptioner {
  const { decoder, rope } = randomDecoder(gpu, config);
  const vision = randomWeights(gpu, "vision", visionSpecs(config.vision));
  const shapes = new Map(trainableSpecs(config).map(({ name, shape }) => [name, shape]));
  const trainable = new Map(
    [...startValues(config)].map((
      [name, data],
    ) => [name, tensorFrom(gpu, data, { shape: shapes.get(name)!, label: name })]),
  );
  return { vision, decoder, rope, trainable: new FrozenWeights("trainable", trainable) };
}

/** Normal numbers in a block that is used again: what values weights have does not change how long a product takes. */
function randomWeights(gpu: Gpu, name: string, specs: readonly WeightSpec[]): FrozenWeights {
  const rng = new Rng(2);
  const block = Float32Array.from({ length: 1 << 16 }, () => 0.02 * rng.normal());
  const tensors = new Map<string, Tensor>();
  for (const { name, shape } of specs) {
    const values = new Float32Array(shape.reduce((product, n) => product * n));
    if (shape.length === 1) values.fill(name.endsWith("bias") ? 0 : 1); // norms start as the identity
    else {
      for (let start = 0; start < values.length; start += block.length) {
        values.set(block.subarray(0, values.length - start), start);
      }
    }
    const isPacked = shape.length > 1;
    const data = isPacked ? encodeBf16(values) : values;
    tensors.set(name, tensorFrom(gpu, data, { shape, dtype: isPacked ? "bf16" : "f32", label: name }));
  }
  return new FrozenWeights(name, tensors);
}
