/**
 * Folders that a command replaces: only such as it wrote itself.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { stat } from "./files.ts";

/**
 * Refuses to replace what is not the command's own: a file, or a folder with anything in it whose `README.md` lacks the
 * mark that the command leaves there.
 *
 * @param path Of the folder that would be replaced; it need not be there
 * @param mark Words of the `README.md` that the command writes into such folders
 * @throws {UserError} If something else is there; the message says where to write instead
 */
export async function refuseForeignFolder(path: string, mark: string): Promise<void> {
  const info = await stat(path);
  if (info === undefined) return;
  if (info.isDirectory) {
    const names = [...Deno.readDirSync(path)].map(({ name }) => name);
    if (names.length === 0) return;
    if (names.includes("README.md") && (await Deno.readTextFile(`${path}/README.md`)).includes(mark)) return;
  }
  throw new UserError(
    `Cannot write "${path}": a ${
      info.isDirectory ? "folder" : "file"
    } of other origin is there, which would be lost; ` +
      "remove it, or name another folder to write to",
  );
}
