/**
 * `README.md` of a folder that a captioner was written to: what it is, and the lines that run it.
 *
 * @module
 */

import type { CaptionerSource } from "../models/captioner_source.ts";
import { visionTokens } from "../models/vision.ts";
import { IMAGE_TOKEN } from "./image_token.ts";

/** Forms in which a captioner can be written. */
export const FORMS = ["decoder", "llava", "idefics3", "distilvit"] as const;
/** One of them. */
export type Form = typeof FORMS[number];

const TITLES: Record<Form, string> = {
  decoder: "Decoder of a captioner, LoRA folded in",
  llava: "Captioner as Llava",
  idefics3: "Captioner as Idefics3",
  distilvit: "Captioner for the Python project distilvit",
};

/** Base models that are on the Hub, by their ids. */
export function hubIds(
  { encoder, decoder }: Pick<CaptionerSource["settings"], "encoder" | "decoder">,
): string[] {
  return [encoder.reference, decoder.reference].filter((id) => /^[\w.-]+\/[\w.-]+$/.test(id));
}

/** The text. @param name the folder's own, used in the code */
export function writtenReadme(form: Form, captioner: CaptionerSource, notes: readonly string[]): string {
  const { settings } = captioner;
  const bases = hubIds(settings);
  return `---
library_name: transformers
pipeline_tag: ${form === "decoder" ? "text-generation" : "image-to-text"}
tags: [image-captioning, alt-text]
${bases.length === 0 ? "" : `base_model: [${bases.join(", ")}]\nbase_model_relation: merge\n`}---

# ${TITLES[form]}

Encoder ${settings.encoder.reference}, decoder ${settings.decoder.reference}, captions of at most ${settings.maxLength} tokens.
${notes.map((note) => `\n${note}\n`).join("")}
\`\`\`python
${CODE[form](captioner).trim()}
\`\`\`
`;
}

/** After the last encoder layer, which is where stock Llava takes its features. */
const HOOK = `
tower = model.vision_tower if hasattr(model, "vision_tower") else model.model.vision_tower
norm = tower.vision_model.post_layernorm
tower.vision_model.encoder.layers[-1].register_forward_hook(
    lambda module, inputs, output: (norm(output[0]),) + tuple(output[1:]) if isinstance(output, tuple) else norm(output)
)
`;

const CODE: Record<Form, (captioner: CaptionerSource) => string> = {
  decoder: () => `
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("this-folder")
tokenizer = AutoTokenizer.from_pretrained("this-folder")
`,
  llava: ({ config, settings }) => `
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, LlavaForConditionalGeneration

model = LlavaForConditionalGeneration.from_pretrained("this-folder")
${config.vision.family === "siglip" ? HOOK : ""}
tokenizer = AutoTokenizer.from_pretrained("this-folder")
pixels = AutoImageProcessor.from_pretrained("this-folder")(Image.open("image.jpg").convert("RGB"), return_tensors="pt")
ids = torch.full((1, ${visionTokens(config.vision)}), tokenizer.convert_tokens_to_ids("${IMAGE_TOKEN}"))
out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **pixels, num_beams=3, max_new_tokens=${settings.maxLength})
print(tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True).strip())
`,
  idefics3: ({ config, settings }) => `
import torch
from PIL import Image
from transformers import AutoTokenizer, Idefics3ForConditionalGeneration, SiglipImageProcessor

model = Idefics3ForConditionalGeneration.from_pretrained("this-folder")
tokenizer = AutoTokenizer.from_pretrained("this-folder")
pixels = SiglipImageProcessor.from_pretrained("this-folder")(Image.open("image.jpg").convert("RGB"), return_tensors="pt")
ids = torch.full((1, ${visionTokens(config.vision)}), tokenizer.convert_tokens_to_ids("${IMAGE_TOKEN}"))
out = model.generate(
    input_ids=ids, attention_mask=torch.ones_like(ids), pixel_values=pixels.pixel_values[:, None],
    num_beams=3, max_new_tokens=${settings.maxLength},
)
print(tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True).strip())
`,
  distilvit: () => `
from transformers import AutoModel, AutoModelForCausalLM
from distilvit.prefix_model import PrefixConditioningConfig, PrefixConditioningVLM

config = PrefixConditioningConfig.from_pretrained("this-folder")
# Both base models give the shapes; their weights come from the folder.
model = PrefixConditioningVLM.from_pretrained(
    "this-folder", config=config,
    vision_encoder=AutoModel.from_config(config.vision_config), language_model=AutoModelForCausalLM.from_config(config.text_config),
)
`,
};
