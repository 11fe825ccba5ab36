/**
 * The folder of a training run: its lock, its checkpoints, and the best model at its root.
 *
 * ```
 * run/
 *   config.json, adapter/, projection.safetensors, tokenizer.json, …   the best model so far
 *   checkpoint-100/, checkpoint-200/                                    what training continues from
 *   manifest.json, metrics.jsonl, predictions.jsonl, train.log, runs/, README.md, report.html
 * ```
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { FileFolder } from "../format/byte_source.ts";
import { checkpointName } from "../train/trainer_state.ts";
import type { FolderFiles } from "../train/checkpoint.ts";
import {
  type AtomicOptions,
  cleanUpAfterKill,
  openFileFolder,
  stat,
  writeFileAtomically,
  writeFolderAtomically,
} from "./files.ts";
import { acquireRunLock, type RunLock } from "./run_lock.ts";

/** The file that makes a folder a captioner; written last. */
const CONFIG = "config.json";
/** Written when a run starts or is continued: the newest one tells the newest run. */
const MANIFEST = "manifest.json";

/** Options of {@linkcode RunFolder.open}. */
export interface RunFolderOptions extends AtomicOptions {
  /** Where checkpoints are kept. @default the run's folder */
  checkpointsDir?: string;
}

/** Which checkpoints are kept when one is added. */
export interface KeepOptions {
  /** Most checkpoints; the newest and the best are kept in any case. */
  saveTotalLimit: number;
  /** Step of the best. */
  bestStep: number | undefined;
}

/** A run's folder, held by this process alone until it is closed. */
export class RunFolder implements Disposable {
  /** Of the run. */
  readonly path: string;
  /** Where checkpoints are kept. */
  readonly checkpointsPath: string;
  readonly #locks: readonly RunLock[];
  readonly #options: AtomicOptions;

  private constructor(
    path: string,
    checkpointsPath: string,
    parts: { locks: readonly RunLock[]; options: AtomicOptions },
  ) {
    this.path = path;
    this.checkpointsPath = checkpointsPath;
    this.#locks = parts.locks;
    this.#options = parts.options;
  }

  /**
   * Makes the folders if need be, locks them, and clears away what a killed process left unfinished.
   *
   * @throws {UserError} If another run is writing to it
   */
  static async open(path: string, options: RunFolderOptions = {}): Promise<RunFolder> {
    const checkpoints = options.checkpointsDir ?? path;
    const locks: RunLock[] = [];
    try {
      for (const folder of new Set([path, checkpoints])) {
        locks.push(await acquireRunLock(folder));
        await cleanUpAfterKill(folder);
      }
      return new RunFolder(path, checkpoints, { locks, options });
    } catch (error) {
      for (const lock of locks) lock.release();
      throw error;
    }
  }

  /** Steps of the checkpoints, ascending. */
  checkpointSteps(): Promise<number[]> {
    return listCheckpoints(this.checkpointsPath);
  }

  /** Path of a step's checkpoint. */
  checkpointPath(step: number): string {
    return `${this.checkpointsPath}/${checkpointName(step)}`;
  }

  /** The newest checkpoint, if there is one. */
  async newestCheckpoint(): Promise<FileFolder | undefined> {
    const step = (await this.checkpointSteps()).at(-1);
    return step === undefined ? undefined : await openFileFolder(this.checkpointPath(step));
  }

  /**
   * Adds a checkpoint, whole or not at all, then removes those that are too many.
   *
   * @throws {UserError} If the disk is full; earlier checkpoints are untouched
   */
  async saveCheckpoint(step: number, files: FolderFiles, keep: KeepOptions): Promise<void> {
    await writeFolderAtomically(this.checkpointPath(step), async (folder) => {
      for (const [path, content] of files) await folder.write(path, content);
    }, this.#options);
    const steps = await this.checkpointSteps();
    const spare = steps.filter((other) => other !== keep.bestStep && other !== step);
    for (const old of spare.slice(0, Math.max(0, steps.length - keep.saveTotalLimit))) {
      await Deno.remove(this.checkpointPath(old), { recursive: true });
    }
  }

  /** Removes every checkpoint. */
  async deleteCheckpoints(): Promise<void> {
    for (const step of await this.checkpointSteps()) {
      await Deno.remove(this.checkpointPath(step), { recursive: true });
    }
  }

  /**
   * Puts a model at the root. While its files are being replaced the root has no `config.json` and so is no captioner:
   * {@linkcode findCaptioner} gives the checkpoint meanwhile, also after a kill.
   */
  async writeModel(files: FolderFiles): Promise<void> {
    await Deno.remove(`${this.path}/${CONFIG}`).catch((error) => {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    });
    const ordered = [...files].sort(([a], [b]) => Number(a === CONFIG) - Number(b === CONFIG));
    for (const [path, content] of ordered) await this.writeFile(path, content);
  }

  /** Whether a model lies at the root. */
  async hasModel(): Promise<boolean> {
    return await stat(`${this.path}/${CONFIG}`) !== undefined;
  }

  /** Writes a file of the run, whole or not at all. */
  async writeFile(path: string, content: Uint8Array | string): Promise<void> {
    const full = `${this.path}/${path}`;
    await Deno.mkdir(full.slice(0, full.lastIndexOf("/")), { recursive: true });
    await writeFileAtomically(full, content, this.#options);
  }

  /** Gives the folder free. */
  [Symbol.dispose](): void {
    for (const lock of this.#locks) lock.release();
  }
}

/** Steps of the checkpoints in a folder, ascending; none where there is no folder. */
export async function listCheckpoints(folder: string): Promise<number[]> {
  if (!(await stat(folder))?.isDirectory) return [];
  const steps: number[] = [];
  for await (const entry of Deno.readDir(folder)) {
    const step = /^checkpoint-(\d+)$/.exec(entry.name)?.[1];
    if (step !== undefined && entry.isDirectory) steps.push(Number(step));
  }
  return steps.sort((a, b) => a - b);
}

/**
 * The captioner in a run's folder: the root, or while that is incomplete the best checkpoint, else the newest; `undefined` where
 * nothing was saved yet.
 */
export async function findCaptioner(run: string): Promise<string | undefined> {
  if (await stat(`${run}/${CONFIG}`) !== undefined) return run;
  const steps = await listCheckpoints(run);
  const newest = steps.at(-1);
  if (newest === undefined) return undefined;
  const state = JSON.parse(await Deno.readTextFile(`${run}/${checkpointName(newest)}/trainer_state.json`));
  const best = steps.find((step) => checkpointName(step) === state.best_model_checkpoint);
  return `${run}/${checkpointName(best ?? newest)}`;
}

/** Folder of the captioner of the run that was started or continued last below a folder of runs; `undefined` where there is none. */
export async function findNewestCaptioner(runs: string): Promise<string | undefined> {
  if (!(await stat(runs))?.isDirectory) return undefined;
  const found: { path: string; startedMs: number }[] = [];
  for await (const entry of Deno.readDir(runs)) {
    const path = `${runs}/${entry.name}`;
    const manifest = await stat(`${path}/${MANIFEST}`);
    if (manifest?.mtime) found.push({ path, startedMs: manifest.mtime.getTime() });
  }
  found.sort((a, b) => b.startedMs - a.startedMs);
  for (const { path } of found) {
    const captioner = await findCaptioner(path);
    if (captioner !== undefined) return captioner;
  }
  return undefined;
}

/** What {@linkcode chooseRunFolder} found. */
export interface RunChoice {
  /** The run's folder. */
  path: string;
  /** Whether a run of the same fingerprint is to be continued there. */
  isContinued: boolean;
}

/**
 * Folder for a run: the newest of `name`, `name-2`, `name-3`, … if it holds an unfinished run of the same fingerprint, else the
 * first that is free.
 */
export async function chooseRunFolder(
  saveDir: string,
  name: string,
  fingerprint: string,
): Promise<RunChoice> {
  let last: string | undefined;
  for (let number = 1;; number++) {
    const path = `${saveDir}/${number === 1 ? name : `${name}-${number}`}`;
    if (await stat(`${path}/${MANIFEST}`) !== undefined) {
      last = path;
      continue;
    }
    const isContinued = last !== undefined && await isUnfinished(last, fingerprint);
    return isContinued ? { path: last!, isContinued } : { path, isContinued: false };
  }
}

async function isUnfinished(path: string, fingerprint: string): Promise<boolean> {
  const manifest = await readManifest(path);
  return manifest["fingerprint"] === fingerprint && manifest["finished"] !== true;
}

async function readManifest(path: string): Promise<Record<string, unknown>> {
  const text = await Deno.readTextFile(`${path}/${MANIFEST}`);
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new UserError(
      `Cannot read "${path}/${MANIFEST}": it is not JSON; remove the folder or name another`,
      {
        cause,
      },
    );
  }
}
