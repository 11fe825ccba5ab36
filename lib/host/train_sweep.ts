/**
 * Several training runs in sequence that differ in some flags, and one table of what came of them.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { formatJson, isJsonObject, type JsonObject, type JsonValue } from "../format/json.ts";
import { evaluationNames, formatMetric, metricTitle } from "../train/report.ts";
import type { StopReason } from "../train/trainer_state.ts";
import { openFile, stat, writeFileAtomically } from "./files.ts";
import { hashOf } from "./hashes.ts";
import { formatTable } from "./terminal.ts";
import type { TrainRunContext, TrainRunOptions, TrainRunResult } from "./train_options.ts";
import { metricsOf } from "./train_pages.ts";

/** Larger files are no small grid. */
const MAX_FILE_BYTES = 1e6;
/** More runs than anybody waits for. */
const MAX_RUNS = 1000;

/** Flags by name, as in a file of `--config`. */
export type SweepFields = JsonObject;

/**
 * Reads a sweep: an object of flags with lists of values, of which every combination is a run (the last flag changes fastest), or a list of
 * objects, a run each.
 *
 * @throws {UserError} If it is neither, or has no run or more than 1000
 */
export async function readSweep(path: string): Promise<SweepFields[]> {
  const { size, name, read } = await openFile(path);
  const refuse = (what: string) =>
    new UserError(
      `Cannot sweep by "${name}": ${what}; expected JSON such as {"lora-r": [8, 16], "lora-lr": [1e-4, 3e-4]}, or a list of runs ` +
        `[{"lora-r": 8}, {"lora-r": 16, "lora-lr": 3e-4}]`,
    );
  if (size > MAX_FILE_BYTES) throw refuse(`it has ${size} bytes`);
  let json: JsonValue;
  try {
    json = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(await read(0, size)));
  } catch (error) {
    throw refuse(`it is no JSON (${describeError(error)})`);
  }
  const runs = Array.isArray(json) ? json : isJsonObject(json) ? combine(json, refuse) : undefined;
  if (runs === undefined || !runs.every(isJsonObject)) throw refuse("it is no object and no list of objects");
  if (runs.length === 0 || runs.length > MAX_RUNS) throw refuse(`it has ${runs.length} runs`);
  return runs;
}

function combine(grid: JsonObject, refuse: (what: string) => UserError): SweepFields[] {
  let runs: SweepFields[] = [{}];
  for (const [flag, values] of Object.entries(grid)) {
    if (!Array.isArray(values) || values.length === 0) throw refuse(`"${flag}" has no list of values`);
    if (runs.length * values.length > MAX_RUNS) throw refuse(`it has more than ${MAX_RUNS} runs`);
    runs = runs.flatMap((run) => values.map((value) => ({ ...run, [flag]: value })));
  }
  return runs;
}

/** A run of a sweep, as `sweep.json` has it. */
export interface SweepRun {
  /** From 1. */
  number: number;
  /** What it differs in. */
  flags: SweepFields;
  /** Hash of all its options. */
  options: string;
  /** Its folder; absent where it failed. */
  path?: string;
  /** Why it ended. */
  ended?: StopReason;
  /** Optimizer steps done. */
  step?: number;
  /** The best evaluation, by `--metric-for-best-model`. */
  best?: { step: number; value: number };
  /** Of the best model, on the test split where there is one. */
  metrics?: Readonly<Record<string, number>>;
  /** Why it failed. */
  error?: string;
}

/** What a sweep came to. */
export interface Sweep {
  /** Folder of `sweep.json`, `sweep.md` and the runs. */
  path: string;
  /** What runs are compared by. */
  metric: string;
  /** Those that have ended, in order. */
  runs: readonly SweepRun[];
  /** Whether it was broken off: the same command goes on. */
  isInterrupted: boolean;
}

/** What {@linkcode runSweep} is given. */
export interface SweepOptions {
  /** Path of the file. */
  file: string;
  /** Options of a run, with its flags set. @throws {UserError} for a flag that there is not, or that is given twice */
  parse(flags: SweepFields): Promise<TrainRunOptions>;
  /** Trains. */
  train(options: TrainRunOptions, context: TrainRunContext): Promise<TrainRunResult>;
  /** Surroundings of the runs. */
  context: TrainRunContext;
}

/**
 * Trains every run of a sweep, one after the other, in folders of their own below `sweep-NAME` in `--save-dir`. Runs that ended before
 * with the same options are not trained again; one that was broken off is continued. A run that fails is noted, and the others go on.
 *
 * @throws {UserError} If the file or one of its flags is wrong, before anything is trained
 */
export async function runSweep({ file, parse, train, context }: SweepOptions): Promise<Sweep> {
  const fields = await readSweep(file);
  const all: TrainRunOptions[] = [];
  for (const flags of fields) all.push(await parse(flags));
  const { saveDir, metricForBestModel: metric } = all[0]!;
  const path = `${saveDir}/sweep-${file.split(/[/\\]/).at(-1)!.replace(/\.json$/i, "")}`;
  const earlier = await readEarlier(path);
  const runs: SweepRun[] = [];
  let isInterrupted = false;
  for (const [i, flags] of fields.entries()) {
    const options = { ...all[i]!, saveDir: `${path}/${String(i + 1).padStart(2, "0")}` };
    // How results are printed makes no other run.
    const identity = {
      number: i + 1,
      flags,
      options: await hashOf([JSON.stringify({ ...options, saveDir, json: false })]),
    };
    const done = earlier.find((run) => run.options === identity.options && run.error === undefined);
    if (done !== undefined) {
      runs.push({ ...done, ...identity });
      continue;
    }
    context.signal.throwIfAborted();
    context.say(`Run ${i + 1} of ${fields.length}: ${describeFlags(flags)}`);
    let result: TrainRunResult;
    try {
      result = await train(options, context);
    } catch (error) {
      if (context.signal.aborted) throw error;
      context.say(`Run ${i + 1} failed: ${describeError(error)}`);
      runs.push({ ...identity, error: describeError(error) });
      await writeSweep({ path, metric, runs, isInterrupted });
      continue;
    }
    if (result.ended === "interrupted") {
      isInterrupted = true;
      break;
    }
    const { ended, step, best, after } = result;
    const metrics = metricsOf(after);
    runs.push({
      ...identity,
      path: result.path,
      ended,
      step,
      ...(best && { best }),
      ...(metrics && { metrics }),
    });
    await writeSweep({ path, metric, runs, isInterrupted });
  }
  const sweep = { path, metric, runs, isInterrupted };
  if (runs.length > 0) await writeSweep(sweep);
  return sweep;
}

async function readEarlier(folder: string): Promise<SweepRun[]> {
  const path = `${folder}/sweep.json`;
  if (await stat(path) === undefined) return [];
  try {
    const { runs } = JSON.parse(await Deno.readTextFile(path));
    if (Array.isArray(runs)) return runs;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw new UserError(
    `Cannot continue the sweep: "${path}" is damaged; remove it, and runs that have ended are trained again`,
  );
}

async function writeSweep(sweep: Sweep): Promise<void> {
  const { path, metric, runs } = sweep;
  await Deno.mkdir(path, { recursive: true });
  await writeFileAtomically(`${path}/sweep.json`, sweepToJson(sweep));
  const { header, rows } = tableOf(sweep);
  const cells = (row: readonly string[]) =>
    `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const lines = [cells(header), cells(header.map(() => "---")), ...rows.map(cells)];
  const failures = runs.filter(({ error }) => error !== undefined)
    .map(({ number, error }) => `- run ${number}: ${error}`);
  await writeFileAtomically(
    `${path}/sweep.md`,
    `# Sweep\n\n* the best by ${metricTitle(metric)} of the validation split\n\n${
      [...lines, "", ...failures].join("\n")
    }\n`,
  );
}

/** The runs for machines: one JSON object. */
export function sweepToJson({ metric, runs, path }: Sweep): string {
  return formatJson({ metric_for_best_model: metric, path, runs: JSON.parse(JSON.stringify(runs)) });
}

/** The runs for people. */
export function describeSweep(sweep: Sweep): string {
  const { header, rows } = tableOf(sweep);
  const state = sweep.isInterrupted ? "Interrupted; run the same command again to continue" : "Kept in";
  return [
    formatTable(rows, { header, right: [0] }),
    "",
    `* the best by ${metricTitle(sweep.metric)} of the validation split`,
    `${state} ${sweep.path}: sweep.json, sweep.md`,
  ].join("\n");
}

function tableOf({ metric, runs }: Sweep): { header: string[]; rows: string[][] } {
  const flags = [...new Set(runs.flatMap((run) => Object.keys(run.flags)))];
  const prefixed = runs.map(({ metrics = {} }) =>
    Object.fromEntries(Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value]))
  );
  const metrics = evaluationNames(prefixed).map((name) => name.replace(/^eval_/, ""));
  const bare = metric.replace(/^eval_/, "");
  const values = runs.flatMap(({ best }) => best === undefined ? [] : [best.value]);
  const top = bare === "loss" ? Math.min(...values) : Math.max(...values);
  return {
    header: ["run", ...flags, "ended", `best ${metricTitle(bare)}`, "at step", ...metrics.map(metricTitle)],
    rows: runs.map(({ number, flags: own, ended, best, metrics: found, error }) => [
      String(number),
      ...flags.map((flag) => own[flag] === undefined ? "" : formatValue(own[flag])),
      error === undefined ? ended! : "failed",
      best === undefined ? "" : `${formatMetric(bare, best.value)}${best.value === top ? " *" : ""}`,
      best === undefined ? "" : String(best.step),
      ...metrics.map((name) => found?.[name] === undefined ? "" : formatMetric(name, found[name])),
    ]),
  };
}

function describeFlags(flags: SweepFields): string {
  return Object.entries(flags).map(([flag, value]) => `${flag} ${formatValue(value)}`).join(", ") ||
    "no flags";
}

function formatValue(value: JsonValue): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}
