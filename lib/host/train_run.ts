/**
 * A training run from its options to its folder: the one place where data, models, engine and files meet.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import { encodeCaptioner, readCheckpoint } from "../train/checkpoint.ts";
import { evaluate, type Evaluation } from "../train/evaluation.ts";
import { countSteps } from "../train/trainer.ts";
import type { TrainingCheckpoint, TrainSettings } from "../train/trainer_types.ts";
import { openFileFolder } from "./files.ts";
import { type ProgressOptions, startProgress } from "./progress.ts";
import { chooseRunFolder, RunFolder } from "./run_folder.ts";
import { describeFilter, openRowFilter } from "./row_filter.ts";
import { readRowWeights, type RowWeights } from "./row_weights.ts";
import { formatBytes } from "./terminal.ts";
import {
  countSplits,
  type DataRow,
  loadTrainData,
  longestCaption,
  type TrainData,
  trainingRows,
  type TrainingRowsOptions,
} from "./train_data.ts";
import { trainWithLog } from "./train_loop.ts";
import { openTrainModels, type TrainModels } from "./train_models.ts";
import type { TrainRunContext, TrainRunOptions, TrainRunResult } from "./train_options.ts";
import { formatManifest, writeRunPages } from "./train_pages.ts";
import { openTrainGpu } from "./train_gpu.ts";
import { TrainSession } from "./train_session.ts";
import { openSynonyms } from "./evaluate.ts";
import { fingerprintOf } from "./train_fingerprint.ts";
import { type EvalPlan, planEvaluations } from "./train_eval_options.ts";
import { scoreRows } from "./train_metrics.ts";
import { readWatched } from "./train_predictions.ts";
import { checkReward, clipModelOf, hashClipModel, openSelfCritical } from "./train_rewards.ts";
import { openTrainStream, streamedRows } from "./train_stream.ts";
import { countTrainable, formatTrainable } from "./trainable_table.ts";

/** Rows of a stream in memory that the next one is drawn from. */
const SHUFFLE_BUFFER = 1000;
/** A stream's images come once in a long while: their features are hardly worth memory. */
const STREAM_FEATURE_BYTES = 64e6;
/** Rows that a run is judged on before and after. */
const MAX_JUDGED_ROWS = 200;

/**
 * Trains, or continues the unfinished run of the same options, models and data.
 *
 * @throws {UserError} For every mistake in the options, the data, or the files
 */
export async function runTraining(
  options: TrainRunOptions,
  context: TrainRunContext,
): Promise<TrainRunResult> {
  const { say, signal } = context;
  checkReward(options);
  const evaluations = planEvaluations(options);
  const models = await withProgress(
    context,
    "check models",
    (onProgress) =>
      openTrainModels({
        ...options,
        unfrozenVisionLayers: options.unfreezeVisionLayers,
        signal,
        onProgress,
      }),
    { unit: "bytes", afterMs: 1000 },
  );
  const filter = await openRowFilter(options, expandDatasetNames(options.dataset));
  const data = await withProgress(
    context,
    "read data",
    (onProgress) =>
      (options.streaming ? openTrainStream : loadTrainData)({
        ...options,
        datasets: options.dataset,
        filter,
        onProgress,
        signal,
        ...(context.quiet !== undefined && { quiet: context.quiet }),
      }),
  );
  if (countSplits(data).train === 0) {
    throw new UserError("Cannot train on an empty data set: its train split has no rows");
  }
  if (filter !== undefined) say(`--min-score ${options.minScore}: ${describeFilter(filter)}`);
  const weights = options.weights === undefined
    ? undefined
    : await readRowWeights(options.weights, expandDatasetNames(options.dataset));
  const clipModel = clipModelOf(options, evaluations.metrics);
  if (clipModel !== undefined) say(`Captions are compared with images by ${clipModel}`);
  const fingerprint = await fingerprintOf(options, models, [
    data.hash,
    ...(weights ? [weights.hash] : []),
    ...(filter ? [JSON.stringify(filter.identity)] : []),
    ...(clipModel === undefined ? [] : [await hashClipModel(clipModel, { signal })]),
  ]);
  const name = `${baseName(models.settings.encoder.reference)}-${
    baseName(models.settings.decoder.reference)
  }-lora`;
  const choice = await chooseRunFolder(options.saveDir, name, fingerprint);
  using run = await RunFolder.open(choice.path, options);
  if (options.deleteOldCheckpoints) await run.deleteCheckpoints();
  const newest = await run.newestCheckpoint();
  const resume = newest && await readCheckpoint(newest);
  const gpu = context.gpu ?? await openTrainGpu(options.device);
  try {
    const manifest = { options, models, data, fingerprint, gpu };
    await run.writeFile("manifest.json", formatManifest({ ...manifest, finished: false }));
    using session = await TrainSession.open(gpu, {
      ...options,
      models,
      // A stream's captions are not known before they come.
      textLength: data.stream ? options.maxLength : longestCaption(Object.values(data.rows).flat(), {
        ...options,
        tokenizer: models.tokenizer,
      }),
      ...(data.stream && { maxFeatureBytes: STREAM_FEATURE_BYTES }),
      accumulation: options.gradientAccumulationSteps,
      cacheFeatures: options.cacheFeatures ?? true,
      maxCacheBytes: options.maxCacheGb * 1e9,
      policyWeight: options.clipLossWeight,
      clipModel,
      onMemoryEstimate: (bytes) => say(`Training needs ${formatBytes(bytes)} of GPU memory`),
    });
    say(formatTrainable(countTrainable(models.config)));
    say(resume ? `Continues ${choice.path} at step ${resume.state.step}` : `Trains in ${choice.path}`);
    const result = await trainInSession({
      options,
      context,
      models,
      data,
      evaluations,
      weights,
      fingerprint,
      run,
      session,
      resume,
    });
    if (result.ended === "interrupted") return result;
    await writeRunPages(run, { ...manifest, result, session });
    await run.writeFile("manifest.json", formatManifest({ ...manifest, finished: true }));
    if (data.badRows.count > 0) say(`Skipped ${data.badRows.count} bad rows: ${data.badRows.describe(20)}`);
    return result;
  } catch (error) {
    if (!signal.aborted || (error as Error)?.name !== "AbortError") throw error;
    return {
      path: run.path,
      ended: "interrupted",
      step: (await run.checkpointSteps()).at(-1) ?? 0,
      data,
      judged: undefined,
    };
  } finally {
    if (context.gpu === undefined) gpu.destroy();
  }
}

interface Parts {
  options: TrainRunOptions;
  context: TrainRunContext;
  models: TrainModels;
  data: TrainData;
  evaluations: EvalPlan;
  weights: RowWeights | undefined;
  fingerprint: string;
  run: RunFolder;
  session: TrainSession;
  resume: TrainingCheckpoint | undefined;
}

async function trainInSession(parts: Parts): Promise<TrainRunResult> {
  const { options, context, models, data, fingerprint, run, session } = parts;
  const { signal } = context;
  const { engine } = session;
  const isGood = await prepareImages(parts);
  const view = (rows: readonly DataRow[], own: Partial<TrainingRowsOptions> = {}) =>
    trainingRows(rows, {
      tokenizer: models.tokenizer,
      maxLength: options.maxLength,
      appendEos: options.appendEos,
      seed: options.seed,
      loadInputs: session.loadInputs,
      ...own,
    });
  const selfCritical = openSelfCritical(options, { session, data, models });
  const compared = async <T>(rows: readonly DataRow[], loaded: T): Promise<T> => {
    if (selfCritical) await session.similarity?.prepare(rows);
    return loaded;
  };
  const trainRows = data.stream
    ? streamedRows({ ...data, stream: data.stream }, {
      ...options,
      tokenizer: models.tokenizer,
      shuffleBuffer: options.shuffleBuffer ?? SHUFFLE_BUFFER,
      interleave: options.interleave ?? false,
      weights: parts.weights,
      async loadRows(rows, onBad) {
        const loaded = await session.loadRows(rows, onBad);
        return await compared(loaded.rows, loaded);
      },
    })
    : view(data.rows.train.filter(isGood), {
      interleave: options.interleave,
      weights: parts.weights,
      loadInputs: async (rows) => await compared(rows, await session.loadInputs(rows)),
    });
  const { metrics } = parts.evaluations;
  const synonyms = metrics.includes("meteor") ? await openSynonyms() : undefined;
  const scoring = { metrics, similarity: session.similarity, synonyms };
  const validationRows = data.rows.validation.filter(isGood);
  const validation = validationRows.length === 0 ? undefined : view(validationRows);
  if (validation === undefined) {
    context.say(
      "No validation images: nothing is evaluated on the way, and the last checkpoint is the one that is kept",
    );
  }

  const split = data.rows.test.some(isGood) ? "test" : "validation";
  const judgedRows = data.rows[split].filter(isGood).slice(0, MAX_JUDGED_ROWS);
  const judged = judgedRows.length === 0 ? undefined : { split, rows: judgedRows } as const;
  const judge = async (when: string): Promise<Evaluation | undefined> => {
    if (judged === undefined) return undefined;
    const rows = view(judged.rows);
    const scoreSamples = scoreRows(judged.rows, scoring);
    return await withProgress(context, `judge ${when} training`, (onProgress) =>
      evaluate(engine, rows, {
        captionedRows: judged.rows.map((_, i) => i),
        generateCaptions: (indices) => session.caption(rows, indices),
        ...(scoreSamples && { scoreSamples }),
        onProgress,
        signal,
      }));
  };
  // Before the checkpoint is put in: what the captioner wrote when nothing was trained.
  const before = await judge("before");

  const counts = { ...options, epochs: options.numTrainEpochs };
  const maxSteps = countSteps(counts, Math.ceil(trainRows.rowCount / options.batchSize));
  const settings: TrainSettings = {
    ...counts,
    warmupSteps: options.warmupSteps ?? Math.min(200, Math.floor(maxSteps / 10)),
    peakLearningRates: { projection: options.projectionLr, lora: options.loraLr },
    bestMetric: parts.evaluations.best,
    fingerprint,
  };
  const outcome = await trainWithLog({
    ...parts,
    settings,
    maxSteps,
    train: trainRows,
    validation,
    validationRows,
    scoreSamples: scoreRows(validationRows, scoring),
    selfCritical,
  });
  const result = { path: run.path, ended: outcome.ended, step: outcome.state.step, data, judged };
  if (outcome.ended === "interrupted") return result;

  const bestStep = outcome.state.best?.step ?? outcome.state.step;
  const best = await readCheckpoint(await openFileFolder(run.checkpointPath(bestStep)));
  await run.writeModel(encodeCaptioner(best.engine, { config: models.settings, copies: models.copies }));
  engine.writeState(best.engine);
  const after = await judge("after");
  const watched = await readWatched(run.path, validationRows);
  const { best: evaluation } = outcome.state;
  return {
    ...result,
    watched,
    ...(evaluation && { best: evaluation }),
    ...(before && { before }),
    ...(after && { after }),
  };
}

/** Decodes every image once; gives which rows are good. */
async function prepareImages({ data, session, context, options }: Parts): Promise<(row: DataRow) => boolean> {
  const rows = Object.values(data.rows).flat();
  const bad = new Set<DataRow>();
  await withProgress(context, "prepare images", (onProgress) =>
    session.prepare(rows, {
      onBad(row, reason) {
        bad.add(row);
        data.badRows.add(row.id, reason);
      },
      onProgress: (done) => onProgress(done, rows.length),
      signal: context.signal,
    }));
  data.badRows.check(data.total);
  if (!data.stream && data.rows.train.every((row) => bad.has(row))) {
    throw new UserError(
      `Cannot train on an empty data set (${options.dataset.join(", ")}): no image could be read`,
    );
  }
  return (row) => !bad.has(row);
}

function baseName(reference: string): string {
  return reference.replace(/[/\\]+$/, "").split(/[/\\:]/).at(-1)!.replace(/@.*$/, "");
}

async function withProgress<T>(
  { quiet = false }: TrainRunContext,
  label: string,
  work: (onProgress: (done: number, total: number) => void) => Promise<T>,
  options: Pick<ProgressOptions, "unit"> & { afterMs?: number } = {},
): Promise<T> {
  const { unit = "count", afterMs = 0 } = options;
  const startMs = performance.now();
  let progress: ReturnType<typeof startProgress> | undefined;
  try {
    return await work((done, total) => {
      if (performance.now() - startMs < afterMs) return;
      progress ??= startProgress({ label, total, quiet, unit });
      progress.update(done);
    });
  } finally {
    progress?.stop();
  }
}
