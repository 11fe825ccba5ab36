/** Captioners of every family as ONNX: the engine's logits and tokens, run by onnxruntime-web. */
import assert from "node:assert/strict";
import { searchCaptions } from "../../lib/generate/search.ts";
import type { Stepper } from "../../lib/generate/stepper.ts";
import { ONNX_LAYOUTS } from "../../lib/models/onnx_layouts.ts";
import {
  captionerFolders,
  type FoldersOptions,
  SMALL_LLAMA,
  SMALL_SIGLIP,
} from "../support/captioner_folders.ts";
import { randomValues } from "../support/gpu.ts";
import { kernelGenerator, onnxStepper } from "../support/onnx_captioner.ts";

const LORA = { rank: 3, alpha: 5, dropout: 0.1, targetModules: ["q_proj", "v_proj", "down_proj"] };
const LLAMA: FoldersOptions = { decoder: SMALL_LLAMA, lora: LORA };
const PIXELS = randomValues(3 * 15 * 15, 99, 1.5);
const TOKENS = 9;

/** Logits of the prefill and of `TOKENS` steps along the tokens that `stepper` itself finds likeliest, or along given ones. */
async function walk(
  stepper: Stepper,
  along?: readonly number[],
): Promise<{ ids: number[]; logits: Float32Array[] }> {
  const ids: number[] = [];
  const logits: Float32Array[] = [];
  let scores = await stepper.prefill(PIXELS, 1);
  for (let n = 0; n < TOKENS; n++) {
    const [row] = await scores.logits();
    logits.push(row!);
    const token = row!.indexOf(Math.max(...row!));
    ids.push(token);
    const next = along?.[n] ?? token;
    if (n + 1 < TOKENS) {
      scores = await stepper.step({ tokens: Uint32Array.of(next), parents: Uint32Array.of(0) });
    }
  }
  return { ids, logits };
}

function largestDifference(got: readonly Float32Array[], want: readonly Float32Array[]): number {
  return Math.max(...got.flatMap((row, i) => Array.from(row, (value, j) => Math.abs(value - want[i]![j]!))));
}

const CLIP = { ...SMALL_SIGLIP, model_type: "clip_vision_model", hidden_act: "quick_gelu" };
const VIT = { ...SMALL_SIGLIP, model_type: "vit" };

const MODELS: [name: string, FoldersOptions][] = [
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

for (const [name, options] of MODELS) {
  Deno.test(`${name}: every layout in fp32 gives the engine's logits and tokens`, async () => {
    const folders = captionerFolders(options);
    const { generator, destroy } = await kernelGenerator(folders, { maxNewTokens: TOKENS });
    const want = await walk(generator);
    destroy();
    assert.ok(new Set(want.ids).size > 1);
    for (const layout of ONNX_LAYOUTS) {
      const got = await walk(await onnxStepper(folders, { layout, maxNewTokens: TOKENS }));
      const difference = largestDifference(got.logits, want.logits);
      assert.ok(difference < 2e-4, `${layout} differs by ${difference}`);
      assert.deepEqual(got.ids, want.ids, layout);
    }
  });
}

Deno.test("beam search over onnxruntime finds what it finds over the kernels", async () => {
  const folders = captionerFolders(LLAMA);
  const options = { numBeams: 3, maxNewTokens: TOKENS };
  const { generator, destroy } = await kernelGenerator(folders, options);
  const [want] = await searchCaptions(generator, PIXELS, { eosIds: [2], count: 1 });
  destroy();
  for (const layout of ONNX_LAYOUTS) {
    const [got] = await searchCaptions(await onnxStepper(folders, { layout, ...options }), PIXELS, {
      eosIds: [2],
      count: 1,
    });
    assert.deepEqual(got!.map(({ ids }) => ids), want!.map(({ ids }) => ids), layout);
    for (const [i, { logProb }] of got!.entries()) assert.ok(Math.abs(logProb - want![i]!.logProb) < 1e-3);
  }
});
