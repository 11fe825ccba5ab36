/**
 * Rewrites a data set's captions under inclusive guidelines, by any OpenAI-compatible model or by rules.
 *
 * @module
 */

import { EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { curateDataset, estimateCuration } from "../lib/host/curate.ts";
import { describeCuration, describeEstimate, parseCurateArguments } from "../lib/host/curate_command.ts";

await runTask(async ({ handleInterrupt }) => {
  const { data, ask, dryRun, json } = parseCurateArguments(Deno.args, (name) => Deno.env.get(name));
  const signal = handleInterrupt();
  try {
    if (dryRun && ask !== undefined) {
      const estimate = await estimateCuration({ ...data, signal }, ask);
      console.log(json ? JSON.stringify(estimate) : describeEstimate(estimate));
      return;
    }
    const result = await curateDataset({ ...data, signal }, ask);
    console.log(json ? JSON.stringify(result) : describeCuration(result));
  } catch (error) {
    if (!signal.aborted || (error as Error)?.name !== "AbortError") throw error;
    console.error("Interrupted; the same command continues");
    return EXIT_CODES.interrupted;
  }
});
