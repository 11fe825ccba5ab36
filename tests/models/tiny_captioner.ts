/** A captioner of odd sizes with random weights, on the GPU and as numbers. */
import type { Gpu } from "../../lib/gpu/device.ts";
import { destroyTensor, type Tensor, tensorFrom } from "../../lib/gpu/tensor.ts";
import { type CaptionerConfig, type CaptionerWeights, trainableSpecs } from "../../lib/models/captioner.ts";
import type { JsonObject } from "../../lib/format/json.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import {
  type DecoderConfig,
  type DecoderFamilyName,
  decoderRope,
  decoderSpecs,
} from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import { visionSpecs } from "../../lib/models/vision.ts";
import { ParameterSet } from "../../lib/nn/parameters.ts";
import { FrozenWeights, type WeightSpec } from "../../lib/nn/weights.ts";
import { randomValues } from "../support/gpu.ts";

/**
 * A decoder of a family in odd sizes: vocabulary 103, head width 12, 3 layers, 6 heads (over 2 where they are grouped), rotary base
 * 1000. `extra` overrides keys of its `config.json`.
 */
export function oddDecoder(family: DecoderFamilyName, extra: JsonObject = {}): DecoderConfig {
  const ends = { eos_token_id: 2, pad_token_id: 1, vocab_size: 103 };
  const rotary = {
    hidden_size: 50,
    intermediate_size: 61,
    num_hidden_layers: 3,
    num_attention_heads: 6,
    num_key_value_heads: 2,
    head_dim: 12,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 40,
    rope_theta: 1000,
  };
  const sizes: Record<string, JsonObject> = {
    gpt2: { n_embd: 60, n_inner: 61, n_layer: 3, n_head: 5, n_positions: 40 },
    opt: {
      hidden_size: 60,
      ffn_dim: 61,
      num_hidden_layers: 3,
      num_attention_heads: 5,
      max_position_embeddings: 40,
    },
  };
  return parseDecoder(
    new JsonConfig({ model_type: family, ...ends, ...(sizes[family] ?? rotary), ...extra }, `odd ${family}`),
  );
}

/** Nothing here is a power of two: vocabulary 103, head width 12, 3 layers, 9 patches, heads 6 over 2. */
export const ODD_CONFIG: CaptionerConfig = {
  vision: {
    family: "siglip",
    hiddenSize: 33,
    intermediateSize: 47,
    layers: 3,
    heads: 3,
    imageSize: 42,
    patchSize: 14,
    channels: 3,
    eps: 1e-6,
    gelu: "tanh",
    qkvBias: true,
    dropout: 0,
  },
  decoder: oddDecoder("llama"),
  projection: { type: "mlp", hiddenSize: 29, dropout: 0.1 },
  lora: { rank: 3, alpha: 5, dropout: 0.1, targetModules: ["q_proj", "k_proj", "v_proj", "o_proj"] },
  unfrozenVisionLayers: 1,
};

/** A captioner and its numbers. */
export interface TinyCaptioner {
  config: CaptionerConfig;
  weights: CaptionerWeights;
  set: ParameterSet;
  /** All weights by name, exactly those on the GPU. */
  values: Map<string, Float64Array>;
  destroy(): void;
}

/** Random values: matrices keep the size of what they multiply, norms are around 1. */
function draw({ name, shape }: WeightSpec, seed: number): Float32Array<ArrayBuffer> {
  const size = shape.reduce((product, n) => product * n, 1);
  if (shape.length === 1) {
    const isScale = /(norm\d?|ln_\w)\.weight$/.test(name);
    return randomValues(size, seed, 0.3).map((value) => value + (isScale ? 1 : 0));
  }
  const width = size / shape[0]!;
  const isTable = /embed_tokens|embed_positions|wte|wpe|position_embedding/.test(name);
  return randomValues(size, seed, isTable ? 1 : 2.2 / Math.sqrt(width));
}

/** Makes the captioner. `zeroLoraB` starts LoRA where training starts it. */
export function createTinyCaptioner(
  gpu: Gpu,
  config: CaptionerConfig = ODD_CONFIG,
  options: { zeroLoraB?: boolean } = {},
): TinyCaptioner {
  const values = new Map<string, Float64Array>();
  let seed = 1;
  const fill = (spec: WeightSpec): Float32Array<ArrayBuffer> => {
    const data = draw(spec, seed++);
    if (options.zeroLoraB && spec.name.endsWith("lora_B.weight")) data.fill(0);
    values.set(spec.name, Float64Array.from(data));
    return data;
  };
  const freeze = (name: string, specs: WeightSpec[]): FrozenWeights =>
    new FrozenWeights(
      name,
      new Map(
        specs.map((spec): [string, Tensor] => [
          spec.name,
          tensorFrom(gpu, fill(spec), { shape: spec.shape, label: spec.name }),
        ]),
      ),
    );
  const vision = freeze("vision", visionSpecs(config.vision));
  const decoder = freeze("decoder", decoderSpecs(config.decoder));
  const tensors = trainableSpecs(config).map((spec) => ({ ...spec, data: fill(spec) }));
  const set = new ParameterSet(gpu, [{ name: "all", weightDecay: 0, tensors }]);
  const rope = decoderRope(gpu, config.decoder, { maxPositions: config.decoder.maxPositions });
  return {
    config,
    weights: { vision, decoder, trainable: set, rope },
    set,
    values,
    destroy: () => {
      vision.destroy();
      decoder.destroy();
      set.destroy();
      if (rope !== undefined) destroyTensor(rope);
    },
  };
}
