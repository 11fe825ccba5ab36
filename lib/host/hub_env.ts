/**
 * The Hub as the environment describes it, by the variables and rules of Hugging Face's Python packages.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { HubConnection, type HubConnectionOptions } from "../datasets/hub/connection.ts";
import { isSwitchedOn } from "./terminal.ts";

/** What the environment says. */
export interface HubEnvironment {
  /** `HF_ENDPOINT`, without a slash at its end. */
  endpoint: string;
  /** The shared cache: `HF_HUB_CACHE`, else `hub` below `HF_HOME`. */
  cacheDir: string;
  /** `HF_TOKEN`, else `HUGGING_FACE_HUB_TOKEN`, else what is in the token file. */
  token: string | undefined;
  /** False under `HF_HUB_DISABLE_IMPLICIT_TOKEN`: the token is then only sent with a push. */
  sendsToken: boolean;
  /** Why nothing may be sent: `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`. */
  offline: string | undefined;
  /** `HF_HUB_DOWNLOAD_TIMEOUT`: longest wait for the next piece of an answer. */
  timeoutMs: number;
  /** False under `HF_HUB_DISABLE_SYMLINKS`. */
  usesLinks: boolean;
}

const DEFAULT_ENDPOINT = "https://huggingface.co";
const DEFAULT_TIMEOUT_S = 10;
/** A token is a line; a larger file is something else. */
const MAX_TOKEN_BYTES = 4096;

/**
 * Reads the environment.
 *
 * @throws {UserError} If a variable has a value that cannot be used, or no folder for the cache is named
 */
export function readHubEnvironment(): HubEnvironment {
  const offline = ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].find(isSwitchedOn);
  const home = hubHome();
  return {
    endpoint: readEndpoint(),
    cacheDir: expand(env("HF_HUB_CACHE") ?? env("HUGGINGFACE_HUB_CACHE")) ?? `${home}/hub`,
    token: clean(env("HF_TOKEN")) ?? clean(env("HUGGING_FACE_HUB_TOKEN")) ??
      readTokenFile(expand(env("HF_TOKEN_PATH")) ?? `${home}/token`),
    sendsToken: !isSwitchedOn("HF_HUB_DISABLE_IMPLICIT_TOKEN"),
    offline: offline && `${offline} is set, which forbids to ask the Hub`,
    timeoutMs: readTimeoutMs(),
    usesLinks: !isSwitchedOn("HF_HUB_DISABLE_SYMLINKS"),
  };
}

/** How a connection is opened. */
export interface ConnectOptions extends Pick<HubConnectionOptions, "retry" | "onRetry" | "random"> {
  /** Send the token although the environment keeps it for what cannot do without, as a push cannot. */
  needsToken?: boolean;
}

/** Opens a connection to the environment's Hub; nothing is sent yet. */
export function connectToHub(environment: HubEnvironment, options: ConnectOptions = {}): HubConnection {
  const { needsToken = false, ...rest } = options;
  return new HubConnection({
    endpoint: environment.endpoint,
    token: environment.sendsToken || needsToken ? environment.token : undefined,
    timeoutMs: environment.timeoutMs,
    offline: environment.offline,
    ...rest,
  });
}

/** The folder of Hugging Face's own files: `HF_HOME`, else `huggingface` below the user's caches. */
function hubHome(): string {
  const given = expand(env("HF_HOME"));
  if (given !== undefined) return given;
  const caches = expand(env("XDG_CACHE_HOME"));
  if (caches !== undefined) return `${caches}/huggingface`;
  const home = userHome();
  if (home !== undefined) return `${home}/.cache/huggingface`;
  throw new UserError("Cannot find the cache of Hugging Face: neither HF_HOME nor HOME is set");
}

function readEndpoint(): string {
  const text = (env("HF_ENDPOINT") ?? DEFAULT_ENDPOINT).replace(/\/+$/, "");
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.search === "") return text;
  throw new UserError(`Cannot use HF_ENDPOINT: it is no address of a server, such as ${DEFAULT_ENDPOINT}`);
}

function readTimeoutMs(): number {
  const text = env("HF_HUB_DOWNLOAD_TIMEOUT");
  const seconds = text === undefined ? DEFAULT_TIMEOUT_S : Number(text);
  if (seconds > 0 && seconds <= 86_400) return seconds * 1000;
  throw new UserError(`Cannot use HF_HUB_DOWNLOAD_TIMEOUT: "${text}" is not a number of seconds above 0`);
}

function readTokenFile(path: string): string | undefined {
  try {
    if (Deno.statSync(path).size > MAX_TOKEN_BYTES) return undefined;
    return clean(Deno.readTextFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory) return undefined;
    throw new UserError(`Cannot read the token file "${path}"; mend it, or name another with HF_TOKEN_PATH`, {
      cause: error,
    });
  }
}

/** A token without the white space that files and copying bring. */
function clean(token: string | undefined): string | undefined {
  return token?.replace(/\s+/g, "") || undefined;
}

function expand(path: string | undefined): string | undefined {
  return path?.replace(/^~(?=[/\\]|$)/, () => userHome() ?? "~").replace(/(.)[/\\]+$/, "$1");
}

function userHome(): string | undefined {
  return env("HOME") ?? env("USERPROFILE");
}

function env(name: string): string | undefined {
  return Deno.env.get(name) || undefined;
}
