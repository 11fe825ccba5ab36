/**
 * Scoring captions from files or models, and what is written of it.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { ImageRow } from "../datasets/rows.ts";
import { parsePredictions, type PredictionRow } from "../evaluate/predictions.ts";
import {
  formatEvaluationPage,
  formatScoreCsv,
  formatScoreLines,
  pageRows,
  type ScoredRow,
  scoreRows,
} from "../evaluate/report.ts";
import {
  bootstrapIntervals,
  type BootstrapOptions,
  type Interval,
  meanInterval,
} from "../text/metrics/bootstrap.ts";
import { openGpu } from "../gpu/device.ts";
import {
  type CorpusScores,
  type MetricName,
  type MetricTokenizer,
  scoreCorpus,
} from "../text/metrics/corpus.ts";
import type { Synonyms } from "../text/metrics/meteor.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { readBounded } from "./file_source.ts";
import { writeFileAtomically } from "./files.ts";
import { type ModelScores, scoreWithBert, scoreWithClip } from "./model_scores.ts";
import { startProgress } from "./progress.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";
import { sharp } from "./sharp.ts";
import { NO_WORDNET_NOTE, readWordNet } from "./wordnet.ts";

/** Larger files of predictions are not read. */
const MAX_PREDICTION_BYTES = 2 ** 30;
/** Pictures of a page are no larger. */
const THUMBNAIL_SIZE = 320;

/** Reads predictions, and their references from COCO annotations where they have none of their own. */
export async function readPredictions(path: string, annotations?: string): Promise<PredictionRow[]> {
  const text = async (file: string) => {
    try {
      const bytes = await readBounded(file, MAX_PREDICTION_BYTES);
      return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    } catch (error) {
      throw new UserError(
        error instanceof TypeError ? `Cannot read "${file}": it is not UTF-8 text` : (error as Error).message,
      );
    }
  };
  return parsePredictions(await text(path), {
    name: path,
    ...(annotations !== undefined && { annotations: { text: await text(annotations), name: annotations } }),
  });
}

/** How captions are scored. */
export interface EvaluateOptions extends BootstrapOptions {
  /** How they are cut. */
  tokenizer: MetricTokenizer;
  /** WordNet, see {@linkcode openSynonyms}. */
  synonyms: Synonyms | undefined;
  /** Scores of other models, one for each row. */
  extra?: ModelScores;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** Scores with their intervals. */
export interface Evaluated {
  /** Captions with their scores. */
  readonly rows: readonly (PredictionRow & ScoredRow)[];
  /** Scores of the set and of each image. */
  readonly scores: CorpusScores;
  /** 95 % intervals. */
  readonly intervals: Readonly<Record<MetricName, Interval>>;
}

/** WordNet; where there is none, a note on stderr says what that means. */
export async function openSynonyms(): Promise<Synonyms | undefined> {
  const wordNet = await readWordNet();
  if (wordNet === undefined) console.error(`Note: ${NO_WORDNET_NOTE}`);
  else if (!wordNet.hasExceptions) {
    console.error("Note: METEOR knows no irregular forms: this WordNet lacks its exception lists (*.exc)");
  }
  return wordNet;
}

/** Scores captions. */
export async function evaluateRows(
  rows: readonly PredictionRow[],
  options: EvaluateOptions,
): Promise<Evaluated> {
  using progress = startProgress({ label: "score", total: rows.length, quiet: options.quiet ?? false });
  const scores = await scoreCorpus(rows, {
    tokenizer: options.tokenizer,
    synonyms: options.synonyms,
    onProgress: (done) => progress.update(done),
  });
  return {
    rows: scoreRows(rows, scores.images).map((row, i) => ({
      ...row,
      ...(options.extra && { extra: options.extra[i]! }),
    })),
    scores,
    intervals: bootstrapIntervals(scores.images, options),
  };
}

/** Scores that other models give, their means and intervals; empty where none is asked for. */
export async function scoreWithModels(
  rows: readonly PredictionRow[],
  options: BootstrapOptions & {
    clipModel?: string;
    bertModel?: string;
    bertLayer: number;
    images?: ReadonlyMap<string, ImageRow>;
  },
): Promise<{ scores: ModelScores; values: Record<string, number>; intervals: Record<string, Interval> }> {
  const { clipModel, bertModel, bertLayer: layer, images } = options;
  const scores: Record<string, number>[] = rows.map(() => ({}));
  if (clipModel !== undefined || bertModel !== undefined) {
    prepareDriverEnvironment();
    const gpu = await openGpu();
    const all: ModelScores[] = [];
    if (clipModel !== undefined) {
      all.push(await scoreWithClip(gpu, rows, { model: clipModel, ...(images && { images }) }));
    }
    if (bertModel !== undefined) all.push(await scoreWithBert(gpu, rows, { model: bertModel, layer }));
    gpu.destroy();
    for (const list of all) list.forEach((one, i) => Object.assign(scores[i]!, one));
  }
  const names = Object.keys(scores[0] ?? {});
  const column = (name: string) => scores.map((one) => one[name]!);
  return {
    scores,
    values: Object.fromEntries(
      names.map((name) => [name, column(name).reduce((sum, value) => sum + value, 0) / rows.length]),
    ),
    intervals: Object.fromEntries(names.map((name) => [name, meanInterval(column(name), options)])),
  };
}

/** Writes `scores.jsonl`, `scores.csv`, `summary.json` and `report.html` into a folder. */
export async function writeEvaluation(
  outputDir: string,
  { evaluated, summary, title, facts, sortBy, images, coverage = "" }: {
    evaluated: Evaluated;
    summary: unknown;
    title: string;
    facts: readonly (readonly [string, string])[];
    sortBy: MetricName;
    images?: ReadonlyMap<string, ImageRow>;
    /** Part of the page. @default {""} */
    coverage?: string;
  },
): Promise<void> {
  const { rows, scores, intervals } = evaluated;
  await Deno.mkdir(outputDir, { recursive: true });
  await writeFileAtomically(`${outputDir}/scores.jsonl`, formatScoreLines(rows));
  await writeFileAtomically(`${outputDir}/scores.csv`, formatScoreCsv(rows));
  await writeFileAtomically(`${outputDir}/summary.json`, `${JSON.stringify(summary, null, 2)}\n`);
  const pictures = await readPictures(pageRows(rows, sortBy), images);
  await writeFileAtomically(
    `${outputDir}/report.html`,
    formatEvaluationPage({
      title,
      facts,
      values: scores.values,
      intervals,
      rows,
      sortBy,
      coverage,
      picture: ({ id }) => pictures.get(id),
    }),
  );
}

/** Small pictures of rows as `data:` addresses; rows whose image is not at hand have none. */
export async function readPictures(
  rows: readonly ScoredRow[],
  images?: ReadonlyMap<string, ImageRow>,
): Promise<Map<string, string>> {
  const pictures = new Map<string, string>();
  for (const { id, image } of rows) {
    try {
      const row = images?.get(id);
      if (row === undefined && (image === undefined || /^[a-z]+:\/\//i.test(image))) continue;
      const bytes = row === undefined ? await readBounded(image!, MAX_IMAGE_BYTES) : await row.readImage();
      const small = await sharp(bytes).rotate().resize(THUMBNAIL_SIZE, THUMBNAIL_SIZE, {
        fit: "inside",
        withoutEnlargement: true,
      }).flatten({ background: "#ffffff" }).jpeg({ quality: 75 }).toBuffer();
      pictures.set(id, `data:image/jpeg;base64,${new Uint8Array(small).toBase64()}`);
    } catch {
      // A page without a picture still shows its captions; broken images were counted when they were captioned.
    }
  }
  return pictures;
}

/** Median and 95th percentile of the captions' times in milliseconds, where they are known. */
export function describeTimes(rows: readonly PredictionRow[]): { p50: number; p95: number } | undefined {
  const times = rows.flatMap(({ timeMs }) => timeMs === undefined ? [] : [timeMs]).sort((a, b) => a - b);
  if (times.length === 0) return undefined;
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(share * times.length))]!;
  return { p50: at(0.5), p95: at(0.95) };
}
