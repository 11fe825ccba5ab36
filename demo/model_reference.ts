/**
 * From what somebody types to where a model is: a Hub id, or the address of an exported folder.
 *
 * @module
 */

import { isAllowedOrigin } from "../lib/serve/demo_site.ts";
import type { FolderLocation } from "./stored_folder.ts";

const HUB = "https://huggingface.co";

/**
 * Finds a model: `org/name`, `org/name@revision`, with a folder after it (`org/name/web-llava`), or an address.
 *
 * @param options.origins other sites that the page may fetch from
 * @throws {Error} when it is neither, is not there, or the page may not fetch from there
 */
export async function locateModel(
  text: string,
  options: { origins: readonly string[] },
): Promise<FolderLocation> {
  const reference = text.trim();
  if (/^https?:\/\//.test(reference)) return locateAddress(reference, options.origins);
  const [, id, folder = "", revision = "main"] =
    /^([\w.-]+\/[\w.-]+)((?:\/[\w.-]+)*)\/?(?:@([\w.-]+))?$/.exec(reference) ?? [];
  if (id === undefined) {
    throw new Error(`Cannot find "${reference}": expected a Hub id such as org/name, or an https address`);
  }
  const address = `${HUB}/api/models/${id}/revision/${revision}`;
  if (!isAllowedOrigin(new URL(address), options.origins)) {
    throw new Error(
      `Cannot fetch "${reference}": this page was made without the Hub; give an address on its own site`,
    );
  }
  const response = await fetch(address, { credentials: "omit", referrerPolicy: "no-referrer" }).catch(() => {
    throw new Error(`Cannot find "${reference}": there is no connection to the Hub`);
  });
  if (!response.ok) throw new Error(`Cannot find "${reference}": the Hub answers ${response.status}`);
  const { sha, siblings = [] } = await response.json() as {
    sha: string;
    siblings?: { rfilename: string }[];
  };
  const has = (path: string) => siblings.some(({ rfilename }) => rfilename === path);
  const inside = folder === "" && has("web-llava/config.json") ? "/web-llava" : folder;
  return { title: id, base: `${HUB}/${id}/resolve/${sha}${inside}/`, version: "" };
}

function locateAddress(reference: string, origins: readonly string[]): FolderLocation {
  const url = new URL(reference.replace(/\/?$/, "/"));
  if (url.origin !== location.origin && !isAllowedOrigin(url, origins)) {
    throw new Error(
      `Cannot fetch from ${url.host}: this page may fetch from ${
        [location.host, ...origins.map((origin) => origin.replace("https://", ""))].join(", ")
      } alone; build it with --origin ${url.origin}`,
    );
  }
  return {
    title: url.pathname.split("/").filter((part) => part !== "").at(-1) ?? url.host,
    base: url.href,
    version: "",
  };
}
