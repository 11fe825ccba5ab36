/**
 * Pixels of a picture as the browser decodes it, as the model is used to them: upright, without colour management. They are resized by
 * lib/image, since canvases resize in another way.
 *
 * @module
 */

import { checkImageSize, type RgbImage } from "../lib/image/decode.ts";

/**
 * Decodes any format that the browser knows. Opaque pictures come exactly; where one is translucent, a canvas rounds its colours.
 *
 * @throws {SyntaxError} for what is no picture, or a damaged one
 * @throws {RangeError} for a picture beyond the limits
 */
export async function decodePicture(bytes: Uint8Array): Promise<RgbImage> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([bytes as Uint8Array<ArrayBuffer>]), {
      colorSpaceConversion: "none",
      premultiplyAlpha: "none",
      imageOrientation: "from-image",
    });
  } catch (cause) {
    throw new SyntaxError("Cannot read the file: it is damaged, or no picture that this browser knows", {
      cause,
    });
  }
  const { width, height } = bitmap;
  try {
    checkImageSize(width, height);
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true })!;
    context.drawImage(bitmap, 0, 0);
    return { width, height, data: withoutAlpha(context.getImageData(0, 0, width, height).data) };
  } finally {
    bitmap.close();
  }
}

function withoutAlpha(rgba: Uint8ClampedArray): Uint8Array {
  const rgb = new Uint8Array(rgba.length / 4 * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4) {
    rgb[to++] = rgba[from]!;
    rgb[to++] = rgba[from + 1]!;
    rgb[to++] = rgba[from + 2]!;
  }
  return rgb;
}
