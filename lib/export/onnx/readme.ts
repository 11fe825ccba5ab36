/**
 * `README.md` of an exported folder: what it is, the lines that run it, sizes, and how close it is to the engine.
 *
 * @module
 */

import type { CaptionerConfig } from "../../models/captioner.ts";
import type { CaptionerFolderConfig } from "../../models/captioner_config.ts";
import { visionTokens } from "../../models/vision.ts";
import {
  defaultVariant,
  ONNX_DTYPES,
  onnxComponents,
  type OnnxLayout,
  type OnnxMix,
  onnxPath,
  type OnnxPrecisions,
  type OnnxVariant,
} from "../../models/onnx_layouts.ts";
import { IMAGE_TOKEN } from "../image_token.ts";
import { hubIds } from "../written_readme.ts";
import { type Parity, PARITY_HEADER, parityCells } from "./parity.ts";

/** What the text says of a captioner. */
export interface DescribedCaptioner {
  settings: Pick<CaptionerFolderConfig, "encoder" | "decoder" | "maxLength">;
  config: Pick<CaptionerConfig, "vision" | "decoder">;
}

/** What was written of a precision. */
export interface WrittenDtypeResult {
  dtype: OnnxVariant;
  /** Bytes of every component, weights beside it included. */
  bytes: Readonly<Record<string, number>>;
  /** `undefined` where nothing was compared. */
  parity: Parity | undefined;
}

const TITLES: Record<OnnxLayout, string> = {
  parts: "Captioner as four ONNX graphs",
  "web-llava": "Captioner for transformers.js",
  "web-pipeline": "Captioner for transformers.js' image-to-text pipeline",
};

/** The text. */
export function onnxReadme(
  layout: OnnxLayout,
  captioner: DescribedCaptioner,
  results: readonly WrittenDtypeResult[],
  mix?: OnnxMix,
): string {
  const { settings } = captioner;
  const bases = hubIds(settings);
  const dtypes = results.map(({ dtype }) => dtype);
  const precisions = { dtypes: ONNX_DTYPES.filter((dtype) => dtypes.includes(dtype)), ...(mix && { mix }) };
  const mixed = mix === undefined
    ? ""
    : ` mixed has ${Object.entries(mix).map(([component, dtype]) => `${component} in ${dtype}`).join(", ")}.`;
  return `---
library_name: ${layout === "parts" ? "onnx" : "transformers.js"}
pipeline_tag: image-to-text
tags: [image-captioning, alt-text, onnx]
${bases.length === 0 ? "" : `base_model: [${bases.join(", ")}]\nbase_model_relation: quantized\n`}---

# ${TITLES[layout]}

Encoder ${settings.encoder.reference}, decoder ${settings.decoder.reference}, LoRA folded in, captions of at most ${settings.maxLength} tokens.
${LINES[layout](captioner, precisions).trim()}

## Files

${table(["file", ...dtypes], sizeRows(layout, results))}

Sizes in MB. fp16 halves weights, attention and MLP; q8 has int8 weights and rounds inputs to uint8 by their range; q4 has blocks of 32
four-bit weights.${mixed}${
    layout === "parts"
      ? ""
      : ` Unless told, browsers take ${defaultVariant("wasm", precisions)}, and ${
        defaultVariant("webgpu", precisions)
      } with \`device: "webgpu"\`.`
  }

## Checked

${parityText(results)}
`;
}

function sizeRows(layout: OnnxLayout, results: readonly WrittenDtypeResult[]): string[][] {
  return onnxComponents(layout).map((component) => [
    `\`${onnxPath(layout, component, "fp32")}\``,
    ...results.map(({ bytes }) => (bytes[component]! / 1e6).toFixed(2)),
  ]);
}

function parityText(results: readonly WrittenDtypeResult[]): string {
  const compared = results.filter(({ parity }) => parity !== undefined);
  if (compared.length === 0) return "Nothing was compared when this folder was written.";
  const rows = compared.map(({ dtype, parity }) => [dtype, ...parityCells(parity!)]);
  return `Greedy captions by onnxruntime-web beside the engine's that trained the model, on ${
    compared[0]!.parity!.images
  } images:

${table(["precision", ...PARITY_HEADER], rows)}`;
}

function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [header, header.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** What transformers.js is told: a precision, or one of each component. */
function loadOptions(precisions: OnnxPrecisions): string {
  const variant = defaultVariant("wasm", precisions);
  return `{ dtype: ${JSON.stringify(variant === "mixed" ? precisions.mix : variant)} }`;
}

const LINES: Record<OnnxLayout, (captioner: DescribedCaptioner, precisions: OnnxPrecisions) => string> = {
  parts: ({ config: { decoder, vision }, settings }) => `
Four graphs for any ONNX runtime. Pictures are resized and normalised as \`preprocessor_config.json\` says.

1. \`vision_encoder/model.onnx\`: pixel_values [B, 3, ${vision.imageSize}, ${vision.imageSize}] to last_hidden_state [B, ${
    visionTokens(vision)
  }, ${vision.hiddenSize}]
2. \`projection.onnx\`: vision_hidden_states to projected_prefix [B, ${
    visionTokens(vision)
  }, ${decoder.hiddenSize}]
3. \`prefix_init.onnx\`: prefix_embeddings and input_ids int64 [B, 0] to logits and present.N.key, present.N.value; the last row of
   logits predicts the first token
4. \`language_model/model.onnx\`, for every further token: input_ids [B, 1], attention_mask of ones [B, past + 1], position_ids [[past]],
   past_key_values.N.key and .value to logits and present.N.key, .value

\`\`\`python
import numpy as np, onnxruntime as ort
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer

vision, projection, prefix_init, language_model = (
    ort.InferenceSession(f"{name}.onnx") for name in ("vision_encoder/model", "projection", "prefix_init", "language_model/model"))
tokenizer = AutoTokenizer.from_pretrained(".")
pixels = AutoImageProcessor.from_pretrained(".")(Image.open("image.jpg").convert("RGB"), return_tensors="np").pixel_values
(features,) = vision.run(None, {"pixel_values": pixels})
(prefix,) = projection.run(None, {"vision_hidden_states": features})
logits, *cache = prefix_init.run(None, {"prefix_embeddings": prefix, "input_ids": np.zeros((1, 0), np.int64)})
ids = []
while len(ids) < ${settings.maxLength} and (token := int(logits[0, -1].argmax())) != tokenizer.eos_token_id:
    ids.append(token)
    past = {f"past_key_values.{i // 2}.{'key' if i % 2 == 0 else 'value'}": one for i, one in enumerate(cache)}
    length = cache[0].shape[2]
    logits, *cache = language_model.run(None, {
        "input_ids": np.array([[token]]), "attention_mask": np.ones((1, length + 1), np.int64),
        "position_ids": np.array([[length]]), **past})
print(tokenizer.decode(ids).strip())
\`\`\``,
  "web-llava": (_, precisions) => `
\`\`\`js
import { AutoModelForImageTextToText, AutoProcessor, RawImage } from "@huggingface/transformers";
const processor = await AutoProcessor.from_pretrained("this-folder");
const model = await AutoModelForImageTextToText.from_pretrained("this-folder", ${loadOptions(precisions)});
const inputs = await processor(await RawImage.read("image.jpg"), "${IMAGE_TOKEN}", { add_special_tokens: false });
console.log(processor.batch_decode(await model.generate(inputs), { skip_special_tokens: true })[0].trim());
\`\`\`

The library searches greedily: \`num_beams\` has no effect. It resizes pictures in its own way, so that a caption may differ from the one
that this project gives for the same file.`,
  "web-pipeline": (_, precisions) => `
\`\`\`js
import { pipeline } from "@huggingface/transformers";
const caption = await pipeline("image-to-text", "this-folder", ${loadOptions(precisions)});
const [{ generated_text }] = await caption("image.jpg");
console.log(generated_text.trim());
\`\`\`

The folder calls itself a vision-encoder-decoder so that the pipeline takes it: its decoder graph puts the image's rows before the text
when it is first run, and drops the start token. Python cannot load it. The library resizes pictures in its own way, so that a caption may
differ from the one that this project gives for the same file.`,
};
