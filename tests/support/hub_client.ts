/**
 * A client of the tests' Hub: a cache of its own, and pauses so short that nobody waits.
 */

import { connectToHub, type HubEnvironment } from "../../lib/host/hub_env.ts";
import { openHubRepo, type OpenHubRepoOptions } from "../../lib/host/hub_repo.ts";
import type { HubRepo } from "../../lib/datasets/hub/repo.ts";
import type { HubServer } from "./hub_server.ts";

/** Attempts as in earnest, without their pauses. */
export const FAST = { baseDelayMs: 1, maxDelayMs: 5 };

/** A client with its own cache. */
export interface HubClient {
  readonly environment: HubEnvironment;
  /** Lines for people. */
  readonly said: string[];
  open(reference: string, options?: OpenHubRepoOptions): Promise<HubRepo>;
}

/** A client whose cache is a folder. */
export function hubClient(
  hub: Pick<HubServer, "endpoint">,
  cacheDir: string,
  changes: Partial<HubEnvironment> = {},
): HubClient {
  const environment: HubEnvironment = {
    endpoint: hub.endpoint,
    cacheDir,
    token: undefined,
    sendsToken: true,
    offline: undefined,
    timeoutMs: 5000,
    usesLinks: true,
    ...changes,
  };
  const said: string[] = [];
  const say = (line: string) => said.push(line);
  return {
    environment,
    said,
    open(reference, options = {}) {
      const connection = connectToHub(environment, { retry: FAST, onRetry: say });
      return openHubRepo(reference, { environment, connection, say, quiet: true, ...options });
    },
  };
}

/** Bytes that look alike nowhere. */
export function noise(size: number, seed = 1): Uint8Array<ArrayBuffer> {
  let state = seed >>> 0 || 1;
  return Uint8Array.from({ length: size }, () => {
    state = Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9 >>> 0;
    return state >>> 24;
  });
}

/** Every file and link below a folder, by path, with what it holds or points to. */
export function tree(root: string, folder = ""): Record<string, string> {
  const found: Record<string, string> = {};
  for (const { name, isDirectory, isSymlink } of Deno.readDirSync(`${root}/${folder}`)) {
    const path = folder + name;
    if (isDirectory) Object.assign(found, tree(root, `${path}/`));
    else {found[path] = isSymlink
        ? `-> ${Deno.readLinkSync(`${root}/${path}`)}`
        : `${Deno.statSync(`${root}/${path}`).size}`;}
  }
  return found;
}

/** Gives a folder for the time of a test. */
export async function inTemporaryFolder(run: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await run(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs a script of the project as a process of its own, with no variables but the given ones and what Deno needs. */
export async function runTaskScript(
  script: string,
  args: readonly string[],
  env: Record<string, string>,
): Promise<{ code: number; stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await spawnScript(script, args, env).output();
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

/** Starts a script of the project; see {@linkcode runTaskScript}. */
export function spawnScript(
  script: string,
  args: readonly string[],
  env: Record<string, string>,
): Deno.Command {
  const keep = [
    "PATH",
    "HOME",
    "DENO_DIR",
    "TMPDIR",
    "SystemRoot",
    "LD_LIBRARY_PATH",
    "VK_ICD_FILENAMES",
    "VK_DRIVER_FILES",
  ];
  const kept = keep.flatMap((name) => Deno.env.has(name) ? [[name, Deno.env.get(name)!]] : []);
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", script, ...args],
    cwd: new URL("../../", import.meta.url),
    clearEnv: true,
    env: { ...Object.fromEntries(kept), NO_COLOR: "1", ...env },
    stdout: "piped",
    stderr: "piped",
  });
}
