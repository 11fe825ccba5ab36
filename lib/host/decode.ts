/**
 * Decodes image files with sharp (libvips), to the pixels that PIL gives.
 *
 * @module
 */

import { decodeBmp } from "../image/bmp.ts";
import { checkImageSize, identifyImage, MAX_PIXELS, type RgbImage } from "../image/decode.ts";
import { type Metadata, sharp } from "./sharp.ts";

/**
 * Decodes JPEG, PNG, WebP, GIF (first frame), TIFF, AVIF and BMP; the content decides, never the name.
 *
 * Upright by EXIF, alpha dropped, colour profiles ignored, CMYK converted by PIL's simple formula, 16-bit grey scaled by 1/257.
 * An `ImageDecoder` (`lib/image/decode.ts`).
 *
 * @throws {SyntaxError} If the bytes are empty, no known image, or a damaged or truncated one
 * @throws {RangeError} If the picture has a side of more than 30,000 pixels or more than 100 megapixels
 */
export async function decodeImage(bytes: Uint8Array): Promise<RgbImage> {
  if (bytes.length === 0) throw new SyntaxError("Cannot decode image: the file is empty");
  const format = identifyImage(bytes);
  if (format === undefined) {
    const start = Array.from(bytes.subarray(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    throw new SyntaxError(
      `Cannot decode image: unknown content (starts with ${start}), expected JPEG, PNG, WebP, GIF, TIFF, AVIF or BMP`,
    );
  }
  if (format === "bmp") return decodeBmp(bytes);
  const metadata = await asSyntaxError(format, () => open(bytes).metadata());
  checkImageSize(metadata.width, metadata.height);
  return await asSyntaxError(format, () => decodePixels(bytes, metadata));
}

function open(bytes: Uint8Array) {
  return sharp(bytes, { ignoreIcc: true, autoOrient: true, failOn: "error", limitInputPixels: MAX_PIXELS });
}

async function decodePixels(bytes: Uint8Array, metadata: Metadata): Promise<RgbImage> {
  if (metadata.space === "cmyk") return await decodeCmyk(bytes);
  if (metadata.space === "grey16") return await decodeGrey16(bytes);
  const { data, info } = await open(bytes).toColourspace("srgb").removeAlpha().raw().toBuffer({
    resolveWithObject: true,
  });
  if (info.channels !== 3) throw new Error(`decoded to ${info.channels} channels, expected 3`);
  return { width: info.width, height: info.height, data: new Uint8Array(data) };
}

/** Every ink takes its share of what black leaves, as PIL converts CMYK to RGB (`Convert.c`). */
async function decodeCmyk(bytes: Uint8Array): Promise<RgbImage> {
  const { data, info } = await open(bytes).pipelineColourspace("cmyk").toColourspace("cmyk").raw().toBuffer({
    resolveWithObject: true,
  });
  if (info.channels !== 4) throw new Error(`decoded to ${info.channels} channels, expected 4`);
  const area = info.width * info.height;
  const rgb = new Uint8Array(area * 3);
  for (let i = 0; i < area; i++) {
    const light = 255 - data[i * 4 + 3]!;
    for (let c = 0; c < 3; c++) rgb[i * 3 + c] = light - divideBy255(data[i * 4 + c]! * light);
  }
  return { width: info.width, height: info.height, data: rgb };
}

async function decodeGrey16(bytes: Uint8Array): Promise<RgbImage> {
  const { data, info } = await open(bytes).removeAlpha().toColourspace("grey16").raw({ depth: "ushort" })
    .toBuffer({
      resolveWithObject: true,
    });
  const area = info.width * info.height;
  if (data.length !== area * 2) throw new Error(`decoded to ${data.length} bytes, expected ${area * 2}`);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const rgb = new Uint8Array(area * 3);
  for (let i = 0; i < area; i++) rgb.fill(Math.round(view.getUint16(i * 2, true) / 257), i * 3, i * 3 + 3);
  return { width: info.width, height: info.height, data: rgb };
}

/** Rounded value / 255 for products of two bytes. */
function divideBy255(value: number): number {
  const shifted = value + 128;
  return ((shifted >> 8) + shifted) >> 8;
}

async function asSyntaxError<T>(format: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    const reason = (cause instanceof Error ? cause.message : String(cause)).trim().replaceAll("\n", "; ");
    if (/pixel limit|too large/i.test(reason)) {
      throw new RangeError(`Cannot decode ${format} image: more than ${MAX_PIXELS / 1e6} megapixels`, {
        cause,
      });
    }
    throw new SyntaxError(`Cannot decode ${format} image: ${reason}`, { cause });
  }
}
