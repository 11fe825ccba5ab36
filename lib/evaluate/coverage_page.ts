/**
 * The part of an evaluation's page that shows coverage against error.
 *
 * @module
 */

import { lineChart } from "../format/chart.ts";
import { escapeHtml } from "../format/html.ts";
import { METRIC_TITLES } from "../text/metrics/titles.ts";
import { areaUnder, type Coverage, errorAt, type ErrorRule, TABLE_COVERAGES } from "./coverage.ts";

/** What counts as wrong, in words. */
export function describeErrorRule({ metric, below }: ErrorRule): string {
  return metric === "exact" ? "equal to no reference" : `${METRIC_TITLES[metric]} below ${below}`;
}

/** A share as people read it. */
export function formatPercent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** What the curves come to, as facts of an evaluation; none where nothing is known. */
export function describeCoverage(coverage: Coverage | undefined): [name: string, value: string][] {
  if (coverage === undefined) return [];
  const { rule, error, byLogProb } = coverage;
  return [
    ["Wrong captions", `${formatPercent(error)} (${describeErrorRule(rule)})`],
    [
      "Among the surest 80 %",
      `${formatPercent(errorAt(byLogProb, 0.8))} wrong; area under coverage and error ${
        areaUnder(byLogProb).toFixed(4)
      }`,
    ],
  ];
}

/** Rows of the table: a coverage, and the error by either figure. */
export function coverageRows({ byLogProb, byImageGain }: Coverage): string[][] {
  return TABLE_COVERAGES.map((share) => [
    `${Math.round(100 * share)} %`,
    formatPercent(errorAt(byLogProb, share)),
    formatPercent(errorAt(byImageGain, share)),
  ]);
}

/** Heads of the columns of {@linkcode coverageRows}. */
export const COVERAGE_COLUMNS: readonly string[] = [
  "captions kept",
  "by log-probability",
  "by gain of the image",
];

/** Chart and table as HTML; empty text where nothing is known. */
export function formatCoverage(coverage: Coverage | undefined): string {
  if (coverage === undefined) return "";
  const points = (curve: Coverage["byLogProb"]) =>
    curve.map(({ coverage, error }) => ({ x: 100 * coverage, y: 100 * error }));
  const chart = lineChart({
    title: "Wrong captions among those kept, %",
    xLabel: "captions kept, the surest first, %",
    series: [
      { name: "by log-probability per token", points: points(coverage.byLogProb) },
      { name: "by gain of the image per token", points: points(coverage.byImageGain) },
    ],
  });
  const head = COVERAGE_COLUMNS.map((text) => `<th scope="col" class="n">${escapeHtml(text)}</th>`).join("");
  const table = coverageRows(coverage).map(([share, ...errors]) =>
    `<tr><th scope="row" class="n">${share}</th>${
      errors.map((text) => `<td class="n">${text}</td>`).join("")
    }</tr>`
  ).join("\n");
  const area = (curve: Coverage["byLogProb"]) => formatPercent(areaUnder(curve));
  return `<h2>Coverage against error</h2>
<p>What is left of the wrong captions when only those are kept that the model is surest of. Wrong: ${
    escapeHtml(describeErrorRule(coverage.rule))
  }. Mean over all coverages (area under the curve): ${area(coverage.byLogProb)} by log-probability, ${
    area(coverage.byImageGain)
  } by the image's gain; ${formatPercent(coverage.bestArea)} if the model knew, ${
    formatPercent(coverage.error)
  } if it did not know at all.</p>
${chart}
<table><tr>${head}</tr>
${table}</table>`;
}
