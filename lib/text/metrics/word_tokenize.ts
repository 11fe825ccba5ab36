/**
 * Words of text as NLTK's `word_tokenize` cuts them: sentences by Punkt, then words in the manner of the Penn Treebank. Case and
 * punctuation stay.
 *
 * Source: nltk.tokenize (NLTKWordTokenizer), after MacIntyre's Treebank tokenizer
 *
 * @module
 */

import { splitSentences } from "./punkt.ts";

type Step = readonly [pattern: RegExp, replacement: string];

// White space and word characters as Python has them.
const SPACE = String.raw`[[\s\x1C-\x1F\x85]--\uFEFF]`;
const WORD = String.raw`[\p{L}\p{N}_]`;
const EDGE = `(?:(?<=${WORD})(?!${WORD})|(?<!${WORD})(?=${WORD}))`;
const step = (pattern: string, replacement: string, flags = ""): Step => [
  new RegExp(pattern, `gv${flags}`),
  replacement,
];

const STEPS: readonly Step[] = [
  // Opening quotes.
  step("([«“‘„]|`+)", " $1 "),
  step('^"', "``"),
  step("(``)", " $1 "),
  step(String.raw`([ \(\[\{<])("|'{2})`, "$1 `` "),
  step(`'(?!re|ve|ll|m|t|s|d|n)(${WORD})${EDGE}`, "' $1", "i"),
  // Punctuation; a period only at the end.
  step(String.raw`([^.])(\.)([\]\)\}>"'»”’ ]*)${SPACE}*$`, "$1 $2 $3 "),
  step(String.raw`([:,])([^\p{Nd}])`, " $1 $2"),
  step("([:,])(?=\n?$)", " $1 "),
  step(String.raw`\.{2,}`, " $& "),
  step("[;@#$%&]", " $& "),
  step(String.raw`([^.])(\.)([\]\)\}>"']*)${SPACE}*$`, "$1 $2$3 "),
  step("[?!]", " $& "),
  step("([^'])' ", "$1 ' "),
  step("[*]", " $& "),
  step(String.raw`[\]\[\(\)\{\}<>]`, " $& "),
  step("--", " -- "),
];

const CLOSING_STEPS: readonly Step[] = [
  step("([»”’])", " $1 "),
  step("''", " '' "),
  step('"', " '' "),
  step("([^' ])('[sS]|'[mM]|'[dD]|') ", "$1 $2 "),
  step("([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", "$1 $2 "),
  ...[["can", "not"], ["d", "'ye"], ["gim", "me"], ["gon", "na"], ["got", "ta"], ["lem", "me"], [
    "more",
    "'n",
  ]]
    .map(([first, second]) => step(`${EDGE}(${first})(${second})${EDGE}`, " $1 $2 ", "i")),
  step(`${EDGE}(wan)(na)(?=${SPACE})`, " $1 $2 ", "i"),
  step(` ('t)(is|was)${EDGE}`, " $1 $2 ", "i"),
];

/** White space as Python splits at it. */
export const PYTHON_SPACES: RegExp = new RegExp(`${SPACE}+`, "v");
/** What one sentence of these characters holds is split at its spaces alone, but for a last period or comma. */
const PLAIN = /^[A-Za-z\d -]+[.]?$/;
const CONTRACTED = /cannot|gimme|gonna|gotta|lemme|wanna|--/i;

/**
 * Words of a text.
 *
 * @example `wordTokens("It's a dog.")` gives `It 's a dog .`
 */
export function wordTokens(text: string): string[] {
  if (PLAIN.test(text) && !CONTRACTED.test(text)) {
    const words = text.replace(/\.$/, " .").split(" ");
    return words.filter((word) => word !== "");
  }
  return splitSentences(text).flatMap((sentence) => {
    let spaced = sentence;
    for (const [pattern, replacement] of STEPS) spaced = spaced.replace(pattern, replacement);
    spaced = ` ${spaced} `;
    for (const [pattern, replacement] of CLOSING_STEPS) spaced = spaced.replace(pattern, replacement);
    return spaced.split(PYTHON_SPACES).filter((word) => word !== "");
  });
}
