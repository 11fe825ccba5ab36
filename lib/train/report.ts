/**
 * `report.html`: a training on one page that opens offline, on a phone and on paper, and needs no script.
 *
 * @module
 */

import { escapeHtml, formatPage, isPicture } from "../format/html.ts";
import { lineChart } from "./chart.ts";
import type { LogEntry } from "./trainer_state.ts";

/** An image with what it should say and what the captioner says. */
export interface ReportSample {
  /** PNG, JPEG or WebP as a `data:` address; other addresses are left out. */
  image: string;
  /** What counts as right. */
  references: readonly string[];
  /** Caption before training, if one was written. */
  before?: string;
  /** Caption of the best model. */
  after: string;
}

/** Scores of one moment; those in [0, 1] are shown in percent. */
export type ReportMetrics = Readonly<Record<string, number>>;

/** What the report shows. */
export interface ReportData {
  /** Shown above. */
  title: string;
  /** Name and value of what describes the run, in order. */
  facts: readonly (readonly [name: string, value: string])[];
  /** Steps and evaluations, in order. */
  log: readonly LogEntry[];
  /** Peak learning rates by group: the log holds the projection's, the others are in proportion. */
  peakLearningRates: Readonly<Record<string, number>>;
  /** What the metrics were computed on, such as `test split, 100 images`. */
  metricsOn?: string;
  /** Scores before training. */
  before?: ReportMetrics;
  /** Scores of the best model. */
  after?: ReportMetrics;
  /** Images with captions. */
  samples: readonly ReportSample[];
}

const METRIC_TITLES: Readonly<Record<string, string>> = {
  loss: "Loss",
  rougeL: "ROUGE-L",
  exact_match: "Exact match",
  object_accuracy: "Object words",
};

/** Title of a metric by its name in the log, with or without `eval_`. */
export function metricTitle(name: string): string {
  const bare = name.replace(/^eval_/, "");
  return METRIC_TITLES[bare] ?? bare.replaceAll("_", " ");
}

/** A metric as people read it: the loss as a number, shares in percent. */
export function formatMetric(name: string, value: number): string {
  return /loss$/.test(name) ? value.toFixed(3) : `${(100 * value).toFixed(1)} %`;
}

/** Writes the page. All text is escaped; nothing is fetched. */
export function formatReport(data: ReportData): string {
  return formatPage(
    data.title,
    `<table>${
      data.facts.map(([name, value]) =>
        `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`
      )
        .join("\n")
    }</table>
${metricsSection(data)}
${curvesSection(data)}
${evaluationsSection(data.log)}
${samplesSection(data.samples)}`,
  );
}

function metricsSection({ before, after, metricsOn }: ReportData): string {
  if (after === undefined) return "";
  const rows = Object.keys(after).map((name) => {
    const cell = (metrics: ReportMetrics | undefined) =>
      metrics?.[name] === undefined ? "" : formatMetric(name, metrics[name]);
    return `<tr><th scope="row">${escapeHtml(metricTitle(name))}</th><td class="n">${
      cell(before)
    }</td><td class="n">${cell(after)}</td></tr>`;
  });
  const on = metricsOn === undefined ? "" : ` on the ${escapeHtml(metricsOn)}`;
  return `<h2>Before and after${on}</h2>
<table><tr><td></td><th scope="col" class="n">before</th><th scope="col" class="n">after</th></tr>${
    rows.join("\n")
  }</table>`;
}

function curvesSection({ log, peakLearningRates }: ReportData): string {
  const pointsOf = (key: string, factor = 1) =>
    log.filter((entry) => key in entry).map((entry) => ({ x: entry.step, y: entry[key]! * factor }));
  const first = Object.values(peakLearningRates)[0] ?? 1;
  const charts = [
    lineChart({
      title: "Loss",
      xLabel: "optimizer step",
      series: [{ name: "training", points: pointsOf("loss") }, {
        name: "validation",
        points: pointsOf("eval_loss"),
      }],
    }),
    lineChart({
      title: "Learning rate",
      xLabel: "optimizer step",
      series: Object.entries(peakLearningRates).map(([name, peak]) => ({
        name,
        points: pointsOf("learning_rate", peak / first),
      })),
    }),
    lineChart({
      title: "Gradient norm before clipping",
      xLabel: "optimizer step",
      series: [{ name: "all trainable tensors", points: pointsOf("grad_norm") }],
    }),
  ];
  return `<h2>Curves</h2>\n${charts.join("\n")}`;
}

function evaluationsSection(log: readonly LogEntry[]): string {
  const evaluations = log.filter((entry) => "eval_loss" in entry);
  if (evaluations.length === 0) return "";
  // The log has its names in alphabetical order.
  const order = Object.keys(METRIC_TITLES).map((name) => `eval_${name}`);
  const found = new Set(evaluations.flatMap((entry) => Object.keys(entry)));
  const names = [
    ...order.filter((name) => found.has(name)),
    ...[...found].filter((name) => name.startsWith("eval_") && !order.includes(name)),
  ];
  const head = ["step", "epoch", ...names.map(metricTitle)]
    .map((title) => `<th scope="col" class="n">${escapeHtml(title)}</th>`).join("");
  const rows = evaluations.map((entry) =>
    `<tr><td class="n">${entry.step}</td><td class="n">${entry.epoch.toFixed(2)}</td>${
      names.map((name) =>
        `<td class="n">${entry[name] === undefined ? "" : formatMetric(name, entry[name])}</td>`
      ).join("")
    }</tr>`
  );
  return `<h2>Evaluations on the validation split</h2>
<div class="wide"><table><tr>${head}</tr>${rows.join("\n")}</table></div>`;
}

function samplesSection(samples: readonly ReportSample[]): string {
  if (samples.length === 0) return "";
  const cards = samples.map(({ image, references, before, after }) => {
    const picture = isPicture(image)
      // The reference describes the picture; the caption beside it may be wrong.
      ? `<img alt="${escapeHtml(references[0] ?? after)}" src="${image}">`
      : "";
    const entry = (term: string, text: string) => `<dt>${term}</dt><dd>${escapeHtml(text)}</dd>`;
    return `<article>${picture}<dl>${references.map((text) => entry("reference", text)).join("")}${
      before === undefined ? "" : entry("before training", before === "" ? "(nothing)" : before)
    }${entry("after training", after === "" ? "(nothing)" : after)}</dl></article>`;
  });
  return `<h2>Samples</h2>\n<div class="samples">${cards.join("\n")}</div>`;
}
