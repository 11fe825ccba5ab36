/**
 * From pictures to `pixelValues`, as `preprocessor_config.json` of a SigLIP, ViT or CLIP checkpoint says.
 *
 * @module
 */

import { type JsonObject, showJson } from "../format/json.ts";
import { checkImageSize, type RgbImage } from "./decode.ts";
import { type ResampleFilter, resizeImage } from "./resample.ts";

/** Families of image processors; they differ in what an absent setting means. */
export type ProcessorFamily = "siglip" | "vit" | "clip";

/** How a picture is resized: to a fixed size whatever its shape, or so that its shorter side gets a length. */
export type ResizeTarget =
  | { readonly height: number; readonly width: number }
  | { readonly shortestEdge: number };

/** A parsed `preprocessor_config.json`. */
export interface ProcessorConfig {
  /** Absent = pictures keep their size. */
  readonly resize?: { readonly target: ResizeTarget; readonly filter: ResampleFilter };
  /** Crop around the centre after resizing; what lies outside the picture is black. */
  readonly centerCrop?: { readonly height: number; readonly width: number };
  /** Factor from 0..255 to model values; 1 = not rescaled. */
  readonly rescaleFactor: number;
  /** Absent = not normalised. One value a channel. */
  readonly normalize?: { readonly mean: readonly number[]; readonly std: readonly number[] };
}

/** Options of {@linkcode parseProcessorConfig}. */
export interface ParseProcessorOptions {
  /** Family for a file that names none. */
  readonly family?: ProcessorFamily;
}

interface FamilyDefaults {
  readonly size: Record<string, number>;
  readonly cropSize?: Record<string, number>;
  readonly resample: number;
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

const HALVES = [0.5, 0.5, 0.5];
// Defaults of the processor classes of Hugging Face transformers.
const DEFAULTS: Readonly<Record<ProcessorFamily, FamilyDefaults>> = {
  siglip: { size: { height: 224, width: 224 }, resample: 3, mean: HALVES, std: HALVES },
  vit: { size: { height: 224, width: 224 }, resample: 2, mean: HALVES, std: HALVES },
  clip: {
    size: { shortest_edge: 224 },
    cropSize: { height: 224, width: 224 },
    resample: 3,
    mean: [0.48145466, 0.4578275, 0.40821073],
    std: [0.26862954, 0.26130258, 0.27577711],
  },
};

// PIL.Image.Resampling; 0 (nearest) is not used by these families.
const FILTERS: Readonly<Record<number, ResampleFilter>> = {
  1: "lanczos",
  2: "bilinear",
  3: "bicubic",
  4: "box",
  5: "hamming",
};

const MAX_SIZE_PX = 4096;

/**
 * Reads a `preprocessor_config.json`. What the file leaves out is what its processor class assumes.
 *
 * @param json The parsed file
 * @throws {TypeError} If a setting has the wrong kind, or the file names no known processor class and no family is given
 * @throws {RangeError} If a size, filter, factor, mean or deviation is outside its range
 */
export function parseProcessorConfig(json: unknown, options: ParseProcessorOptions = {}): ProcessorConfig {
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new TypeError("Cannot read preprocessor_config.json: expected a JSON object");
  }
  const file = json as Record<string, unknown>;
  const family = familyOf(file) ?? options.family;
  if (family === undefined) {
    throw new TypeError(
      `Cannot read preprocessor_config.json: image_processor_type is ${
        showJson(file.image_processor_type)
      }, ` +
        "expected a SigLIP, ViT or CLIP image processor",
    );
  }
  const defaults = DEFAULTS[family];
  const flag = (name: string, fallback: boolean): boolean => {
    const value = file[name] ?? fallback;
    if (typeof value !== "boolean") throw wrongKind(name, "true or false", value);
    return value;
  };
  const crops = flag("do_center_crop", family === "clip");
  return {
    ...(flag("do_resize", true) &&
      {
        resize: {
          target: readResizeTarget(file.size ?? defaults.size, family),
          filter: readFilter(file.resample ?? defaults.resample),
        },
      }),
    ...(crops && { centerCrop: readFixedSize("crop_size", file.crop_size ?? defaults.cropSize) }),
    rescaleFactor: flag("do_rescale", true)
      ? readNumber("rescale_factor", file.rescale_factor ?? 1 / 255)
      : 1,
    ...(flag("do_normalize", true) && {
      normalize: {
        mean: readChannels("image_mean", file.image_mean ?? defaults.mean),
        std: readChannels("image_std", file.image_std ?? defaults.std).map((value) => {
          if (value > 0) return value;
          throw new RangeError(
            `Cannot read preprocessor_config.json: image_std holds ${value}, expected numbers > 0`,
          );
        }),
      },
    }),
  };
}

/** The settings written out, for programs that assume other things where a file says nothing; without the class's name. */
export function formatProcessorConfig(config: ProcessorConfig): JsonObject {
  const { resize, centerCrop, rescaleFactor, normalize } = config;
  const target = resize?.target;
  return {
    do_convert_rgb: true,
    do_resize: resize !== undefined,
    ...(target && {
      size: "height" in target ? { ...target } : { shortest_edge: target.shortestEdge },
      resample: Number(Object.entries(FILTERS).find(([, filter]) => filter === resize!.filter)![0]),
    }),
    do_center_crop: centerCrop !== undefined,
    ...(centerCrop && { crop_size: { ...centerCrop } }),
    do_rescale: true,
    rescale_factor: rescaleFactor,
    do_normalize: normalize !== undefined,
    ...(normalize && { image_mean: [...normalize.mean], image_std: [...normalize.std] }),
  };
}

/** Height and width of the pictures a model gets. `undefined` if they depend on the picture. */
export function outputSize(config: ProcessorConfig): { height: number; width: number } | undefined {
  if (config.centerCrop) return { ...config.centerCrop };
  const target = config.resize?.target;
  return target && "height" in target ? { height: target.height, width: target.width } : undefined;
}

/**
 * Resizes and crops as configured, to 8-bit pixels.
 *
 * @throws {RangeError} If the resized picture would be too large: scaling the short side of a very long one up
 */
export function fitImage(image: RgbImage, config: ProcessorConfig): RgbImage {
  let fitted = image;
  if (config.resize) {
    const { target, filter } = config.resize;
    const size = "height" in target ? target : shortestEdgeSize(image, target.shortestEdge);
    checkImageSize(size.width, size.height);
    fitted = resizeImage(image, { width: size.width, height: size.height, filter });
  }
  return config.centerCrop ? cropCenter(fitted, config.centerCrop) : fitted;
}

/**
 * Resizes, crops, rescales and normalises a picture.
 *
 * @returns `pixelValues`, channels first: `[3, height, width]` (see {@linkcode outputSize})
 */
export function preprocess(image: RgbImage, config: ProcessorConfig): Float32Array<ArrayBuffer> {
  const { width, height, data } = fitImage(image, config);
  const area = width * height;
  const pixelValues = new Float32Array(3 * area);
  for (let channel = 0; channel < 3; channel++) {
    const table = channelTable(config, channel);
    const plane = channel * area;
    for (let i = 0; i < area; i++) pixelValues[plane + i] = table[data[i * 3 + channel]!]!;
  }
  return pixelValues;
}

/** Model value of each of the 256 levels, rounded to 32 bits after each operation as NumPy does. */
function channelTable(config: ProcessorConfig, channel: number): Float32Array {
  const mean = Math.fround(config.normalize?.mean[channel] ?? 0);
  const std = Math.fround(config.normalize?.std[channel] ?? 1);
  return Float32Array.from({ length: 256 }, (_, level) => {
    const rescaled = Math.fround(level * config.rescaleFactor);
    return config.normalize ? Math.fround(rescaled - mean) / std : rescaled;
  });
}

function shortestEdgeSize(image: RgbImage, edge: number): { height: number; width: number } {
  const { width, height } = image;
  const long = Math.trunc((edge * Math.max(width, height)) / Math.min(width, height));
  return width <= height ? { width: edge, height: long } : { width: long, height: edge };
}

function cropCenter(image: RgbImage, size: { height: number; width: number }): RgbImage {
  // Larger crops than the picture put the spare row or column of an odd margin before it.
  const top = cropStart(image.height, size.height);
  const left = cropStart(image.width, size.width);
  const data = new Uint8Array(size.width * size.height * 3);
  const firstColumn = Math.max(0, left);
  const lastColumn = Math.min(image.width, left + size.width);
  for (let y = Math.max(0, -top); y < size.height && y + top < image.height; y++) {
    const row = (y + top) * image.width;
    data.set(
      image.data.subarray((row + firstColumn) * 3, (row + lastColumn) * 3),
      (y * size.width + firstColumn - left) * 3,
    );
  }
  return { width: size.width, height: size.height, data };
}

/** First pixel of the crop; negative where the crop begins before the picture. */
function cropStart(available: number, wanted: number): number {
  return Math.floor((available - wanted) / 2);
}

function familyOf(file: Record<string, unknown>): ProcessorFamily | undefined {
  const name = String(file.image_processor_type ?? file.feature_extractor_type ?? "").toLowerCase();
  // "vit" last: it is part of other names.
  if (name.startsWith("siglip")) return "siglip";
  if (name.startsWith("clip")) return "clip";
  return name.startsWith("vit") ? "vit" : undefined;
}

function readResizeTarget(size: unknown, family: ProcessorFamily): ResizeTarget {
  if (typeof size === "number") {
    return family === "clip" ? { shortestEdge: readPixels("size", size) } : readFixedSize("size", size);
  }
  const edge = (size as { shortest_edge?: unknown } | null)?.shortest_edge;
  return edge === undefined
    ? readFixedSize("size", size)
    : { shortestEdge: readPixels("size.shortest_edge", edge) };
}

function readFixedSize(name: string, size: unknown): { height: number; width: number } {
  if (typeof size === "number") return { height: readPixels(name, size), width: readPixels(name, size) };
  if (typeof size !== "object" || size === null) throw wrongKind(name, "a number or {height, width}", size);
  const { height, width } = size as Record<string, unknown>;
  return { height: readPixels(`${name}.height`, height), width: readPixels(`${name}.width`, width) };
}

function readPixels(name: string, value: unknown): number {
  if (typeof value !== "number") throw wrongKind(name, "a number of pixels", value);
  if (!Number.isInteger(value) || value < 1 || value > MAX_SIZE_PX) {
    throw new RangeError(
      `Cannot read preprocessor_config.json: ${name} is ${value}, expected an integer in [1, ${MAX_SIZE_PX}]`,
    );
  }
  return value;
}

function readFilter(value: unknown): ResampleFilter {
  const filter = typeof value === "number" ? FILTERS[value] : undefined;
  if (filter === undefined) {
    throw new RangeError(
      `Cannot read preprocessor_config.json: resample is ${showJson(value)}, expected one of ${
        Object.keys(FILTERS)
      }`,
    );
  }
  return filter;
}

function readNumber(name: string, value: unknown): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw wrongKind(name, "a finite number", value);
  return value;
}

function readChannels(name: string, value: unknown): number[] {
  if (!Array.isArray(value) || value.length !== 3) throw wrongKind(name, "three numbers", value);
  return value.map((entry, i) => readNumber(`${name}[${i}]`, entry));
}

function wrongKind(name: string, wanted: string, found: unknown): TypeError {
  return new TypeError(
    `Cannot read preprocessor_config.json: ${name} is ${showJson(found)}, expected ${wanted}`,
  );
}
