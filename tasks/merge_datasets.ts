/**
 * Merges data sets into one folder of parquet files, and pushes it to the Hub.
 *
 * @module
 */

import { EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { datasetReference, pushDataset } from "../lib/host/dataset_push.ts";
import { stat } from "../lib/host/files.ts";
import { connectForPush } from "../lib/host/hub_upload.ts";
import { describeMerge, parseMergeArguments } from "../lib/host/merge_command.ts";
import { mergeDatasets } from "../lib/host/merge_datasets.ts";

await runTask(async ({ handleInterrupt }) => {
  const { json, pushToHub: id, private: isPrivate, ...options } = parseMergeArguments(Deno.args);
  if (id !== undefined) datasetReference(id);
  // Before hours are spent: is there a token, and is it accepted?
  const push = id === undefined ? undefined : { id, isPrivate, ...await connectForPush() };
  const signal = handleInterrupt();
  try {
    const isMerged = push !== undefined && await stat(`${options.savePath}/merge_report.json`) !== undefined;
    const result = isMerged ? undefined : await mergeDatasets({ ...options, signal });
    if (result === undefined) console.error(`Pushes what is in ${options.savePath}`);
    else if (!json) console.log(describeMerge(result));
    const pushed = push && await pushDataset(options.savePath, { ...push, signal });
    if (json) console.log(JSON.stringify({ ...result, ...(pushed && { pushed }) }));
    else if (pushed) console.log(`pushed ${pushed.sent} files to ${pushed.url}`);
  } catch (error) {
    if (!signal.aborted || (error as Error)?.name !== "AbortError") throw error;
    console.error("Interrupted; the same command continues");
    return EXIT_CODES.interrupted;
  }
});
