/**
 * How evenly counts are spread over classes: entropy, Gini, shares of the largest, the Lorenz curve.
 *
 * Source: Gini, "Variabilità e mutabilità", 1912; Lorenz, "Methods of Measuring the Concentration of Wealth", 1905; Shannon, 1948.
 *
 * @module
 */

/** How often each class occurs. */
export type Counts = ReadonlyMap<string, number>;

/** Counts a class once more, or `by` times. */
export function count(counts: Map<string, number>, name: string, by = 1): void {
  counts.set(name, (counts.get(name) ?? 0) + by);
}

/** Sum of all counts. */
export function totalOf(counts: Counts): number {
  let total = 0;
  for (const value of counts.values()) total += value;
  return total;
}

/** Shannon entropy in bits; 0 where nothing was counted. */
export function entropyBits(counts: Counts): number {
  const total = totalOf(counts);
  let entropy = 0;
  for (const value of counts.values()) if (value > 0) entropy -= value / total * Math.log2(value / total);
  return entropy;
}

/** Gini coefficient: 0 where all classes are equally frequent, towards 1 where one has everything. */
export function gini(counts: Counts): number {
  const sorted = sortedCounts(counts);
  const total = totalOf(counts);
  if (total === 0) return 0;
  let [cumulated, sum] = [0, 0];
  for (const value of sorted) {
    cumulated += value;
    sum += cumulated / total;
  }
  return (sorted.length + 1 - 2 * sum) / sorted.length;
}

/** Share of all counts that the `k` most frequent classes have. */
export function topShare(counts: Counts, k: number): number {
  const total = totalOf(counts);
  if (total === 0) return 0;
  return mostCommon(counts).slice(0, k).reduce((sum, [, value]) => sum + value, 0) / total;
}

/** Classes from the most frequent to the rarest; equal ones in the order they were first counted. */
export function mostCommon(counts: Counts): [name: string, count: number][] {
  return [...counts].sort((a, b) => b[1] - a[1]);
}

/** Classes with fewer than `limit`, the rarest first. */
export function rareClasses(counts: Counts, limit: number): [name: string, count: number][] {
  return [...counts].filter(([, value]) => value < limit).sort((a, b) => a[1] - b[1]);
}

/** A point of a Lorenz curve: the rarest `classes` (a share) have `mentions` (a share). */
export interface LorenzPoint {
  /** Share of the classes, the rarest first. */
  readonly classes: number;
  /** Share of the mentions that they have. */
  readonly mentions: number;
}

/** The Lorenz curve from (0, 0) to (1, 1), thinned out to at most `maxPoints`. */
export function lorenzCurve(counts: Counts, maxPoints = 200): LorenzPoint[] {
  const sorted = sortedCounts(counts);
  const total = totalOf(counts);
  const points: LorenzPoint[] = [{ classes: 0, mentions: 0 }];
  if (total === 0) return [...points, { classes: 1, mentions: 1 }];
  const step = Math.max(1, Math.ceil(sorted.length / maxPoints));
  let cumulated = 0;
  for (const [i, value] of sorted.entries()) {
    cumulated += value;
    if ((i + 1) % step !== 0 && i + 1 !== sorted.length) continue;
    points.push({ classes: (i + 1) / sorted.length, mentions: cumulated / total });
  }
  return points;
}

function sortedCounts(counts: Counts): number[] {
  return [...counts.values()].sort((a, b) => a - b);
}
