/**
 * The families of text encoders, as descriptions. Another family is another entry.
 *
 * Sources: Devlin et al. 2018, arXiv:1810.04805 (BERT); Liu et al. 2019, arXiv:1907.11692 (RoBERTa); Radford et al. 2021,
 * arXiv:2103.00020 (CLIP); Zhai et al. 2023, arXiv:2303.15343 (SigLIP). Tensor names as in Hugging Face checkpoints.
 *
 * @module
 */

import type { EncoderBlockNames } from "../nn/encoder_block.ts";
import { type EncoderFamily, IGNORED_EVERYWHERE, rootsOf } from "./encoder.ts";
import { TOWER_BLOCK } from "./vision_families.ts";

/** A family of text encoders: tokens, positions, perhaps token types, blocks. */
export interface TextFamily extends EncoderFamily {
  /** Path of the table of tokens. */
  tokens: string;
  /** Path of the table of positions. */
  positions: string;
  /** Path of the table of token types. */
  tokenTypes?: string;
  /** Whether the first token's position is the one after `pad_token_id`, and padding stays at that. */
  positionsAfterPadding: boolean;
  /** Whether padding is hidden from attention; else texts are padded to full length and padding counts as text. */
  masksPadding: boolean;
  /** The token whose state stands for the text. */
  pooled?: "last" | "end";
}

/** Names of the families. */
export type TextFamilyName = "siglip" | "clip" | "roberta" | "bert";

const BERT_BLOCK: EncoderBlockNames = {
  query: "attention.self.query",
  key: "attention.self.key",
  value: "attention.self.value",
  attentionOutput: "attention.output.dense",
  attentionNorm: "attention.output.LayerNorm",
  mlpInput: "intermediate.dense",
  mlpOutput: "output.dense",
  mlpNorm: "output.LayerNorm",
};

/** What BERT and RoBERTa share: everything but positions, sizes and heads. */
const BERT = {
  names: BERT_BLOCK,
  normFirst: false,
  causal: false,
  tokens: "embeddings.word_embeddings",
  positions: "embeddings.position_embeddings",
  tokenTypes: "embeddings.token_type_embeddings",
  masksPadding: true,
  embeddingNorm: "embeddings.LayerNorm",
  blocks: "encoder.layer",
  defaultActivation: "gelu",
  only: { position_embedding_type: "absolute", is_decoder: false, add_cross_attention: false },
} satisfies Partial<TextFamily>;

const BERT_SIZES = {
  hidden_size: 768,
  intermediate_size: 3072,
  num_hidden_layers: 12,
  num_attention_heads: 12,
  max_position_embeddings: 512,
  type_vocab_size: 2,
  layer_norm_eps: 1e-12,
};

const BERT_IGNORED = [
  ...IGNORED_EVERYWHERE,
  { pattern: /(^|\.)pooler\.dense\./, reason: "pools the first token; scores read the states of all" },
  { pattern: /(^|\.)qa_outputs\./, reason: "a head for questions" },
];

/** Of both towers' files. */
const OTHER_TOWER = [
  { pattern: /(^|\.)vision_model\./, reason: "the vision tower" },
  { pattern: /(^|\.)logit_(scale|bias)$/, reason: "belong to the comparison of images with texts" },
];

/** Every text encoder. */
export const TEXT_FAMILIES: Readonly<Record<TextFamilyName, TextFamily>> = {
  siglip: {
    title: "a SigLIP text tower",
    modelType: "siglip_text_model",
    whole: { modelType: "siglip", section: "text_config" },
    names: TOWER_BLOCK,
    normFirst: true,
    causal: false,
    tokens: "text_model.embeddings.token_embedding",
    positions: "text_model.embeddings.position_embedding",
    positionsAfterPadding: false,
    masksPadding: false,
    pooled: "last",
    blocks: "text_model.encoder.layers",
    finalNorm: "text_model.final_layer_norm",
    defaults: {
      vocab_size: 32000,
      hidden_size: 768,
      intermediate_size: 3072,
      num_hidden_layers: 12,
      num_attention_heads: 12,
      max_position_embeddings: 64,
      layer_norm_eps: 1e-6,
      pad_token_id: 1,
    },
    defaultActivation: "gelu_pytorch_tanh",
    files: {
      roots: rootsOf({ inner: "text_model." }),
      ignore: [
        ...IGNORED_EVERYWHERE,
        ...OTHER_TOWER,
        { pattern: /(^|\.)head\./, reason: "leads to the space shared with images" },
      ],
    },
  },
  clip: {
    title: "a CLIP text tower",
    modelType: "clip_text_model",
    whole: { modelType: "clip", section: "text_config" },
    names: TOWER_BLOCK,
    normFirst: true,
    causal: true,
    tokens: "text_model.embeddings.token_embedding",
    positions: "text_model.embeddings.position_embedding",
    positionsAfterPadding: false,
    masksPadding: true,
    pooled: "end",
    blocks: "text_model.encoder.layers",
    finalNorm: "text_model.final_layer_norm",
    defaults: {
      vocab_size: 49408,
      hidden_size: 512,
      intermediate_size: 2048,
      num_hidden_layers: 12,
      num_attention_heads: 8,
      max_position_embeddings: 77,
      layer_norm_eps: 1e-5,
      pad_token_id: 1,
      eos_token_id: 49407,
    },
    defaultActivation: "quick_gelu",
    files: {
      roots: rootsOf({ prefixes: ["clip."], inner: "text_model." }),
      ignore: [
        ...IGNORED_EVERYWHERE,
        ...OTHER_TOWER,
        { pattern: /(^|\.)(visual|text)_projection\./, reason: "lead to the space shared with images" },
      ],
    },
  },
  roberta: {
    ...BERT,
    title: "RoBERTa",
    modelType: "roberta",
    positionsAfterPadding: true,
    defaults: { ...BERT_SIZES, vocab_size: 50265, pad_token_id: 1 },
    files: {
      roots: rootsOf({ prefixes: ["roberta."] }),
      ignore: [...BERT_IGNORED, {
        pattern: /(^|\.)lm_head\./,
        reason: "predicts hidden tokens in pretraining",
      }],
    },
  },
  bert: {
    ...BERT,
    title: "BERT",
    modelType: "bert",
    positionsAfterPadding: false,
    defaults: { ...BERT_SIZES, vocab_size: 30522, pad_token_id: 0 },
    files: {
      roots: rootsOf({ prefixes: ["bert."] }),
      // Files that come from the first release.
      endings: [
        { from: "LayerNorm.weight", to: "LayerNorm.gamma" },
        { from: "LayerNorm.bias", to: "LayerNorm.beta" },
      ],
      ignore: [...BERT_IGNORED, {
        pattern: /(^|\.)cls\./,
        reason: "predicts hidden tokens and sentences in pretraining",
      }],
    },
  },
};
