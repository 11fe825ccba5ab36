/**
 * Images on which captioners are compared, with what people wrote about them.
 *
 * @module
 */

import { basename, dirname } from "node:path";
import { UserError } from "../base/errors.ts";
import { loadImageFolder } from "../datasets/image_folder.ts";
import { openFolder, readBounded } from "./file_source.ts";
import { expandImages } from "./image_paths.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { projectPath } from "./model_folders.ts";

/** An image that captioners are compared on. */
export interface ProofImage {
  /** What messages call it. */
  name: string;
  /** The file. */
  bytes: Uint8Array;
  /** What people wrote about it: captions of the `metadata.jsonl` or `.csv` beside it. */
  references: readonly string[];
}

/** The first `check` images below the given paths, or of the embedded ones. @throws {UserError} when there is none */
export async function readProofImages(
  { images, check }: { images?: readonly string[] | undefined; check: number },
): Promise<ProofImage[]> {
  const paths = (await expandImages(images ?? [projectPath("data/sample/test")])).slice(0, check);
  if (paths.length < Math.min(1, check)) {
    throw new UserError("Cannot compare captions: there is no image; use --images");
  }
  const folders = new Map<string, ReadonlyMap<string, readonly string[]>>();
  for (const folder of new Set(paths.map(dirname))) folders.set(folder, await readReferences(folder));
  return await Promise.all(paths.map(async (path) => ({
    name: path,
    bytes: await readBounded(path, MAX_IMAGE_BYTES),
    references: folders.get(dirname(path))!.get(basename(path)) ?? [],
  })));
}

/** Captions of a folder's images by file name; none where it has no metadata. */
async function readReferences(path: string): Promise<Map<string, readonly string[]>> {
  const files = openFolder(path);
  const has = await Promise.all(["metadata.jsonl", "metadata.csv"].map((name) => files.exists(name)));
  if (!has.includes(true)) return new Map();
  let rows;
  try {
    ({ rows } = await loadImageFolder(files));
  } catch (error) {
    // Images without captions can still be compared; only what is measured against captions is left out.
    if (error instanceof UserError) return new Map();
    throw error;
  }
  return new Map(Object.values(rows).flat().map(({ image, captions }) => [image, captions]));
}
