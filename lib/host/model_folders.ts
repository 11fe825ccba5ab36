/**
 * Where models are found: embedded ones by name, folders by path, Hub models by id.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { describeNames, suggest, UserError } from "../base/errors.ts";
import { HubError } from "../datasets/hub/hub_error.ts";
import { findMissingModelFiles, findPickles, selectModelFiles } from "../datasets/hub/model_files.ts";
import { parseHubReference } from "../datasets/hub/names.ts";
import type { HubRepo } from "../datasets/hub/repo.ts";
import { type FileFolder, readText } from "../format/byte_source.ts";
import { isJsonObject, parseJsonObject } from "../format/json.ts";
import { openFileFolder, stat } from "./files.ts";
import { type HubEnvironment, readHubEnvironment } from "./hub_env.ts";
import { openHubRepo } from "./hub_repo.ts";

/** Names of embedded models begin so. */
export const EMBEDDED_PREFIX = "embedded:";
const EMBEDDED = ["siglip", "llama", "captioner"] as const;

export { EMBEDDED_ENCODER } from "../models/presets.ts";
/** Default decoder of the embedded pipeline. */
export const EMBEDDED_DECODER = "embedded:llama";
/** The captioner that comes with the project. */
export const EMBEDDED_CAPTIONER = "embedded:captioner";

/** Path of a file or folder of the project. */
export function projectPath(relative: string): string {
  return fileURLToPath(new URL(`../../${relative}`, import.meta.url));
}

/** Hub models that this process has found: a run sees one commit of a branch, however often it asks. */
const found = new Map<string, Promise<string>>();

/**
 * Path of a model's folder: `embedded:NAME`, a folder, or a Hub id (`org/name`, `org/name@revision`), whose files are brought
 * into the shared cache if they are not there.
 *
 * @param reference Names the model
 * @param options The signal ends a download with an `AbortError`; what is there by then is used the next time
 * @throws {UserError} when there is no such model, or it cannot be had; the message says what to do
 */
export async function resolveModelFolder(
  reference: string,
  options: { signal?: AbortSignal } = {},
): Promise<string> {
  if (reference.startsWith(EMBEDDED_PREFIX)) {
    const name = reference.slice(EMBEDDED_PREFIX.length);
    if ((EMBEDDED as readonly string[]).includes(name)) return projectPath(`data/tiny/${name}`);
    const near = suggest(name, EMBEDDED);
    const hint = near === undefined
      ? `embedded are ${describeNames(EMBEDDED)}`
      : `did you mean "${EMBEDDED_PREFIX}${near}"?`;
    throw new UserError(`Cannot find the model "${reference}": ${hint}`);
  }
  if ((await stat(reference))?.isDirectory) return reference;
  if (parseHubReference(reference, "model")?.type === "model") {
    const environment = readHubEnvironment();
    const key = `${environment.endpoint} ${environment.cacheDir} ${environment.offline} ${reference}`;
    const folder = found.get(key) ??
      downloadModel(reference, { environment, ...(options.signal && { signal: options.signal }) });
    found.set(key, folder);
    folder.catch(() => found.delete(key)); // the next call may fare better
    return await folder;
  }
  throw new UserError(
    `Cannot find the model "${reference}": there is no such folder; give a folder with config.json and model.safetensors, ` +
      `a Hub id such as google/siglip-base-patch16-224, or ${EMBEDDED_PREFIX}${
        EMBEDDED.join(`, ${EMBEDDED_PREFIX}`)
      }`,
  );
}

/** Path of the snapshot that has a model's files. */
async function downloadModel(
  reference: string,
  options: { environment: HubEnvironment; signal?: AbortSignal },
): Promise<string> {
  const { environment, ...fetchOptions } = options;
  let repo: HubRepo;
  try {
    repo = await openHubRepo(reference, options);
  } catch (error) {
    if (!(error instanceof HubError)) throw error;
    throw new UserError(
      `Cannot find the model "${reference}": there is no such folder, and as a Hub id: ${error.message}`,
      { cause: error },
    );
  }
  const paths = selectModelFiles(repo.files.map(({ path }) => path));
  const pickles = findPickles(repo.files.map(({ path }) => path));
  if (pickles.length > 0) {
    throw new UserError(
      `Cannot use the model "${reference}": its weights are only there as ${describeNames(pickles, 3)}, ` +
        `a format that can run code when it is read; convert them to safetensors, or name another model or revision`,
    );
  }
  if (paths.length === 0) {
    throw new UserError(
      `Cannot use the model "${reference}": it has no config.json and no *.safetensors, found ${
        describeNames(repo.files.map(({ path }) => path)) || "no files"
      }`,
    );
  }
  const folder = await repo.fetch(paths, fetchOptions);
  const missing = findMissingModelFiles(paths, await indexedFiles(folder));
  if (missing.length > 0) {
    throw new UserError(
      `Cannot use the model "${reference}": it lacks ${describeNames(missing)}` +
        (environment.offline === undefined
          ? ` at ${repo.sha.slice(0, 8)}`
          : `; ${environment.offline}: run once with the Hub within reach`),
    );
  }
  return folder.name;
}

/** Shards that a model's index names. */
async function indexedFiles(folder: FileFolder): Promise<string[]> {
  if (await folder.open("model.safetensors") !== undefined) return [];
  const index = await folder.open("model.safetensors.index.json");
  if (index === undefined) return [];
  const map = parseJsonObject(await readText(index), index.name)["weight_map"];
  return isJsonObject(map) ? [...new Set(Object.values(map).map(String))] : [];
}

/** Opens a model's folder; see {@linkcode resolveModelFolder}. */
export async function openModelFolder(reference: string): Promise<FileFolder> {
  return await openFileFolder(await resolveModelFolder(reference));
}
