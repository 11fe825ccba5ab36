/** Small captioners that have every family of encoders and decoders among them. */
import { type FoldersOptions, SMALL_LLAMA, SMALL_SIGLIP } from "./captioner_folders.ts";

/** LoRA on modules that Llama's families have. */
export const LORA = { rank: 3, alpha: 5, dropout: 0.1, targetModules: ["q_proj", "v_proj", "down_proj"] };
/** SigLIP and a Llama with a head of its own. */
export const LLAMA: FoldersOptions = { decoder: SMALL_LLAMA, lora: LORA };
const CLIP = { ...SMALL_SIGLIP, model_type: "clip_vision_model", hidden_act: "quick_gelu" };
const VIT = { ...SMALL_SIGLIP, model_type: "vit" };

/** What tests call them, and what they are made of. */
export const EVERY_FAMILY: readonly [name: string, FoldersOptions][] = [
  ["SigLIP and llama", LLAMA],
  ["SigLIP with a trained layer, an MLP, a tied llama with biases", {
    decoder: { ...SMALL_LLAMA, tie_word_embeddings: true, attention_bias: true, mlp_bias: true },
    lora: LORA,
    unfrozenVisionLayers: 1,
    projection: { type: "mlp", hiddenSize: 19, dropout: 0.1 },
  }],
  ["ViT and mistral", { vision: VIT, decoder: { ...SMALL_LLAMA, model_type: "mistral" }, lora: LORA }],
  ["CLIP and qwen2", { vision: CLIP, decoder: { ...SMALL_LLAMA, model_type: "qwen2" }, lora: LORA }],
  ["qwen3", { decoder: { ...SMALL_LLAMA, model_type: "qwen3" }, lora: LORA }],
  ["phi3", {
    decoder: { ...SMALL_LLAMA, model_type: "phi3" },
    lora: { ...LORA, targetModules: ["qkv_proj", "o_proj"] },
  }],
  ["gpt2", {
    decoder: {
      model_type: "gpt2",
      n_embd: 28,
      n_layer: 2,
      n_head: 4,
      n_positions: 40,
      vocab_size: 61,
      eos_token_id: 2,
    },
    lora: { ...LORA, targetModules: ["c_attn", "c_proj"] },
  }],
  ["opt", {
    decoder: {
      model_type: "opt",
      hidden_size: 28,
      ffn_dim: 37,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      vocab_size: 61,
      max_position_embeddings: 40,
      eos_token_id: 2,
    },
    lora: { ...LORA, targetModules: ["q_proj", "v_proj", "fc1"] },
  }],
];

/** What {@linkcode EVERY_FAMILY} has under a name. */
export function ofFamily(name: string): FoldersOptions {
  return EVERY_FAMILY.find(([other]) => other === name)![1];
}

/** As GPT-2's own: no row of the embedding is spare. */
export const NO_SPARE_ROW: FoldersOptions = {
  ...ofFamily("gpt2"),
  decoder: { ...ofFamily("gpt2").decoder, vocab_size: 60 },
};
