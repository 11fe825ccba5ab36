/**
 * Forms in which a captioner is written as ONNX: their components, and where the files lie.
 *
 * | layout         | components                                                         | run by |
 * | -------------- | ------------------------------------------------------------------ | ------ |
 * | `parts`        | vision_encoder, projection, prefix_init, language_model            | any ONNX runtime; the Python project's form |
 * | `web-llava`    | vision_encoder (with projection), embed_tokens, decoder_model_merged | transformers.js, `AutoModelForImageTextToText` |
 * | `web-pipeline` | encoder_model (with projection), decoder_model_merged              | transformers.js, `pipeline("image-to-text")` |
 *
 * @module
 */

/** Forms of export. */
export const ONNX_LAYOUTS = ["parts", "web-llava", "web-pipeline"] as const;
/** One of them. */
export type OnnxLayout = typeof ONNX_LAYOUTS[number];

/** Precisions of written graphs. */
export const ONNX_DTYPES = ["fp32", "fp16", "q8", "q4"] as const;
/** One of them. */
export type OnnxDtype = typeof ONNX_DTYPES[number];

/** Ends of file names by precision, as transformers.js looks for them. */
const SUFFIXES: Readonly<Record<OnnxDtype, string>> = {
  fp32: "",
  fp16: "_fp16",
  q8: "_quantized",
  q4: "_q4",
};

/** Files of components, without suffix and ending. */
const PATHS = {
  parts: {
    vision_encoder: "vision_encoder/model",
    projection: "projection",
    prefix_init: "prefix_init",
    language_model: "language_model/model",
  },
  "web-llava": {
    vision_encoder: "onnx/vision_encoder",
    embed_tokens: "onnx/embed_tokens",
    decoder_model_merged: "onnx/decoder_model_merged",
  },
  "web-pipeline": {
    encoder_model: "onnx/encoder_model",
    decoder_model_merged: "onnx/decoder_model_merged",
  },
} as const satisfies Record<OnnxLayout, Record<string, string>>;

/** Names of a layout's components. */
export type OnnxComponent<L extends OnnxLayout = OnnxLayout> = L extends OnnxLayout
  ? keyof typeof PATHS[L] & string
  : never;

/** A layout's components, in the order in which an image passes them. */
export function onnxComponents(layout: OnnxLayout): OnnxComponent[] {
  return Object.keys(PATHS[layout]) as OnnxComponent[];
}

/** Where a component lies in its layout's folder. */
export function onnxPath(layout: OnnxLayout, component: OnnxComponent, dtype: OnnxDtype): string {
  const path = (PATHS[layout] as Partial<Record<OnnxComponent, string>>)[component];
  if (path === undefined) {
    throw new RangeError(`Cannot find "${component}": "${layout}" has no such component`);
  }
  return `${path}${SUFFIXES[dtype]}.onnx`;
}
