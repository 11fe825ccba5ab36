/**
 * Several sources of captions scored on the same images.
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import type { ImageRow } from "../datasets/rows.ts";
import type { PredictionRow } from "../evaluate/predictions.ts";
import type { ComparedModel, Differences } from "../evaluate/report.ts";
import { pairedBootstrap, type PairedDifference, pairedDifference } from "../text/metrics/bootstrap.ts";
import type { ImageScores } from "../text/metrics/corpus.ts";
import { captionInProcess } from "./caption_process.ts";
import { describeTimes, evaluateRows, openSynonyms, readPredictions, scoreWithModels } from "./evaluate.ts";
import type { EvaluateFlags } from "./evaluate_options.ts";
import { stat } from "./files.ts";
import type { ModelScores } from "./model_scores.ts";
import { formatBytes } from "./terminal.ts";

/** Options of {@linkcode compareSources}. */
export interface CompareOptions extends EvaluateFlags {
  /** Captions of models are kept in folders below it. */
  outputDir: string;
  /** CLIP or SigLIP that compares captions with images. @default {none} */
  clipModel?: string;
  /** Ends after the batch that is being made. */
  signal: AbortSignal;
}

/** A source of captions with its scores. */
export interface ComparedSource extends ComparedModel {
  /** Median and 95th percentile of a caption's time, bytes of weights, memory and failed images, where they are known. */
  readonly figures: Readonly<Record<string, number>>;
  /** Means of the scores of other models. */
  readonly others: Readonly<Record<string, number>>;
  /** Their differences to the first source. */
  readonly otherDifferences: Readonly<Record<string, PairedDifference>>;
}

/** What was compared. */
export interface Comparison {
  /** In the order they were given. */
  readonly models: readonly ComparedSource[];
  /** To the first. */
  readonly differences: readonly Differences[];
  /** Images by id, where a model captioned them. */
  readonly images: ReadonlyMap<string, ImageRow>;
  /** What describes the comparison. */
  readonly facts: readonly (readonly [string, string])[];
}

interface Source {
  rows: readonly PredictionRow[];
  images: ReadonlyMap<string, ImageRow>;
  figures: Record<string, number>;
}

/**
 * Reads or makes the captions of each source, and scores those of images that all of them have.
 *
 * @param names Predictions files, or models
 * @throws {UserError} If they have no image in common
 */
export async function compareSources(names: readonly string[], options: CompareOptions): Promise<Comparison> {
  await Deno.mkdir(options.outputDir, { recursive: true });
  const sources: Source[] = [];
  for (const [i, name] of names.entries()) sources.push(await openSource(name, i, options));
  const idSets = sources.map(({ rows }) => new Set(rows.map(({ id }) => id)));
  const common = sources[0]!.rows.map(({ id }) => id).filter((id) => idSets.every((ids) => ids.has(id)));
  if (common.length === 0) {
    throw new UserError(
      `Cannot compare ${describeNames(names)}: they have no image in common; ids must be the same`,
    );
  }
  const synonyms = await openSynonyms();
  const models: ComparedSource[] = [];
  const scored: (readonly ImageScores[])[] = [];
  const bootstrap = { samples: options.bootstrapSamples, seed: options.seed };
  const images = new Map(sources.flatMap(({ images }) => [...images]));
  let firstScores: ModelScores = [];
  const references = new Map(sources[0]!.rows.map((row) => [row.id, row.references]));
  for (const [i, { rows, figures }] of sources.entries()) {
    const byId = new Map(rows.map((row) => [row.id, row]));
    const same = common.map((id) => ({ ...byId.get(id)!, references: references.get(id)! }));
    const evaluated = await evaluateRows(same, { ...options, samples: 10, synonyms });
    scored.push(evaluated.scores.images);
    const { values, diversity } = evaluated.scores;
    const { clipModel } = options;
    const other = await scoreWithModels(same, {
      ...bootstrap,
      bertLayer: 0,
      images,
      ...(clipModel && { clipModel }),
    });
    if (i === 0) firstScores = other.scores;
    const column = (scores: ModelScores, name: string) => scores.map((one) => one[name]!);
    models.push({
      name: names[i]!,
      values,
      rows: evaluated.rows,
      figures,
      facts: describeFigures(figures, diversity),
      others: other.values,
      otherDifferences: i === 0 ? {} : Object.fromEntries(
        Object.keys(other.values).map((name) => [
          name,
          pairedDifference(column(firstScores, name), column(other.scores, name), bootstrap),
        ]),
      ),
    });
  }
  return {
    models,
    differences: scored.map((images, i) =>
      i === 0 ? undefined : pairedBootstrap(scored[0]!, images, bootstrap)
    ),
    images,
    facts: [
      ["Images", `${common.length} that all have, of ${Math.max(...sources.map(({ rows }) => rows.length))}`],
      ["References", `those of ${names[0]}`],
      ["Tokenizer", options.tokenizer],
      ...(options.clipModel === undefined ? [] : [["CLIPScore by", options.clipModel] as const]),
      ["METEOR", synonyms === undefined ? "exact, stem" : "exact, stem, synonyms"],
    ],
  };
}

async function openSource(name: string, index: number, options: CompareOptions): Promise<Source> {
  // A file that is not there is refused as one, not looked for as a model.
  if ((await stat(name))?.isFile || /\.jsonl?$/i.test(name)) {
    const rows = await readPredictions(name, options.references);
    return { rows, images: new Map(), figures: timeFigures(rows) };
  }
  const { rows, images, failed, modelBytes, memory } = await captionInProcess({
    ...options,
    model: name,
    datasets: options.dataset,
    splitSeed: options.seed,
    outputDir: `${options.outputDir}/${index}-${name.replace(/[^\w.-]+/g, "_")}`,
  });
  return {
    rows,
    images,
    figures: {
      ...timeFigures(rows),
      ...(modelBytes !== undefined && { model_bytes: modelBytes }),
      ...(memory && { peak_memory_bytes: memory.peakBytes }),
      ...(memory?.gpuBytes !== undefined && { gpu_bytes: memory.gpuBytes }),
      failure_rate: failed.length / (rows.length + failed.length),
    },
  };
}

function timeFigures(rows: readonly PredictionRow[]): Record<string, number> {
  const times = describeTimes(rows);
  return times === undefined ? {} : { time_ms_p50: times.p50, time_ms_p95: times.p95 };
}

function describeFigures(
  figures: Readonly<Record<string, number>>,
  diversity: { readonly meanLength: number; readonly vocabulary: number; readonly repetition: number },
): Record<string, string> {
  const { time_ms_p50, time_ms_p95, model_bytes, peak_memory_bytes, gpu_bytes, failure_rate } = figures;
  return {
    "words of a caption": diversity.meanLength.toFixed(1),
    "vocabulary": String(diversity.vocabulary),
    "repetition": diversity.repetition.toFixed(3),
    ...(time_ms_p50 !== undefined && { "time of a caption, median": `${time_ms_p50} ms` }),
    ...(time_ms_p95 !== undefined && { "time of a caption, 95 %": `${time_ms_p95} ms` }),
    ...(model_bytes !== undefined && { "weights": formatBytes(model_bytes) }),
    ...(peak_memory_bytes !== undefined && { "peak memory": formatBytes(peak_memory_bytes) }),
    ...(gpu_bytes !== undefined && { "GPU buffers": formatBytes(gpu_bytes) }),
    ...(failure_rate !== undefined && { "failed images": `${(100 * failure_rate).toFixed(1)} %` }),
  };
}
