/**
 * The push at the end of a training run, made sure of before it begins.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import { type CommandUnknownOpts, EXIT_CODES } from "./arguments.ts";
import { connectForPush, planUpload, pushModel, pushReference } from "./hub_upload.ts";
import type { TrainRunOptions } from "./train_options.ts";

/** The flags of a push. */
export type PushFlags = Pick<TrainRunOptions, "pushToHub" | "modelId" | "hubPrivateRepo">;

/** Adds the flags of a push. Apart, because the types of one chain of so many options are too deep for the compiler. */
export function addPushOptions(command: CommandUnknownOpts): void {
  command
    .option("--push-to-hub", "push the finished captioner to the Hugging Face Hub", false)
    .option(
      "--model-id <org/name>",
      "repository to push to (default: the token's account and the run's name)",
    )
    .option("--hub-private-repo", "a repository that has to be made is private", false);
}

/** The values of those flags, once parsed. */
export function readPushOptions(command: CommandUnknownOpts): PushFlags {
  const { pushToHub, modelId, hubPrivateRepo } = command.opts() as PushFlags;
  return { pushToHub, hubPrivateRepo, ...(modelId !== undefined && { modelId }) };
}

/**
 * Checks token and names before hours are spent; gives what pushes the finished run, or `undefined` where nothing is to be pushed.
 * A push that fails costs no run: it says how to push again, and gives the exit code of an error.
 *
 * @throws {UserError} If there is no token, it is not accepted, or the Hub cannot be asked
 */
export async function preparePush(
  options: PushFlags,
): Promise<((run: string) => Promise<number>) | undefined> {
  if (!options.pushToHub) return undefined;
  const { connection, account } = await connectForPush();
  if (options.modelId !== undefined) pushReference({ modelId: options.modelId });
  return async (run) => {
    const modelId = options.modelId ?? `${account}/${run.split("/").at(-1)}`;
    try {
      const plan = await planUpload(run);
      for (const warning of plan.warnings) console.error(`warning: ${warning}`);
      const { sha, url } = await pushModel(plan, { modelId, isPrivate: options.hubPrivateRepo, connection });
      console.error(`Pushed ${sha.slice(0, 8)} to ${url}`);
      return EXIT_CODES.ok;
    } catch (error) {
      console.error(`error: ${describeError(error)}`);
      console.error(
        `Nothing is lost: it is complete in ${run}; push it again with: deno task upload --model-id ${modelId} --save-path ${run}` +
          (options.hubPrivateRepo ? " --private" : ""),
      );
      return EXIT_CODES.error;
    }
  };
}
