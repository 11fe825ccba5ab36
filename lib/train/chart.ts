/**
 * Line charts as inline SVG: readable without scripts, in light and dark, at any width.
 *
 * @module
 */

import { escapeHtml } from "../format/html.ts";

/** A line of a chart. */
export interface ChartSeries {
  /** Shown in the legend. */
  name: string;
  /** In order of x. */
  points: readonly { x: number; y: number }[];
}

/** Options of {@linkcode lineChart}. */
export interface LineChartOptions {
  /** Shown above. */
  title: string;
  /** Title of the horizontal axis. */
  xLabel: string;
  /** Lines. */
  series: readonly ChartSeries[];
}

const WIDTH = 720, HEIGHT = 300;
/** Room for labels that a narrow page sets larger. */
const MARGIN = { left: 84, right: 14, top: 18, bottom: 58 };
/** More points than this cannot be told apart at this width. */
const MAX_POINTS = 360;

/** A chart; lines are drawn in the colours `--line-1`, `--line-2`, … of the page. Empty text when no series has a point. */
export function lineChart({ title, xLabel, series }: LineChartOptions): string {
  const drawn = series.map(({ name, points }) => ({
    name,
    points: thinOut(points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y))),
  })).filter(({ points }) => points.length > 0);
  const all = drawn.flatMap(({ points }) => points);
  if (all.length === 0) return "";
  const xTicks = ticksOf(all.map(({ x }) => x), 6);
  const yTicks = ticksOf(all.map(({ y }) => y), 5);
  const scale = (ticks: readonly number[], from: number, to: number) => (value: number) => {
    const [low, high] = [ticks[0]!, ticks.at(-1)!];
    return +(from + (to - from) * (value - low) / (high - low)).toFixed(1);
  };
  const x = scale(xTicks, MARGIN.left, WIDTH - MARGIN.right);
  const y = scale(yTicks, HEIGHT - MARGIN.bottom, MARGIN.top);
  const grid = yTicks.map((tick) =>
    `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick)}" y2="${y(tick)}"/>` +
    `<text x="${MARGIN.left - 8}" y="${y(tick) + 4}" text-anchor="end">${formatTick(tick)}</text>`
  );
  const marks = xTicks.map((tick) =>
    `<text x="${x(tick)}" y="${HEIGHT - MARGIN.bottom + 24}" text-anchor="middle">${formatTick(tick)}</text>`
  );
  const lines = drawn.map(({ points }, i) => {
    const [first] = points;
    const dot = points.length === 1
      ? `<circle cx="${x(first!.x)}" cy="${y(first!.y)}" r="4" class="dot-${i + 1}"/>`
      : "";
    return `${dot}<polyline class="line-${i + 1}" points="${
      points.map((p) => `${x(p.x)},${y(p.y)}`).join(" ")
    }"/>`;
  });
  const legend = drawn.map(({ name }, i) => `<span><i class="key-${i + 1}"></i>${escapeHtml(name)}</span>`);
  return `<figure><figcaption><b>${escapeHtml(title)}</b> ${legend.join(" ")}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${
    escapeHtml(describe({ title, xLabel, series: drawn }))
  }">
${[...grid, ...marks, ...lines].join("\n")}
<text x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${
    escapeHtml(xLabel)
  }</text>
</svg></figure>`;
}

/** What the lines show, for who does not see them: first and last value of each. */
function describe({ title, xLabel, series }: LineChartOptions): string {
  const short = (value: number): string => formatTick(+value.toPrecision(3));
  const lines = series.map(({ name, points }) => {
    const [first, last] = [points[0]!, points.at(-1)!];
    return points.length === 1
      ? `${name} ${short(first.y)} at ${short(first.x)}`
      : `${name} from ${short(first.y)} at ${short(first.x)} to ${short(last.y)} at ${short(last.x)}`;
  });
  return `${title} by ${xLabel}: ${lines.join("; ")}`;
}

/** Means of neighbouring points, so that a long run is a line and not a cloud. */
function thinOut(points: readonly { x: number; y: number }[]): { x: number; y: number }[] {
  const group = Math.ceil(points.length / MAX_POINTS);
  if (group <= 1) return [...points];
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  return Array.from({ length: Math.ceil(points.length / group) }, (_, i) => {
    const part = points.slice(i * group, (i + 1) * group);
    return { x: mean(part.map((p) => p.x)), y: mean(part.map((p) => p.y)) };
  });
}

/** Round numbers that enclose all values: steps of 1, 2 or 5 times a power of ten. */
function ticksOf(values: readonly number[], wanted: number): number[] {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low === high) high = low + (Math.abs(low) || 1);
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough)!);
  const first = Math.floor(low / step), last = Math.ceil(high / step);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

function formatTick(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e6
    ? value.toExponential(1).replace(".0e", "e")
    : String(+value.toPrecision(6));
}
