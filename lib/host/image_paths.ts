/**
 * Images by path: files as they are, folders searched.
 *
 * @module
 */

import { extname } from "node:path";
import { UserError } from "../base/errors.ts";
import { identifyImage } from "../image/decode.ts";
import { stat } from "./files.ts";

/** A file so named is meant to be an image: whoever captions a folder shall hear of it when it is damaged. */
const EXTENSIONS: ReadonlySet<string> = new Set(
  [".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"],
);

/**
 * The files themselves, and the images below folders, sorted: what begins like one or is named like one.
 *
 * @throws {UserError} when one is not there
 */
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
  const folder = path.replace(/[/\\]+$/, "");
  for await (const entry of Deno.readDir(path)) {
    const child = `${folder}/${entry.name}`;
    // Links to files are followed, links to folders are not: they may lead in circles.
    const isFile = entry.isFile || (entry.isSymlink && (await stat(child))?.isFile === true);
    if (entry.isDirectory) found.push(...await expand(child));
    else if (isFile && await isImage(child)) found.push(child);
  }
  return found.sort();
}

async function isImage(path: string): Promise<boolean> {
  if (EXTENSIONS.has(extname(path).toLowerCase())) return true;
  using file = await Deno.open(path);
  const head = new Uint8Array(64);
  const count = await file.read(head) ?? 0;
  return identifyImage(head.subarray(0, count)) !== undefined;
}
