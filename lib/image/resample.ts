/**
 * Resizes pictures exactly as PIL does, so that a model sees the pixels it was trained on.
 *
 * Two passes over 8-bit pixels, horizontal first, with antialiasing (the filter grows with the reduction) and weights in fixed point
 * of 22 fractional bits; each pass rounds and clips to 8 bits.
 *
 * Source: Pillow, `src/libImaging/Resample.c`
 *
 * @module
 */

import type { RgbImage } from "./decode.ts";

/** Filters, by the names PIL gives them. */
export type ResampleFilter = "box" | "bilinear" | "hamming" | "bicubic" | "lanczos";

/** Options of {@linkcode resizeImage}. */
export interface ResizeOptions {
  /** Width of the result, pixels. */
  readonly width: number;
  /** Height of the result, pixels. */
  readonly height: number;
  /** Weights of neighbouring pixels. */
  readonly filter: ResampleFilter;
}

const PRECISION_BITS = 22;
const CHANNELS = 3;

interface FilterFunction {
  /** Distance beyond which the weight is 0, in pixels of the smaller picture. */
  readonly support: number;
  readonly weight: (x: number) => number;
}

const FILTERS: Readonly<Record<ResampleFilter, FilterFunction>> = {
  box: { support: 0.5, weight: (x) => x > -0.5 && x <= 0.5 ? 1 : 0 },
  bilinear: { support: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weight: (x) => {
      x = Math.abs(x);
      if (x === 0) return 1;
      if (x >= 1) return 0;
      x *= Math.PI;
      return (Math.sin(x) / x) * (0.54 + 0.46 * Math.cos(x));
    },
  },
  bicubic: {
    support: 2,
    weight: (x) => {
      const a = -0.5;
      x = Math.abs(x);
      if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    },
  },
  lanczos: { support: 3, weight: (x) => x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0 },
};

/**
 * Resizes to any size; equal sizes return the same pixels.
 *
 * @throws {RangeError} If a size is not an integer >= 1
 */
export function resizeImage(image: RgbImage, { width, height, filter }: ResizeOptions): RgbImage {
  for (const side of [width, height, image.width, image.height]) {
    if (!Number.isInteger(side) || side < 1) {
      throw new RangeError(
        `Cannot resize ${image.width} x ${image.height} to ${width} x ${height} pixels: expected integers >= 1`,
      );
    }
  }
  const rows = width === image.width ? image : resizeRows(image, width, filter);
  return height === image.height ? rows : resizeColumns(rows, height, filter);
}

/** Weights of one pass: for each output pixel the first input pixel, their number, and their fixed-point weights. */
interface PassWeights {
  readonly starts: Int32Array; // [outputSize]
  readonly counts: Int32Array; // [outputSize]
  readonly weights: Int32Array; // [outputSize, stride]
  readonly stride: number;
}

function computeWeights(inputSize: number, outputSize: number, filter: ResampleFilter): PassWeights {
  const { support: baseSupport, weight } = FILTERS[filter];
  const scale = inputSize / outputSize;
  const filterScale = Math.max(scale, 1);
  const support = baseSupport * filterScale;
  const stride = Math.ceil(support) * 2 + 1;
  const starts = new Int32Array(outputSize);
  const counts = new Int32Array(outputSize);
  const weights = new Int32Array(outputSize * stride);
  const row = new Float64Array(stride);
  const step = 1 / filterScale;
  for (let i = 0; i < outputSize; i++) {
    const center = (i + 0.5) * scale;
    const start = Math.max(0, Math.trunc(center - support + 0.5));
    const count = Math.min(inputSize, Math.trunc(center + support + 0.5)) - start;
    let sum = 0;
    for (let j = 0; j < count; j++) {
      row[j] = weight((j + start - center + 0.5) * step);
      sum += row[j] as number;
    }
    for (let j = 0; j < count; j++) {
      const value = ((row[j] as number) / (sum === 0 ? 1 : sum)) * 2 ** PRECISION_BITS;
      weights[i * stride + j] = Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
    }
    starts[i] = start;
    counts[i] = count;
  }
  return { starts, counts, weights, stride };
}

// The sums below stay under 2^31: weights add up to 2^22 and overshoot by less than a quarter, pixels are below 2^8.

function resizeRows(image: RgbImage, width: number, filter: ResampleFilter): RgbImage {
  const { starts, counts, weights, stride } = computeWeights(image.width, width, filter);
  const { height, data: source } = image;
  const data = new Uint8Array(width * height * CHANNELS);
  const half = 1 << (PRECISION_BITS - 1);
  for (let y = 0; y < height; y++) {
    const rowStart = y * image.width * CHANNELS;
    for (let x = 0; x < width; x++) {
      let at = rowStart + starts[x]! * CHANNELS;
      const first = x * stride;
      const last = first + counts[x]!;
      let red = half, green = half, blue = half;
      for (let k = first; k < last; k++, at += CHANNELS) {
        const weight = weights[k]!;
        red += source[at]! * weight;
        green += source[at + 1]! * weight;
        blue += source[at + 2]! * weight;
      }
      const target = (y * width + x) * CHANNELS;
      data[target] = clip8(red >> PRECISION_BITS);
      data[target + 1] = clip8(green >> PRECISION_BITS);
      data[target + 2] = clip8(blue >> PRECISION_BITS);
    }
  }
  return { width, height, data };
}

function resizeColumns(image: RgbImage, height: number, filter: ResampleFilter): RgbImage {
  const { starts, counts, weights, stride } = computeWeights(image.height, height, filter);
  const { width, data: source } = image;
  const rowLength = width * CHANNELS;
  const data = new Uint8Array(rowLength * height);
  const half = 1 << (PRECISION_BITS - 1);
  const sums = new Int32Array(rowLength);
  for (let y = 0; y < height; y++) {
    sums.fill(half);
    for (let k = 0; k < counts[y]!; k++) {
      const weight = weights[y * stride + k]!;
      const from = (starts[y]! + k) * rowLength;
      for (let i = 0; i < rowLength; i++) sums[i] = sums[i]! + source[from + i]! * weight;
    }
    const target = y * rowLength;
    for (let i = 0; i < rowLength; i++) data[target + i] = clip8(sums[i]! >> PRECISION_BITS);
  }
  return { width, height, data };
}

function clip8(value: number): number {
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

function sinc(x: number): number {
  if (x === 0) return 1;
  x *= Math.PI;
  return Math.sin(x) / x;
}
