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

import type { JsonObject } from "../format/json.ts";
import type { JsonConfig } from "../format/json_config.ts";

/** Forms of export. */
export const ONNX_LAYOUTS = ["parts", "web-llava", "web-pipeline"] as const;
/** One of them. */
export type OnnxLayout = typeof ONNX_LAYOUTS[number];

/** Precision of written graphs. */
export type OnnxDtype = "fp32" | "fp16" | "q8" | "q4";
/** All of them. */
export const ONNX_DTYPES: readonly OnnxDtype[] = ["fp32", "fp16", "q8", "q4"];

/** A precision of a whole captioner: one for all components, or one for each. */
export type OnnxVariant = OnnxDtype | "mixed";
/** All of them. */
export const ONNX_VARIANTS: readonly OnnxVariant[] = [...ONNX_DTYPES, "mixed"];
/** Precisions by component. */
export type OnnxMix = Readonly<Partial<Record<OnnxComponent, OnnxDtype>>>;

/** A component's precision in a variant. @throws {RangeError} when the mix has none for it */
export function dtypeOf(variant: OnnxVariant, component: OnnxComponent, mix: OnnxMix = {}): OnnxDtype {
  const dtype = variant === "mixed" ? mix[component] : variant;
  if (dtype === undefined) {
    throw new RangeError(`Cannot find "${component}" in a mix of precisions: it has none`);
  }
  return dtype;
}

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

/** Components that are needed at the same time: for the image, for the first token, for every further one. */
const STAGES: { [L in OnnxLayout]: readonly (readonly OnnxComponent<L>[])[] } = {
  parts: [["vision_encoder", "projection"], ["prefix_init"], ["language_model"]],
  "web-llava": [["vision_encoder"], ["embed_tokens", "decoder_model_merged"]],
  "web-pipeline": [["encoder_model"], ["decoder_model_merged"]],
};

/** Components of a layout that are needed together with one. */
export function onnxStage(layout: OnnxLayout, component: OnnxComponent): readonly OnnxComponent[] {
  const stages: readonly (readonly OnnxComponent[])[] = STAGES[layout];
  return stages.find((stage) => stage.includes(component)) ?? [];
}

/** What precisions of a mix may be given for: one component, or all that see the image, or all that see text. */
export const MIX_NAMES: readonly string[] = [
  "encoder",
  "decoder",
  ...new Set(ONNX_LAYOUTS.flatMap((layout) => onnxComponents(layout))),
];

const ENCODER: ReadonlySet<OnnxComponent> = new Set(["vision_encoder", "projection", "encoder_model"]);

/**
 * A layout's mix.
 *
 * @param given precisions by names of {@linkcode MIX_NAMES}; a component's own counts before its half's
 * @throws {RangeError} when a component has none
 */
export function mixOf(layout: OnnxLayout, given: Readonly<Record<string, OnnxDtype>>): OnnxMix {
  return Object.fromEntries(
    onnxComponents(layout).map((component) => {
      const half = ENCODER.has(component) ? "encoder" : "decoder";
      const dtype = given[component] ?? given[half];
      if (dtype === undefined) {
        throw new RangeError(
          `Cannot write ${layout}: its ${component} has no precision; give "${component}=" or "${half}=" one`,
        );
      }
      return [component, dtype];
    }),
  );
}

/** Where a component lies in its layout's folder. */
export function onnxPath(layout: OnnxLayout, component: OnnxComponent, dtype: OnnxDtype): string {
  const path = (PATHS[layout] as Partial<Record<OnnxComponent, string>>)[component];
  if (path === undefined) {
    throw new RangeError(`Cannot find "${component}": "${layout}" has no such component`);
  }
  return `${path}${SUFFIXES[dtype]}.onnx`;
}

/** What this program writes of an exported folder into its `config.json`. */
export interface OnnxFolderConfig {
  layout: OnnxLayout;
  /** Precisions in which every component is there. */
  dtypes: readonly OnnxDtype[];
  /** Components' own precisions, where the folder was written with a mix. */
  mix?: OnnxMix;
  /** Most tokens of a caption in training. */
  maxLength: number;
  /** Where the encoder came from. */
  encoder: string;
  /** Where the decoder came from; absent in folders of older versions. */
  decoder?: string;
  /** D: the layout's own `hidden_size` may be what transformers.js wants it to be. Absent in folders of older versions. */
  hiddenSize?: number;
}

/** Its key there. */
const OWN_KEY = "captioner_onnx";

/** Whether a `config.json` is of an exported folder. */
export function isOnnxFolder(json: JsonConfig): boolean {
  return json.has(OWN_KEY);
}

/** As a part of `config.json`. */
export function formatOnnxFolder(
  { layout, dtypes, mix, maxLength, encoder, decoder, hiddenSize }: OnnxFolderConfig,
): JsonObject {
  return {
    [OWN_KEY]: {
      layout,
      dtypes: [...dtypes],
      ...(mix === undefined ? {} : { mix: { ...mix } }),
      max_length: maxLength,
      encoder,
      ...(decoder === undefined ? {} : { decoder }),
      ...(hiddenSize === undefined ? {} : { hidden_size: hiddenSize }),
    },
  };
}

/** Reads it. @throws {RangeError | TypeError} If a key is missing or has another value than this program writes */
export function parseOnnxFolder(json: JsonConfig): OnnxFolderConfig {
  const own = json.object(OWN_KEY);
  const layout = own.choice("layout", ONNX_LAYOUTS);
  const mixed = own.optionalObject("mix");
  const mix = mixed && Object.fromEntries(
    onnxComponents(layout).map((component) => [component, mixed.choice(component, ONNX_DTYPES)]),
  );
  const found = own.strings("dtypes");
  const dtypes = ONNX_DTYPES.filter((dtype) => found.includes(dtype));
  if (dtypes.length === 0 && mix === undefined || dtypes.length < found.length) {
    throw new RangeError(
      `Cannot use "${json.name}": "dtypes" is ${JSON.stringify(found)}, expected some of ${
        ONNX_DTYPES.join(", ")
      }`,
    );
  }
  const [decoder, hiddenSize] = [own.optionalString("decoder"), own.optionalInteger("hidden_size")];
  return {
    layout,
    dtypes,
    ...(mix === undefined ? {} : { mix }),
    maxLength: own.integer("max_length"),
    encoder: own.string("encoder"),
    ...(decoder === undefined ? {} : { decoder }),
    ...(hiddenSize === undefined ? {} : { hiddenSize }),
  };
}

/** Precisions by how well they suit a device: eight bits run fastest on a processor, four on a GPU. */
const PREFERRED = {
  wasm: ["q8", "fp32", "q4", "fp16"],
  webgpu: ["q4", "fp16", "fp32", "q8"],
} as const satisfies Record<string, readonly OnnxDtype[]>;

/** What a folder holds. */
export type OnnxPrecisions = Pick<OnnxFolderConfig, "dtypes" | "mix">;

/** The variants that a folder has. */
export function onnxVariants({ dtypes, mix }: OnnxPrecisions): OnnxVariant[] {
  return mix === undefined ? [...dtypes] : [...dtypes, "mixed"];
}

/** The variant that is taken on a device unless told: a mix where somebody made one. */
export function defaultVariant(device: keyof typeof PREFERRED, { dtypes, mix }: OnnxPrecisions): OnnxVariant {
  return mix === undefined ? PREFERRED[device].find((dtype) => dtypes.includes(dtype))! : "mixed";
}
