/**
 * Scripts for browsers, made by `deno bundle`, which fetches a fixed version of esbuild from npm when it is first used.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { projectPath } from "./model_folders.ts";

/** One script with everything that a file of the project imports. @throws {UserError} when it cannot be made */
export async function bundleScript(path: string): Promise<string> {
  const { stdout, stderr, success } = await new Deno.Command(Deno.execPath(), {
    args: ["bundle", "--quiet", "--platform", "browser", "--minify", projectPath(path)],
    cwd: projectPath("."),
  }).output();
  if (success) return new TextDecoder().decode(stdout);
  throw new UserError(
    `Cannot bundle "${path}": deno bundle fails, which needs npm when it is first used; it says:\n${
      new TextDecoder().decode(stderr).trim()
    }`,
  );
}
