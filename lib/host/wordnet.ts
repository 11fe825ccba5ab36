/**
 * WordNet's files where systems keep them.
 *
 * @module
 */

import { WordNet, WORDNET_FILES } from "../text/metrics/wordnet.ts";
import { readBounded } from "./file_source.ts";
import { stat } from "./files.ts";

/** Folders that are looked into: Debian's, then Princeton's. */
const FOLDERS = ["/usr/share/wordnet", "/usr/local/WordNet-3.0/dict"];
/** Larger files are not read. */
const MAX_FILE_BYTES = 64 * 2 ** 20;

/** What to tell where there is no WordNet. */
export const NO_WORDNET_NOTE =
  "METEOR without synonyms: there is no WordNet 3.0; install it (Debian: apt-get install wordnet-base) or name its folder in WNSEARCHDIR";

/**
 * Reads WordNet from the folder that `WNSEARCHDIR` names, or from where it is usually installed.
 *
 * @returns `undefined` where there is none
 * @throws {RangeError | SyntaxError} If its files are incomplete or damaged
 */
export async function readWordNet(): Promise<WordNet | undefined> {
  const named = Deno.env.get("WNSEARCHDIR");
  for (const folder of named === undefined ? FOLDERS : [named]) {
    if (!(await stat(`${folder}/index.noun`))?.isFile) continue;
    const texts = new Map<string, string>();
    for (const name of WORDNET_FILES) {
      if (await stat(`${folder}/${name}`) === undefined) continue;
      // One character a byte: synsets are found by their byte.
      const bytes = await readBounded(`${folder}/${name}`, MAX_FILE_BYTES);
      texts.set(name, new TextDecoder("latin1").decode(bytes));
    }
    return new WordNet((name) => texts.get(name));
  }
  return undefined;
}
