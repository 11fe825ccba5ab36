/**
 * What can be told of an image by its pixels alone: a perceptual hash and a tiny picture to compare it with others, and whether it is
 * blank, tiny, full of text, or a screenshot.
 *
 * Sources: Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010 (hash by cosine transform). The looks of
 * text and of screens are rules of this program, measured in `docs/dataset_quality.md`.
 *
 * @module
 */

import type { RgbImage } from "../image/decode.ts";

/** What can be wrong with an image, with a sentence for people. */
export const IMAGE_FLAGS = {
  broken: "cannot be read or decoded",
  blank: "one colour all over",
  tiny: "a side of fewer than 64 pixels",
  text: "mostly text, as a scanned page",
  screenshot: "a screenshot: text on flat areas",
} as const;

/** Name of a check. */
export type ImageFlag = keyof typeof IMAGE_FLAGS;

/** What is known of a decoded image. */
export interface ImageFacts {
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** Perceptual hash: 64 bits as 16 hexadecimal digits. */
  readonly hash: string;
  /** The picture in 4 x 4 cells: 48 bytes [row, column, RGB] as hexadecimal digits. */
  readonly thumb: string;
  /** What is wrong with it. */
  readonly flags: readonly ImageFlag[];
}

/** A shorter side has less detail than the smallest vision encoders see in one patch row. */
export const MIN_SIDE_PX = 64;
/** Standard deviation of the luminance below which nothing is seen, of 255. */
const BLANK_DEVIATION = 2;

/** On a smaller picture too few tiles could hold text to tell a page from a drawing. */
const MIN_PAGE_PX = 256;

/** Looks at a decoded image. */
export function inspectImage(image: RgbImage): ImageFacts {
  const { width, height } = image;
  const cells = shrink(image, HASH_SIZE);
  const flags: ImageFlag[] = [];
  // Most pictures show already by their cells that they are not blank.
  if (deviation(cells) < BLANK_DEVIATION && deviation(image.data) < BLANK_DEVIATION) flags.push("blank");
  const side = Math.min(width, height);
  if (side < MIN_SIDE_PX) flags.push("tiny");
  else if (flags.length === 0 && side >= MIN_PAGE_PX) {
    const written = writtenFlag(measureTiles(image));
    if (written !== undefined) flags.push(written);
  }
  const thumb = shrinkCells(cells);
  return { width, height, hash: hashOf(luminanceOf(cells)), thumb: toHex(thumb), flags };
}

const HASH_SIZE = 32;
const THUMB_SIZE = 4;
/** Frequencies of the hash: 8 x 8, without the constant one. */
const FREQUENCIES = 8;

/** Means of `size` x `size` cells, RGB. Cells of small images overlap by at least a pixel. */
function shrink({ width, height, data }: RgbImage, size: number): Float32Array {
  const cells = new Float32Array(size * size * 3);
  for (let cy = 0; cy < size; cy++) {
    const top = Math.floor(cy * height / size);
    const bottom = Math.max(top + 1, Math.floor((cy + 1) * height / size));
    for (let cx = 0; cx < size; cx++) {
      const left = Math.floor(cx * width / size);
      const right = Math.max(left + 1, Math.floor((cx + 1) * width / size));
      let [r, g, b] = [0, 0, 0];
      for (let y = top; y < bottom; y++) {
        for (let i = (y * width + left) * 3; i < (y * width + right) * 3; i += 3) {
          r += data[i]!;
          g += data[i + 1]!;
          b += data[i + 2]!;
        }
      }
      const area = (bottom - top) * (right - left);
      const at = (cy * size + cx) * 3;
      cells[at] = r / area;
      cells[at + 1] = g / area;
      cells[at + 2] = b / area;
    }
  }
  return cells;
}

/** Means of blocks of cells, [THUMB_SIZE, THUMB_SIZE, 3]. */
function shrinkCells(cells: Float32Array): Float32Array {
  const block = HASH_SIZE / THUMB_SIZE;
  const thumb = new Float32Array(THUMB_SIZE * THUMB_SIZE * 3);
  for (let i = 0; i < cells.length; i++) {
    const cell = Math.floor(i / 3);
    const [x, y] = [Math.floor(cell % HASH_SIZE / block), Math.floor(cell / HASH_SIZE / block)];
    thumb[(y * THUMB_SIZE + x) * 3 + i % 3]! += cells[i]! / block ** 2;
  }
  return thumb;
}

function luminanceOf(rgb: Float32Array): Float32Array {
  return Float32Array.from(
    { length: rgb.length / 3 },
    (_, i) => 0.299 * rgb[i * 3]! + 0.587 * rgb[i * 3 + 1]! + 0.114 * rgb[i * 3 + 2]!,
  );
}

/** cos((2 x + 1) u π / 64), [FREQUENCIES, HASH_SIZE]. */
const COSINES = Float64Array.from(
  { length: FREQUENCIES * HASH_SIZE },
  (_, i) => Math.cos((2 * (i % HASH_SIZE) + 1) * Math.floor(i / HASH_SIZE) * Math.PI / (2 * HASH_SIZE)),
);

/** Low frequencies above or below their median. */
function hashOf(luminance: Float32Array): string {
  const rows = new Float64Array(FREQUENCIES * HASH_SIZE);
  for (let u = 0; u < FREQUENCIES; u++) {
    for (let y = 0; y < HASH_SIZE; y++) {
      let sum = 0;
      for (let x = 0; x < HASH_SIZE; x++) sum += luminance[y * HASH_SIZE + x]! * COSINES[u * HASH_SIZE + x]!;
      rows[u * HASH_SIZE + y] = sum;
    }
  }
  const values = new Float64Array(FREQUENCIES * FREQUENCIES);
  for (let v = 0; v < FREQUENCIES; v++) {
    for (let u = 0; u < FREQUENCIES; u++) {
      let sum = 0;
      for (let y = 0; y < HASH_SIZE; y++) sum += rows[u * HASH_SIZE + y]! * COSINES[v * HASH_SIZE + y]!;
      values[v * FREQUENCIES + u] = sum;
    }
  }
  const sorted = values.slice(1).sort();
  const median = sorted[sorted.length >> 1]!;
  let hex = "";
  for (let i = 0; i < values.length; i += 4) {
    let digit = 0;
    for (let bit = 0; bit < 4; bit++) digit = digit << 1 | (values[i + bit]! > median ? 1 : 0);
    hex += digit.toString(16);
  }
  return hex;
}

function toHex(values: Float32Array): string {
  return Array.from(values, (value) => Math.round(value).toString(16).padStart(2, "0")).join("");
}

/** Largest standard deviation of a channel of [N, 3]. */
function deviation(data: Float32Array | Uint8Array): number {
  let largest = 0;
  for (let c = 0; c < 3; c++) {
    let [sum, squares] = [0, 0];
    for (let i = c; i < data.length; i += 3) {
      sum += data[i]!;
      squares += data[i]! ** 2;
    }
    const count = data.length / 3;
    largest = Math.max(largest, squares / count - (sum / count) ** 2);
  }
  return Math.sqrt(Math.max(0, largest));
}

/** Side of a tile in pixels: about the height of a line of text on a screen. */
const TILE = 16;
/** Largest difference of luminance in a flat tile. */
const FLAT_RANGE = 6;
/** Least contrast of text and its ground, and the step that counts as the edge of a stroke. */
const TEXT_CONTRAST = 80;
const STROKE_EDGE = 40;

/** Shares of an image's tiles. */
interface Tiles {
  readonly flat: number;
  readonly text: number;
}

/** Larger images are looked at by every n-th tile only. */
const MAX_TILES = 800;

function measureTiles({ width, height, data }: RgbImage): Tiles {
  const [across, down] = [Math.floor(width / TILE), Math.floor(height / TILE)];
  const total = across * down;
  const looked = Math.min(total, MAX_TILES);
  let [flat, text] = [0, 0];
  const luminance = new Uint8Array(TILE * TILE);
  for (let i = 0; i < looked; i++) {
    const tile = looked === total ? i : Math.floor(i * total / looked);
    const [left, top] = [(tile % across) * TILE, Math.floor(tile / across) * TILE];
    for (let y = 0; y < TILE; y++) {
      for (let x = 0; x < TILE; x++) {
        const at = ((top + y) * width + left + x) * 3;
        luminance[y * TILE + x] = (77 * data[at]! + 150 * data[at + 1]! + 29 * data[at + 2]!) >> 8;
      }
    }
    const kind = tileKind(luminance);
    if (kind === "flat") flat++;
    if (kind === "text") text++;
  }
  return { flat: flat / looked, text: text / looked };
}

/** Flat, text (strokes of one tone on a ground of another, crossed again and again), or neither. */
function tileKind(luminance: Uint8Array): "flat" | "text" | "other" {
  let [low, high] = [255, 0];
  const levels = new Uint16Array(16);
  let crossings = 0, crossedRows = 0;
  for (let start = 0; start < luminance.length; start += TILE) {
    let inRow = 0;
    for (let at = start; at < start + TILE; at++) {
      const value = luminance[at]!;
      if (value < low) low = value;
      if (value > high) high = value;
      levels[value >> 4]!++;
      if (at > start && Math.abs(value - luminance[at - 1]!) > STROKE_EDGE) inRow++;
    }
    crossings += inRow;
    if (inRow >= 2) crossedRows++;
  }
  if (high - low <= FLAT_RANGE) return "flat";
  if (high - low < TEXT_CONTRAST) return "other";
  let ground = 0;
  for (let i = 0; i < 15; i++) ground = Math.max(ground, levels[i]! + levels[i + 1]!);
  const isGrounded = ground >= 0.45 * TILE * TILE && ground <= 0.95 * TILE * TILE;
  // Strokes cross at least a third of the rows, several times; leaves and fur cross as often but have no even ground.
  return isGrounded && crossedRows >= TILE / 3 && crossings >= 2.5 * crossedRows ? "text" : "other";
}

/** Shares of tiles from which on an image is written matter, and from which on it is a page rather than a screen. */
const WRITTEN = { text: 0.1, together: 0.62 };
const PAGE_TEXT = 0.38;

/** A page is mostly lines of text; a screen has some, on flat areas. Photographs have neither. */
function writtenFlag({ flat, text }: Tiles): ImageFlag | undefined {
  if (text < WRITTEN.text || text + flat < WRITTEN.together) return undefined;
  return text >= PAGE_TEXT ? "text" : "screenshot";
}
