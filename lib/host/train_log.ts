/**
 * What a run writes down while it trains: `metrics.jsonl`, TensorBoard events, and `train.log`.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { encodeFileVersion, encodeScalars, eventFileName } from "../format/tensorboard.ts";
import type { LogEntry } from "../train/trainer_state.ts";
import { isDiskFull, writeFileAtomically } from "./files.ts";

/** Open files of a run's log. */
export class TrainLog implements Disposable {
  readonly #metrics: Deno.FsFile;
  readonly #events: Deno.FsFile;
  readonly #text: Deno.FsFile;

  private constructor(files: { metrics: Deno.FsFile; events: Deno.FsFile; text: Deno.FsFile }) {
    this.#metrics = files.metrics;
    this.#events = files.events;
    this.#text = files.text;
  }

  /**
   * Opens the log in a run's folder. `metrics.jsonl` begins with the entries given: those of the checkpoint that is continued, so
   * that steps which a kill lost are not listed twice.
   */
  static async open(folder: string, entries: readonly LogEntry[]): Promise<TrainLog> {
    await writeFileAtomically(
      `${folder}/metrics.jsonl`,
      entries.map(formatLine).join(""),
    );
    const metrics = await Deno.open(`${folder}/metrics.jsonl`, { append: true });
    const text = await Deno.open(`${folder}/train.log`, { append: true, create: true });
    const wallTimeSeconds = Date.now() / 1000;
    const start = new Date().toISOString().replace(/[:.]/g, "-");
    const runs = `${folder}/runs/${start}`;
    await Deno.mkdir(runs, { recursive: true });
    const host = Deno.hostname().replace(/[^\w-]/g, "-");
    const name = eventFileName({ wallTimeSeconds, host, pid: Deno.pid, count: 0 });
    const events = await Deno.open(`${runs}/${name}`, { append: true, create: true });
    const log = new TrainLog({ metrics, events, text });
    log.#write(events, encodeFileVersion(wallTimeSeconds));
    return log;
  }

  /** Adds the numbers of a step or an evaluation; `extra` goes to TensorBoard alone, such as speeds. */
  add(entry: LogEntry, extra: Readonly<Record<string, number>> = {}): void {
    this.#write(this.#metrics, encode(formatLine(entry)));
    const { step, ...numbers } = entry;
    const scalars: Record<string, number> = {};
    for (const [name, value] of Object.entries({ ...numbers, ...extra })) {
      scalars[name.startsWith("eval_") ? `eval/${name.slice(5)}` : `train/${name}`] = value;
    }
    this.#write(this.#events, encodeScalars({ step, wallTimeSeconds: Date.now() / 1000, scalars }));
  }

  /** Adds a line to `train.log`, with the time. */
  line(text: string): void {
    this.#write(this.#text, encode(`${new Date().toISOString()} ${text}\n`));
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const file of [this.#metrics, this.#events, this.#text]) file.close();
  }

  #write(file: Deno.FsFile, bytes: Uint8Array): void {
    try {
      for (let written = 0; written < bytes.length;) written += file.writeSync(bytes.subarray(written));
    } catch (error) {
      if (!isDiskFull(error)) throw error;
      throw new UserError(
        "Cannot write the run's log: the disk is full; checkpoints are intact, free some space and run again",
        {
          cause: error,
        },
      );
    }
  }
}

/** Keys sorted, as the entries of a continued run come back from its checkpoint. */
function formatLine(entry: LogEntry): string {
  const sorted = Object.entries(entry).sort(([a], [b]) => a < b ? -1 : 1);
  return JSON.stringify(Object.fromEntries(sorted)) + "\n";
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
