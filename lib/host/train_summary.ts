/**
 * What a finished run tells on the terminal.
 *
 * @module
 */

import { formatMetric, metricTitle } from "../train/report.ts";
import { formatTable } from "./terminal.ts";
import { captionCommand, metricsOf } from "./train_pages.ts";
import type { TrainRunResult } from "./train_options.ts";

/** The same for machines: one JSON object. */
export function resultToJson(result: TrainRunResult): string {
  const { path, ended, step, judged, before, after } = result;
  return JSON.stringify({
    path,
    ended,
    step,
    best: result.best,
    split: judged?.split,
    images: judged?.rows.length,
    before: metricsOf(before),
    after: metricsOf(after),
  });
}

/** Captions shown. */
const SHOWN_SAMPLES = 5;

/** Metrics and captions before and after, where the run is, and how to use it. */
export function describeResult(result: TrainRunResult): string {
  const { path, judged, before, after } = result;
  if (result.ended === "interrupted") {
    return `Interrupted at step ${result.step}; run the same command again to continue ${path}`;
  }
  const lines: string[] = [];
  const metrics = metricsOf(after);
  if (judged !== undefined && metrics !== undefined) {
    const earlier = metricsOf(before);
    const rows = Object.entries(metrics).map(([name, value]) => [
      metricTitle(name),
      earlier?.[name] === undefined ? "" : formatMetric(name, earlier[name]),
      formatMetric(name, value),
    ]);
    lines.push(
      "",
      `${
        judged.split === "test" ? "Held-out test split" : "Validation split"
      }, ${judged.rows.length} images:`,
      formatTable(rows, { header: ["", "before", "after"], right: [1, 2] }),
      "",
      ...sampleLines(result),
    );
  }
  const image = judged?.rows[0]?.path;
  lines.push(
    `Training: ${result.ended} at step ${result.step}`,
    `Run:      ${path}`,
    `Report:   ${path}/report.html`,
    `Caption:  ${captionCommand(path, image)}`,
  );
  return lines.join("\n");
}

function sampleLines({ judged, before, after }: TrainRunResult): string[] {
  const samples = after?.samples ?? [];
  const step = Math.max(1, Math.floor(samples.length / SHOWN_SAMPLES));
  const lines: string[] = [];
  for (let i = 0; i < samples.length && lines.length < 5 * SHOWN_SAMPLES; i += step) {
    const { row, caption, references } = samples[i]!;
    lines.push(
      judged!.rows[row]!.id,
      `  reference  ${references[0]}`,
      `  before     ${before?.samples[i]?.caption ?? ""}`,
      `  after      ${caption}`,
      "",
    );
  }
  return lines;
}
