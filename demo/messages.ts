/**
 * What the page and its worker tell each other.
 *
 * @module
 */

import type { OnnxProvider } from "../lib/generate/onnxruntime.ts";
import type { OnnxVariant } from "../lib/models/onnx_layouts.ts";
import type { FolderLocation } from "./stored_folder.ts";

/** From the page: open a model, once; then caption images, one after the other. */
export type Request =
  | { type: "open"; model: FolderLocation; runtime: FolderLocation; provider: OnnxProvider }
  | { type: "caption"; id: number; image: Blob; numBeams: number };

/** How much has been downloaded, in bytes; `total` is of the files that have begun. */
export interface Download {
  loaded: number;
  total: number;
}

/** An opened model. */
export interface Opened {
  dtype: OnnxVariant;
  /** Whether its files stay for a reload without network. */
  isStored: boolean;
  seconds: number;
}

/** An image's captions. */
export interface Captioned {
  caption: string;
  /** Share that the model gives it: the probability of its tokens, together. */
  probability: number;
  /** What other beams found, best first. */
  others: { caption: string; probability: number }[];
  seconds: number;
  /** The model knows drawn scenes alone, and this looks like a photograph. */
  outOfDomain: boolean;
}

/** From the worker. */
export type Reply =
  | ({ type: "download" } & Download)
  | ({ type: "opened" } & Opened)
  | { type: "text"; id: number; text: string }
  | ({ type: "captioned"; id: number } & Captioned)
  /** The model could not be opened. */
  | { type: "refused"; message: string }
  | { type: "failed"; id: number; message: string };
