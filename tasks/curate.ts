/**
 * Rewrites a data set's captions under inclusive guidelines, by any OpenAI-compatible model or by rules.
 *
 * @module
 */

import { EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { datasetReference, pushDataset } from "../lib/host/dataset_push.ts";
import { connectForPush } from "../lib/host/hub_upload.ts";
import { curateDataset, estimateCuration } from "../lib/host/curate.ts";
import { describeCuration, describeEstimate, parseCurateArguments } from "../lib/host/curate_command.ts";

await runTask(async ({ handleInterrupt }) => {
  const { data, ask, dryRun, json, pushToHub: id, isPrivate } = parseCurateArguments(
    Deno.args,
    (name) => Deno.env.get(name),
  );
  if (id !== undefined) datasetReference(id);
  // Before anything is paid: is there a token, and is it accepted?
  const push = id === undefined || dryRun ? undefined : { id, isPrivate, ...await connectForPush() };
  const signal = handleInterrupt();
  try {
    if (dryRun && ask !== undefined) {
      const estimate = await estimateCuration({ ...data, signal }, ask);
      console.log(json ? JSON.stringify(estimate) : describeEstimate(estimate));
      return;
    }
    const result = await curateDataset({ ...data, signal }, ask);
    if (!json) console.log(describeCuration(result));
    const pushed = push && await pushDataset(data.outputDir, { ...push, signal });
    if (json) console.log(JSON.stringify({ ...result, ...(pushed && { pushed }) }));
    else if (pushed) console.log(`pushed ${pushed.sent} files to ${pushed.url}`);
  } catch (error) {
    if (!signal.aborted || (error as Error)?.name !== "AbortError") throw error;
    console.error("Interrupted; the same command continues");
    return EXIT_CODES.interrupted;
  }
});
