/**
 * What a run leaves to be read: manifest, model card, report.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import { formatModelCard } from "../train/model_card.ts";
import {
  formatMetric,
  formatReport,
  metricTitle,
  type ReportMetrics,
  type ReportSample,
} from "../train/report.ts";
import { VISION_RATE_SHARE } from "../train/schedule.ts";
import { readCheckpoint } from "../train/checkpoint.ts";
import type { Evaluation } from "../train/evaluation.ts";
import type { ImageRow } from "../datasets/rows.ts";
import { identifyImage } from "../image/decode.ts";
import project from "../../deno.json" with { type: "json" };
import type { RunFolder } from "./run_folder.ts";
import { formatBytes } from "./terminal.ts";
import { countSplits, type TrainData } from "./train_data.ts";
import type { TrainModels } from "./train_models.ts";
import type { TrainRunOptions, TrainRunResult } from "./train_options.ts";
import type { TrainSession } from "./train_session.ts";

/** What is known of a run. */
export interface RunDescription {
  /** The run's options. */
  options: TrainRunOptions;
  /** Opened models. */
  models: TrainModels;
  /** Rows, good and bad. */
  data: TrainData;
  /** Hash of settings, models and data. */
  fingerprint: string;
  /** The adapter. */
  gpu: Pick<Gpu, "info" | "software" | "subgroupSize">;
}

/** `manifest.json`: what is needed to repeat a run. */
export function formatManifest(run: RunDescription & { finished: boolean }): string {
  const { options, models, data, gpu } = run;
  return JSON.stringify(
    {
      finished: run.finished,
      fingerprint: run.fingerprint,
      seed: options.seed,
      config: options,
      captioner: models.settings,
      models_hash: models.hash,
      data: {
        hash: data.hash,
        rows: countSplits(data),
        bad_rows: data.badRows.rows,
      },
      versions: { project: project.version, ...Deno.version },
      adapter: { ...gpu.info, software: gpu.software, subgroup_size: gpu.subgroupSize },
      system: { os: Deno.build.os, arch: Deno.build.arch, cores: navigator.hardwareConcurrency },
    },
    null,
    2,
  ) + "\n";
}

/** Command that captions an image with a run. */
export function captionCommand(path: string, image = "image.png"): string {
  return `deno task caption --model ${shellWord(path)} ${shellWord(image)}`;
}

/** A path as typed in the working folder, quoted where a shell would cut it. */
function shellWord(path: string): string {
  const here = `${Deno.cwd()}/`;
  const short = path.startsWith(here) ? path.slice(here.length) : path;
  return /^[\w@%+=:,./\\-]+$/.test(short) ? short : `"${short}"`;
}

/** Images in the report. */
const REPORT_SAMPLES = 12;
/** Pictures are embedded as they are; larger ones would make the page heavy. */
const MAX_PICTURE_BYTES = 400_000;
/** Kinds of pictures that every browser shows. */
const SHOWN_KINDS: readonly string[] = ["png", "jpeg", "webp", "gif", "bmp"];

/** Writes README.md and report.html of a finished run. */
export async function writeRunPages(
  folder: RunFolder,
  run: RunDescription & { result: TrainRunResult; session: TrainSession },
): Promise<void> {
  const { options, models, data, result, gpu, session } = run;
  const { settings } = models;
  const newest = await folder.newestCheckpoint();
  const { state } = await readCheckpoint(newest!);
  const { projection, lora, vision } = session.engine.trainableCounts;
  const metricsOn = result.judged === undefined
    ? "training data"
    : `${result.judged.split} split, ${result.judged.rows.length} images`;
  const facts: [string, string][] = [
    ["Encoder", settings.encoder.reference],
    ["Decoder", settings.decoder.reference],
    ["Data", `${options.dataset.join(", ")}: ${describeRows(data)}`],
    [
      "Steps",
      `${state.step} of ${state.maxSteps} (${result.ended}), best at ${state.best?.step ?? state.step}`,
    ],
    ["Batch", `${options.batchSize} images, ${options.gradientAccumulationSteps} accumulated`],
    [
      "Best by",
      `${metricTitle(options.metricForBestModel)}${
        state.best === undefined ? "" : `, ${formatMetric(options.metricForBestModel, state.best.value)}`
      }`,
    ],
    ...(options.clipLossWeight === 0 ? [] : [[
      "Rewards",
      `${options.reward}, weight ${options.clipLossWeight}, ${options.clipSamples} captions an image, guard ${options.rewardGuard}`,
    ] as [string, string]]),
    ["Learning rates", `projection ${options.projectionLr}, LoRA ${options.loraLr}`],
    [
      "Trained numbers",
      Object.entries({ projection, LoRA: lora, vision })
        .map(([group, count]) => `${group} ${count.toLocaleString("en")}`).join(", "),
    ],
    [
      "LoRA",
      settings.lora.rank === 0
        ? "none"
        : `rank ${settings.lora.rank}, alpha ${settings.lora.alpha}, dropout ${settings.lora.dropout}, ${
          settings.lora.targetModules.join(", ")
        }`,
    ],
    ["GPU memory", formatBytes(session.memoryBytes)],
    ["Adapter", gpu.info.description || gpu.info.device],
    ["Seed", String(options.seed)],
    [
      "Skipped rows",
      data.badRows.count === 0 ? "none" : `${data.badRows.count}: ${data.badRows.describe(5)}`,
    ],
  ];
  const after = metricsOf(result.after);
  const before = metricsOf(result.before);
  const peaks: Record<string, number> = { projection: options.projectionLr };
  if (lora > 0) peaks["LoRA"] = options.loraLr;
  if (vision > 0) peaks["vision"] = options.loraLr * VISION_RATE_SHARE;
  const name = folder.path.split("/").at(-1)!;
  await folder.writeFile(
    "report.html",
    formatReport({
      title: `Training of ${name}`,
      facts,
      log: state.log,
      peakLearningRates: peaks,
      metricsOn,
      ...(before && { before }),
      ...(after && { after }),
      samples: await reportSamples(result),
      watched: await Promise.all((result.watched ?? []).map(async ({ row, captions }) => ({
        image: await dataAddress(row),
        references: row.captions,
        captions,
      }))),
    }),
  );
  await folder.writeFile(
    "README.md",
    formatModelCard({
      name,
      encoder: settings.encoder.reference,
      decoder: settings.decoder.reference,
      datasets: options.dataset,
      settings: facts.slice(2),
      metrics: after ?? {},
      metricsOn,
      captionCommand: captionCommand(folder.path),
    }),
  );
}

/** Metrics of an evaluation without their `eval_`. */
export function metricsOf(evaluation: Evaluation | undefined): ReportMetrics | undefined {
  return evaluation &&
    Object.fromEntries(
      Object.entries(evaluation.metrics).map(([name, value]) => [name.replace(/^eval_/, ""), value]),
    );
}

function describeRows(data: TrainData): string {
  return Object.entries(countSplits(data)).map(([split, count]) => `${count} ${split}`).join(", ");
}

async function reportSamples({ judged, before, after }: TrainRunResult): Promise<ReportSample[]> {
  if (judged === undefined || after === undefined) return [];
  const samples: ReportSample[] = [];
  const step = Math.max(1, Math.floor(after.samples.length / REPORT_SAMPLES));
  for (let i = 0; i < after.samples.length && samples.length < REPORT_SAMPLES; i += step) {
    const { row, caption, references } = after.samples[i]!;
    const earlier = before?.samples[i]?.caption;
    samples.push({
      image: await dataAddress(judged.rows[row]!),
      references,
      ...(earlier === undefined ? {} : { before: earlier }),
      after: caption,
    });
  }
  return samples;
}

/** A picture as `data:` address; empty where it is too large or of a kind that pages do not show. */
async function dataAddress(row: ImageRow): Promise<string> {
  const bytes = await row.readImage();
  const kind = identifyImage(bytes);
  if (kind === undefined || !SHOWN_KINDS.includes(kind) || bytes.length > MAX_PICTURE_BYTES) return "";
  return `data:image/${kind};base64,${bytes.toBase64()}`;
}
