/**
 * Images by path: files as they are, folders searched.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { identifyImage } from "../image/decode.ts";
import { stat } from "./files.ts";

/** The files themselves, and the images below folders, sorted. @throws {UserError} when one is not there */
export async function expandImages(paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const path of paths) found.push(...await expand(path));
  return found;
}

async function expand(path: string): Promise<string[]> {
  const info = await stat(path);
  if (info === undefined) throw new UserError(`Cannot caption "${path}": there is no such file or folder`);
  if (!info.isDirectory) return [path];
  const found: string[] = [];
  for await (const entry of Deno.readDir(path)) {
    const child = `${path}/${entry.name}`;
    if (entry.isDirectory) found.push(...await expand(child));
    else if (entry.isFile && await isImage(child)) found.push(child);
  }
  return found.sort();
}

async function isImage(path: string): Promise<boolean> {
  using file = await Deno.open(path);
  const head = new Uint8Array(64);
  const count = await file.read(head) ?? 0;
  return identifyImage(head.subarray(0, count)) !== undefined;
}
