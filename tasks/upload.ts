/**
 * Pushes a trained captioner, or the folder of a model, to the Hugging Face Hub.
 *
 * deno task upload --model-id org/name --save-path runs/siglip-llama-lora --tag v1
 *
 * Only what belongs to the model goes there; --dry-run shows it and asks the Hub nothing.
 *
 * @module
 */

import { createCommand, runTask } from "../lib/host/arguments.ts";
import { planUpload, pushModel, pushReference } from "../lib/host/hub_upload.ts";
import { formatBytes, formatTable } from "../lib/host/terminal.ts";

await runTask(async ({ handleInterrupt }) => {
  const { modelId, savePath, revision, tag, commitMessage, private: isPrivate, dryRun, json } = createCommand(
    "upload",
    "Push a trained captioner to the Hugging Face Hub",
  )
    .requiredOption("--model-id <org/name>", "repository, made if need be")
    .requiredOption("--save-path <folder>", "folder of a run or a model")
    .option("--revision <branch>", "branch, made if need be", "main")
    .option("--tag <name>", "name for the commit")
    .option("--commit-message <text>", "first line of the commit's message", "Add the captioner")
    .option("--private", "a repository that has to be made is private", false)
    .option("--dry-run", "show what would be pushed", false)
    .option("--json", "print the result as one JSON object", false)
    .parse().opts();
  pushReference({ modelId, revision });
  const plan = await planUpload(savePath);
  for (const warning of plan.warnings) console.error(`warning: ${warning}`);
  const totalBytes = plan.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  if (!json) {
    const rows = plan.files.map(({ path, sizeBytes }) => [path, formatBytes(sizeBytes)]);
    console.log(formatTable([...rows, ["", formatBytes(totalBytes)]], { right: [1] }));
    if (plan.leftOut.length > 0) console.log(`Left out: ${plan.leftOut.join(", ")}`);
  }
  if (dryRun) {
    return console.log(json ? JSON.stringify({ ...plan, totalBytes }) : "Nothing was pushed (--dry-run)");
  }
  const result = await pushModel(plan, {
    modelId,
    revision,
    message: commitMessage,
    isPrivate,
    signal: handleInterrupt(),
    ...(tag === undefined ? {} : { tag }),
  });
  console.log(
    json ? JSON.stringify({ ...result, totalBytes }) : `Pushed ${result.sha.slice(0, 8)} to ${result.url}`,
  );
});
