/**
 * What columns of a row mean: which of them holds captions or images, and what is in their cells.
 *
 * @module
 */

import { describeNames, suggest, UserError } from "../base/errors.ts";
import { normalizeCaption } from "../text/normalize.ts";

/** Columns of captions looked for when none is named, in this order. */
export const CAPTION_COLUMNS: readonly string[] = [
  "alt_text",
  "caption",
  "captions",
  "text",
  "txt",
  "caption_str",
  "sentences",
];

/** Columns of images looked for when none is named, in this order. */
export const IMAGE_COLUMNS: readonly string[] = [
  "image",
  "file_name",
  "jpg",
  "jpeg",
  "png",
  "webp",
  "img",
  "image_path",
  "image_url",
  "url",
];

/** Options of {@linkcode chooseColumn}. */
export interface ChooseColumnOptions {
  /** What the column holds, for messages: `caption` or `image`. */
  readonly kind: string;
  /** The data set, for messages. */
  readonly source: string;
  /** The column asked for. @default the first of `usual` */
  readonly wanted?: string | undefined;
  /** Looked for in this order. */
  readonly usual: readonly string[];
}

/** Chooses a column. @throws {UserError} If the data set has none such, listing those that it has */
export function chooseColumn(present: readonly string[], options: ChooseColumnOptions): string {
  const { kind, source, wanted, usual } = options;
  const chosen = wanted ?? usual.find((name) => present.includes(name));
  if (chosen !== undefined && present.includes(chosen)) return chosen;
  const near = wanted === undefined ? undefined : suggest(wanted, present);
  throw new UserError(
    `Cannot use "${source}": no ${kind} column ${describeNames(wanted === undefined ? usual : [wanted])}; ` +
      `it has ${describeNames(present)}` + (near === undefined ? "" : `. Did you mean "${near}"?`),
  );
}

/**
 * Captions of a cell: text or a list of text, normalised, without empty ones.
 *
 * @throws {TypeError} If it is something else
 * @throws {RangeError} If nothing is left
 */
export function readCaptions(value: unknown, column: string): string[] {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  if (!list.every((entry): entry is string => typeof entry === "string")) {
    throw new TypeError(`${column} is ${describeCell(value)}, expected a string or a list of strings`);
  }
  const captions = list.map(normalizeCaption).filter((caption) => caption !== "");
  if (captions.length === 0) throw new RangeError(`${column} is empty`);
  return captions;
}

/** A list of nouns; other data sets use the name `objects` for boxes, which say nothing here. */
export function readObjects(value: unknown): string[] | undefined {
  const list = typeof value === "string" ? value.split(",").map((noun) => noun.trim()) : value;
  const isList = Array.isArray(list) && list.every((noun) => typeof noun === "string");
  return isList ? list.filter((noun) => noun !== "") : undefined;
}

/** An image as a cell gives it: its bytes, where it lies in the data set, or an address. */
export type ImageCell =
  | { readonly bytes: Uint8Array<ArrayBuffer>; readonly path?: undefined; readonly url?: undefined }
  | { readonly path: string; readonly bytes?: undefined; readonly url?: undefined }
  | { readonly url: string; readonly bytes?: undefined; readonly path?: undefined };

/**
 * Reads the cell of an image: bytes, a structure of bytes and path as Hugging Face's Image feature, a path, or an address.
 *
 * @throws {TypeError} If it is something else
 */
export function readImageCell(value: unknown, column: string): ImageCell {
  if (value instanceof Uint8Array && value.length > 0) return { bytes: value as Uint8Array<ArrayBuffer> };
  if (typeof value === "string" && value !== "") return fromText(value);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    const { bytes, path } = value as { bytes?: unknown; path?: unknown };
    if (bytes instanceof Uint8Array && bytes.length > 0) return { bytes: bytes as Uint8Array<ArrayBuffer> };
    if (typeof path === "string" && path !== "") return fromText(path);
  }
  throw new TypeError(`${column} is ${describeCell(value)}, expected an image: bytes, a path or an address`);
}

function fromText(text: string): ImageCell {
  return /^https?:\/\//i.test(text) ? { url: text } : { path: text };
}

function describeCell(value: unknown): string {
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  const text = JSON.stringify(value, (_, part) => part instanceof Uint8Array ? `${part.length} bytes` : part);
  return text === undefined ? "missing" : text.length > 120 ? `${text.slice(0, 120)}…` : text;
}
