/**
 * Captions images with stock transformers.js and nothing of this project: prints one JSON object an image.
 *
 * deno run -A --config tests/peers/transformers_js/deno.json tests/peers/transformers_js/caption.ts LAYOUT FOLDER DTYPE IMAGES
 */
import {
  AutoModelForImageTextToText,
  AutoProcessor,
  env,
  pipeline,
  RawImage,
} from "@huggingface/transformers";

const [layout, folder, dtype, ...images] = Deno.args as [string, string, "fp32", ...string[]];
/** Nothing leaves it to the folder's `config.json`. */
const options = dtype as string === "as-configured" ? {} : { dtype };
env.allowRemoteModels = false;
env.localModelPath = "/";

if (layout === "web-llava") {
  const processor = await AutoProcessor.from_pretrained(folder);
  const model = await AutoModelForImageTextToText.from_pretrained(folder, options);
  for (const image of images) {
    const inputs = await processor(await RawImage.read(image), "<image>", { add_special_tokens: false });
    const prompt = inputs.input_ids.dims[1];
    const out = (await model.generate(inputs)) as { tolist(): bigint[][] };
    const [caption] = processor.batch_decode(out as never, { skip_special_tokens: true });
    console.log(
      JSON.stringify({ caption: caption!.trim(), ids: out.tolist()[0]!.slice(prompt).map(Number) }),
    );
  }
} else {
  const caption = await pipeline("image-to-text", folder, options);
  for (const image of images) {
    const [found] = await caption(image) as { generated_text: string }[];
    console.log(JSON.stringify({ caption: found!.generated_text.trim() }));
  }
}
// onnxruntime-node keeps threads that would hold the process.
Deno.exit();
