/**
 * What the tasks that train have in common: one run, or a sweep of several, from the command line to the exit code.
 *
 * @module
 */

import type { JsonObject } from "../format/json.ts";
import { EXIT_CODES } from "./arguments.ts";
import { confirmDownloads } from "./dataset_options.ts";
import { parseTrainArguments } from "./train_command.ts";
import type { TrainRunContext } from "./train_options.ts";
import { preparePush } from "./train_push.ts";
import { runTraining } from "./train_run.ts";
import { describeResult, resultToJson } from "./train_summary.ts";
import { describeSweep, runSweep, sweepToJson } from "./train_sweep.ts";

/** What a task sets of itself. */
export interface TrainTaskOptions {
  /** Variables that set options. @default {none} */
  environment?: Readonly<Record<string, string>>;
  /** Options where nothing else sets them. @default {none} */
  own?: JsonObject;
  /** Gives the signal that ends the task; called once the arguments are right. */
  handleInterrupt(): AbortSignal;
}

/** Trains as a command line says. @returns The exit code */
export async function runTrainTask(args: readonly string[], options: TrainTaskOptions): Promise<number> {
  const { environment = {}, own = {}, handleInterrupt } = options;
  const run = await parseTrainArguments(args, environment, { own });
  const ask = Deno.stdin.isTerminal() ? confirm : undefined;
  const context = (): TrainRunContext => ({
    signal: handleInterrupt(),
    say: (line) => console.error(line),
  });
  if (run.sweep !== undefined) {
    const sweep = await runSweep({
      file: run.sweep,
      async parse(sweep) {
        const one = await parseTrainArguments(args, environment, { own, sweep });
        confirmDownloads(one, ask);
        return one;
      },
      train: runTraining,
      context: context(),
    });
    console.log(run.json ? sweepToJson(sweep) : describeSweep(sweep));
    if (sweep.isInterrupted) return EXIT_CODES.interrupted;
    return sweep.runs.some(({ error }) => error !== undefined) ? EXIT_CODES.error : EXIT_CODES.ok;
  }
  confirmDownloads(run, ask);
  const push = await preparePush(run);
  const result = await runTraining(run, context());
  console.log(run.json ? resultToJson(result) : describeResult(result));
  if (result.ended === "interrupted") return EXIT_CODES.interrupted;
  return await push?.(result.path) ?? EXIT_CODES.ok;
}
