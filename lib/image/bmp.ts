/**
 * Decodes uncompressed BMP files: 1, 4 and 8 bits with a palette, 16, 24 and 32 bits, bottom-up and top-down.
 *
 * Source: Microsoft, "Bitmap Storage" (BITMAPFILEHEADER, BITMAPINFOHEADER and its V4 and V5 successors)
 *
 * @module
 */

import { checkImageSize, type RgbImage } from "./decode.ts";

const FILE_HEADER_BYTES = 14;
const BI_RGB = 0;
const BI_BITFIELDS = 3;
const BI_ALPHABITFIELDS = 6;

interface Layout {
  readonly width: number;
  readonly height: number;
  readonly topDown: boolean;
  readonly bitsPerPixel: number;
  readonly pixelsAt: number;
  /** RGB of each palette entry, `[entries, 3]`; empty above 8 bits. */
  readonly palette: Uint8Array;
  /** Bit masks of red, green and blue; for 16 and 32 bits. */
  readonly masks: readonly [number, number, number];
}

/**
 * Pixels of a BMP file; alpha is dropped.
 *
 * @throws {SyntaxError} If the file is damaged, cut short, or of a kind that is not read (run-length coded, OS/2)
 * @throws {RangeError} If the picture is too large
 */
export function decodeBmp(bytes: Uint8Array): RgbImage {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const layout = readLayout(view);
  const { width, height, bitsPerPixel, pixelsAt } = layout;
  const rowBytes = Math.ceil((width * bitsPerPixel) / 32) * 4;
  if (pixelsAt + rowBytes * height > bytes.length) {
    throw new SyntaxError(
      `Cannot decode BMP: the file ends after ${bytes.length} bytes, expected ${
        pixelsAt + rowBytes * height
      }`,
    );
  }
  const data = new Uint8Array(width * height * 3);
  const readPixel = pixelReader(view, layout);
  for (let y = 0; y < height; y++) {
    const row = pixelsAt + rowBytes * (layout.topDown ? y : height - 1 - y);
    for (let x = 0; x < width; x++) readPixel(row, x, data, (y * width + x) * 3);
  }
  return { width, height, data };
}

/** A BMP file of 24 bits, bottom-up: the plainest file that every decoder reads. */
export function encodeBmp({ width, height, data }: RgbImage): Uint8Array<ArrayBuffer> {
  const rowBytes = Math.ceil(width * 3 / 4) * 4;
  const pixelsAt = FILE_HEADER_BYTES + 40;
  const bytes = new Uint8Array(pixelsAt + rowBytes * height);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, 0x424d); // "BM"
  view.setUint32(2, bytes.length, true);
  view.setUint32(10, pixelsAt, true);
  view.setUint32(14, 40, true); // BITMAPINFOHEADER
  view.setInt32(18, width, true);
  view.setInt32(22, height, true);
  view.setUint16(26, 1, true); // planes
  view.setUint16(28, 24, true);
  for (let y = 0; y < height; y++) {
    const row = pixelsAt + (height - 1 - y) * rowBytes;
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++) bytes[row + x * 3 + 2 - c] = data[(y * width + x) * 3 + c]!;
    }
  }
  return bytes;
}

function readLayout(view: DataView): Layout {
  if (view.byteLength < FILE_HEADER_BYTES + 40) {
    throw new SyntaxError(`Cannot decode BMP: the file ends in its header, after ${view.byteLength} bytes`);
  }
  const headerBytes = view.getUint32(FILE_HEADER_BYTES, true);
  if (headerBytes < 40 || headerBytes > 124) {
    throw new SyntaxError(`Cannot decode BMP: header of ${headerBytes} bytes, expected 40 to 124`);
  }
  const width = view.getInt32(18, true);
  const signedHeight = view.getInt32(22, true);
  checkImageSize(width, Math.abs(signedHeight));
  const bitsPerPixel = view.getUint16(28, true);
  const compression = view.getUint32(30, true);
  const masked = compression === BI_BITFIELDS || compression === BI_ALPHABITFIELDS;
  if (
    ![1, 4, 8, 16, 24, 32].includes(bitsPerPixel) || (masked && bitsPerPixel !== 16 && bitsPerPixel !== 32)
  ) {
    throw new SyntaxError(`Cannot decode BMP: ${bitsPerPixel} bits a pixel with compression ${compression}`);
  }
  if (compression !== BI_RGB && !masked) {
    throw new SyntaxError(
      `Cannot decode BMP: compression ${compression}, expected an uncompressed file; save it as PNG`,
    );
  }
  return {
    width,
    height: Math.abs(signedHeight),
    topDown: signedHeight < 0,
    bitsPerPixel,
    pixelsAt: view.getUint32(10, true),
    palette: readPalette(view, headerBytes, bitsPerPixel),
    masks: masked ? readMasks(view) : bitsPerPixel === 16 ? [0x7c00, 0x3e0, 0x1f] : [0xff0000, 0xff00, 0xff],
  };
}

function readPalette(view: DataView, headerBytes: number, bitsPerPixel: number): Uint8Array {
  if (bitsPerPixel > 8) return new Uint8Array(0);
  const count = view.getUint32(46, true) || 2 ** bitsPerPixel;
  const start = FILE_HEADER_BYTES + headerBytes;
  if (count > 2 ** bitsPerPixel || start + count * 4 > view.byteLength) {
    throw new SyntaxError(
      `Cannot decode BMP: a palette of ${count} colours does not fit ${bitsPerPixel} bits or the file`,
    );
  }
  // Stored blue, green, red, unused.
  return Uint8Array.from(
    { length: count * 3 },
    (_, i) => view.getUint8(start + 4 * Math.floor(i / 3) + 2 - (i % 3)),
  );
}

function readMasks(view: DataView): [number, number, number] {
  const at = FILE_HEADER_BYTES + 40;
  if (at + 12 > view.byteLength) {
    throw new SyntaxError("Cannot decode BMP: the file ends before its colour masks");
  }
  const masks: [number, number, number] = [
    view.getUint32(at, true),
    view.getUint32(at + 4, true),
    view.getUint32(at + 8, true),
  ];
  for (const mask of masks) {
    const bits = mask / lowestBit(mask);
    if (mask === 0 || (bits & (bits + 1)) !== 0) {
      throw new SyntaxError(`Cannot decode BMP: colour mask 0x${mask.toString(16)} is not one run of bits`);
    }
  }
  return masks;
}

type PixelReader = (row: number, x: number, target: Uint8Array, at: number) => void;

function pixelReader(view: DataView, { bitsPerPixel, palette, masks }: Layout): PixelReader {
  if (bitsPerPixel <= 8) {
    const perByte = 8 / bitsPerPixel;
    return (row, x, target, at) => {
      const shift = 8 - bitsPerPixel * (1 + (x % perByte));
      const entry = (view.getUint8(row + Math.floor(x / perByte)) >> shift) & (2 ** bitsPerPixel - 1);
      if (entry * 3 >= palette.length) {
        throw new SyntaxError(
          `Cannot decode BMP: pixel of colour ${entry}, the palette has ${palette.length / 3}`,
        );
      }
      target.set(palette.subarray(entry * 3, entry * 3 + 3), at);
    };
  }
  if (bitsPerPixel === 24) {
    return (row, x, target, at) => {
      for (let c = 0; c < 3; c++) target[at + c] = view.getUint8(row + x * 3 + 2 - c);
    };
  }
  const channels = masks.map((mask) => ({ mask, unit: lowestBit(mask), top: mask / lowestBit(mask) }));
  return (row, x, target, at) => {
    const pixel = bitsPerPixel === 16 ? view.getUint16(row + x * 2, true) : view.getUint32(row + x * 4, true);
    channels.forEach(({ mask, unit, top }, c) => {
      target[at + c] = Math.round((((pixel & mask) >>> 0) / unit) * (255 / top));
    });
  };
}

/** Value of the lowest set bit; 1 for 0. */
function lowestBit(mask: number): number {
  return ((mask & -mask) >>> 0) || 1;
}
