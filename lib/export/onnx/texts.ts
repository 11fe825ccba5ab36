/**
 * The files beside an exported captioner's graphs: configuration, tokenizer, image processor, generation.
 *
 * @module
 */

import { formatJson, type JsonObject, parseJsonObject } from "../../format/json.ts";
import { formatProcessorConfig, parseProcessorConfig } from "../../image/processor.ts";
import type { CaptionerSource } from "../../models/captioner_source.ts";
import {
  defaultVariant,
  formatOnnxFolder,
  type OnnxLayout,
  type OnnxPrecisions,
} from "../../models/onnx_layouts.ts";
import { formatPythonConfig } from "../../models/python_captioner.ts";
import { encoderFields, generationConfig, llavaFields, promptTexts } from "../merged_captioner.ts";

/** What the files say besides the captioner. */
export interface OnnxTextOptions extends OnnxPrecisions {
  /** Number of files of weights beside a graph, by the graph's file name; of those that have any. */
  externalFiles: Readonly<Record<string, number>>;
}

/**
 * The texts of a layout, by file name.
 *
 * @throws {RangeError} when the captioner has no tokenizer or image processor
 */
export function onnxTexts(
  layout: OnnxLayout,
  captioner: CaptionerSource,
  options: OnnxTextOptions,
): Map<string, string> {
  const needed = ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"];
  const missing = needed.find((file) => !captioner.texts.has(file));
  if (missing !== undefined) {
    throw new RangeError(
      `Cannot export "${captioner.name}": it has no "${missing}", which every layout needs`,
    );
  }
  const texts = TEXTS[layout](captioner, options);
  const json = texts.get("preprocessor_config.json")!;
  const settings = formatProcessorConfig(parseProcessorConfig(JSON.parse(json)));
  texts.set(
    "preprocessor_config.json",
    formatJson({ ...parseJsonObject(json, "preprocessor_config.json"), ...settings }),
  );
  return texts;
}

type MakeTexts = (captioner: CaptionerSource, options: OnnxTextOptions) => Map<string, string>;

const TEXTS: Record<OnnxLayout, MakeTexts> = {
  parts: (captioner, options) => {
    const texts = new Map(captioner.texts);
    const { settings, decoder } = captioner;
    const parts = { encoder: encoderFields(captioner), decoder: decoder.config.fields };
    // LoRA is folded into the graphs.
    const merged = { ...settings, lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] } };
    texts.set(
      "config.json",
      formatJson({ ...formatPythonConfig(merged, parts), ...own("parts", captioner, options) }),
    );
    texts.set("generation_config.json", formatJson(generationConfig(captioner)));
    return texts;
  },
  "web-llava": (captioner, options) => {
    const { texts, imageTokenId } = promptTexts(captioner, "llava", { mayGrow: true });
    texts.set(
      "config.json",
      formatJson({
        ...llavaFields(captioner, imageTokenId),
        "transformers.js_config": browserConfig(options),
        ...own("web-llava", captioner, options),
      }),
    );
    return withTokenizerClass(texts);
  },
  "web-pipeline": (captioner, options) => {
    const texts = new Map(captioner.texts);
    const { kvHeads, headDim } = captioner.config.decoder;
    const generation = generationConfig(captioner);
    const { bos_token_id, eos_token_id, pad_token_id } = generation;
    const end = Array.isArray(eos_token_id) ? eos_token_id[0]! : eos_token_id!;
    // Dropped by the graph, but the library must have one; and it fills rows of a batch that have ended.
    const ids = { decoder_start_token_id: bos_token_id ?? end, pad_token_id: pad_token_id ?? end };
    const { fields } = captioner.decoder.config;
    texts.set(
      "config.json",
      formatJson({
        model_type: "vision-encoder-decoder",
        architectures: ["VisionEncoderDecoderModel"],
        is_encoder_decoder: true,
        ...ids,
        eos_token_id: eos_token_id!,
        encoder: encoderFields(captioner),
        // transformers.js 3 takes the width of a cached head to be hidden_size / num_key_value_heads.
        decoder: {
          ...fields,
          is_decoder: true,
          ...("hidden_size" in fields ? { hidden_size: kvHeads * headDim } : {}),
        },
        "transformers.js_config": browserConfig(options),
        ...own("web-pipeline", captioner, options),
      }),
    );
    texts.set("generation_config.json", formatJson({ ...generation, ...ids }));
    // With a processor's name the library would look for a processor instead of an image processor.
    const { processor_class: _, ...processor } = parseJsonObject(
      texts.get("preprocessor_config.json")!,
      "preprocessor_config.json",
    );
    texts.set("preprocessor_config.json", formatJson(processor));
    return withTokenizerClass(texts);
  },
};

/** What transformers.js is told of the graphs. */
export function browserConfig({ externalFiles, ...precisions }: OnnxTextOptions): JsonObject {
  const { dtypes, mix } = precisions;
  // Of a mix it takes a precision for every component.
  const named = (device: "wasm" | "webgpu"): JsonObject[string] => {
    const variant = defaultVariant(device, precisions);
    return variant === "mixed" ? { ...mix } : variant;
  };
  return {
    dtype: named("wasm"),
    device_config: { webgpu: { dtype: named("webgpu") } },
    // transformers.js 3 does not look into the graph for it.
    ...(dtypes.includes("fp16") || Object.values(mix ?? {}).includes("fp16")
      ? { kv_cache_dtype: { fp16: "float16" } }
      : {}),
    ...(Object.keys(externalFiles).length === 0 ? {} : { use_external_data_format: { ...externalFiles } }),
  };
}

function withTokenizerClass(texts: Map<string, string>): Map<string, string> {
  const config = parseJsonObject(texts.get("tokenizer_config.json")!, "tokenizer_config.json");
  return texts.set(
    "tokenizer_config.json",
    formatJson({ tokenizer_class: "PreTrainedTokenizerFast", ...config }),
  );
}

function own(
  layout: OnnxLayout,
  { settings, config }: CaptionerSource,
  { dtypes, mix }: OnnxTextOptions,
): JsonObject {
  return formatOnnxFolder({
    layout,
    dtypes,
    ...(mix === undefined ? {} : { mix }),
    maxLength: settings.maxLength,
    encoder: settings.encoder.reference,
    decoder: settings.decoder.reference,
    hiddenSize: config.decoder.hiddenSize,
  });
}
