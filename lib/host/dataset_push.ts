/**
 * Pushes a merged or curated data set to the Hub, a commit for each file, so that a break costs at most one of them.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { pathToFileURL } from "node:url";
import { describeNames, UserError } from "../base/errors.ts";
import { sortPaths } from "../datasets/data_files.ts";
import { commitFiles, createRepo, listFiles, resolveCommit } from "../datasets/hub/api.ts";
import type { HubConnection } from "../datasets/hub/connection.ts";
import { isHubId, parseHubReference, repoPageUrl } from "../datasets/hub/names.ts";
import type { HubReference } from "../datasets/hub/repo.ts";
import { stat } from "./files.ts";
import { startProgress } from "./progress.ts";

/** What lies beside the tables; the report is a merge's alone, and the README comes last, when all it speaks of is there. */
const REPORT = "merge_report.json", README = "README.md";

/** Options of {@linkcode pushDataset}. */
export interface PushDatasetOptions {
  /** `org/name`. */
  id: string;
  /** Opened for a push, see `connectForPush`. */
  connection: HubConnection;
  /** Whether a repository that has to be made is private. */
  isPrivate: boolean;
  /** Ends it; run again, it continues. */
  signal?: AbortSignal;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** Where a data set is pushed. @throws {UserError} If the name has not the form of the Hub's */
export function datasetReference(id: string): HubReference {
  const reference = isHubId(id) ? parseHubReference(id, "dataset") : undefined;
  if (reference !== undefined) return reference;
  throw new UserError(`Cannot push to "${id}": expected --push-to-hub org/name`);
}

/**
 * Pushes the folder of a merge, or of a curation as parquet. Files that the repository already has are passed over.
 *
 * @returns Where it is looked at, and how many files were sent
 * @throws {UserError} If it is no such folder, the repository holds files of another, or the Hub refuses
 */
export async function pushDataset(
  folder: string,
  options: PushDatasetOptions,
): Promise<{ url: string; sent: number }> {
  const { connection, isPrivate, signal, quiet = false } = options;
  const reference = datasetReference(options.id);
  const files = await filesOf(folder);
  await createRepo(connection, reference, { isPrivate });
  const ask = signal === undefined ? {} : { signal };
  const sha = await resolveCommit(connection, reference, ask);
  const there = new Map(
    (await listFiles(connection, { ...reference, revision: sha }, ask)).map((file) => [file.path, file]),
  );
  const foreign = [...there.keys()].filter((path) => path.startsWith("data/") && !files.has(path));
  if (foreign.length > 0) {
    throw new UserError(
      `Cannot push to "${options.id}": it holds other files, which would count as part of the data set: ${
        describeNames(foreign)
      }; remove them at the Hub, or push to another repository`,
    );
  }
  const total = [...files.values()].reduce((sum, size) => sum + size, 0);
  using progress = startProgress({ label: `push ${options.id}`, total, unit: "bytes", quiet });
  let [done, sent] = [0, 0];
  for (const [path, size] of files) {
    signal?.throwIfAborted();
    const known = there.get(path);
    const isThere = known?.sizeBytes === size &&
      await checksumOf(`${folder}/${path}`, known.checksum.algorithm, size) === known.checksum.hex;
    if (!isThere) {
      await commitFiles(connection, reference, {
        message: `Add ${path}`,
        files: new Map([[path, pathToFileURL(`${folder}/${path}`)]]),
        onProgress: (_, share) => progress.update(done + share * size),
        ...ask,
      });
      sent++;
    }
    done += size;
    progress.update(done);
  }
  return { url: repoPageUrl(connection.endpoint, reference), sent };
}

async function filesOf(folder: string): Promise<Map<string, number>> {
  const paths: string[] = [];
  if ((await stat(`${folder}/data`))?.isDirectory) {
    for await (const { name } of Deno.readDir(`${folder}/data`)) {
      if (name.endsWith(".parquet")) paths.push(`data/${name}`);
    }
  }
  const files = new Map<string, number>();
  for (const path of [...sortPaths(paths), REPORT, README]) {
    const info = await stat(`${folder}/${path}`);
    if (info === undefined && path === REPORT && paths.length > 0) continue;
    if (info === undefined || paths.length === 0) {
      throw new UserError(
        `Cannot push "${folder}": it is no folder of merge-datasets or of curate --format parquet, "${path}" is not in it`,
      );
    }
    files.set(path, info.size);
  }
  return files;
}

async function checksumOf(path: string, algorithm: "sha256" | "git-sha1", size: number): Promise<string> {
  const hash = createHash(algorithm === "sha256" ? "sha256" : "sha1");
  if (algorithm === "git-sha1") hash.update(`blob ${size}\0`);
  using file = await Deno.open(path);
  const buffer = new Uint8Array(1024 * 1024);
  for (let count; (count = await file.read(buffer)) !== null;) hash.update(buffer.subarray(0, count));
  return hash.digest("hex");
}
