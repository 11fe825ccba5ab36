/**
 * Reads the captions of `labelled_captions.txt`, in which people marked the protected terms.
 *
 * @module
 */

import type { ProtectedCategory } from "../../lib/quality/protected_terms.ts";

/** Categories by the letter that marks them. */
const CATEGORY_OF: Readonly<Record<string, ProtectedCategory>> = {
  g: "gender",
  s: "sexual orientation",
  r: "race/ethnicity",
  n: "nationality",
  f: "religion",
  d: "disability",
  a: "age",
};

/** A term that somebody marked. */
export interface LabelledTerm {
  readonly category: ProtectedCategory;
  /** Place of its first UTF-16 unit in the caption. */
  readonly start: number;
  /** As the caption has it. */
  readonly text: string;
}

/** A caption and its terms. */
export interface LabelledCaption {
  /** Without the marks. */
  readonly caption: string;
  readonly terms: readonly LabelledTerm[];
  /** Whether it was kept from view while the rules were tuned. */
  readonly heldBack: boolean;
}

/** All captions of the file, in its order. */
export function readLabelledCaptions(): LabelledCaption[] {
  const text = Deno.readTextFileSync(new URL("labelled_captions.txt", import.meta.url));
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return lines.map((line, index) => ({ ...parseLine(line), heldBack: index % 2 === 1 }));
}

function parseLine(line: string): { caption: string; terms: LabelledTerm[] } {
  const terms: LabelledTerm[] = [];
  let caption = "";
  let at = 0;
  for (const mark of line.matchAll(/\[(\w+) ([^\]]+)\]/g)) {
    const [whole, letters, text] = mark as unknown as [string, string, string];
    caption += line.slice(at, mark.index);
    for (const letter of letters) {
      const category = CATEGORY_OF[letter];
      if (category === undefined) throw new SyntaxError(`Cannot read "${line}": no category ${letter}`);
      terms.push({ category, start: caption.length, text });
    }
    caption += text;
    at = mark.index + whole.length;
  }
  return { caption: caption + line.slice(at), terms };
}
