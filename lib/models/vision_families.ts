/**
 * The families of vision encoders, as descriptions. Another family is another entry.
 *
 * Sources: Dosovitskiy et al. 2020, arXiv:2010.11929 (ViT); Radford et al. 2021, arXiv:2103.00020 (CLIP); Zhai et al. 2023,
 * arXiv:2303.15343 (SigLIP). Tensor names as in Hugging Face checkpoints.
 *
 * @module
 */

import type { EncoderBlockNames } from "../nn/encoder_block.ts";
import { type EncoderFamily, IGNORED_EVERYWHERE, rootsOf } from "./encoder.ts";

/** A tensor and how many dimensions it is stored with: leading ones make up for those it does not need. */
export interface StoredTensor {
  name: string;
  rank: number;
}

/** A family of vision encoders: patches, perhaps a class token before them, positions, blocks. */
export interface VisionFamily extends EncoderFamily {
  /** Path of the patch embedding, a convolution with stride = patch. */
  patches: string;
  /** Whether the convolution has a bias. */
  patchBias: boolean;
  /** The token that stands before the patches. */
  classToken?: StoredTensor;
  /** One row a position. */
  positions: StoredTensor;
}

/** Names of the families. */
export type VisionFamilyName = "siglip" | "vit" | "clip";

/** Blocks of SigLIP's and CLIP's towers. */
export const TOWER_BLOCK: EncoderBlockNames = {
  attentionNorm: "layer_norm1",
  query: "self_attn.q_proj",
  key: "self_attn.k_proj",
  value: "self_attn.v_proj",
  attentionOutput: "self_attn.out_proj",
  mlpNorm: "layer_norm2",
  mlpInput: "mlp.fc1",
  mlpOutput: "mlp.fc2",
};

const BASE_SIZES = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
};
const IMAGE_SIZES = { image_size: 224, patch_size: 16, num_channels: 3 };

/** Of both towers' files. */
const OTHER_TOWER = [
  { pattern: /(^|\.)text_model\./, reason: "the text tower" },
  { pattern: /(^|\.)logit_(scale|bias)$/, reason: "belong to the comparison of images with texts" },
];

/** Every vision encoder. */
export const VISION_FAMILIES: Readonly<Record<VisionFamilyName, VisionFamily>> = {
  siglip: {
    title: "a SigLIP vision tower",
    modelType: "siglip_vision_model",
    whole: { modelType: "siglip", section: "vision_config" },
    names: TOWER_BLOCK,
    normFirst: true,
    causal: false,
    patches: "vision_model.embeddings.patch_embedding",
    patchBias: true,
    positions: { name: "vision_model.embeddings.position_embedding.weight", rank: 2 },
    blocks: "vision_model.encoder.layers",
    finalNorm: "vision_model.post_layernorm",
    defaults: { ...BASE_SIZES, ...IMAGE_SIZES, layer_norm_eps: 1e-6 },
    defaultActivation: "gelu_pytorch_tanh",
    files: {
      roots: rootsOf({ inner: "vision_model." }),
      ignore: [
        ...IGNORED_EVERYWHERE,
        ...OTHER_TOWER,
        { pattern: /(^|\.)head\./, reason: "the pooling head; the prefix is made of all patches" },
      ],
    },
  },
  vit: {
    title: "a ViT",
    modelType: "vit",
    names: {
      attentionNorm: "layernorm_before",
      query: "attention.attention.query",
      key: "attention.attention.key",
      value: "attention.attention.value",
      attentionOutput: "attention.output.dense",
      mlpNorm: "layernorm_after",
      mlpInput: "intermediate.dense",
      mlpOutput: "output.dense",
    },
    normFirst: true,
    causal: false,
    patches: "embeddings.patch_embeddings.projection",
    patchBias: true,
    classToken: { name: "embeddings.cls_token", rank: 3 },
    positions: { name: "embeddings.position_embeddings", rank: 3 },
    blocks: "encoder.layer",
    finalNorm: "layernorm",
    defaults: { ...BASE_SIZES, ...IMAGE_SIZES, layer_norm_eps: 1e-12 },
    defaultActivation: "gelu",
    asksForQkvBias: true,
    files: {
      roots: rootsOf({ prefixes: ["vit."] }),
      ignore: [
        ...IGNORED_EVERYWHERE,
        {
          pattern: /(^|\.)pooler\.dense\./,
          reason: "pools the class token; the prefix is made of all positions",
        },
        { pattern: /(^|\.)embeddings\.mask_token$/, reason: "stands for patches hidden in pretraining" },
        { pattern: /^decoder\./, reason: "paints hidden patches in pretraining" },
      ],
    },
  },
  clip: {
    title: "a CLIP vision tower",
    modelType: "clip_vision_model",
    whole: { modelType: "clip", section: "vision_config" },
    names: TOWER_BLOCK,
    normFirst: true,
    causal: false,
    patches: "vision_model.embeddings.patch_embedding",
    patchBias: false,
    classToken: { name: "vision_model.embeddings.class_embedding", rank: 1 },
    positions: { name: "vision_model.embeddings.position_embedding.weight", rank: 2 },
    // Spelt so in every checkpoint.
    embeddingNorm: "vision_model.pre_layrnorm",
    blocks: "vision_model.encoder.layers",
    // No final norm: post_layernorm is of the pooled class token only, see two_tower.ts.
    defaults: { ...BASE_SIZES, ...IMAGE_SIZES, patch_size: 32, layer_norm_eps: 1e-5 },
    defaultActivation: "quick_gelu",
    files: {
      roots: rootsOf({ prefixes: ["clip."], inner: "vision_model." }),
      ignore: [
        ...IGNORED_EVERYWHERE,
        ...OTHER_TOWER,
        {
          pattern: /(^|\.)post_layernorm\./,
          reason: "of the pooled class token; the prefix is made of all positions",
        },
        { pattern: /(^|\.)(visual|text)_projection\./, reason: "lead to the space shared with texts" },
      ],
    },
  },
};
