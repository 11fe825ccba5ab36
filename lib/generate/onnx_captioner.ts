/**
 * An exported captioner in one object, run by onnxruntime: the same searches as the kernels' `Captioner`.
 *
 * @module
 */

import type { FileFolder } from "../format/byte_source.ts";
import { openConfig } from "../format/json_config.ts";
import type { ImageDecoder } from "../image/decode.ts";
import {
  defaultVariant,
  onnxComponents,
  type OnnxLayout,
  type OnnxVariant,
  onnxVariants,
  parseOnnxFolder,
} from "../models/onnx_layouts.ts";
import { parseProcessor, readModelText } from "../models/model_texts.ts";
import { EMBEDDED_ENCODER } from "../models/presets.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { type CaptionOptions, type CaptionParts, ImageCaptioner, searchSize } from "./caption_images.ts";
import type { TeacherForcing } from "./confidence.ts";
import { OnnxForcing } from "./onnx_forcing.ts";
import { OnnxFolderSessions } from "./onnx_sessions.ts";
import { OnnxStepper } from "./onnx_stepper.ts";
import {
  type InferenceSession,
  type OnnxProvider,
  type OnnxRuntime,
  openOnnxRuntime,
} from "./onnxruntime.ts";

/** Options of {@linkcode OnnxCaptioner.load}. */
export interface OnnxCaptionerOptions {
  /** Where graphs run. */
  provider: OnnxProvider;
  /** Reads the files of images. */
  decode: ImageDecoder;
  /** Precision. @default {eight bits on wasm, four on WebGPU, else what there is} */
  dtype?: OnnxVariant;
  /** Closes graphs that are not needed together: slower, but large captioners fit. @default {false} */
  oneStage?: boolean;
  /** onnxruntime's WebAssembly. @default {found beside its script} */
  wasmBinary?: Uint8Array;
}

/** An exported captioner. */
export class OnnxCaptioner extends ImageCaptioner {
  /** Precision of its graphs. */
  readonly dtype: OnnxVariant;
  readonly #runtime: OnnxRuntime;
  readonly #layout: OnnxLayout;
  readonly #sessions: OnnxFolderSessions;
  readonly #parts: CaptionParts;

  private constructor(
    runtime: OnnxRuntime,
    parts: { layout: OnnxLayout; dtype: OnnxVariant; sessions: OnnxFolderSessions; caption: CaptionParts },
  ) {
    super(parts.caption, 1);
    this.#runtime = runtime;
    this.#layout = parts.layout;
    this.dtype = parts.dtype;
    this.#sessions = parts.sessions;
    this.#parts = parts.caption;
  }

  /**
   * Loads a folder of `deno task export`.
   *
   * @throws {RangeError | SyntaxError | TypeError | UserError} when a file is missing or damaged, or the precision was not exported
   */
  static async load(folder: FileFolder, options: OnnxCaptionerOptions): Promise<OnnxCaptioner> {
    const config = await openConfig(folder);
    const own = parseOnnxFolder(config);
    const { layout, maxLength, encoder } = own;
    const dtype = options.dtype ?? defaultVariant(options.provider, own);
    const variants = onnxVariants(own);
    if (!variants.includes(dtype)) {
      throw new RangeError(
        `Cannot run "${folder.name}" in ${dtype}: it was exported in ${variants.join(", ")}`,
      );
    }
    const preprocessor = await readModelText(folder, "preprocessor_config.json");
    const texts = await readOnnxTexts(folder);
    const runtime = await openOnnxRuntime(options.provider, options);
    const sessions = await OnnxFolderSessions.find(runtime, folder, {
      layout,
      dtype,
      ...(own.mix === undefined ? {} : { mix: own.mix }),
      ...(options.oneStage === undefined ? {} : { oneStage: options.oneStage }),
    });
    const image = imageOf(await sessions.get(onnxComponents(layout)[0]!));
    return new OnnxCaptioner(runtime, {
      layout,
      dtype,
      sessions,
      caption: {
        decode: options.decode,
        ...texts,
        processor: parseProcessor(preprocessor, { imageSize: image.size }),
        image,
        maxLength,
        drawnOnly: encoder === EMBEDDED_ENCODER,
      },
    });
  }

  /** @ignore The base class's business. */
  protected override stepperFor(batchSize: number, options: CaptionOptions): Promise<OnnxStepper> {
    const { eosIds, image } = this.#parts;
    const { numBeams, maxNewTokens } = searchSize(this.#parts, options);
    const stepper = new OnnxStepper(this.#runtime, {
      layout: this.#layout,
      sessions: this.#sessions,
      batchSize,
      numBeams,
      maxNewTokens,
      candidates: numBeams === 1 ? 1 : (1 + eosIds.length) * numBeams,
      image,
    });
    return Promise.resolve(stepper);
  }

  /** @ignore The base class's business. */
  protected override async openForcing(): Promise<TeacherForcing> {
    const stepper = await this.stepperFor(1, { numBeams: 1 });
    return new OnnxForcing(stepper);
  }

  /** Frees the graphs. */
  override [Symbol.dispose](): void {
    void this.#sessions.release();
  }
}

/** Tokenizer of an exported folder, and the tokens that end its captions. */
export async function readOnnxTexts(folder: FileFolder): Promise<Pick<CaptionParts, "tokenizer" | "eosIds">> {
  const [tokenizer, tokenizerConfig] = [
    await readModelText(folder, "tokenizer.json"),
    await readModelText(folder, "tokenizer_config.json"),
  ];
  const ends = (await openConfig(folder, "generation_config.json")).fields["eos_token_id"];
  return {
    // Not held against the decoder's vocabulary: an image token may lie behind it.
    tokenizer: loadTokenizer(JSON.parse(tokenizer.text), JSON.parse(tokenizerConfig.text)),
    eosIds: [ends].flat() as number[],
  };
}

/** What a layout's first graph takes: pixel_values [batch_size, channels, size, size]. */
export function imageOf({ inputMetadata }: InferenceSession): CaptionParts["image"] {
  const input = inputMetadata.find(({ name }) => name === "pixel_values");
  const [, channels, size] = input?.isTensor ? input.shape : [];
  if (typeof channels !== "number" || typeof size !== "number") {
    throw new TypeError("Cannot run the vision graph: it declares no size of pixel_values");
  }
  return { channels, size };
}
