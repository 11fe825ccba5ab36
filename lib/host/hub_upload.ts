/**
 * Pushes a trained model to the Hub: what belongs to it, and nothing else of its folder.
 *
 * @module
 */

import { pathToFileURL } from "node:url";
import { describeError, describeNames, UserError } from "../base/errors.ts";
import { commitFiles, createBranch, createRepo, createTag, findAccount } from "../datasets/hub/api.ts";
import type { HubConnection } from "../datasets/hub/connection.ts";
import { findMissingModelFiles, isPublished } from "../datasets/hub/model_files.ts";
import { isHubId, parseHubReference, repoPageUrl } from "../datasets/hub/names.ts";
import type { HubReference } from "../datasets/hub/repo.ts";
import { isJsonObject, type JsonObject, parseJsonObject } from "../format/json.ts";
import { openConfig } from "../format/json_config.ts";
import type { FileFolder } from "../format/byte_source.ts";
import {
  dtypeOf,
  isOnnxFolder,
  onnxComponents,
  type OnnxFolderConfig,
  onnxPath,
  onnxVariants,
  parseOnnxFolder,
} from "../models/onnx_layouts.ts";
import { filesBelow, openFileFolder, stat } from "./files.ts";
import { connectToHub, readHubEnvironment } from "./hub_env.ts";
import { EMBEDDED_PREFIX } from "./model_folders.ts";
import { startProgress } from "./progress.ts";
import { findCaptioner } from "./run_folder.ts";

/** Texts are looked through for tokens up to this size. */
const MAX_TEXT_BYTES = 64e6;
const TEXT = /\.(json|md|txt|html)$|^[A-Z]+$/;
const TOKEN = /\bhf_[A-Za-z0-9]{20,}/;

/** A file that is pushed. */
export interface UploadFile {
  /** Path in the folder and in the repository. */
  path: string;
  /** Size in bytes. */
  sizeBytes: number;
}

/** What a push would do. */
export interface UploadPlan {
  /** Folder of the model: the one given, or a checkpoint where a run has no model at its root yet. */
  folder: string;
  /** Pushed, sorted by path. */
  files: UploadFile[];
  /** Stay here: names at the root of the folder, those of folders with `/`. */
  leftOut: string[];
  /** What whoever downloads it will meet. */
  warnings: string[];
}

/**
 * Looks through the folder of a run or model.
 *
 * @throws {UserError} If it holds no complete model, or a file to be pushed holds what looks like a token
 */
export async function planUpload(savePath: string): Promise<UploadPlan> {
  if (!(await stat(savePath))?.isDirectory) {
    throw new UserError(`Cannot push "${savePath}": there is no such folder`);
  }
  if (await stat(`${savePath}/config.json`) !== undefined) {
    const folder = await openFileFolder(savePath);
    const config = await openConfig(folder);
    if (isOnnxFolder(config)) return await planOnnxUpload(folder, parseOnnxFolder(config));
  }
  const isAdapter = await stat(`${savePath}/adapter_config.json`) !== undefined;
  const folder = isAdapter ? savePath : await findCaptioner(savePath);
  if (folder === undefined) {
    throw new UserError(
      `Cannot push "${savePath}": it holds no model yet; name the folder of a finished run`,
    );
  }
  const files: UploadFile[] = [];
  const leftOut: string[] = [];
  for await (const entry of Deno.readDir(folder)) {
    if (entry.isDirectory && entry.name === "adapter") {
      for await (const inner of Deno.readDir(`${folder}/adapter`)) {
        if (inner.isFile && isPublished(`adapter/${inner.name}`)) {
          files.push({ path: `adapter/${inner.name}`, sizeBytes: 0 });
        } else leftOut.push(`adapter/${inner.name}`);
      }
    } else if (entry.isFile && isPublished(entry.name)) files.push({ path: entry.name, sizeBytes: 0 });
    else leftOut.push(entry.isDirectory ? `${entry.name}/` : entry.name);
  }
  const missing = findMissingModelFiles(files.map(({ path }) => path));
  if (missing.length > 0) {
    throw new UserError(
      `Cannot push "${folder}": it is no whole model, ${describeNames(missing)} is missing`,
    );
  }
  for (const file of files) file.sizeBytes = (await Deno.stat(`${folder}/${file.path}`)).size;
  await refuseTokens(folder, files);
  files.sort((a, b) => a.path < b.path ? -1 : 1);
  return { folder, files, leftOut: leftOut.sort(), warnings: await findWarnings(folder) };
}

/** What an exported folder has: graphs, weights beside them, and what describes them. */
const ONNX_FILE = /(\.onnx|\.onnx_data(_\d+)?|\.json|\.md)$/;

async function planOnnxUpload({ name: folder }: FileFolder, own: OnnxFolderConfig): Promise<UploadPlan> {
  const below = await filesBelow(folder);
  const isPushed = ({ path, isSymlink }: { path: string; isSymlink: boolean }): boolean =>
    !isSymlink && ONNX_FILE.test(path) && !/(^|\/)\./.test(path);
  const files = await Promise.all(
    below.filter(isPushed).map(async ({ path }) => ({
      path,
      sizeBytes: (await Deno.stat(`${folder}/${path}`)).size,
    })),
  );
  const missing = onnxVariants(own).flatMap((variant) =>
    onnxComponents(own.layout).map((component) =>
      onnxPath(own.layout, component, dtypeOf(variant, component, own.mix))
    )
  ).filter((graph) => !files.some(({ path }) => path === graph));
  if (missing.length > 0) {
    throw new UserError(
      `Cannot push "${folder}": it is no whole export, ${describeNames([...new Set(missing)])} is missing`,
    );
  }
  await refuseTokens(folder, files);
  files.sort((a, b) => a.path < b.path ? -1 : 1);
  const leftOut = below.filter((file) => !isPushed(file)).map(({ path }) => path).sort();
  return { folder, files, leftOut, warnings: [] };
}

async function refuseTokens(folder: string, files: readonly UploadFile[]): Promise<void> {
  const { token } = readHubEnvironment();
  for (const { path, sizeBytes } of files) {
    if (!TEXT.test(path) || sizeBytes > MAX_TEXT_BYTES) continue;
    const text = await Deno.readTextFile(`${folder}/${path}`);
    if (TOKEN.test(text) || (token !== undefined && text.includes(token))) {
      throw new UserError(
        `Cannot push "${folder}": "${path}" holds what looks like a token; take it out first`,
      );
    }
  }
}

/** A captioner names its base models; a folder of this machine is nowhere else. */
async function findWarnings(folder: string): Promise<string[]> {
  const text = await Deno.readTextFile(`${folder}/config.json`).catch(() => "{}");
  const config = parseJsonObject(text, `${folder}/config.json`);
  return ["encoder", "decoder"].flatMap((part) => {
    const { reference } = isJsonObject(config[part]) ? config[part] as JsonObject : {};
    const isKnown = typeof reference !== "string" || reference.startsWith(EMBEDDED_PREFIX) ||
      parseHubReference(reference, "model") !== undefined;
    return isKnown ? [] : [
      `config.json names the ${part} by its folder here ("${reference}"), which others do not have; ` +
      `train with a Hub id, so that they can use the captioner`,
    ];
  });
}

/** Where a push goes and how. */
export interface PushOptions {
  /** `org/name`. */
  modelId: string;
  /** Branch, made if need be. @default {"main"} */
  revision?: string;
  /** Name given to the commit. */
  tag?: string;
  /** First line of the commit's message. @default {"Add the captioner"} */
  message?: string;
  /** Whether a repository that has to be made is private. @default {false} */
  isPrivate?: boolean;
  /** @default {the environment's Hub} */
  connection?: HubConnection;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
  /** Ends it with an `AbortError`. */
  signal?: AbortSignal;
}

/** What a push came to. */
export interface PushResult {
  /** `org/name`. */
  id: string;
  /** The new commit. */
  sha: string;
  /** Where the model is looked at. */
  url: string;
}

/**
 * Opens a connection that may change something at the Hub, and finds out whose it is.
 *
 * @throws {UserError} If there is no token, it is not accepted, or the Hub cannot be asked
 */
export async function connectForPush(): Promise<{ connection: HubConnection; account: string }> {
  const connection = connectToHub(readHubEnvironment(), {
    needsToken: true,
    onRetry: (line) => console.error(line),
  });
  if (connection.offline === undefined && !connection.hasToken) {
    throw new UserError(
      `Cannot push to ${connection.endpoint} without a token: make one that may write at ${connection.endpoint}/settings/tokens ` +
        `and set HF_TOKEN to it`,
    );
  }
  return { connection, account: await findAccount(connection) };
}

/** The place of a push. @throws {UserError} If its names have not the form of the Hub's */
export function pushReference({ modelId, revision = "main" }: PushOptions): HubReference {
  const reference = isHubId(modelId) ? parseHubReference(`${modelId}@${revision}`, "model") : undefined;
  if (reference !== undefined) return reference;
  throw new UserError(
    `Cannot push to "${modelId}" at "${revision}": expected --model-id org/name and the name of a branch`,
  );
}

/** Pushes a planned upload in one commit, and tags it. @throws {UserError} If the Hub refuses, or cannot be reached */
export async function pushModel(plan: UploadPlan, options: PushOptions): Promise<PushResult> {
  const reference = pushReference(options);
  const connection = options.connection ?? (await connectForPush()).connection;
  const { message = "Add the captioner", isPrivate = false, quiet = false, signal } = options;
  await createRepo(connection, reference, { isPrivate });
  if (reference.revision !== "main") await createBranch(connection, reference);
  const total = plan.files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const sizes = new Map(plan.files.map(({ path, sizeBytes }) => [path, sizeBytes]));
  const sent = new Map<string, number>();
  using progress = startProgress({ label: `push ${reference.id}`, total, unit: "bytes", quiet });
  const sha = await commitFiles(connection, reference, {
    message,
    files: new Map(plan.files.map(({ path }) => [path, pathToFileURL(`${plan.folder}/${path}`)])),
    onProgress(path, share) {
      sent.set(path, share * (sizes.get(path) ?? 0));
      progress.update(sent.values().reduce((sum, bytes) => sum + bytes, 0));
    },
    ...(signal === undefined ? {} : { signal }),
  });
  if (options.tag !== undefined) {
    try {
      await createTag(connection, { ...reference, revision: sha }, options.tag);
    } catch (error) {
      throw new UserError(`Pushed ${sha.slice(0, 8)} to "${reference.id}", but: ${describeError(error)}`, {
        cause: error,
      });
    }
  }
  return { id: reference.id, sha, url: repoPageUrl(connection.endpoint, reference) };
}
