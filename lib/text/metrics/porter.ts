/**
 * Porter's stemmer with the changes of NLTK, which rouge_score and METEOR stem with: not Porter's original and not Snowball's.
 *
 * Source: Porter, "An algorithm for suffix stripping", Program 14(3), 1980; nltk.stem.porter in its mode NLTK_EXTENSIONS
 *
 * @module
 */

const IRREGULAR: ReadonlyMap<string, string> = new Map(Object.entries({
  sky: "sky",
  skies: "sky",
  dying: "die",
  lying: "lie",
  tying: "tie",
  news: "news",
  inning: "inning",
  innings: "inning",
  outing: "outing",
  outings: "outing",
  canning: "canning",
  cannings: "canning",
  howe: "howe",
  proceed: "proceed",
  exceed: "exceed",
  succeed: "succeed",
}));

type Rule = readonly [suffix: string, replacement: string, condition?: (stem: string) => boolean];

/** Stem of a word, lower-cased. Words of one or two characters stay; other scripts pass with what ASCII endings they have. */
export function porterStem(word: string): string {
  const lower = word.toLowerCase();
  const irregular = IRREGULAR.get(lower);
  if (irregular !== undefined) return irregular;
  // NLTK counts characters, not UTF-16 units, but only here.
  if (lower.length <= 2 || (lower.length <= 4 && [...lower].length <= 2)) return lower;
  return step5(applyFirst(applyFirst(step2(step1c(step1b(step1a(lower)))), STEP_3), STEP_4));
}

const stems = new Map<string, string>();
/** A table of stems that grew larger starts anew. */
const MAX_STEMS = 200_000;

/** {@linkcode porterStem}, remembered: words repeat. */
export function stemOf(word: string): string {
  const known = stems.get(word);
  if (known !== undefined) return known;
  if (stems.size >= MAX_STEMS) stems.clear();
  const stem = porterStem(word);
  stems.set(word, stem);
  return stem;
}

function step1a(word: string): string {
  if (word.endsWith("ies") && word.length === 4) return word.slice(0, -1);
  return applyFirst(word, STEP_1A);
}

function step1b(word: string): string {
  if (word.endsWith("ied")) return word.slice(0, word.length === 4 ? -1 : -2);
  if (word.endsWith("eed")) return measure(word.slice(0, -3)) > 0 ? word.slice(0, -1) : word;
  const ending = ["ed", "ing"].find((suffix) =>
    word.endsWith(suffix) && containsVowel(word.slice(0, -suffix.length))
  );
  if (ending === undefined) return word;
  const stem = word.slice(0, -ending.length);
  if (/(at|bl|iz)$/.test(stem)) return `${stem}e`;
  if (endsInDoubleConsonant(stem)) return /[lsz]$/.test(stem) ? stem : stem.slice(0, -1);
  return measure(stem) === 1 && endsShort(stem) ? `${stem}e` : stem;
}

function step1c(word: string): string {
  const stem = word.slice(0, -1);
  return word.endsWith("y") && stem.length > 1 && isConsonant(stem, stem.length - 1) ? `${stem}i` : word;
}

function step2(word: string): string {
  if (word.endsWith("alli") && measure(word.slice(0, -4)) > 0) return step2(word.slice(0, -2));
  // The l of "logi" belongs to what is measured.
  if (word.endsWith("logi") && !STEP_2.some(([suffix]) => word.endsWith(suffix))) {
    return measure(word.slice(0, -3)) > 0 ? word.slice(0, -1) : word;
  }
  return applyFirst(word, STEP_2);
}

function step5(word: string): string {
  let stem = word;
  if (word.endsWith("e")) {
    const shorter = word.slice(0, -1);
    const syllables = measure(shorter);
    if (syllables > 1 || (syllables === 1 && !endsShort(shorter))) stem = shorter;
  }
  return stem.endsWith("ll") && measure(stem.slice(0, -1)) > 1 ? stem.slice(0, -1) : stem;
}

const isLong = (stem: string): boolean => measure(stem) > 0;
const isLonger = (stem: string): boolean => measure(stem) > 1;
const rules = (text: string, condition?: (stem: string) => boolean): Rule[] =>
  text.trim().split(/\s+/).map((rule) => {
    const [suffix = "", replacement = ""] = rule.split(">");
    return [suffix, replacement, condition];
  });

const STEP_1A = rules("sses>ss ies>i ss>ss s>");
const STEP_2 = rules(
  "ational>ate tional>tion enci>ence anci>ance izer>ize bli>ble alli>al entli>ent eli>e ousli>ous ization>ize ation>ate ator>ate " +
    "alism>al iveness>ive fulness>ful ousness>ous aliti>al iviti>ive biliti>ble fulli>ful",
  isLong,
);
const STEP_3 = rules("icate>ic ative> alize>al iciti>ic ical>ic ful> ness>", isLong);
const STEP_4: readonly Rule[] = [
  ...rules("al> ance> ence> er> ic> able> ible> ant> ement> ment> ent>", isLonger),
  ["ion", "", (stem) => isLonger(stem) && /[st]$/.test(stem)],
  ...rules("ou> ism> ate> iti> ous> ive> ize>", isLonger),
];

/** The first rule whose suffix a word has decides, whether or not its condition holds. */
function applyFirst(word: string, list: readonly Rule[]): string {
  for (const [suffix, replacement, condition] of list) {
    if (!word.endsWith(suffix)) continue;
    const stem = word.slice(0, word.length - suffix.length);
    return condition === undefined || condition(stem) ? stem + replacement : word;
  }
  return word;
}

function isConsonant(word: string, at: number): boolean {
  const letter = word[at]!;
  if ("aeiou".includes(letter)) return false;
  if (letter !== "y") return true;
  // Of a run of y every second one is a vowel, the first if a consonant comes before.
  let start = at;
  while (start > 0 && word[start - 1] === "y") start--;
  const first = start === 0 || "aeiou".includes(word[start - 1]!);
  return first === ((at - start) % 2 === 0);
}

/** Number of vowel-consonant sequences. */
function measure(stem: string): number {
  let count = 0;
  let afterVowel = false;
  for (let i = 0; i < stem.length; i++) {
    const consonant = isConsonant(stem, i);
    if (consonant && afterVowel) count++;
    afterVowel = !consonant;
  }
  return count;
}

function containsVowel(stem: string): boolean {
  for (let i = 0; i < stem.length; i++) if (!isConsonant(stem, i)) return true;
  return false;
}

function endsInDoubleConsonant(word: string): boolean {
  const last = word.length - 1;
  return last > 0 && word[last] === word[last - 1] && isConsonant(word, last);
}

/** Consonant, vowel, consonant other than w, x and y; or a word of vowel and consonant. */
function endsShort(word: string): boolean {
  const last = word.length - 1;
  if (last === 1) return !isConsonant(word, 0) && isConsonant(word, 1);
  return last > 1 && isConsonant(word, last - 2) && !isConsonant(word, last - 1) && isConsonant(word, last) &&
    !/[wxy]$/.test(word);
}
