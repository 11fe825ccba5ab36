/**
 * The words of a caption with their places, as word lists are looked up in them.
 *
 * @module
 */

/** What stands between a word and the next. */
export enum Gap {
  /** White space or a hyphen. */
  None,
  /** The end of a possessive: what follows is owned, and no part of the word's own name. */
  Owns,
  /** A comma. */
  Comma,
  /** Anything that ends a thought: a full stop, a bracket, a quote. */
  Stop,
}

/** The words of a caption, as parallel lists. */
export interface CaptionWords {
  /** Lower case, straight apostrophes, without a possessive or shortened verb at the end: `man` of "man's". */
  readonly words: readonly string[];
  /** Place of each word's first UTF-16 unit. */
  readonly starts: readonly number[];
  /** Place after each word's last unit; what was cut off is left out. */
  readonly ends: readonly number[];
  /** What follows each word. */
  readonly gaps: readonly Gap[];
}

const APOSTROPHE = 39;
const HYPHEN = 45;

/** Whether a UTF-16 unit belongs to a word; anything past ASCII but punctuation, spaces and symbols does. */
function isWordUnit(unit: number): boolean {
  if (unit < 128) {
    return (unit >= 97 && unit <= 122) || (unit >= 65 && unit <= 90) || (unit >= 48 && unit <= 57);
  }
  return unit >= 0xc0 && !(unit >= 0x2000 && unit <= 0x2fff) && !(unit >= 0x3000 && unit <= 0x303f);
}

const SHORTENED = /'(?:s|d|ll|re|ve|m)?$/;

/**
 * Divides a caption into words. Hyphenated words are divided too, unless `isWhole` knows them.
 *
 * @param isWhole Whether a word (lower case) with a hyphen or apostrophe stays as it is
 */
export function splitWords(caption: string, isWhole: (word: string) => boolean): CaptionWords {
  const words: string[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  const gaps: Gap[] = [];
  const add = (word: string, start: number) => {
    words.push(word);
    starts.push(start);
    ends.push(start + word.length);
    gaps.push(Gap.None);
  };
  const text = caption.replaceAll("’", "'").toLowerCase();
  // Few letters change their length in lower case; places would be wrong after one.
  const lower = text.length === caption.length ? text : caption.replace(/[A-Z]/g, (a) => a.toLowerCase());
  const end = lower.length;
  let at = 0;
  while (at < end) {
    const unit = lower.charCodeAt(at);
    if (!isWordUnit(unit)) {
      if (words.length > 0) {
        if (unit === 44) gaps[gaps.length - 1] = Math.max(gaps[gaps.length - 1]!, Gap.Comma);
        else if (unit !== 32 && unit !== HYPHEN && unit !== APOSTROPHE) gaps[gaps.length - 1] = Gap.Stop;
      }
      at++;
      continue;
    }
    const start = at;
    let joined = false;
    while (at < end) {
      const next = lower.charCodeAt(at);
      if (isWordUnit(next)) at++;
      else if (
        (next === APOSTROPHE || next === HYPHEN) && at + 1 < end && isWordUnit(lower.charCodeAt(at + 1))
      ) {
        joined = true;
        at++;
      } else break;
    }
    const word = lower.slice(start, at);
    // Some data sets set the end of a possessive apart: "the boy 's kite".
    if (word === "s" && lower.charCodeAt(start - 1) === APOSTROPHE && words.length > 0) {
      gaps[gaps.length - 1] = Gap.Owns;
      continue;
    }
    if (!joined || isWhole(word)) add(word, start);
    else {
      let offset = start;
      for (const part of word.split("-")) {
        const whole = isWhole(part) ? part : part.replace(SHORTENED, "");
        if (whole !== "") add(whole, offset);
        if (/[a-z]'s?$/.test(part) && whole !== part) gaps[gaps.length - 1] = Gap.Owns;
        offset += part.length + 1;
      }
    }
  }
  return { words, starts, ends, gaps };
}
