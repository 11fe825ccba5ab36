/**
 * The training loop with everything it writes: log, progress, checkpoints, the best model.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import { encodeCaptioner, encodeCheckpoint } from "../train/checkpoint.ts";
import type { CaptionSample, ScoreSamples } from "../train/evaluation.ts";
import { evaluationNames, formatMetric, metricTitle } from "../train/report.ts";
import type { SelfCritical } from "../train/self_critical.ts";
import type { TrainingRows, ValidationRows } from "../train/rows.ts";
import { train } from "../train/trainer.ts";
import type { TrainingCheckpoint, TrainOutcome, TrainSettings } from "../train/trainer_types.ts";
import type { EventImage } from "../format/tensorboard.ts";
import { startProgress } from "./progress.ts";
import type { RunFolder } from "./run_folder.ts";
import { formatBytes } from "./terminal.ts";
import type { DataRow } from "./train_data.ts";
import { TrainLog } from "./train_log.ts";
import type { TrainModels } from "./train_models.ts";
import { eventImage, predictionsOf, shownRows } from "./train_predictions.ts";
import type { TrainRunContext, TrainRunOptions } from "./train_options.ts";
import type { TrainSession } from "./train_session.ts";

/** What {@linkcode trainWithLog} works with. */
export interface TrainLoopOptions {
  /** The run's options. */
  options: TrainRunOptions;
  /** Opened models. */
  models: TrainModels;
  /** The run's folder. */
  run: RunFolder;
  /** The GPU side. */
  session: TrainSession;
  /** Checkpoint to continue from. */
  resume: TrainingCheckpoint | undefined;
  /** Signal, and where lines go. */
  context: Pick<TrainRunContext, "signal" | "say" | "quiet">;
  /** Numbers that steer the training. */
  settings: TrainSettings;
  /** Optimizer steps of the whole training. */
  maxSteps: number;
  /** Rows to train on. */
  train: TrainingRows;
  /** Rows to evaluate on. */
  validation: ValidationRows | undefined;
  /** The same as they lie in the data. */
  validationRows: readonly DataRow[];
  /** More scores of captions. */
  scoreSamples: ScoreSamples | undefined;
  /** Trains on rewards too. */
  selfCritical: SelfCritical | undefined;
}

/** Trains in a run's folder; errors as those of `train`. */
export async function trainWithLog(loop: TrainLoopOptions): Promise<TrainOutcome> {
  const { options, context, models, run, session, resume, settings, maxSteps, train: rows, validation } =
    loop;
  const { quiet = false } = context;
  using log = await TrainLog.open(run.path, resume?.state.log ?? []);
  using progress = startProgress({
    label: "train",
    total: maxSteps,
    initial: resume?.state.step ?? 0,
    quiet,
  });
  const say = (line: string): void => {
    if (quiet) context.say(line);
    else progress.log(line);
    log.line(line);
  };
  const startMs = performance.now();
  let imagesPerSecond = 0;
  let tokens: Record<string, string> = {};
  const captionedRows = sampleRows(validation?.rowCount ?? 0, options.evalCaptions, options.seed);
  const tags = new Map(shownRows(captionedRows).map((row, i) => [row, String(i)]));
  await showImages(log, tags, { rows: loop.validationRows, step: resume?.state.step ?? 0 });
  return await train({
    engine: session.engine,
    settings,
    train: rows,
    ...(validation && { validation, captionedRows }),
    generateCaptions: (indices) => session.caption(validation!, indices),
    ...(loop.scoreSamples && { scoreSamples: loop.scoreSamples }),
    ...(loop.selfCritical && { selfCritical: loop.selfCritical }),
    ...(resume && { resume }),
    async saveCheckpoint(checkpoint) {
      const { state } = checkpoint;
      const described = { config: models.settings, copies: models.copies };
      await run.saveCheckpoint(
        state.step,
        encodeCheckpoint(checkpoint, { ...described, settings: options }),
        {
          saveTotalLimit: options.saveTotalLimit,
          bestStep: state.best?.step,
        },
      );
      if (state.best?.step === state.step) {
        await run.writeModel(encodeCaptioner(checkpoint.engine, described));
      }
      log.line(`saved checkpoint-${state.step}`);
    },
    onLog(entry, samples) {
      log.add(entry, imagesPerSecond > 0 ? { images_per_second: imagesPerSecond } : {});
      if ("loss" in entry) {
        const number = (name: string) =>
          entry[name] === undefined ? {} : { [name.replaceAll("_", " ")]: entry[name].toFixed(3) };
        tokens = {
          ...number("loss"),
          ...number("cross_entropy"),
          ...number("reward"),
          ...number("reward_variance"),
          lr: entry["learning_rate"]!.toExponential(1),
        };
        return;
      }
      if (samples) log.addPredictions(predictionsOf(entry.step, samples, loop.validationRows), tags);
      say(describeEvaluation(entry, samples ?? []));
    },
    onProgress({ state, imagesSeen }) {
      imagesPerSecond = imagesSeen / ((performance.now() - startMs) / 1000);
      progress.update(state.step, {
        ...tokens,
        "images/s": imagesPerSecond.toFixed(1),
        memory: formatBytes(session.memoryBytes),
      });
    },
    signal: context.signal,
  });
}

function describeEvaluation(
  entry: Readonly<Record<string, number>>,
  samples: readonly CaptionSample[],
): string {
  const names = evaluationNames([entry]).filter((name) => name !== "eval_loss");
  const [sample] = samples;
  return [
    `step ${entry["step"]}: validation loss ${entry["eval_loss"]!.toFixed(3)}`,
    ...names.map((name) => `${metricTitle(name)} ${formatMetric(name, entry[name]!)}`),
    ...(sample ? [`"${sample.caption}"`] : []),
  ].join(" · ");
}

/** Puts the pictures that captions are watched of into the event file. */
async function showImages(
  log: TrainLog,
  tags: ReadonlyMap<number, string>,
  { rows, step }: { rows: readonly DataRow[]; step: number },
): Promise<void> {
  const images: Record<string, EventImage> = {};
  for (const [row, tag] of tags) {
    const image = await eventImage(rows[row]!);
    if (image !== undefined) images[tag] = image;
  }
  if (Object.keys(images).length > 0) log.addImages(step, images);
}

/** Some rows, spread by seed, in ascending order. */
function sampleRows(rowCount: number, wanted: number, seed: number): number[] {
  const rows = Array.from({ length: rowCount }, (_, row) => row);
  return new Rng(seed).shuffle(rows).slice(0, wanted).sort((a, b) => a - b);
}
