/**
 * What a decoded image is, what decodes one, and how a file's content tells its format.
 *
 * @module
 */

/** Pixels of a picture without alpha. */
export interface RgbImage {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Row-major `[height, width, 3]`, sRGB, 0 to 255. */
  readonly data: Uint8Array;
}

/**
 * Turns the bytes of an image file into pixels: upright (EXIF orientation applied), alpha dropped, colour profiles ignored, as the
 * Hugging Face image processors see them through PIL.
 *
 * Rejects with a `SyntaxError` for bytes that are no image or a damaged one, and with a `RangeError` for images beyond the limits.
 */
export type ImageDecoder = (bytes: Uint8Array) => Promise<RgbImage>;

/** Formats that {@linkcode identifyImage} knows. */
export type ImageFormat = "jpeg" | "png" | "webp" | "gif" | "bmp" | "tiff" | "avif";

/** Largest width or height that is decoded, pixels. */
export const MAX_SIDE_PX = 30_000;

/** Largest width x height that is decoded. */
export const MAX_PIXELS = 100_000_000;

const SIGNATURES: readonly (readonly [ImageFormat, offset: number, bytes: readonly number[]])[] = [
  ["jpeg", 0, [0xff, 0xd8, 0xff]],
  ["png", 0, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ["gif", 0, [0x47, 0x49, 0x46, 0x38]],
  ["bmp", 0, [0x42, 0x4d]],
  ["tiff", 0, [0x49, 0x49, 0x2a, 0x00]],
  ["tiff", 0, [0x4d, 0x4d, 0x00, 0x2a]],
  ["webp", 8, [0x57, 0x45, 0x42, 0x50]],
  ["avif", 4, [0x66, 0x74, 0x79, 0x70, 0x61, 0x76, 0x69]],
];

/** Format by the first bytes of a file; names and extensions are not asked. `undefined` for anything unknown. */
export function identifyImage(bytes: Uint8Array): ImageFormat | undefined {
  const found = SIGNATURES.find(([, offset, signature]) =>
    signature.every((byte, i) => bytes[offset + i] === byte)
  );
  return found?.[0];
}

/**
 * Refuses pictures that would not fit in memory, before anything is allocated for them.
 *
 * @throws {RangeError} If a side is 0 or beyond {@linkcode MAX_SIDE_PX}, or the area beyond {@linkcode MAX_PIXELS}
 */
export function checkImageSize(width: number, height: number): void {
  const sides = Number.isInteger(width) && Number.isInteger(height) && width >= 1 && height >= 1 &&
    Math.max(width, height) <= MAX_SIDE_PX;
  if (!sides || width * height > MAX_PIXELS) {
    throw new RangeError(
      `Cannot decode an image of ${width} x ${height} pixels: expected 1 to ${MAX_SIDE_PX} a side and at most ` +
        `${MAX_PIXELS / 1e6} megapixels; scale it down first`,
    );
  }
}
