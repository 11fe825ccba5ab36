/**
 * Scores that other models give captions: CLIPScore and its kin, and BERTScore.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { ImageRow } from "../datasets/rows.ts";
import { TextStates, TwoTowerEmbedder } from "../evaluate/encoders.ts";
import type { PredictionRow } from "../evaluate/predictions.ts";
import { bertScore, clipScore, cosine, refClipScore, siglipScore } from "../evaluate/similarity.ts";
import type { FileFolder } from "../format/byte_source.ts";
import { parseJsonObject } from "../format/json.ts";
import type { Gpu } from "../gpu/device.ts";
import { parseProcessorConfig, preprocess } from "../image/processor.ts";
import { loadTextModel, loadTwoTowerModel } from "../models/load.ts";
import { maxTextTokens, type TextConfig } from "../models/text.ts";
import { type CaptionTokenizer, loadTokenizer } from "../text/tokenizer.ts";
import { decodeImage } from "./decode.ts";
import { readBounded } from "./file_source.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { EMBEDDED_DECODER, EMBEDDED_ENCODER, openModelFolder } from "./model_folders.ts";
import { readModelText } from "../models/model_texts.ts";
import { startProgress } from "./progress.ts";

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

/** What CLIP's captions are said to be in CLIPScore; SigLIP's are given as they are. */
const CLIP_PREFIX = "A photo depicts ";

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
  const folder = await openModelFolder(options.model);
  const model = await loadTwoTowerModel(gpu, folder);
  const { config } = model;
  const processor = await readModelText(folder, "preprocessor_config.json");
  const processorConfig = parseProcessorConfig(JSON.parse(processor.text));
  // The embedded tower learnt from the tokens of the embedded decoder.
  const words = options.model === EMBEDDED_ENCODER ? await openModelFolder(EMBEDDED_DECODER) : folder;
  const tokenizer = await openTokenizer(words);
  const embedder = new TwoTowerEmbedder(gpu, model, options);
  const embedTexts = (texts: readonly string[]) => {
    const prefix = config.family === "clip" ? CLIP_PREFIX : "";
    return embedder.embedTexts(texts.map((text) => tokensOf(`${prefix}${text}`, tokenizer, config.text)));
  };
  const scores: Record<string, number>[] = [];
  const batchSize = options.batchSize ?? 16;
  using progress = startProgress({ label: "CLIPScore", total: rows.length, quiet: options.quiet ?? false });
  try {
    for (let start = 0; start < rows.length; start += batchSize) {
      const some = rows.slice(start, start + batchSize);
      const pixels = await Promise.all(
        some.map(async (row) =>
          preprocess(await decodeImage(await readImage(row, options.images)), processorConfig)
        ),
      );
      const images = await embedder.embedImages(pixels);
      const candidates = await embedTexts(some.map(({ candidate }) => candidate));
      const references = await embedTexts(some.flatMap((row) => row.references));
      for (const [i, row] of some.entries()) {
        const similarity = cosine(images[i]!, candidates[i]!);
        const near = references.splice(0, row.references.length).map((other) =>
          cosine(candidates[i]!, other)
        );
        const score = clipScore(similarity);
        scores.push({
          clip_score: score,
          ref_clip_score: refClipScore(score, near),
          ...(config.family === "siglip" && { siglip_score: siglipScore(similarity, model) }),
        });
      }
      progress.update(start + some.length);
    }
  } finally {
    embedder.destroy();
    model.weights.destroy();
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
  const folder = await openModelFolder(options.model);
  const tokenizer = await openTokenizer(folder);
  const model = await loadTextModel(gpu, folder);
  const encoder = new TextStates(gpu, model, options);
  const scores: Record<string, number>[] = [];
  const batchSize = options.batchSize ?? 16;
  using progress = startProgress({ label: "BERTScore", total: rows.length, quiet: options.quiet ?? false });
  try {
    for (let start = 0; start < rows.length; start += batchSize) {
      const some = rows.slice(start, start + batchSize);
      const texts = some.flatMap(({ candidate, references }) => [candidate, ...references]);
      const states = await encoder.states(texts.map((text) => tokensOf(text, tokenizer, model.config)));
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
  } finally {
    encoder.destroy();
    model.weights.destroy();
  }
  return scores;
}

async function openTokenizer(folder: FileFolder): Promise<CaptionTokenizer> {
  const [tokenizer, config] = [
    await readModelText(folder, "tokenizer.json"),
    await readModelText(folder, "tokenizer_config.json"),
  ];
  const parse = ({ name, text }: { name: string; text: string }) =>
    parseJsonObject(text, `${folder.name}/${name}`);
  return loadTokenizer(parse(tokenizer), parse(config));
}

/** Ids of a text with what begins and ends one, cut to what the encoder takes; the end stays. */
function tokensOf(text: string, tokenizer: CaptionTokenizer, config: TextConfig): number[] {
  const ids = tokenizer.encodeWithSpecials(text);
  const end = config.endId ?? tokenizer.eosId;
  // BERT's texts end with a token that is not called their end.
  const isEnded = config.family === "bert" || ids.at(-1) === end;
  const ended = isEnded ? ids : [...ids, end];
  const most = maxTextTokens(config);
  return ended.length <= most ? ended : [...ended.slice(0, most - 1), ended.at(-1)!];
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
