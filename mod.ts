/**
 * Captions for images (alt text), fine-tuned and run with hand-written WGSL kernels on WebGPU: no Python, no CUDA.
 *
 * ```ts
 * import { Captioner } from "./mod.ts";
 *
 * using captioner = await Captioner.load("embedded:captioner");
 * const { caption } = await captioner.caption(await Deno.readFile("data/sample/test/0000.png"));
 * console.log(caption);
 * ```
 *
 * From the command line: `deno run -A mod.ts caption img.jpg`.
 *
 * @module
 */

export {
  type Caption,
  Captioner,
  type CaptionerLoadOptions,
  type CaptionOptions,
  type PreparedImage,
} from "./lib/host/captioner.ts";
export { ImageCaptioner, type TextScore } from "./lib/generate/caption_images.ts";
export type { Confidence } from "./lib/generate/confidence.ts";
export { type Calibration, reasonToAbstain, type Thresholds } from "./lib/models/calibration.ts";
export { openCalibration } from "./lib/host/calibration.ts";
export { OnnxCaptioner, type OnnxCaptionerOptions } from "./lib/generate/onnx_captioner.ts";
export { loadOnnxCaptioner } from "./lib/host/runtimes.ts";
export type { ByteSource, FileFolder } from "./lib/format/byte_source.ts";
export type { ImageDecoder, RgbImage } from "./lib/image/decode.ts";
export type { OnnxProvider } from "./lib/generate/onnxruntime.ts";
export type { OnnxDtype, OnnxVariant } from "./lib/models/onnx_layouts.ts";
export { DeviceError, type Gpu, NoAdapterError, openGpu, type OpenGpuOptions } from "./lib/gpu/device.ts";
export {
  findProtectedTerms,
  type FindTermsOptions,
  PROTECTED_CATEGORIES,
  type ProtectedCategory,
  type ProtectedMatch,
} from "./lib/quality/protected_terms.ts";
export { type NeutralCaption, neutralizeCaption } from "./lib/quality/neutralize.ts";
export { UserError } from "./lib/base/errors.ts";

if (import.meta.main) {
  const { runCommandLine } = await import("./lib/host/command_line.ts");
  await runCommandLine();
}
