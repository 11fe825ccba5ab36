/**
 * `predictions.jsonl`: what a run wrote about the same validation images at each of its evaluations.
 *
 * @module
 */

import type { EventImage } from "../format/tensorboard.ts";
import { identifyImage } from "../image/decode.ts";
import type { CaptionSample } from "../train/evaluation.ts";
import type { LogEntry } from "../train/trainer_state.ts";
import { decodeImage } from "./decode.ts";
import { writeFileAtomically } from "./files.ts";
import type { DataRow } from "./train_data.ts";

/** A caption at one evaluation; a line of the file. */
export interface Prediction {
  /** Optimizer step of the evaluation. */
  step: number;
  /** Number of the row among the validation rows. */
  row: number;
  /** Path of its image in the data set. */
  image: string;
  /** What counts as right. */
  references: readonly string[];
  /** What was written. */
  caption: string;
}

/** Name of the file in a run's folder. */
const FILE = "predictions.jsonl";
/** Images that pages and TensorBoard show. */
const SHOWN = 8;
/** Larger pictures would make an event file heavy. */
const MAX_PICTURE_BYTES = 400_000;

/** Predictions of an evaluation. */
export function predictionsOf(
  step: number,
  samples: readonly CaptionSample[],
  rows: readonly DataRow[],
): Prediction[] {
  return samples.map(({ row, caption, references }) => ({
    step,
    row,
    image: rows[row]!.image,
    references,
    caption,
  }));
}

/** A line of the file. */
export function formatPrediction(prediction: Prediction): string {
  return JSON.stringify(prediction) + "\n";
}

/** Predictions of a run so far; a line that a kill cut off is left out. */
export async function readPredictions(folder: string): Promise<Prediction[]> {
  let text: string;
  try {
    text = await Deno.readTextFile(`${folder}/${FILE}`);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return [];
    throw error;
  }
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  return whole.split("\n").filter((line) => line !== "").map((line): Prediction => JSON.parse(line));
}

/**
 * Opens the file to be added to. Predictions of evaluations that the log does not have are dropped: a kill lost them, and they are made
 * again.
 */
export async function openPredictions(folder: string, log: readonly LogEntry[]): Promise<Deno.FsFile> {
  const steps = new Set(log.filter((entry) => "eval_loss" in entry).map(({ step }) => step));
  const kept = (await readPredictions(folder)).filter(({ step }) => steps.has(step));
  await writeFileAtomically(`${folder}/${FILE}`, kept.map(formatPrediction).join(""));
  return await Deno.open(`${folder}/${FILE}`, { append: true });
}

/** Some of the captioned rows, spread over them: the same ones at every evaluation. */
export function shownRows(captioned: readonly number[]): number[] {
  const step = Math.max(1, Math.floor(captioned.length / SHOWN));
  return captioned.filter((_, i) => i % step === 0).slice(0, SHOWN);
}

/** A row's picture for TensorBoard; `undefined` where it is too large, or of a kind that browsers do not show. */
export async function eventImage(row: DataRow): Promise<EventImage | undefined> {
  const bytes = await row.readImage();
  const kind = identifyImage(bytes);
  if (bytes.length > MAX_PICTURE_BYTES || !(kind === "png" || kind === "jpeg" || kind === "gif")) {
    return undefined;
  }
  const { width, height } = await decodeImage(bytes);
  return { width, height, bytes };
}

/** An image whose caption can be watched. */
export interface WatchedImage {
  /** Its row. */
  row: DataRow;
  /** What it was said to show, by evaluation. */
  captions: readonly { step: number; caption: string }[];
}

/** The shown images of a run with what was written about them, in order. */
export async function readWatched(folder: string, rows: readonly DataRow[]): Promise<WatchedImage[]> {
  const byRow = Map.groupBy(await readPredictions(folder), ({ row }) => row);
  return shownRows([...byRow.keys()].sort((a, b) => a - b))
    .filter((row) => rows[row] !== undefined)
    .map((row) => ({ row: rows[row]!, captions: byRow.get(row)! }));
}
