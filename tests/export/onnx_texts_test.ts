/** The files beside exported graphs: what transformers.js and people read. */
import assert from "node:assert/strict";
import {
  comparePairs,
  formatShare,
  isExact,
  parityFault,
  parityJson,
  parseParity,
} from "../../lib/export/onnx/parity.ts";
import { onnxReadme } from "../../lib/export/onnx/readme.ts";
import { onnxTexts } from "../../lib/export/onnx/texts.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { planOnnxWeights } from "../../lib/export/onnx/layouts.ts";
import { type CaptionerSource, openCaptionerSource } from "../../lib/models/captioner_source.ts";
import {
  defaultVariant,
  mixOf,
  ONNX_DTYPES,
  ONNX_LAYOUTS,
  onnxComponents,
  type OnnxLayout,
  onnxPath,
  onnxVariants,
  parseOnnxFolder,
} from "../../lib/models/onnx_layouts.ts";
import {
  captionerFolders,
  type FoldersOptions,
  SMALL_LLAMA,
  SMALL_SIGLIP,
} from "../support/captioner_folders.ts";
import { LLAMA, NO_SPARE_ROW } from "../support/every_family.ts";

async function open(options: FoldersOptions): Promise<CaptionerSource> {
  const { folder, openModel } = captionerFolders(options);
  return await openCaptionerSource(folder, openModel);
}

async function jsonOf(layout: OnnxLayout, options: FoldersOptions, externalFiles = {}) {
  const texts = onnxTexts(layout, await open(options), { dtypes: ONNX_DTYPES, externalFiles });
  return (file: string) => JSON.parse(texts.get(file)!);
}

Deno.test("components lie where the Python project and transformers.js look for them", () => {
  const paths = (layout: OnnxLayout) =>
    onnxComponents(layout).flatMap((component) =>
      ONNX_DTYPES.map((dtype) => onnxPath(layout, component, dtype))
    );
  assert.deepEqual(paths("parts").filter((_, i) => i % 4 === 0), [
    "vision_encoder/model.onnx",
    "projection.onnx",
    "prefix_init.onnx",
    "language_model/model.onnx",
  ]);
  assert.deepEqual(paths("web-llava").slice(0, 4), [
    "onnx/vision_encoder.onnx",
    "onnx/vision_encoder_fp16.onnx",
    "onnx/vision_encoder_quantized.onnx",
    "onnx/vision_encoder_q4.onnx",
  ]);
  assert.deepEqual(paths("web-pipeline").filter((_, i) => i % 4 === 3), [
    "onnx/encoder_model_q4.onnx",
    "onnx/decoder_model_merged_q4.onnx",
  ]);
  assert.throws(() => onnxPath("parts", "embed_tokens", "fp32"), RangeError);
});

Deno.test("web-llava has the keys that transformers.js reads", async () => {
  const json = await jsonOf("web-llava", LLAMA, { "decoder_model_merged.onnx": 2 });
  const config = json("config.json");
  assert.equal(config.model_type, "llava");
  assert.equal(config.image_token_index, 60);
  assert.equal(config.text_config.num_hidden_layers, 2);
  assert.deepEqual(config["transformers.js_config"], {
    dtype: "q8",
    device_config: { webgpu: { dtype: "q4" } },
    kv_cache_dtype: { fp16: "float16" },
    use_external_data_format: { "decoder_model_merged.onnx": 2 },
  });
  assert.deepEqual(config.captioner_onnx, {
    layout: "web-llava",
    dtypes: [...ONNX_DTYPES],
    max_length: 12,
    encoder: "encoder",
    decoder: "decoder",
    hidden_size: config.text_config.hidden_size,
  });
  assert.equal(json("generation_config.json").max_new_tokens, 12);
  assert.equal(json("processor_config.json").num_additional_image_tokens, 0);
  assert.equal(json("preprocessor_config.json").processor_class, "LlavaProcessor");
  assert.equal(json("tokenizer_config.json").tokenizer_class, "PreTrainedTokenizerFast");
});

Deno.test("web-pipeline is a vision-encoder-decoder with a start token and no processor", async () => {
  const json = await jsonOf("web-pipeline", LLAMA);
  const config = json("config.json");
  assert.equal(config.model_type, "vision-encoder-decoder");
  assert.equal(config.decoder_start_token_id, 0);
  assert.equal(config.decoder.hidden_size, 2 * 6);
  assert.equal(config["transformers.js_config"].use_external_data_format, undefined);
  assert.equal(json("generation_config.json").decoder_start_token_id, 0);
  assert.equal(json("preprocessor_config.json").processor_class, undefined);
});

Deno.test("the four parts have the Python project's configuration, without LoRA", async () => {
  const json = await jsonOf("parts", LLAMA);
  assert.equal(json("config.json").model_type, "prefix_conditioning_vlm");
  assert.equal(json("config.json").lora_r, 0);
  assert.equal(json("config.json").text_config.model_type, "llama");
});

Deno.test("every layout says how pictures are prepared, whatever the captioner's file leaves out", async () => {
  for (const layout of ONNX_LAYOUTS) {
    const json = (await jsonOf(layout, LLAMA))("preprocessor_config.json");
    const { do_resize, size, resample, do_rescale, do_normalize, image_mean, do_center_crop } = json;
    assert.deepEqual(
      { do_resize, size, resample, do_rescale, do_normalize, image_mean, do_center_crop },
      {
        do_resize: true,
        size: { height: 224, width: 224 },
        resample: 3,
        do_rescale: true,
        do_normalize: true,
        image_mean: [0.5, 0.5, 0.5],
        do_center_crop: false,
      },
    );
    assert.ok(Math.abs(json.rescale_factor - 1 / 255) < 1e-12);
  }
});

Deno.test("where no row is spare, the image token lies behind the embedding", async () => {
  assert.equal((await jsonOf("web-llava", NO_SPARE_ROW))("config.json").image_token_index, 60);
});

Deno.test("browsers take what is there, eight bits on a processor and four on a GPU first", () => {
  assert.equal(defaultVariant("wasm", { dtypes: ["fp32", "q4"] }), "fp32");
  assert.equal(defaultVariant("webgpu", { dtypes: ["fp32", "fp16", "q8"] }), "fp16");
  assert.equal(defaultVariant("webgpu", { dtypes: ["q8"] }), "q8");
  assert.equal(defaultVariant("webgpu", { dtypes: ["q4"], mix: { vision_encoder: "fp16" } }), "mixed");
});

Deno.test("what cannot be exported is refused with the reason", async () => {
  const source = await open(LLAMA);
  const without = {
    ...source,
    texts: new Map([...source.texts].filter(([name]) => name !== "tokenizer.json")),
  };
  assert.throws(() => onnxTexts("parts", without, { dtypes: ["fp32"], externalFiles: {} }), {
    name: "RangeError",
    message: /it has no "tokenizer.json", which every layout needs/,
  });
  const wide = { ...SMALL_SIGLIP, image_size: 30 };
  const long = await open({ ...LLAMA, vision: wide });
  assert.throws(() => planOnnxWeights(long), {
    name: "RangeError",
    message: /its captions need 48 positions \(image and text\), the decoder tells 40 apart/,
  });
  const windowed = { ...SMALL_LLAMA, model_type: "mistral", sliding_window: 20 };
  const narrow = await open({ ...LLAMA, decoder: windowed });
  assert.throws(() => planOnnxWeights(narrow), /need 21 positions .* tells 20 apart/);
});

const words = (ids: number[]): string =>
  ids.map((id) => ["", "a", "red", "bus", "here", "kite"][id]).join(" ");
const pair = (ids: number[], found: { ids: number[]; agreeing: number; logProb: number }) => ({
  wanted: { ids, caption: words(ids), logProb: -1 },
  references: ["a red bus"],
  found: { ...found, caption: words(found.ids) },
});

Deno.test("captions are compared whole and token by token, and judged by precision", async () => {
  const parity = await comparePairs([
    pair([1, 2], { ids: [1, 2], agreeing: 2, logProb: -1.5 }),
    pair([1, 2, 3, 4], { ids: [1, 5], agreeing: 3, logProb: -0.8 }),
  ]);
  assert.deepEqual(parityJson(parity), {
    images: 2,
    same_captions: 1,
    tokens: 6,
    agreeing_tokens: 5,
    mean_log_prob_drift_per_token: 0.15,
    max_log_prob_drift_per_token: 0.25,
    // ROUGE-L of "a kite" to "a red bus here": 1 of 2 words right, 1 of 4 found; the other caption is the engine's.
    rouge_l_to_engine: Number(
      ((1 + (1 + 1.2 ** 2) * 0.5 * 0.25 / (0.25 + 1.2 ** 2 * 0.5)) / 2).toPrecision(3),
    ),
    // Both images have the same reference, so no word tells one from the other.
    cider_d: { engine: 0, exported: 0 },
  });
  assert.deepEqual(parseParity(new JsonConfig(parityJson(parity), "parity.json")).ciderD, parity.ciderD);
  const exact = { isExact: true, minAgreement: 0 };
  assert.match(parityFault("fp16", parity, exact)!, /^1 of 2 captions in fp16 have other tokens/);
  assert.match(
    parityFault("q4", parity, { isExact: false, minAgreement: 0.9 })!,
    /^in q4 83.3 % of the tokens agree .* --min-agreement 0.9$/,
  );
  assert.equal(parityFault("q8", parity, { isExact: false, minAgreement: 0.8 }), undefined);
  assert.equal(parityFault("fp32", { ...parity, sameCaptions: 2 }, exact), undefined);
  assert.equal(formatShare(1999, 2000), "99.9 %");
});

Deno.test("the README shows the lines, the sizes and how captions compare", async () => {
  const source = await open(LLAMA);
  for (const layout of ONNX_LAYOUTS) {
    const bytes = Object.fromEntries(onnxComponents(layout).map((component) => [component, 1_234_567]));
    const parity = await comparePairs([pair([1, 2], { ids: [1, 2], agreeing: 2, logProb: -1 })]);
    const text = onnxReadme(layout, source, [{ dtype: "q8", bytes, parity }, {
      dtype: "q4",
      bytes,
      parity: undefined,
    }]);
    assert.match(text, /captions of at most 12 tokens/);
    assert.match(text, /\| q8 \| 1 of 1 \| 100\.0 % \|/);
    assert.match(text, /\| 1\.23 \| 1\.23 \|/);
    assert.match(text, layout === "parts" ? /InferenceSession/ : /from "@huggingface\/transformers"/);
  }
});

Deno.test("a mix of precisions is told by component, by half, and to transformers.js", async () => {
  const mix = mixOf("web-llava", { encoder: "fp16", decoder: "q4", embed_tokens: "q8" });
  assert.deepEqual(mix, { vision_encoder: "fp16", embed_tokens: "q8", decoder_model_merged: "q4" });
  assert.throws(() => mixOf("web-pipeline", { vision_encoder: "fp16", decoder: "q4" }), {
    message: /encoder_model has no precision; give "encoder_model=" or "encoder="/,
  });
  assert.equal(isExact("mixed", { layout: "web-llava", mix }), false);
  assert.equal(
    isExact("mixed", { layout: "parts", mix: mixOf("parts", { encoder: "fp16", decoder: "fp32" }) }),
    true,
  );
  const source = await open(LLAMA);
  const texts = onnxTexts("web-llava", source, { dtypes: [], mix, externalFiles: {} });
  const config = JSON.parse(texts.get("config.json")!);
  assert.deepEqual(config["transformers.js_config"].dtype, mix);
  assert.deepEqual(config["transformers.js_config"].device_config.webgpu.dtype, mix);
  assert.deepEqual(config.captioner_onnx.mix, mix);
  const own = parseOnnxFolder(new JsonConfig(config, "config.json"));
  assert.deepEqual(onnxVariants(own), ["mixed"]);
  const bytes = Object.fromEntries(onnxComponents("web-llava").map((component) => [component, 1e6]));
  const text = onnxReadme("web-llava", source, [{ dtype: "mixed", bytes, parity: undefined }], mix);
  assert.match(text, /dtype: \{"vision_encoder":"fp16","embed_tokens":"q8","decoder_model_merged":"q4"\}/);
  assert.match(text, /mixed has vision_encoder in fp16, embed_tokens in q8/);
});
