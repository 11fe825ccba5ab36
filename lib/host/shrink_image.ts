/**
 * Images made small enough to be sent.
 *
 * @module
 */

import { sharp } from "./sharp.ts";
import { MAX_PIXELS } from "../image/decode.ts";

/** Quality of JPEG files; finer detail than this is lost on a model that reads a few hundred pixels. */
const QUALITY = 85;

/**
 * A JPEG of an image, upright, without its metadata (where it was taken is nobody's business), its longer side at most `maxSidePx`.
 *
 * @throws {Error} If the bytes are no image that can be decoded
 */
export async function shrinkToJpeg(
  bytes: Uint8Array,
  maxSidePx: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const jpeg = await sharp(bytes, { failOn: "error", autoOrient: true, limitInputPixels: MAX_PIXELS })
    .resize(maxSidePx, maxSidePx, { fit: "inside", withoutEnlargement: true })
    .flatten({ background: "#ffffff" })
    .jpeg({ quality: QUALITY })
    .toBuffer();
  return new Uint8Array(jpeg);
}
