/**
 * `report.html`: a training on one page that opens offline, on a phone and on paper, and needs no script.
 *
 * @module
 */

import { METRIC_TITLES } from "../text/metrics/titles.ts";
import { escapeHtml, formatPage, isPicture } from "../format/html.ts";
import { lineChart } from "../format/chart.ts";
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

/** An image with what was written about it at every evaluation. */
export interface WatchedSample {
  /** As in {@linkcode ReportSample}. */
  image: string;
  /** What counts as right. */
  references: readonly string[];
  /** By optimizer step, in order. */
  captions: readonly { step: number; caption: string }[];
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
  /** Images with what was written about them on the way. @default {none} */
  watched?: readonly WatchedSample[];
}

/** In the order in which they are shown. */
const TITLES: Readonly<Record<string, string>> = {
  loss: "Loss",
  rougeL: "ROUGE-L",
  exact_match: "Exact match",
  object_accuracy: "Object words",
  ...METRIC_TITLES as Readonly<Record<string, string>>,
  clip_score: "CLIPScore",
};

/** Title of a metric by its name in the log, with or without `eval_`. */
export function metricTitle(name: string): string {
  const bare = name.replace(/^eval_/, "");
  return TITLES[bare] ?? bare.replaceAll("_", " ");
}

/** A metric as people read it: the loss, CIDEr and CLIPScore as numbers, shares in percent. */
export function formatMetric(name: string, value: number): string {
  return /loss$|cider|clip_score$/.test(name) ? value.toFixed(3) : `${(100 * value).toFixed(1)} %`;
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
${watchedSection(data.watched ?? [])}
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
      title: log.some(isRewarded) ? "Cross-entropy" : "Loss",
      xLabel: "optimizer step",
      series: [
        // With rewards the loss is that and the policy gradient's; the validation loss compares with cross-entropy alone.
        { name: "training", points: pointsOf(log.some(isRewarded) ? "cross_entropy" : "loss") },
        { name: "validation", points: pointsOf("eval_loss") },
      ],
    }),
    lineChart({
      title: "Reward",
      xLabel: "optimizer step",
      series: [
        { name: "sampled captions", points: pointsOf("reward") },
        { name: "greedy captions", points: pointsOf("reward_greedy") },
        { name: "taken by the guard", points: pointsOf("reward_guard") },
      ],
    }),
    lineChart({
      title: "Variance of the reward",
      xLabel: "optimizer step",
      series: [{ name: "sampled captions", points: pointsOf("reward_variance") }],
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

/** Whether a step was trained on rewards. */
function isRewarded(entry: LogEntry): boolean {
  return "reward" in entry;
}

/** Names of what evaluations found, the usual ones first. */
export function evaluationNames(evaluations: readonly Readonly<Record<string, number>>[]): string[] {
  // The log has its names in alphabetical order.
  const order = Object.keys(TITLES).map((name) => `eval_${name}`);
  const found = new Set(evaluations.flatMap((entry) => Object.keys(entry)));
  return [
    ...order.filter((name) => found.has(name)),
    ...[...found].filter((name) => name.startsWith("eval_") && !order.includes(name)),
  ];
}

function evaluationsSection(log: readonly LogEntry[]): string {
  const evaluations = log.filter((entry) => "eval_loss" in entry);
  if (evaluations.length === 0) return "";
  const names = evaluationNames(evaluations);
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

function watchedSection(watched: readonly WatchedSample[]): string {
  if (watched.length === 0) return "";
  const cards = watched.map(({ image, references, captions }) => {
    // What did not change is told once.
    const told = captions.filter(({ caption }, i) => i === 0 || caption !== captions[i - 1]!.caption);
    const entries = told.map(({ step, caption }, i) => {
      const until = captions.findLast((other) => other.step < (told[i + 1]?.step ?? Infinity))!.step;
      return entry(until === step ? `step ${step}` : `steps ${step} to ${until}`, caption);
    });
    return card(image, references, [...references.map((text) => entry("reference", text)), ...entries]);
  });
  return `<h2>Captions on the way</h2>\n<div class="samples">${cards.join("\n")}</div>`;
}

function samplesSection(samples: readonly ReportSample[]): string {
  if (samples.length === 0) return "";
  const cards = samples.map(({ image, references, before, after }) =>
    card(image, [...references, after], [
      ...references.map((text) => entry("reference", text)),
      ...(before === undefined ? [] : [entry("before training", before)]),
      entry("after training", after),
    ])
  );
  return `<h2>Samples</h2>\n<div class="samples">${cards.join("\n")}</div>`;
}

/** A picture with what is said of it. The first description is its own: captions beside it may be wrong. */
function card(image: string, descriptions: readonly string[], entries: readonly string[]): string {
  const picture = isPicture(image) ? `<img alt="${escapeHtml(descriptions[0] ?? "")}" src="${image}">` : "";
  return `<article>${picture}<dl>${entries.join("")}</dl></article>`;
}

function entry(term: string, text: string): string {
  return `<dt>${term}</dt><dd>${text === "" ? "(nothing)" : escapeHtml(text)}</dd>`;
}
