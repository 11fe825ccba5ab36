/**
 * How good a captioner is: its loss, and what it writes compared with what it should.
 *
 * @module
 */

import { scoreCaptions } from "../text/metrics/captions.ts";
import type { TrainingEngine } from "./engine_types.ts";
import { loadBatch, type ValidationRows } from "./rows.ts";

/** Writes captions for rows, in their order, with the weights as they are now. */
export type GenerateCaptions = (rows: readonly number[]) => Promise<string[]>;

/** Scores of a set of captions by name. */
export type ScoreSamples = (samples: readonly CaptionSample[]) => Promise<Readonly<Record<string, number>>>;

/** Options of {@linkcode evaluate}. */
export interface EvaluateOptions {
  /** Rows that captions are written for; the loss is computed on all rows. */
  captionedRows?: readonly number[];
  /** Absent: only the loss is computed. */
  generateCaptions?: GenerateCaptions;
  /** More scores of the captions, by name. @default {none} */
  scoreSamples?: ScoreSamples;
  /** Ends the evaluation between two batches. */
  signal?: AbortSignal;
  /** Told how many rows are done, of losses and captions together. */
  onProgress?(done: number, total: number): void;
}

/** A caption beside what it should be. */
export interface CaptionSample {
  /** Index of the row. */
  row: number;
  /** What the captioner wrote. */
  caption: string;
  /** What counts as right. */
  references: readonly string[];
}

/** What an evaluation found. */
export interface Evaluation {
  /** By Hugging Face's names: `eval_loss`, `eval_rougeL`, `eval_exact_match`, `eval_object_accuracy`; scores in [0, 1]. Others as asked. */
  metrics: { eval_loss: number; [name: string]: number };
  /** Captions of the captioned rows. */
  samples: CaptionSample[];
}

/**
 * Judges the captioner as it is now. The loss is the mean over all predicted tokens of all rows.
 *
 * @throws {DOMException} AbortError when the signal ended it
 * @throws {RangeError} If there are no rows
 */
export async function evaluate(
  engine: TrainingEngine,
  data: ValidationRows,
  options: EvaluateOptions = {},
): Promise<Evaluation> {
  const { captionedRows = [], generateCaptions, signal } = options;
  if (data.rowCount === 0) throw new RangeError("Cannot evaluate on an empty data set");
  const groups: number[][] = [];
  for (let start = 0; start < data.rowCount; start += engine.batchSize) {
    const size = Math.min(engine.batchSize, data.rowCount - start);
    groups.push(Array.from({ length: size }, (_, i) => start + i));
  }
  const load = (rows: readonly number[]) => {
    const batch = loadBatch(data, rows, { epoch: 0, length: engine.textLength });
    batch.catch(() => {}); // reported when its turn comes
    return batch;
  };
  const total = data.rowCount + (generateCaptions ? captionedRows.length : 0);
  let lossSum = 0, tokenCount = 0, done = 0;
  let ahead = load(groups[0]!);
  for (const i of groups.keys()) {
    signal?.throwIfAborted();
    const batch = await ahead;
    if (i + 1 < groups.length) ahead = load(groups[i + 1]!);
    const { loss, tokens } = await engine.evaluateLoss(batch);
    lossSum += loss * tokens;
    tokenCount += tokens;
    options.onProgress?.(done += batch.size, total);
  }
  const metrics: Evaluation["metrics"] = { eval_loss: lossSum / tokenCount };
  if (generateCaptions === undefined || captionedRows.length === 0) return { metrics, samples: [] };

  const samples: CaptionSample[] = [];
  for (let start = 0; start < captionedRows.length; start += engine.batchSize) {
    signal?.throwIfAborted();
    const rows = captionedRows.slice(start, start + engine.batchSize);
    const captions = await generateCaptions(rows);
    rows.forEach((row, i) => samples.push({ row, caption: captions[i]!, references: data.references(row) }));
    options.onProgress?.(done += rows.length, total);
  }
  const scores = scoreCaptions(samples.map(({ row, caption, references }) => {
    const objects = data.objects(row);
    return { candidate: caption, references, ...(objects && { objects }) };
  }));
  metrics["eval_rougeL"] = scores.rougeL;
  metrics["eval_exact_match"] = scores.exactMatch;
  if (scores.objectAccuracy !== undefined) metrics["eval_object_accuracy"] = scores.objectAccuracy;
  for (const [name, value] of Object.entries(await options.scoreSamples?.(samples) ?? {})) {
    metrics[`eval_${name}`] = value;
  }
  return { metrics, samples };
}
