/**
 * Counters and histograms as text that Prometheus reads.
 *
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/
 *
 * @module
 */

type Labels = Readonly<Record<string, string>>;

const render = (labels: Labels): string => {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`);
  return pairs.length === 0 ? "" : `{${pairs.join(",")}}`;
};
const escape = (value: string): string =>
  value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

/** A number that only rises, by labels. */
export class Counter {
  readonly #values = new Map<string, number>();

  /** @param labelled whether every value has labels; else it is 0 before anything is added, as Prometheus wants it */
  constructor(readonly name: string, readonly help: string, labelled = false) {
    if (!labelled) this.add({}, 0);
  }

  /** Adds to the number of `labels`. */
  add(labels: Labels = {}, amount = 1): void {
    const key = render(labels);
    this.#values.set(key, (this.#values.get(key) ?? 0) + amount);
  }

  /** Its lines. */
  lines(): string[] {
    return [...this.#values].map(([labels, value]) => `${this.name}${labels} ${value}`);
  }

  /** Its kind. */
  get type(): string {
    return "counter";
  }
}

/** A number that is looked up when it is asked for. */
export class Gauge {
  constructor(readonly name: string, readonly help: string, readonly value: () => number) {}

  /** Its line. */
  lines(): string[] {
    return [`${this.name} ${this.value()}`];
  }

  /** Its kind. */
  get type(): string {
    return "gauge";
  }
}

/** How often values lay at or below bounds. */
export class Histogram {
  readonly #counts: number[];
  #sum = 0;
  #count = 0;

  constructor(readonly name: string, readonly help: string, readonly bounds: readonly number[]) {
    this.#counts = bounds.map(() => 0);
  }

  /** Notes a value. */
  observe(value: number): void {
    this.#sum += value;
    this.#count++;
    for (const [i, bound] of this.bounds.entries()) if (value <= bound) this.#counts[i]!++;
  }

  /** Its lines. */
  lines(): string[] {
    return [
      ...this.bounds.map((bound, i) => `${this.name}_bucket{le="${bound}"} ${this.#counts[i]}`),
      `${this.name}_bucket{le="+Inf"} ${this.#count}`,
      `${this.name}_sum ${this.#sum}`,
      `${this.name}_count ${this.#count}`,
    ];
  }

  /** Its kind. */
  get type(): string {
    return "histogram";
  }
}

/** All of them as one text. */
export function formatPrometheus(metrics: readonly (Counter | Gauge | Histogram)[]): string {
  return metrics.flatMap((metric) => [
    `# HELP ${metric.name} ${metric.help}`,
    `# TYPE ${metric.name} ${metric.type}`,
    ...metric.lines(),
  ]).join("\n") + "\n";
}
