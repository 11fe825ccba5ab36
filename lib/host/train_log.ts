/**
 * What a run writes down while it trains: `metrics.jsonl`, `predictions.jsonl`, TensorBoard events, and `train.log`.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import {
  encodeFileVersion,
  encodeImages,
  encodeScalars,
  encodeTexts,
  eventFileName,
  type EventImage,
} from "../format/tensorboard.ts";
import type { LogEntry } from "../train/trainer_state.ts";
import { isDiskFull, writeFileAtomically } from "./files.ts";
import { formatPrediction, openPredictions, type Prediction } from "./train_predictions.ts";

interface LogFiles {
  metrics: Deno.FsFile;
  predictions: Deno.FsFile;
  events: Deno.FsFile;
  text: Deno.FsFile;
}

/** Open files of a run's log. */
export class TrainLog implements Disposable {
  readonly #files: LogFiles;

  private constructor(files: LogFiles) {
    this.#files = files;
  }

  /**
   * Opens the log in a run's folder. `metrics.jsonl` begins with the entries given: those of the checkpoint that is continued, so
   * that steps which a kill lost are not listed twice; `predictions.jsonl` with those of their evaluations.
   */
  static async open(folder: string, entries: readonly LogEntry[]): Promise<TrainLog> {
    await writeFileAtomically(
      `${folder}/metrics.jsonl`,
      entries.map(formatLine).join(""),
    );
    const metrics = await Deno.open(`${folder}/metrics.jsonl`, { append: true });
    const predictions = await openPredictions(folder, entries);
    const text = await Deno.open(`${folder}/train.log`, { append: true, create: true });
    const wallTimeSeconds = Date.now() / 1000;
    const start = new Date().toISOString().replace(/[:.]/g, "-");
    const runs = `${folder}/runs/${start}`;
    await Deno.mkdir(runs, { recursive: true });
    const host = Deno.hostname().replace(/[^\w-]/g, "-");
    const name = eventFileName({ wallTimeSeconds, host, pid: Deno.pid, count: 0 });
    const events = await Deno.open(`${runs}/${name}`, { append: true, create: true });
    const log = new TrainLog({ metrics, predictions, events, text });
    log.#write(events, encodeFileVersion(wallTimeSeconds));
    return log;
  }

  /** Adds the numbers of a step or an evaluation; `extra` goes to TensorBoard alone, such as speeds. */
  add(entry: LogEntry, extra: Readonly<Record<string, number>> = {}): void {
    this.#write(this.#files.metrics, encode(formatLine(entry)));
    const { step, ...numbers } = entry;
    const scalars: Record<string, number> = {};
    for (const [name, value] of Object.entries({ ...numbers, ...extra })) {
      scalars[name.startsWith("eval_") ? `eval/${name.slice(5)}` : `train/${name}`] = value;
    }
    this.#write(this.#files.events, encodeScalars({ step, wallTimeSeconds: Date.now() / 1000, scalars }));
  }

  /** Adds captions of an evaluation. Those of the rows that are shown, by tag, go to TensorBoard too. */
  addPredictions(predictions: readonly Prediction[], tags: ReadonlyMap<number, string>): void {
    this.#write(this.#files.predictions, encode(predictions.map(formatPrediction).join("")));
    const shown = predictions.filter(({ row }) => tags.has(row));
    if (shown.length === 0) return;
    const texts = Object.fromEntries(shown.map(({ row, image, references, caption }) => [
      `captions/${tags.get(row)}`,
      `${markdown(caption) || "(nothing)"}\n\n${markdown(image)}: ${references.map(markdown).join(" / ")}`,
    ]));
    const event = { step: shown[0]!.step, wallTimeSeconds: Date.now() / 1000 };
    this.#write(this.#files.events, encodeTexts({ ...event, texts }));
  }

  /** Shows the pictures that captions are written of, by tag. */
  addImages(step: number, images: Readonly<Record<string, EventImage>>): void {
    const tagged = Object.fromEntries(Object.entries(images).map(([tag, image]) => [`images/${tag}`, image]));
    this.#write(
      this.#files.events,
      encodeImages({ step, wallTimeSeconds: Date.now() / 1000, images: tagged }),
    );
  }

  /** Adds a line to `train.log`, with the time. */
  line(text: string): void {
    this.#write(this.#files.text, encode(`${new Date().toISOString()} ${text}\n`));
  }

  /** Closes the files. */
  [Symbol.dispose](): void {
    for (const file of Object.values<Deno.FsFile>({ ...this.#files })) file.close();
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

/** Text that stays text in Markdown. */
function markdown(text: string): string {
  return text.replace(/[\\`*_{}\[\]<>#|~]/g, "\\$&");
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
