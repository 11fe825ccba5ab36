/**
 * What went wrong at the Hub, in words that say what to do. No message holds a token or a signed address.
 *
 * @module
 */

import { UserError } from "../../base/errors.ts";

/** A request that the Hub refused, or that came to nothing. */
export class HubError extends UserError {
  /** Always `"HubError"`. */
  override name = "HubError";
  /** HTTP status, where there was an answer. */
  readonly status: number | undefined;

  /** With the message and, where there was an answer, its status. */
  constructor(message: string, options: { status?: number; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.status = options.status;
  }
}

/** The Hub could not be reached, or stayed busy, through all attempts. What is cached may be used instead. */
export class HubUnreachableError extends HubError {
  /** Always `"HubUnreachableError"`. */
  override name = "HubUnreachableError";
}

/** The Hub is needed while the environment forbids it. */
export class HubOfflineError extends HubError {
  /** Always `"HubOfflineError"`. */
  override name = "HubOfflineError";
}

/** Takes secrets out of a text: the token, whatever looks like one, and the queries of addresses, which may be signatures. */
export function redact(text: string, token?: string): string {
  let safe = text;
  if (token !== undefined && token !== "") safe = safe.replaceAll(token, "(token)");
  return safe.replace(/\bhf_[A-Za-z0-9]{6,}/g, "(token)").replace(/(https?:\/\/[^\s"'?]+)\?[^\s"')]*/g, "$1");
}

/** What an answer with an error status said. */
export interface RefusedAnswer {
  /** HTTP status. */
  readonly status: number;
  /** `X-Error-Code`: `RepoNotFound`, `RevisionNotFound`, `EntryNotFound`, `GatedRepo`, … */
  readonly code: string | null;
  /** The server's own message, at most a few hundred characters. */
  readonly message: string;
  /** Whether a token was sent. */
  readonly hasToken: boolean;
  /** Where the repository is looked at in a browser, if one was asked for. */
  readonly pageUrl?: string | undefined;
}

/** Why a request was refused, and what to do about it. */
export function explainRefusal(answer: RefusedAnswer): string {
  const { status, code, message, hasToken, pageUrl } = answer;
  const said = message === "" ? "" : ` ("${message}")`;
  if (code === "GatedRepo" || (status === 403 && /gated|awaiting|authorized list/i.test(message))) {
    return `it is gated${said}; accept its terms at ${pageUrl ?? "its page"}${
      hasToken
        ? " with the account of your token, and see that the token may read gated repositories"
        : ", then set HF_TOKEN to a token of that account"
    }`;
  }
  if (code === "RevisionNotFound") return `there is no such revision${said}`;
  if (code === "EntryNotFound") return `there is no such file${said}`;
  if (status === 401 || code === "RepoNotFound" || status === 404) {
    return hasToken
      ? `there is no such repository, or your token may not see it${said}; check the name, and whose token HF_TOKEN is`
      : `there is no such repository, or it is private${said}; check the name, or set HF_TOKEN to a token that may read it`;
  }
  if (status === 403) {
    return `access is refused${said}; ${
      hasToken ? "check what your token allows" : "set HF_TOKEN to a token that is allowed to"
    }`;
  }
  if (status === 416) return `the server has fewer bytes than the listing says${said}`;
  return `the server answered ${status}${said}`;
}
