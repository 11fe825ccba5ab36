/**
 * What makes a caption useless for training, seen from its text alone.
 *
 * Sources: W3C, "Images Tutorial" and WCAG 2.2 technique F30 (file names and placeholders as alternatives); the guidelines of the Cooper
 * Hewitt museum and of DIAGRAM Center's POET (say what is seen, no "image of"); Sharma et al., "Conceptual Captions", 2018 (filters).
 *
 * @module
 */

import { wordsOf } from "./words.ts";

/** What can be wrong with a caption, with a sentence for people. */
export const CAPTION_FLAGS = {
  file_name: "a file name or a number instead of words",
  boilerplate: "a placeholder, a credit, or an opening such as “image of”",
  other_language: "not in English",
  not_visible: "says what a picture cannot show: sounds, thoughts, names, reasons",
  markup: "contains HTML or an address",
  too_short: "fewer than 3 words",
  too_long: "more than 60 words",
  repetitive: "repeats itself",
} as const;

/** Name of a check. */
export type CaptionFlag = keyof typeof CAPTION_FLAGS;

/** Shortest caption that says what is there and what it does, in words. */
export const MIN_WORDS = 3;
/** Longest caption that a text encoder of 77 tokens (CLIP) surely reads to its end, in words. */
export const MAX_WORDS = 60;
/** Letters of another script than Latin above this share are another language. */
const MAX_OTHER_SCRIPT = 0.3;
/** A shorter caption has too few small words to tell its language by them. */
const MIN_LANGUAGE_WORDS = 4;
/** Share of word pairs that may have come before in the same caption. */
const MAX_REPEATED_PAIRS = 0.3;

const FILE_NAME =
  /\.(jpe?g|png|gif|webp|bmp|tiff?|heic|avif|svg|raw|cr2|nef)\b|^(img|dsc|dscn|dscf|dcim|pict?|image|photo|mvimg|pxl|p|screenshot|screen shot|untitled)[-_ ]?\d{2,}|^[^\p{L}]+$|^[a-f0-9]{16,}$|^[\w-]*_[\w-]*\d{3,}[\w-]*$/iu;

const BOILERPLATE = new RegExp(
  [
    "^(this is )?(an? |the )?(stock |file |archive )?(image|picture|photo|photograph|photography|pic|illustration|graphic|screenshot) (of|showing|depicting|that shows|shows)\\b",
    "^(the|this) (image|picture|photo|photograph) (shows|depicts|features|contains|is)\\b",
    "\\bimage may contain\\b",
    "\\bmay be an image of\\b",
    "\\bno (photo|image|picture) description( available)?\\b",
    "^(no )?(alt|alternative)[ -]?(text|attribute)?( here)?$",
    "^(image|picture|photo|photograph|caption|title|untitled|placeholder|logo|banner|thumbnail|n/?a|none|null|undefined|nan|todo|test|default|tbd|lorem ipsum.*)[.!]?$",
    "\\b(shutterstock|getty ?images|istock(photo)?|alamy|dreamstime|depositphotos|stock (photo|image|footage|photography|illustration|vector))\\b",
    "\\b(royalty[- ]free|all rights reserved|photo(graph)? (by|credit|courtesy)|image (credit|courtesy)|courtesy of|copyright)\\b|©",
    "^(click|tap|download|view (larger|full)|enlarge|subscribe|buy now|see more|scroll)\\b|\\b(click here|read more|learn more)\\b",
    "\\bas an ai\\b|\\bi('m| am) (sorry|unable)\\b|\\bi can(no|')t (see|view|help|assist|describe)\\b",
  ].join("|"),
  "i",
);

const MARKUP = /<\/?[a-z][^>]*>|&(?:[a-z]{2,8}|#\d{1,6});|https?:\/\/|\bwww\.\w|\[\/?\w+\]|\{\{|\}\}/i;

/** Words for what is heard, smelt, thought, wanted, known or was before and will be. */
const NOT_VISIBLE = new RegExp(
  [
    "\\b(hear(s|ing|d)?|smell(s|ing|ed)?|tast(es|ed|ing)|sounds? of|aroma|scent of|fragran(t|ce)|odou?r)\\b",
    "\\b(think(s|ing)? (of|about|that)|wonder(s|ing) (if|about|what|why|how)|remember(s|ing|ed)|hop(es|ing) (to|that|for)|wish(es|ing)? (to|for|that)|dream(s|ing|t)? (of|about)|want(s|ed|ing) to|plan(s|ning|ned) to|intend(s|ed|ing)? to|decid(es|ed|ing) to|feel(s|ing)? (like|that)|know(s|ing)? (that|how|what)|believ(es|ing)|imagin(es|ing))\\b",
    "\\b(yesterday|tomorrow|last (week|month|year|night)|next (week|month|year)|years? ago|earlier (today|this)|about to be|will (soon|be|have)|used to be|has just|had (just|been)|after (a|an) (long|hard|busy) (day|week))\\b",
    "\\b(because (of )?(he|she|they|it|the)|so that (he|she|they|it)|in order to|in memory of|on (his|her|their) way (to|home|back)|for the first time|reminds?|symboli[sz]\\w+|represent(s|ing)|suggest(s|ing)|evok\\w+|conveys?|impl(ies|ying)|indicat(es|ing))\\b",
    "\\b(named|nicknamed|called|whose name|known as|belongs? to|owned by|(his|her|their) (husband|wife|friend|boyfriend|girlfriend|coworker|colleague|boss|ex|neighbou?r)s?)\\b",
  ].join("|"),
  "i",
);

/** Small words by language: those that English has as well, such as "in" and "an", are left out of the others. */
const SMALL_WORDS: Readonly<Record<string, readonly string[]>> = {
  en:
    "a an the of and in on with is are at to by near next two from his her their while under over for sitting standing"
      .split(" "),
  de: "der die das ein eine einen einem einer und mit auf dem den im ist sind vor zwei von zu".split(" "),
  fr: "le la les un une des et dans avec sur du est sont deux au aux devant qui".split(" "),
  es: "el la los las un una unos y en con sobre del de es son dos al por".split(" "),
  it: "il lo la gli un una uno e con su di del della sono due nel nella che".split(" "),
  pt: "o os um uma uns e em com sobre do da dois duas no na ao são".split(" "),
  nl: "de het een en met op van zijn twee voor bij naar aan".split(" "),
};

/** Letters of a text that are of another script than Latin, as a share of all letters. */
function otherScriptShare(text: string): number {
  const letters = text.match(/\p{L}/gu)?.length ?? 0;
  const latin = text.match(/\p{Script=Latin}/gu)?.length ?? 0;
  return letters === 0 ? 0 : 1 - latin / letters;
}

/** Whether the small words of a caption are more often another language's than English. */
function isOtherLanguage(caption: string, words: readonly string[]): boolean {
  // Most captions are ASCII: no letter of them is of another script.
  // deno-lint-ignore no-control-regex
  if (!/^[\x00-\x7f]*$/.test(caption) && otherScriptShare(caption) > MAX_OTHER_SCRIPT) return true;
  if (words.length < MIN_LANGUAGE_WORDS) return false;
  const hits = new Map<string, number>();
  for (const word of words) {
    for (const language of LANGUAGES_OF.get(word) ?? []) hits.set(language, (hits.get(language) ?? 0) + 1);
  }
  const english = hits.get("en") ?? 0;
  return [...hits].some(([language, found]) => language !== "en" && found >= 2 && found > english);
}

const LANGUAGES_OF = new Map<string, string[]>();
for (const [language, words] of Object.entries(SMALL_WORDS)) {
  for (const word of words) LANGUAGES_OF.set(word, [...LANGUAGES_OF.get(word) ?? [], language]);
}

/** Share of word pairs that came before. */
function repeatedPairs(words: readonly string[]): number {
  if (words.length < 4) return 0;
  const pairs = new Set<string>();
  for (let i = 1; i < words.length; i++) pairs.add(`${words[i - 1]} ${words[i]}`);
  return 1 - pairs.size / (words.length - 1);
}

/** What is wrong with a caption; empty where nothing is. */
export function checkCaption(caption: string, words: readonly string[] = wordsOf(caption)): CaptionFlag[] {
  const flags: CaptionFlag[] = [];
  const text = caption.trim();
  const isName = FILE_NAME.test(text);
  if (isName) flags.push("file_name");
  if (BOILERPLATE.test(text)) flags.push("boilerplate");
  if (!isName && isOtherLanguage(text, words)) flags.push("other_language");
  if (NOT_VISIBLE.test(text)) flags.push("not_visible");
  if (MARKUP.test(text)) flags.push("markup");
  if (words.length < MIN_WORDS) flags.push("too_short");
  if (words.length > MAX_WORDS) flags.push("too_long");
  if (repeatedPairs(words) > MAX_REPEATED_PAIRS) flags.push("repetitive");
  return flags;
}
