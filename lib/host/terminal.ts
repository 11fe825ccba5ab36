/**
 * Text for people: tables, sizes and durations, as strings; and the terminal's state.
 *
 * @module
 */

/** Options of {@linkcode formatTable}. */
export interface TableOptions {
  /** Titles of the columns, underlined. */
  header?: readonly string[];
  /**
   * Columns aligned to the right, counted from 0; others to the left.
   *
   * @default columns whose every cell is a number
   */
  right?: readonly number[];
}

/** Rows of cells as aligned lines, two spaces between columns, without a final newline. */
export function formatTable(
  rows: readonly (readonly (string | number)[])[],
  options: TableOptions = {},
): string {
  const lines = [...(options.header === undefined ? [] : [options.header]), ...rows];
  const columnCount = Math.max(0, ...lines.map((row) => row.length));
  const columns = Array.from({ length: columnCount }, (_, c) => ({
    width: Math.max(...lines.map((row) => displayWidth(String(row[c] ?? "")))),
    isRight: options.right?.includes(c) ?? rows.every((row) => isNumeric(row[c] ?? "")),
  }));
  const text = lines.map((row) =>
    columns.map(({ width, isRight }, c) => {
      const cell = String(row[c] ?? "");
      const space = " ".repeat(width - displayWidth(cell));
      return isRight ? space + cell : cell + space;
    }).join("  ").trimEnd()
  );
  if (options.header !== undefined) {
    text.splice(
      1,
      0,
      columns.map(({ width }) => "-".repeat(width)).join("  "),
    );
  }
  return text.join("\n");
}

function isNumeric(cell: string | number): boolean {
  return typeof cell === "number" || /^([+-]?[\d.,]+(e[+-]?\d+)?\s?(%|x|ms|s|[kMG]?B)?|-|)$/i.test(cell);
}

/** Columns a terminal gives to text: none for marks, two for wide letters and emoji. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const { segment } of new Intl.Segmenter("en", { granularity: "grapheme" }).segment(text)) {
    width +=
      /\p{Emoji_Presentation}|\uFE0F|[\u1100-\u115F\u2E80-\uA4CF\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6]|\p{Script=Han}/u
          .test(segment)
        ? 2
        : 1;
  }
  return width;
}

/** A size in decimal units: `999 B`, `1.5 MB`, `3.1 GB`. */
export function formatBytes(sizeBytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let value = sizeBytes, unit = 0;
  // 999.95 would be shown as 1000.0: it belongs to the next unit.
  while (value >= (unit === 0 ? 1000 : 999.95) && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A duration: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 07 min`. */
export function formatDuration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number) => String(value).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** Whether a variable of the environment is switched on, as Hugging Face reads it: 1, on, yes or true in any case. */
export function isSwitchedOn(name: string): boolean {
  return /^(1|on|yes|true)$/i.test(Deno.env.get(name) ?? "");
}

/** Shows the terminal's cursor and wraps lines again, which an interrupted progress bar may have switched off. */
export function showCursor(): void {
  if (Deno.stderr.isTerminal()) Deno.stderr.writeSync(new TextEncoder().encode("\x1b[?25h\x1b[?7h"));
}
