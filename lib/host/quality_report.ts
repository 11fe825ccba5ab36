/**
 * A report on the quality of data sets: looks at every row once, adds up, writes.
 *
 * Work that is not done lies in `.work` below the output folder; the same command goes on with it after a break.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { EMBEDDED_DATASET } from "../datasets/registry.ts";
import { parseJsonObject } from "../format/json.ts";
import type { Gpu } from "../gpu/device.ts";
import { compareReports, type QualityComparison } from "../quality/comparison.ts";
import { badnessRange, type RankingWeights, scaleBadness } from "../quality/ranking.ts";
import type { QualitySummary } from "../quality/summary.ts";
import { QualityTotals } from "../quality/totals.ts";
import { ClipScorer } from "./clip_scorer.ts";
import { readBounded } from "./file_source.ts";
import { isDiskFull, makeFolder, removeIfThere, stat, writeFileAtomically } from "./files.ts";
import { hashOf } from "./hashes.ts";
import { EMBEDDED_ENCODER, resolveModelFolder } from "./model_folders.ts";
import { startProgress } from "./progress.ts";
import { duplicateCounts, writeDuplicates } from "./quality_duplicates.ts";
import { addUp, writeExampleTables, writeObjectTables } from "./quality_outputs.ts";
import { type OpenedQualityRows, openQualityRows, type QualityRowsOptions } from "./quality_rows.ts";
import { scanRows } from "./quality_scan.ts";
import { writePictures } from "./quality_pictures.ts";
import { QualitySpill } from "./quality_spill.ts";
import { checkWriteBack, writeBack } from "./quality_write_back.ts";
import { acquireRunLock, LOCK_FILE } from "./run_lock.ts";
import { type DEVICES, openTrainGpu } from "./train_gpu.ts";
import { openTextScorer } from "./text_scorer.ts";

/** Models that are compared with where none is named, as in the Python report; the embedded sample has its own. */
const DEFAULT_CLIP = "openai/clip-vit-base-patch32", DEFAULT_BERT = "FacebookAI/roberta-large";
/** Says that no model is wanted. */
export const NO_MODEL = "none";

const WORK = ".work", SETTINGS = "settings.json";
const MAX_SUMMARY_BYTES = 64e6;

/** Options of {@linkcode reportQuality}. */
export interface QualityReportOptions extends QualityRowsOptions {
  /** Folder that the report is written to. */
  outputDir: string;
  /** CLIP or SigLIP: folder, Hub id, `embedded:siglip`, or `none`. @default what suits the data set */
  clipModel?: string;
  /** RoBERTa, BERT, or a text tower: folder, Hub id, `embedded:siglip`, or `none`. @default what suits the data set */
  bertModel?: string;
  /** Layer of it whose states are compared. */
  bertLayer: number;
  /** Rows in a batch of a model. */
  batchSize: number;
  /** Kind of adapter wanted. @default {"auto"} */
  device?: typeof DEVICES[number];
  /** Worst examples that are written out. */
  topk: number;
  /** Objects with fewer mentions are rare. */
  rareThreshold: number;
  /** Gini from which on a warning is given. */
  imbalanceGiniAlert: number;
  /** Share of the most frequent objects from which on a warning is given. */
  imbalanceTopkAlert: number;
  /** Weights of the ranking. */
  weights: RankingWeights;
  /** Least cosine of embeddings of near-duplicate images. */
  duplicateCosine: number;
  /** Whether plots are written as files of their own. */
  plot: boolean;
  /** Folder of a report to compare with. */
  compare?: string;
  /** Whether scores are written into the metadata of image folders. */
  writeBack: boolean;
  /** Whether what a broken report left is thrown away. */
  restart: boolean;
  /** A device opened before; it stays the caller's. @default {one of its own, where a model needs it} */
  gpu?: Gpu;
}

/** What a report came to. */
export interface QualityReportResult {
  readonly summary: QualitySummary;
  readonly comparison?: QualityComparison;
  /** Rows that were known from a broken report. */
  readonly resumed: number;
}

/**
 * Makes the report.
 *
 * @throws {UserError} If a data set or model cannot be used, or the disk is full
 * @throws {DOMException} `AbortError` if it was interrupted; what was found is kept
 */
export async function reportQuality(options: QualityReportOptions): Promise<QualityReportResult> {
  const { outputDir, signal, quiet = false } = options;
  // What can fail at once does so before hours of work.
  const other = options.compare === undefined ? undefined : await readSummary(options.compare);
  if (options.writeBack) await checkWriteBack(options.datasets, options.captions);
  const opened = await openQualityRows(options);
  const models = chooseModels(options, opened.has);
  await makeFolder(outputDir);
  const work = `${outputDir}/${WORK}`;
  using lock = await acquireRunLock(work);
  try {
    await prepareWork(work, await fingerprintOf(opened, models, options), options.restart);
    using spill = await QualitySpill.open(work);
    const resumed = spill.rows;
    const family = await scan(opened, spill, { models, options });
    signal?.throwIfAborted();
    const totals = new QualityTotals({ weights: options.weights, hasClip: models.clip !== undefined });
    using progress = startProgress({ label: "write", total: 2 * opened.total, quiet });
    const { found, badRows } = await addUp(spill, totals, {
      minCosine: options.duplicateCosine,
      onProgress: (rows) => progress.update(rows),
    });
    if (totals.total === 0) {
      throw new UserError(
        `Cannot report on ${options.datasets.join(", ")}: no row of "${options.split}" has a caption; ` +
          `the first rows say: ${badRows.slice(0, 3).map(({ id, reason }) => `${id}: ${reason}`).join("; ")}`,
      );
    }
    const summary = totals.summarize({
      dataset: options.datasets.join(", "),
      split: options.split,
      clipModel: models.clip ?? null,
      clipFamily: family.clip ?? null,
      bertModel: models.bert ?? null,
      bertIsReference: family.bert === "roberta",
      rareThreshold: options.rareThreshold,
      giniAlert: options.imbalanceGiniAlert,
      topkAlert: options.imbalanceTopkAlert,
      badRows: [...opened.badRows.rows, ...badRows],
      ...duplicateCounts(found),
    });
    const comparison = other && compareReports(other, summary, options.compare!);
    const worst = await writeExampleTables(spill, totals, {
      outputDir,
      work,
      topk: options.topk,
      onProgress: (rows) => progress.update(opened.total + rows),
    });
    progress.stop();
    await writeObjectTables(outputDir, totals, options.rareThreshold);
    await writeDuplicates(outputDir, found);
    await writePictures({ opened, worst, found, totals, summary, comparison, options });
    if (options.writeBack) {
      const badness = totals.badness.values;
      const range = badnessRange(badness);
      await writeBack(options.datasets, spill, (at) => scaleBadness(badness[at]!, range));
    }
    const text = { ...summary, ...(comparison && { comparison }) };
    // Last: where it is, the report is whole.
    await writeFileAtomically(`${outputDir}/quality_summary.json`, `${JSON.stringify(text, null, 2)}\n`);
    lock.release();
    await removeIfThere(work);
    return { summary, ...(comparison && { comparison }), resumed };
  } catch (error) {
    if (!isDiskFull(error) && !isDiskFull((error as Error)?.cause)) throw error;
    throw new UserError(
      `Cannot write the report to "${outputDir}": the disk is full; what was found is kept: free some space and run the same command again`,
      { cause: error },
    );
  }
}

/** References of models; `undefined` where none is wanted. */
interface ChosenModels {
  clip: string | undefined;
  bert: string | undefined;
}

/**
 * The embedded encoder knows the embedded pictures only; other data sets get the Python report's models. A model that was not asked for is
 * left out where there is nothing to compare.
 */
function chooseModels(
  { datasets, clipModel, bertModel, images }: QualityReportOptions,
  has: OpenedQualityRows["has"],
): ChosenModels {
  const isSample = datasets.every((name) => name === EMBEDDED_DATASET);
  const clip = clipModel ?? (!has.images ? NO_MODEL : isSample ? EMBEDDED_ENCODER : DEFAULT_CLIP);
  const bert = bertModel ?? (!has.originals ? NO_MODEL : isSample ? EMBEDDED_ENCODER : DEFAULT_BERT);
  return {
    clip: clip === NO_MODEL || !images ? undefined : clip,
    bert: bert === NO_MODEL ? undefined : bert,
  };
}

async function fingerprintOf(
  opened: OpenedQualityRows,
  models: ChosenModels,
  options: QualityReportOptions,
): Promise<string> {
  const { split, maxSamples, captions, captionColumn, originalColumn, objectsColumn, imageColumn } = options;
  return await hashOf([
    JSON.stringify([split, maxSamples, captions, captionColumn, originalColumn, objectsColumn, imageColumn]),
    JSON.stringify([options.images, options.seed, options.bertLayer, models, opened.total, opened.identity]),
  ]);
}

/** Keeps what a broken report of the same settings left, and nothing else. */
async function prepareWork(work: string, fingerprint: string, restart: boolean): Promise<void> {
  const path = `${work}/${SETTINGS}`;
  const isMine = !restart && await stat(path) !== undefined && await Deno.readTextFile(path) === fingerprint;
  for await (const { name } of Deno.readDir(work)) {
    const isKept = isMine && /^(examples\.jsonl|embeddings\.f32|width|settings\.json)$/.test(name);
    if (name !== LOCK_FILE && !isKept) await removeIfThere(`${work}/${name}`);
  }
  if (!isMine) await writeFileAtomically(path, fingerprint);
}

/** Looks at the rows. Models are opened for those that are left, and for what they are. */
async function scan(
  opened: OpenedQualityRows,
  spill: QualitySpill,
  { models, options }: { models: ChosenModels; options: QualityReportOptions },
): Promise<{ clip?: "clip" | "siglip"; bert?: string }> {
  const needsGpu = models.clip !== undefined || models.bert !== undefined;
  if (!needsGpu) {
    await scanRows(opened, spill, options);
    return {};
  }
  // A model that is not there is told before the GPU is asked.
  for (const [kind, model] of Object.entries(models)) {
    if (model !== undefined) await findModel(model, `--${kind}-model`, options.signal);
  }
  const gpu = options.gpu ?? await openTrainGpu(options.device ?? "auto");
  try {
    const { batchSize, bertLayer: layer } = options;
    // As in the Python report: captions without a prompt.
    const clip = models.clip === undefined
      ? undefined
      : await ClipScorer.open(gpu, { model: models.clip, batchSize, prompt: "" });
    try {
      using bert = models.bert === undefined
        ? undefined
        : await openTextScorer(gpu, { model: models.bert, layer, batchSize, towers: true });
      await scanRows(opened, spill, { ...options, clip, bert });
      return { ...(clip && { clip: clip.model.config.family }), ...(bert && { bert: bert.family }) };
    } finally {
      clip?.destroy();
    }
  } finally {
    if (options.gpu === undefined) gpu.destroy();
  }
}

/** Looks for a model, and downloads it. @throws {UserError} If there is none; the message says how to do without */
async function findModel(model: string, flag: string, signal: AbortSignal | undefined): Promise<void> {
  try {
    await resolveModelFolder(model, signal ? { signal } : {});
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    throw new UserError(`${error.message}; or name a folder with ${flag}, or ${flag} none to do without`, {
      cause: error,
    });
  }
}

async function readSummary(folder: string) {
  const path = `${folder}/quality_summary.json`;
  if (await stat(path) === undefined) {
    throw new UserError(
      `Cannot compare with "${folder}": it has no quality_summary.json; name a folder of a report`,
    );
  }
  return parseJsonObject(new TextDecoder().decode(await readBounded(path, MAX_SUMMARY_BYTES)), path);
}
