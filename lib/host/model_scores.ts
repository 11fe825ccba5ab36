/**
 * Scores that other models give captions: CLIPScore and its kin, and BERTScore.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { ImageRow } from "../datasets/rows.ts";
import type { PredictionRow } from "../evaluate/predictions.ts";
import { bertScore, clipScore, cosine, refClipScore, siglipScore } from "../evaluate/similarity.ts";
import type { Gpu } from "../gpu/device.ts";
import { preprocess } from "../image/processor.ts";
import { ClipScorer } from "./clip_scorer.ts";
import { decodeImage } from "./decode.ts";
import { readBounded } from "./file_source.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { startProgress } from "./progress.ts";
import { openTextScorer } from "./text_scorer.ts";

/** Scores of each row by name. */
export type ModelScores = readonly Readonly<Record<string, number>>[];

/** Options of both. */
export interface ModelScoreOptions {
  /** Folder, Hub id or `embedded:siglip`. */
  model: string;
  /** Texts or images in a batch. @default {16} */
  batchSize?: number;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/**
 * `clip_score` and `ref_clip_score` of every row, and for SigLIP `siglip_score`, the probability that image and caption belong together.
 *
 * @param images Images by id; others are read from the paths in the rows
 * @throws {UserError} If a row's image is not at hand, or the model's folder lacks a file
 */
export async function scoreWithClip(
  gpu: Gpu,
  rows: readonly PredictionRow[],
  options: ModelScoreOptions & { images?: ReadonlyMap<string, ImageRow> },
): Promise<ModelScores> {
  const scorer = await ClipScorer.open(gpu, options);
  const { model, processor } = scorer;
  const scores: Record<string, number>[] = [];
  const batchSize = options.batchSize ?? 16;
  using progress = startProgress({ label: "CLIPScore", total: rows.length, quiet: options.quiet ?? false });
  try {
    for (let start = 0; start < rows.length; start += batchSize) {
      const some = rows.slice(start, start + batchSize);
      const pixels = await Promise.all(
        some.map(async (row) =>
          preprocess(await decodeImage(await readImage(row, options.images)), processor)
        ),
      );
      const images = await scorer.embedImages(pixels);
      const candidates = await scorer.embedTexts(some.map(({ candidate }) => candidate));
      const references = await scorer.embedTexts(some.flatMap((row) => row.references));
      for (const [i, row] of some.entries()) {
        const similarity = cosine(images[i]!, candidates[i]!);
        const near = references.splice(0, row.references.length).map((other) =>
          cosine(candidates[i]!, other)
        );
        const score = clipScore(similarity);
        scores.push({
          clip_score: score,
          ref_clip_score: refClipScore(score, near),
          ...(model.config.family === "siglip" && { siglip_score: siglipScore(similarity, model) }),
        });
      }
      progress.update(start + some.length);
    }
  } finally {
    scorer.destroy();
  }
  return scores;
}

/**
 * `bert_precision`, `bert_recall` and `bert_f1` of every row, each of its best reference, without idf and rescaling.
 *
 * @param options The layer whose states are compared
 */
export async function scoreWithBert(
  gpu: Gpu,
  rows: readonly PredictionRow[],
  options: ModelScoreOptions & { layer: number },
): Promise<ModelScores> {
  using model = await openTextScorer(gpu, options);
  const scores: Record<string, number>[] = [];
  const batchSize = options.batchSize ?? 16;
  using progress = startProgress({ label: "BERTScore", total: rows.length, quiet: options.quiet ?? false });
  for (let start = 0; start < rows.length; start += batchSize) {
    const some = rows.slice(start, start + batchSize);
    const states = await model.states(
      some.flatMap(({ candidate, references }) => [candidate, ...references]),
    );
    for (const { references } of some) {
      const [candidate, ...others] = states.splice(0, 1 + references.length);
      const all = others.map((other) => bertScore(candidate!, other));
      scores.push({
        bert_precision: Math.max(...all.map(({ precision }) => precision)),
        bert_recall: Math.max(...all.map(({ recall }) => recall)),
        bert_f1: Math.max(...all.map(({ f1 }) => f1)),
      });
    }
    progress.update(start + some.length);
  }
  return scores;
}

async function readImage(
  { id, image }: PredictionRow,
  images?: ReadonlyMap<string, ImageRow>,
): Promise<Uint8Array> {
  const row = images?.get(id);
  if (row !== undefined) return await row.readImage();
  if (image === undefined) {
    throw new UserError(
      `Cannot compare captions with images: row "${id}" names none; give each row an "image", the path of its file`,
    );
  }
  return await readBounded(image, MAX_IMAGE_BYTES);
}
