/**
 * Where models are found: embedded ones by name, folders by path, Hub models in the shared cache.
 *
 * @module
 */

import { fileURLToPath } from "node:url";
import { describeNames, suggest, UserError } from "../base/errors.ts";
import type { FileFolder } from "../format/byte_source.ts";
import { openFileFolder, stat } from "./files.ts";

const EMBEDDED_PREFIX = "embedded:";
const EMBEDDED = ["siglip", "llama", "captioner"] as const;

/** Default encoder and decoder of the embedded pipeline. */
export const EMBEDDED_ENCODER = "embedded:siglip";
/** See {@linkcode EMBEDDED_ENCODER}. */
export const EMBEDDED_DECODER = "embedded:llama";
/** The captioner that comes with the project. */
export const EMBEDDED_CAPTIONER = "embedded:captioner";

/** Path of a file or folder of the project. */
export function projectPath(relative: string): string {
  return fileURLToPath(new URL(`../../${relative}`, import.meta.url));
}

/** The folder of Hub models that Python shares. Order of the variables as in huggingface_hub. */
function hubCache(): string {
  const env = (name: string): string | undefined => Deno.env.get(name) || undefined;
  const home = env("HF_HOME") ?? `${env("XDG_CACHE_HOME") ?? `${env("HOME") ?? "."}/.cache`}/huggingface`;
  return env("HF_HUB_CACHE") ?? env("HUGGINGFACE_HUB_CACHE") ?? `${home}/hub`;
}

/**
 * Path of a model's folder: `embedded:NAME`, a folder, or a Hub id (`org/name`, `org/name@revision`) that is in the cache.
 *
 * @throws {UserError} when there is no such model; the message says what to do
 */
export async function resolveModelFolder(reference: string): Promise<string> {
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
  const [id, revision = "main"] = reference.split("@");
  if (/^[\w.-]+\/[\w.-]+$/.test(id!)) {
    const root = `${hubCache()}/models--${id!.replace("/", "--")}`;
    const ref = await Deno.readTextFile(`${root}/refs/${revision}`).catch(() => revision);
    const snapshot = `${root}/snapshots/${ref.trim()}`;
    if ((await stat(snapshot))?.isDirectory) return snapshot;
    throw new UserError(
      `Cannot find the model "${reference}": it is neither a folder nor in the cache ("${root}"); download it there ` +
        `(huggingface-cli download ${id}), or give a folder with config.json and model.safetensors, or ${EMBEDDED_CAPTIONER}`,
    );
  }
  throw new UserError(
    `Cannot find the model "${reference}": there is no such folder; give a folder with config.json and model.safetensors, ` +
      `a Hub id such as google/siglip-base-patch16-224, or ${EMBEDDED_PREFIX}${
        EMBEDDED.join(`, ${EMBEDDED_PREFIX}`)
      }`,
  );
}

/** Opens a model's folder; see {@linkcode resolveModelFolder}. */
export async function openModelFolder(reference: string): Promise<FileFolder> {
  return await openFileFolder(await resolveModelFolder(reference));
}
