/**
 * Many numbers in little memory, and what is usually asked of them.
 *
 * @module
 */

/** Mean, spread and range of numbers. */
export interface NumberSummary {
  /** How many. */
  readonly count: number;
  /** Mean. */
  readonly mean: number;
  /** Standard deviation of the whole, not of a sample. */
  readonly std: number;
  /** Least. */
  readonly min: number;
  /** Largest. */
  readonly max: number;
  /** Median: the mean of the two in the middle where their number is even. */
  readonly median: number;
}

/** A list that grows, 8 bytes a number. */
export class NumberList {
  #values = new Float64Array(256);
  #size = 0;

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** The numbers in the order they came; a view. */
  get values(): Float64Array {
    return this.#values.subarray(0, this.#size);
  }

  /** Adds a number. NaN and infinities are left out. */
  add(value: number | undefined): void {
    if (value === undefined || !Number.isFinite(value)) return;
    if (this.#size === this.#values.length) {
      const larger = new Float64Array(2 * this.#size);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#size++] = value;
  }

  /** Mean, spread and range; `undefined` of nothing. */
  summary(): NumberSummary | undefined {
    const count = this.#size;
    if (count === 0) return undefined;
    const sorted = this.values.toSorted();
    let sum = 0;
    for (const value of sorted) sum += value;
    const mean = sum / count;
    let squares = 0;
    for (const value of sorted) squares += (value - mean) ** 2;
    const half = count >> 1;
    return {
      count,
      mean,
      std: Math.sqrt(squares / count),
      min: sorted[0]!,
      max: sorted[count - 1]!,
      median: count % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2,
    };
  }

  /** How many numbers fall into each of `bins` equal steps from the least to the largest. */
  histogram(bins: number): HistogramBin[] {
    const summary = this.summary();
    if (summary === undefined) return [];
    const { min, max } = summary;
    const step = (max - min || 1) / bins;
    const counts = new Array<number>(bins).fill(0);
    for (const value of this.values) counts[Math.min(bins - 1, Math.floor((value - min) / step))]!++;
    return counts.map((count, i) => ({ from: min + i * step, to: min + (i + 1) * step, count }));
  }
}

/** A step of a histogram. */
export interface HistogramBin {
  readonly from: number;
  readonly to: number;
  readonly count: number;
}

/**
 * How often a right pair scores above a wrong one: the area under the ROC curve, 0.5 by chance and 1 where all do. Ties count half.
 *
 * Source: Mann and Whitney, 1947; Hanley and McNeil, 1982.
 */
export function areaUnderCurve(right: Float64Array, wrong: Float64Array): number | undefined {
  if (right.length === 0 || wrong.length === 0) return undefined;
  const [a, b] = [right.toSorted(), wrong.toSorted()];
  let [below, upTo, sum] = [0, 0, 0];
  for (const value of a) {
    while (below < b.length && b[below]! < value) below++;
    while (upTo < b.length && b[upTo]! <= value) upTo++;
    sum += below + (upTo - below) / 2;
  }
  return sum / (a.length * b.length);
}
