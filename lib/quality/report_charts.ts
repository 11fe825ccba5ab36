/**
 * The charts of the report.
 *
 * @module
 */

import { lineChart } from "../format/chart.ts";
import { lorenzCurve, mostCommon } from "./distribution.ts";
import type { QualityTotals } from "./totals.ts";

const BINS = 40;

/** Lorenz curve and frequencies of objects, lengths of captions, alignment: those that there is anything to show of. */
export function qualityCharts(totals: QualityTotals): string {
  return Object.values(namedCharts(totals)).join("\n");
}

/** The charts by the names of their files. */
export function namedCharts(totals: QualityTotals): Record<string, string> {
  const charts = {
    lorenz_curve: lorenzChart(totals),
    object_freq_loglog: frequencyChart(totals),
    caption_length_hist: lengthChart(totals),
    alignment_hist: alignmentChart(totals),
  };
  return Object.fromEntries(Object.entries(charts).filter(([, svg]) => svg !== ""));
}

const percent = (share: number) => `${(share * 100).toFixed(1)} %`;

function lorenzChart({ objects }: QualityTotals): string {
  if (objects.size === 0) return "";
  return lineChart({
    title: "Lorenz curve of objects",
    xLabel: "share of the objects, the rarest first",
    series: [
      {
        name: "share of the mentions",
        points: lorenzCurve(objects).map((p) => ({ x: p.classes, y: p.mentions })),
      },
      { name: "if all were equally frequent", kind: "dashes", points: [{ x: 0, y: 0 }, { x: 1, y: 1 }] },
    ],
    readout: ({ x, y }) => `The rarest ${percent(x)} of the objects have ${percent(y)} of the mentions`,
  });
}

function frequencyChart({ objects }: QualityTotals): string {
  const sorted = mostCommon(objects);
  if (sorted.length === 0) return "";
  // Ranks apart by equal factors: where there are many, the rare ones would cover each other.
  const ranks = new Set<number>();
  for (let rank = 1; rank <= sorted.length; rank = Math.max(rank + 1, Math.round(rank * 1.03))) {
    ranks.add(rank);
  }
  ranks.add(sorted.length);
  return lineChart({
    title: "Frequency of objects by rank",
    xLabel: "rank, the most frequent first",
    logarithmic: true,
    series: [{
      name: "mentions",
      kind: "dots",
      points: [...ranks].map((rank) => ({ x: rank, y: sorted[rank - 1]![1] })),
    }],
    readout: ({ x, y }) => `Rank ${x}: ${sorted[x - 1]![0]}, ${y} mentions`,
  });
}

function lengthChart({ lengths }: QualityTotals): string {
  if (lengths.size === 0) return "";
  const sorted = [...lengths].sort((a, b) => a[0] - b[0]);
  const longest = sorted.at(-1)![0];
  const step = Math.max(1, Math.ceil((longest + 1) / 60));
  const bins = new Map<number, number>();
  for (const [length, captions] of sorted) {
    const bin = Math.floor(length / step);
    bins.set(bin, (bins.get(bin) ?? 0) + captions);
  }
  const first = Math.floor(sorted[0]![0] / step);
  const points = Array.from({ length: Math.floor(longest / step) + 1 - first }, (_, i) => ({
    x: (first + i) * step,
    y: bins.get(first + i) ?? 0,
  }));
  return lineChart({
    title: "Length of captions",
    xLabel: "words",
    series: [{ name: "captions", kind: "bars", points }],
    readout: ({ x, y }) => `${step === 1 ? x : `${x} to ${x + step - 1}`} words: ${y} captions`,
  });
}

function alignmentChart({ clip, mismatched }: QualityTotals): string {
  const own = clip.histogram(BINS);
  if (own.length === 0) return "";
  const middle = ({ from, to }: { from: number; to: number }) => (from + to) / 2;
  const wrong = mismatched.histogram(BINS);
  return lineChart({
    title: "Alignment of images and captions",
    xLabel: "cosine",
    series: [
      { name: "captions", points: own.map((bin) => ({ x: middle(bin), y: bin.count })) },
      {
        name: "captions of other images",
        kind: "dashes",
        points: wrong.map((bin) => ({ x: middle(bin), y: bin.count })),
      },
    ],
    readout: ({ x, y }) => `Cosine ${x.toFixed(3)}: ${Math.round(y)} captions`,
  });
}
