/**
 * Progress on stderr: a bar on a terminal, else a plain line every few seconds. The one file that knows the bar's package.
 *
 * @module
 */

import cliProgress from "cli-progress";
import { formatBytes, formatDuration, isSwitchedOn } from "./terminal.ts";

/** Options of {@linkcode startProgress}. */
export interface ProgressOptions {
  /** What is being done, shown first. */
  label: string;
  /** How many units there are. */
  total: number;
  /**
   * Units done before, as in a run that is continued; they do not count towards the speed.
   *
   * @default {0}
   */
  initial?: number;
  /**
   * What the units are: things that are counted, or bytes, shown as sizes.
   *
   * @default {"count"}
   */
  unit?: "count" | "bytes";
  /**
   * Shows nothing but what is logged.
   *
   * @default {false}
   */
  quiet?: boolean;
  /**
   * Shortest time between two plain lines.
   *
   * @default {5000}
   */
  lineIntervalMs?: number;
  /**
   * Whether a bar can be drawn.
   *
   * @default stderr is a terminal and HF_HUB_DISABLE_PROGRESS_BARS is not set
   */
  isTerminal?: boolean;
  /**
   * Takes what is shown: plain lines, each with its newline, or the bar's text and escape codes.
   *
   * @default stderr
   */
  write?: (text: string) => void;
  /**
   * The clock, in milliseconds.
   *
   * @default performance.now
   */
  nowMs?: () => number;
}

/** Progress that is being shown. */
export interface Progress extends Disposable {
  /** Units done so far, and tokens shown after them: `{ loss: "2.31", "images/s": "40" }`. */
  update(done: number, tokens?: Readonly<Record<string, string>>): void;
  /** Shows a line above the bar, or as a line of its own. */
  log(line: string): void;
  /** Shows the last state and ends. More calls do nothing. */
  stop(): void;
}

/** Starts showing progress. No colours are used, so NO_COLOR changes nothing. */
export function startProgress(options: ProgressOptions): Progress {
  const write = options.write ?? writeToStderr;
  const isTerminal = options.isTerminal ??
    (Deno.stderr.isTerminal() && !isSwitchedOn("HF_HUB_DISABLE_PROGRESS_BARS"));
  if (options.quiet === true) {
    return withDispose({ update() {}, log: (line) => write(`${line}\n`), stop() {} });
  }
  return withDispose(isTerminal ? startBar(options, write) : startLines(options, write));
}

function startBar(
  options: ProgressOptions,
  write: (text: string) => void,
): Omit<Progress, typeof Symbol.dispose> {
  const bar = new cliProgress.SingleBar({
    format: `${options.label} {bar} {value}/{total} {tokens}`,
    barsize: 24,
    barCompleteChar: "█",
    barIncompleteChar: "░",
    hideCursor: true,
    formatValue: (value: number, _options: unknown, type: string) =>
      type === "value" || type === "total" ? formatAmount(value, options) : String(value),
    stream: barStream(write),
    // A bar erased by a logged line comes back at once, even if nothing has changed.
    forceRedraw: true,
    // Interrupts belong to the task, which may want to save first.
    gracefulExit: false,
    fps: 8,
  });
  const initial = options.initial ?? 0;
  const remaining = timeLeft(options);
  bar.start(options.total, initial, { tokens: "" });
  let isRunning = true;
  return {
    update(done, tokens = {}) {
      if (isRunning) bar.update(done, { tokens: describe({ ...tokens, ...remaining(done) }) });
    },
    log(line) {
      // Erases the bar; it is drawn again below the line by its own timer.
      write(isRunning ? `\r\x1b[2K${line}\n` : `${line}\n`);
    },
    stop() {
      if (isRunning) bar.stop();
      isRunning = false;
    },
  };
}

/**
 * The terminal as the package sees it. It saves the cursor's place at the start and goes back there at the end, which would be
 * above the lines logged meanwhile: these two codes are left out.
 */
function barStream(write: (text: string) => void): { isTTY: true; write(text: string): boolean } {
  return {
    isTTY: true,
    write(text) {
      if (text !== "\x1b7" && text !== "\x1b8") write(text);
      return true;
    },
  };
}

function startLines(
  options: ProgressOptions,
  write: (text: string) => void,
): Omit<Progress, typeof Symbol.dispose> {
  const now = options.nowMs ?? (() => performance.now());
  const remaining = timeLeft(options);
  let shownMs = now();
  let pending: string | undefined;
  const show = () => {
    if (pending !== undefined) write(pending);
    pending = undefined;
    shownMs = now();
  };
  return {
    update(done, tokens = {}) {
      const text = describe({ ...tokens, ...remaining(done) });
      const amount = `${formatAmount(done, options)}/${formatAmount(options.total, options)}`;
      pending = `${options.label} ${amount}${text === "" ? "" : ` ${text}`}\n`;
      if (now() - shownMs >= (options.lineIntervalMs ?? 5000)) show();
    },
    log: (line) => write(`${line}\n`),
    stop: show,
  };
}

function formatAmount(value: number, { unit }: ProgressOptions): string {
  return unit === "bytes" ? formatBytes(value) : String(value);
}

/** The time left at the mean speed so far, once there is one. */
function timeLeft(options: ProgressOptions): (done: number) => Record<string, string> {
  const now = options.nowMs ?? (() => performance.now());
  const startMs = now();
  const initial = options.initial ?? 0;
  return (done): Record<string, string> => {
    if (done <= initial || done >= options.total) return {};
    const seconds = (now() - startMs) / 1000 / (done - initial) * (options.total - done);
    return { left: formatDuration(seconds) };
  };
}

function describe(tokens: Readonly<Record<string, string>>): string {
  return Object.entries(tokens).map(([name, value]) => `${name} ${value}`).join(" · ");
}

function withDispose(progress: Omit<Progress, typeof Symbol.dispose>): Progress {
  return { ...progress, [Symbol.dispose]: () => progress.stop() };
}

function writeToStderr(text: string): void {
  Deno.stderr.writeSync(new TextEncoder().encode(text));
}
