/**
 * Scores as people and programs read them: tables of text, JSON lines, CSV, and a page.
 *
 * @module
 */

import { formatCsvRow } from "../format/csv.ts";
import { METRIC_TITLES } from "../text/metrics/titles.ts";
import { escapeHtml, formatPage, isPicture } from "../format/html.ts";
import { type Confidence, formatConfidence } from "../models/calibration.ts";
import type { Interval, PairedDifference } from "../text/metrics/bootstrap.ts";
import {
  type CandidateRow,
  type ImageScores,
  METRIC_NAMES,
  type MetricName,
  type MetricValues,
} from "../text/metrics/corpus.ts";

/** A caption with its scores. */
export interface ScoredRow extends CandidateRow {
  /** Path or address of the image, if known. */
  readonly image?: string;
  /** Its scores. */
  readonly values: MetricValues;
  /** Scores of other models by name, such as `clip_score`. */
  readonly extra?: Readonly<Record<string, number>>;
  /** How sure the model was of it, if known. */
  readonly confidence?: Confidence;
}

/** Titles of the scores of other models. */
export const MODEL_SCORE_TITLES: Readonly<Record<string, string>> = {
  clip_score: "CLIPScore",
  ref_clip_score: "RefCLIPScore",
  siglip_score: "SigLIP's probability",
  bert_precision: "BERTScore precision",
  bert_recall: "BERTScore recall",
  bert_f1: "BERTScore F1",
};

/** Most captions on a page: of more, the worst and the best halves are shown. */
const MAX_CARDS = 1000;

/** Joins rows with their scores, in order. */
export function scoreRows<Row extends CandidateRow>(
  rows: readonly Row[],
  images: readonly ImageScores[],
): (Row & ScoredRow)[] {
  return rows.map((row, i) => ({ ...row, values: images[i]!.values }));
}

/** A value as people read it. */
export function formatScore(value: number): string {
  return value.toFixed(4);
}

/** One JSON object a line: the row, then its scores under the names of the metrics. */
export function formatScoreLines(rows: readonly (ScoredRow & { readonly timeMs?: number })[]): string {
  return rows.map(({ values, extra, timeMs, confidence, ...row }) =>
    `${
      JSON.stringify({
        ...row,
        time_ms: timeMs,
        ...(confidence && formatConfidence(confidence)),
        ...values,
        ...extra,
      })
    }\n`
  ).join("");
}

/** CSV with a header: id, candidate, references joined by ` | `, scores. Cells that a spreadsheet would take for a formula get a `'`. */
export function formatScoreCsv(rows: readonly ScoredRow[]): string {
  const othersOf = ({ extra, confidence }: ScoredRow): Readonly<Record<string, number>> => ({
    ...extra,
    ...(confidence && formatConfidence(confidence)),
  });
  const others = [...new Set(rows.flatMap((row) => Object.keys(othersOf(row))))];
  const lines = rows.map((row) => [
    row.id,
    row.candidate,
    row.references.join(" | "),
    ...METRIC_NAMES.map((name) => String(row.values[name])),
    ...others.map((name) => String(othersOf(row)[name] ?? "")),
  ]);
  return [["id", "candidate", "references", ...METRIC_NAMES, ...others], ...lines]
    .map((cells) => formatCsvRow(cells)).join("");
}

/** What {@linkcode formatEvaluationPage} shows. */
export interface EvaluationPage {
  /** Shown above. */
  readonly title: string;
  /** Name and value of what describes the evaluation. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  /** Of the set. */
  readonly values: MetricValues;
  /** Of the set. */
  readonly intervals: Readonly<Record<MetricName, Interval>>;
  /** Captions. */
  readonly rows: readonly ScoredRow[];
  /** The metric captions are sorted by, worst first. @default {"cider_d"} */
  readonly sortBy?: MetricName;
  /** Coverage against error, as HTML; empty where no confidence is known. @default {""} */
  readonly coverage?: string;
  /** Picture of a row as `data:` address, or nothing. */
  picture(row: ScoredRow): string | undefined;
}

/** Rows that a page shows, worst first. */
export function pageRows(rows: readonly ScoredRow[], sortBy: MetricName = "cider_d"): ScoredRow[] {
  const sorted = [...rows].sort((a, b) =>
    a.values[sortBy] - b.values[sortBy] || a.values.rougeL - b.values.rougeL
  );
  if (sorted.length <= MAX_CARDS) return sorted;
  return [...sorted.slice(0, MAX_CARDS / 2), ...sorted.slice(-MAX_CARDS / 2)];
}

/** The page of an evaluation: all metrics with their intervals, then the captions sorted by score. */
export function formatEvaluationPage(page: EvaluationPage): string {
  const { values, intervals, rows, sortBy = "cider_d" } = page;
  const metrics = METRIC_NAMES.map((name) =>
    `<tr><th scope="row">${METRIC_TITLES[name]}</th>${number(formatScore(values[name]))}${
      number(formatInterval(intervals[name]))
    }</tr>`
  );
  const shown = pageRows(rows, sortBy);
  const left = rows.length - shown.length;
  return formatPage(
    page.title,
    `${factsTable(page.facts)}
<h2>Metrics</h2>
<table><tr><td></td>${head("value")}${head("95 % interval")}</tr>${metrics.join("\n")}</table>
${page.coverage ?? ""}
<h2>Captions by ${METRIC_TITLES[sortBy]}, worst first</h2>
${
      left === 0
        ? ""
        : `<p>The ${MAX_CARDS / 2} worst and the ${
          MAX_CARDS / 2
        } best; ${left} between them are left out.</p>`
    }
<div class="samples">${
      shown.map((row) => card(row, { sortBy, picture: page.picture(row) })).join("\n")
    }</div>`,
  );
}

/** What {@linkcode formatComparisonPage} shows of a model. */
export interface ComparedModel {
  /** What it is called. */
  readonly name: string;
  /** Of the set. */
  readonly values: MetricValues;
  /** Captions, in the order of every other model's. */
  readonly rows: readonly ScoredRow[];
  /** Other figures by name, such as a size. */
  readonly facts: Readonly<Record<string, string>>;
}

/** Differences to the first model; absent of the first. */
export type Differences = Readonly<Record<MetricName, PairedDifference>> | undefined;

/** The page of a comparison: all metrics side by side, then what got worse and better. */
export function formatComparisonPage(page: {
  readonly title: string;
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly models: readonly ComparedModel[];
  readonly differences: readonly Differences[];
  readonly sortBy?: MetricName;
  picture(row: ScoredRow): string | undefined;
}): string {
  const { models, differences, sortBy = "cider_d" } = page;
  const [first, ...others] = models as [ComparedModel, ...ComparedModel[]];
  const metrics = METRIC_NAMES.map((name) =>
    `<tr><th scope="row">${METRIC_TITLES[name]}</th>${number(formatScore(first.values[name]))}${
      others.map((model, i) =>
        number(formatScore(model.values[name])) + number(formatDifference(differences[i + 1]![name]))
      ).join("")
    }</tr>`
  );
  const figures = [...new Set(models.flatMap(({ facts }) => Object.keys(facts)))].map((name) =>
    `<tr><th scope="row">${escapeHtml(name)}</th>${number(first.facts[name] ?? "")}${
      others.map(({ facts }) => `${number(facts[name] ?? "")}<td></td>`).join("")
    }</tr>`
  );
  const header = `<tr><td></td>${head(first.name)}${
    others.map(({ name }) => head(name) + head("difference (p)")).join("")
  }</tr>`;
  const changes = others.map((model) => {
    const { worse, better } = findChanges(first, model, sortBy);
    const list = (title: string, found: readonly Change[]) =>
      `<h2>${escapeHtml(model.name)}: ${title} (${found.length})</h2><div class="samples">${
        found.slice(0, MAX_CARDS / 4).map(({ before, after }) =>
          card(after, {
            sortBy,
            picture: page.picture(after),
            before,
            name: model.name,
            beforeName: first.name,
          })
        ).join("\n")
      }</div>`;
    return list(`worse by ${METRIC_TITLES[sortBy]}`, worse) + list("better", better);
  });
  return formatPage(
    page.title,
    `${factsTable(page.facts)}
<h2>Side by side</h2>
<div class="wide"><table>${header}${metrics.join("\n")}${figures.join("\n")}</table></div>
<p>p: how likely a difference of this size is between equal models, by paired bootstrap; * below 0.05.</p>
${changes.join("\n")}`,
  );
}

/** A caption that scores otherwise. */
export interface Change {
  /** With the first model. */
  readonly before: ScoredRow;
  /** With the other. */
  readonly after: ScoredRow;
}

/** Captions that a model writes worse and better than the first, the largest differences first. */
export function findChanges(
  first: Pick<ComparedModel, "rows">,
  other: Pick<ComparedModel, "rows">,
  sortBy: MetricName = "cider_d",
): { worse: Change[]; better: Change[] } {
  const change = ({ before, after }: Change) => after.values[sortBy] - before.values[sortBy];
  const changed = first.rows.map((before, i) => ({ before, after: other.rows[i]! }))
    .filter((pair) => change(pair) !== 0).sort((a, b) => change(a) - change(b));
  return {
    worse: changed.filter((pair) => change(pair) < 0),
    better: changed.filter((pair) => change(pair) > 0).reverse(),
  };
}

/** A difference with its sign, its likelihood by chance, and a star where that is small. */
export function formatDifference({ difference, pValue }: PairedDifference): string {
  const sign = difference < 0 ? "−" : "+";
  return `${sign}${formatScore(Math.abs(difference))} (${pValue.toFixed(3)})${pValue < 0.05 ? " *" : ""}`;
}

/** An interval as text. */
export function formatInterval({ low, high }: Interval): string {
  return `${formatScore(low)} – ${formatScore(high)}`;
}

interface CardOptions {
  sortBy: MetricName;
  picture: string | undefined;
  before?: ScoredRow;
  beforeName?: string;
  name?: string;
}

function card(row: ScoredRow, { sortBy, picture, before, beforeName, name }: CardOptions): string {
  const image = picture !== undefined && isPicture(picture)
    // The reference describes the picture; the caption beside it may be wrong.
    ? `<img loading="lazy" alt="${escapeHtml(row.references[0] ?? "")}" src="${picture}">`
    : "";
  const entry = (term: string, text: string) =>
    `<dt>${escapeHtml(term)}</dt><dd>${escapeHtml(text === "" ? "(nothing)" : text)}</dd>`;
  const scored = (title: string, { values, candidate }: ScoredRow) =>
    entry(`${title}, ${METRIC_TITLES[sortBy]} ${values[sortBy].toFixed(2)}`, candidate);
  return `<article>${image}<dl>${before === undefined ? "" : scored(beforeName!, before)}${
    scored(name ?? "caption", row)
  }${row.references.map((text) => entry("reference", text)).join("")}${entry("id", row.id)}</dl></article>`;
}

const head = (text: string): string => `<th scope="col" class="n">${escapeHtml(text)}</th>`;
const number = (text: string): string => `<td class="n">${escapeHtml(text)}</td>`;

function factsTable(facts: EvaluationPage["facts"]): string {
  return `<table>${
    facts.map(([name, value]) =>
      `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>`
    ).join("\n")
  }</table>`;
}
