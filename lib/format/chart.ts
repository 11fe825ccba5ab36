/**
 * Charts as inline SVG: readable without scripts, in light and dark, at any width.
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
  /** How they are drawn; bars are as wide as their points are apart. @default {"line"} */
  kind?: "line" | "dots" | "bars" | "dashes";
}

/** Options of {@linkcode lineChart}. */
export interface LineChartOptions {
  /** Shown above. */
  title: string;
  /** Title of the horizontal axis. */
  xLabel: string;
  /** Lines. */
  series: readonly ChartSeries[];
  /** Axes of powers of ten; points at 0 and below are left out. @default {false} */
  logarithmic?: boolean;
  /**
   * What a reader is told at points of the first line. The page's script then shows a slider below the chart and follows the pointer; the
   * texts are in the page's `data-readouts`. @default {nothing can be read out}
   */
  readout?(point: { x: number; y: number }): string;
}

const WIDTH = 720, HEIGHT = 300;
/** Room for labels that a narrow page sets larger. */
const MARGIN = { left: 84, right: 14, top: 18, bottom: 58 };
/** More points than this cannot be told apart at this width. */
const MAX_POINTS = 360;

/** A chart; lines are drawn in the colours `--line-1`, `--line-2`, … of the page. Empty text when no series has a point. */
export function lineChart(options: LineChartOptions): string {
  const { title, xLabel, series, logarithmic = false, readout } = options;
  const isDrawn = ({ x, y }: { x: number; y: number }) =>
    Number.isFinite(x) && Number.isFinite(y) && !(logarithmic && (x <= 0 || y <= 0));
  const drawn = series.map(({ name, points, kind = "line" }) => ({
    name,
    kind,
    points: thinOut(points.filter(isDrawn), kind),
  })).filter(({ points }) => points.length > 0);
  const all = drawn.flatMap(({ points }) => points);
  if (all.length === 0) return "";
  const hasBars = drawn.some(({ kind }) => kind === "bars");
  const ticks = logarithmic ? powersOfTen : ticksOf;
  const xTicks = ticks(all.map(({ x }) => x), 6);
  const yTicks = ticks([...all.map(({ y }) => y), ...(hasBars ? [0] : [])], 5);
  const scale = (ticks: readonly number[], from: number, to: number) => {
    const place = logarithmic ? Math.log10 : (value: number) => value;
    const [low, high] = [place(ticks[0]!), place(ticks.at(-1)!)];
    return (value: number) => +(from + (to - from) * (place(value) - low) / (high - low)).toFixed(1);
  };
  const x = scale(xTicks, MARGIN.left, WIDTH - MARGIN.right);
  const y = scale(yTicks, HEIGHT - MARGIN.bottom, MARGIN.top);
  const grid = yTicks.map((tick) =>
    `<line class="grid" x1="${MARGIN.left}" x2="${WIDTH - MARGIN.right}" y1="${y(tick)}" y2="${y(tick)}"/>` +
    `<text x="${MARGIN.left - 8}" y="${y(tick) + 4}" text-anchor="end">${formatTick(tick)}</text>`
  );
  const marks = xTicks.map((tick, i) => {
    // Powers of ten are long numbers: the last would be cut off at the edge.
    const anchor = logarithmic && i === xTicks.length - 1 ? "end" : "middle";
    return `<text x="${x(tick)}" y="${HEIGHT - MARGIN.bottom + 24}" text-anchor="${anchor}">${
      formatTick(tick)
    }</text>`;
  });
  const lines = drawn.map(({ points, kind }, i) => {
    const places = points.map((p) => ({ x: x(p.x), y: y(p.y) }));
    if (kind === "bars") return bars(places, { ground: y(yTicks[0]!), index: i + 1 });
    const circles = (radius: number) =>
      places.map((p) => `<circle cx="${p.x}" cy="${p.y}" r="${radius}" class="dot-${i + 1}"/>`).join("");
    if (kind === "dots") return circles(2.5);
    const dashes = kind === "dashes" ? ' stroke-dasharray="6 5"' : "";
    // A line of one point is none to see.
    return `${places.length === 1 ? circles(4) : ""}<polyline class="line-${i + 1}"${dashes} points="${
      places.map((p) => `${p.x},${p.y}`).join(" ")
    }"/>`;
  });
  const legend = drawn.map(({ name }, i) => `<span><i class="key-${i + 1}"></i>${escapeHtml(name)}</span>`);
  const readouts = readout &&
    spread(drawn[0]!.points, MAX_READOUTS).map((p) => [x(p.x), y(p.y), readout(p)]);
  return `<figure${
    readouts ? ` data-readouts="${escapeHtml(JSON.stringify(readouts))}"` : ""
  }><figcaption><b>${escapeHtml(title)}</b> ${legend.join(" ")}</figcaption>
<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${
    escapeHtml(describe({ title, xLabel, series: drawn }))
  }">
<title>${escapeHtml(title)}</title><desc>${escapeHtml(describe({ title, xLabel, series: drawn }))}</desc>
${[...grid, ...marks, ...lines].join("\n")}
<text x="${(MARGIN.left + WIDTH - MARGIN.right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${
    escapeHtml(xLabel)
  }</text>
</svg></figure>`;
}

/** Points that can be read out of a chart: a slider has so many steps. */
const MAX_READOUTS = 100;

/** At most so many of a list, evenly spread, the first and the last among them. */
function spread<T>(list: readonly T[], most: number): T[] {
  if (list.length <= most) return [...list];
  return Array.from({ length: most }, (_, i) => list[Math.round(i * (list.length - 1) / (most - 1))]!);
}

/** Bars from the ground up, a pixel apart. */
function bars(
  places: readonly { x: number; y: number }[],
  { ground, index }: { ground: number; index: number },
): string {
  const apart = places.length < 2 ? 40 : Math.min(...places.slice(1).map((p, i) => p.x - places[i]!.x));
  const width = Math.max(1, apart - 1);
  return places.map((p) =>
    `<rect x="${+(p.x - width / 2).toFixed(1)}" y="${p.y}" width="${+width.toFixed(
      1,
    )}" height="${+(ground - p.y).toFixed(1)}" class="dot-${index}"/>`
  ).join("");
}

/** Powers of ten that enclose all values. */
function powersOfTen(values: readonly number[]): number[] {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    low = Math.min(low, Math.floor(Math.log10(value)));
    high = Math.max(high, Math.ceil(Math.log10(value)));
  }
  if (low === high) high++;
  return Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i));
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

/** Means of neighbouring points, so that a long run is a line and not a cloud; what is no line keeps its points, or some of them. */
function thinOut(
  points: readonly { x: number; y: number }[],
  kind: ChartSeries["kind"],
): { x: number; y: number }[] {
  if (kind !== "line") return spread(points, MAX_POINTS);
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
