/**
 * An exported captioner in one object, run by onnxruntime: the same searches as the kernels' `Captioner`.
 *
 * @module
 */

import { OnnxStepper } from "../generate/onnx_stepper.ts";
import type { Stepper } from "../generate/stepper.ts";
import { type OnnxProvider, type OnnxRuntime, openOnnxRuntime } from "../generate/onnxruntime.ts";
import { openConfig } from "../models/model_source.ts";
import {
  defaultDtype,
  encoderKey,
  type OnnxDtype,
  type OnnxLayout,
  parseOnnxFolder,
} from "../models/onnx_layouts.ts";
import { parseVision } from "../models/vision.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { type CaptionOptions, type CaptionParts, ImageCaptioner, searchSize } from "./caption_images.ts";
import { openFileFolder } from "./files.ts";
import { EMBEDDED_ENCODER } from "./model_folders.ts";
import { parseProcessor, readModelText } from "./model_texts.ts";
import { OnnxFolderSessions } from "./onnx_sessions.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";

/** Options of {@linkcode OnnxCaptioner.load}. */
export interface OnnxCaptionerOptions {
  /** Where graphs run. */
  provider: OnnxProvider;
  /** Precision. @default {eight bits on wasm, four on WebGPU, else what there is} */
  dtype?: OnnxDtype;
}

/** An exported captioner. */
export class OnnxCaptioner extends ImageCaptioner {
  /** Precision of its graphs. */
  readonly dtype: OnnxDtype;
  readonly #runtime: OnnxRuntime;
  readonly #layout: OnnxLayout;
  readonly #sessions: OnnxFolderSessions;
  readonly #parts: CaptionParts;

  private constructor(
    runtime: OnnxRuntime,
    parts: { layout: OnnxLayout; dtype: OnnxDtype; sessions: OnnxFolderSessions; caption: CaptionParts },
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
  static async load(path: string, options: OnnxCaptionerOptions): Promise<OnnxCaptioner> {
    const folder = await openFileFolder(path);
    const config = await openConfig(folder);
    const { layout, dtypes, maxLength, encoder } = parseOnnxFolder(config);
    const dtype = options.dtype ?? defaultDtype(options.provider, dtypes);
    if (!dtypes.includes(dtype)) {
      throw new RangeError(`Cannot run "${path}" in ${dtype}: it was exported in ${dtypes.join(", ")}`);
    }
    const vision = parseVision(config.object(encoderKey(layout)));
    const [tokenizer, tokenizerConfig] = [
      await readModelText(folder, "tokenizer.json"),
      await readModelText(folder, "tokenizer_config.json"),
    ];
    const processor = parseProcessor(await readModelText(folder, "preprocessor_config.json"), vision);
    if (options.provider === "webgpu") prepareDriverEnvironment();
    const runtime = await openOnnxRuntime(options.provider);
    const sessions = await OnnxFolderSessions.find(runtime, { path, layout, dtype });
    const ends = (await openConfig(folder, "generation_config.json")).fields["eos_token_id"];
    return new OnnxCaptioner(runtime, {
      layout,
      dtype,
      sessions,
      caption: {
        // Not held against the decoder's vocabulary: an image token may lie behind it.
        tokenizer: loadTokenizer(JSON.parse(tokenizer.text), JSON.parse(tokenizerConfig.text)),
        processor,
        image: { channels: vision.channels, size: vision.imageSize },
        eosIds: [ends].flat() as number[],
        maxLength,
        drawnOnly: encoder === EMBEDDED_ENCODER,
      },
    });
  }

  /** @ignore The base class's business. */
  protected override stepperFor(batchSize: number, options: CaptionOptions): Promise<Stepper> {
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

  /** Frees the graphs. */
  override [Symbol.dispose](): void {
    void this.#sessions.release();
  }
}
