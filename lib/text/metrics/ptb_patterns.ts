/**
 * What the Penn Treebank tokenizer of CoreNLP 3.4.1 takes for one token, as patterns in the order in which equally long ones win.
 *
 * Source: the description of its lexer, https://nlp.stanford.edu/software/tokenizer.html, and its behaviour, character by character
 *
 * @module
 */

/** A kind of token. */
export interface TokenPattern {
  /** Sticky; group 1 is the token, what follows it is context that must be there and counts towards the length. */
  readonly pattern: RegExp;
  /** Kinds of first characters: L letter, D digit, O other. */
  readonly starts: string;
  /** Text without which the pattern cannot match. */
  readonly needs?: string;
  /** What becomes of the text; none is skipped. @default the text itself */
  readonly write?: (text: string) => string | undefined;
  /** Characters at the end of the token that are read again: a negative number. @default 0 */
  readonly rereads?: number;
  /** Whether the reread characters belong to the token all the same, as the last period of `etc.` does. */
  readonly keepsReread?: boolean;
}

/** Letters of a literal in either case; other characters stand for themselves. */
function anyCase(literal: string): string {
  return literal.replace(/[a-z]/gi, (letter) => `[${letter.toLowerCase()}${letter.toUpperCase()}]`);
}

const oneOf = (words: string): string => `(?:${words.trim().split(/\s+/).map(anyCase).join("|")})`;

// Only characters of the basic plane are known: others are nothing but separators.
const LETTER_CHAR = String.raw`[\p{L}&&[\0-\uFFFF]]`;
const DIGIT_CHAR = String.raw`[\p{Nd}&&[\0-\uFFFF]]`;
const LETTER_OR_DIGIT = `[${LETTER_CHAR}${DIGIT_CHAR}]`;
// Marks that count as letters in words.
const WORD_MARKS =
  String.raw`\u00AD\u0237-\u024F\u02C2-\u02C5\u02D2-\u02DF\u02E5-\u02FF\u0300-\u036F\u0370-\u037D` +
  String
    .raw`\u0384\u0385\u03CF\u03F6\u03FC-\u03FF\u0483-\u0487\u04CF\u04F6-\u04FF\u0510-\u0525\u055A-\u055F` +
  String.raw`\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0615-\u061A\u063B-\u063F\u064B-\u065E\u0670` +
  String
    .raw`\u06D6-\u06EF\u06FA-\u06FF\u070F\u0711\u0730-\u074F\u0750-\u077F\u07A6-\u07B1\u07CA-\u07F5\u07FA` +
  String
    .raw`\u0900-\u0903\u093C\u093E-\u094E\u0951-\u0955\u0962-\u0963\u0981-\u0983\u09BC-\u09C4\u09C7\u09C8` +
  String
    .raw`\u09CB-\u09CD\u09D7\u09E2\u09E3\u0A01-\u0A03\u0A3C\u0A3E-\u0A4F\u0A81-\u0A83\u0ABC-\u0ACF\u0B82` +
  String.raw`\u0BBE-\u0BC2\u0BC6-\u0BC8\u0BCA-\u0BCD\u0C01-\u0C03\u0C3E-\u0C56\u0D3E-\u0D44\u0D46-\u0D48` +
  String.raw`\u0E30-\u0E3A\u0E47-\u0E4E\u0EB1-\u0EBC\u0EC8-\u0ECD`;
const WORD_CHAR = `[${LETTER_CHAR}${WORD_MARKS}]`;
const LETTER = `(?:${WORD_CHAR}|&[aeiouAEIOU]${oneOf("acute grave uml")};)`;
const DIGIT = String.raw`[${DIGIT_CHAR}\u07C0-\u07C9]`;
const WORD_TAIL = String.raw`(?:${LETTER}|${DIGIT})*`;
const WORD = String.raw`${LETTER}${WORD_TAIL}(?:[.!?]${LETTER}${WORD_TAIL})*`;

const APOSTROPHE = `(?:['\u0092\u2019]|${anyCase("&apos;")})`;
const APOSTROPHE_LIKE = `(?:['\u0092\u2019\`\u0091\u2018\u201B]|${anyCase("&apos;")})`;
const CLITIC = `${APOSTROPHE}(?:[msdMSD]|${oneOf("re ve ll")})`;
const NEGATION = `[nN]${APOSTROPHE_LIKE}[tT]`;

const SPACE = String.raw`[ \t\u00A0\u2000-\u200A\u3000]`;
const NEWLINE = String.raw`[\r\n\u2028\u2029\u000B\u000C\u0085]`;
const SPACE_OR_NEWLINE = String.raw`[ \t\u00A0\u2000-\u200A\u3000\r\n\u2028\u2029\u000B\u000C\u0085]`;
const TAG_NAME = String.raw`[A-Za-z][A-Za-z0-9_:.\-]*`;
const TAG = String
  .raw`<(?:[!?][A-Za-z\-][^>\r\n]*|${TAG_NAME}(?: +(?:${TAG_NAME} *= *(?:'[^']*'|"[^"]*")|${TAG_NAME}))* *\/?|\/${TAG_NAME}) *>`;
const SENTENCE_END = String.raw`${SPACE_OR_NEWLINE}(?:${SPACE_OR_NEWLINE}|[\p{Lu}&&[\0-\uFFFF]]|${TAG})`;

const NUMBER = String.raw`[\-+]?(?:${DIGIT}*(?:[.:,\u00AD\u066B\u066C]${DIGIT}+)+|${DIGIT}+)`;
const FRACTION = String.raw`(?:${DIGIT}{1,4}[\- \u00A0])?${DIGIT}{1,4}(?:\\?\/|\u2044)${DIGIT}{1,4}`;
const PHONE_END = String.raw`[0-9]{3,4}[\- \u00A0]?[0-9]{3,5}`;

const HYPHEN = String.raw`[\-_\u058A\u2010\u2011]`;
const THING_PART = `(?:[dDoOlL]${APOSTROPHE_LIKE}${LETTER_OR_DIGIT})?${LETTER_OR_DIGIT}+`;
const THING = `${THING_PART}(?:${HYPHEN}${THING_PART})*`;
const UPPER_THING = `[A-Z]+(?:(?:[+&]|${anyCase("&amp;")})[A-Z]+)+`;
const US_PAIR = `(?:${
  oneOf("Canada Sino Korean EU Japan non")
}-[uU]\\.[sS]|[uU]\\.[sS]\\.-[uU]\\.(?:[sS]\\.[sS]\\.[rR]|[kK]))`;
const ACRONYM = `(?:${US_PAIR}|[A-Za-z](?:\\.[A-Za-z])*)`;
const LONG_ACRONYM = `(?:${US_PAIR}|[A-Za-z](?:\\.[A-Za-z])+)`;
const HYPHENATED = `[A-Za-z0-9][A-Za-z0-9.,\u00AD]*(?:-(?:${LONG_ACRONYM}\\.|[A-Za-z0-9\u00AD]+))+`;
const SLASHED_PART = "[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}";
const SLASHED = String.raw`${SLASHED_PART}(?:\\?\/${SLASHED_PART}){1,2}`;

// Some states are words too, so their first letter must be a capital.
const states = (words: string): string =>
  words.split(" ").map((word) => word[0] + anyCase(word.slice(1))).join("|");
// Before lower case these keep their period; before upper case they end a sentence too.
const ABBREVIATION = `(?:${
  oneOf(
    "jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri ala ariz calif colo conn ct dak fla ga ind " +
      "kan kans ky md mich minn mo mont neb nev okla penn tenn va vt wis wisc wyo inc co cos corp pty ptys pte ptes ppty pptys ppte pptes " +
      "ltd plc rt bancorp bhd assn univ intl sys tel est ext sq jr sr bros blvd rd esq etc al seq bldg",
  )
}|${states("Az Ark Del Ill La Mass Miss Ore Pa Tex Wash")}|(?:[eE][dD]|[pP][hH])\\.[dD])`;
// Titles and the like are followed by a name, so their period never ends a sentence.
const TITLE = `(?:${
  oneOf(
    "mr mrs ms dr drs prof profs sen sens rep reps atty attys lt col gen messrs gov govs adm rev maj sgt cpl pvt capt st ste ave " +
      "pres lieut hon brig cmdr comdr pfc spc supt supts det mt ft adj adv asst assoc ens insp mlle mme msgr sfc vs alex wm jos cie " +
      "cf treas ph invt elec natl mtg mfg dept",
  )
}|${states("Miss")}|[aA]\\.[kK]\\.[aA]|${ACRONYM})`;
const BEFORE_NUMBER = oneOf("ca fig figs prop no nos art bldg pp op");
// An acronym before one of these, capitalised, ends its sentence.
const STARTERS = `(?:${
  ("About According Additionally After An A As At But Earlier He Her Here However If In It Last Many More Mr\\. Ms\\. Now " +
    "Once One Other Our She Since So Some Such That The Their Then There These They This We When While What Yet You")
    .split(" ").map((word) => word[0] + anyCase(word.slice(1))).join("|")
}|${TAG})`;
const FILE_ENDING = oneOf(
  "bat bmp class cgi cpp c dll docx doc exe gif gz html htm h jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql tar txt wav " +
    "xml x zip",
);
const INNER_PUNCTUATION = "[,;:\u3001]";

// "don'ts", "O'Brien", "rock'n'roll", "'til" and what else is one word with its apostrophe.
const APOSTROPHE_WORDS = [
  `${APOSTROPHE}[nN]${APOSTROPHE}?`,
  `[lLdDjJ]${APOSTROPHE}`,
  `${anyCase("dunkin")}${APOSTROPHE}`,
  `${anyCase("somethin")}${APOSTROPHE}`,
  `[oO][lL]${APOSTROPHE}`,
  `${APOSTROPHE}${anyCase("em")}`,
  `[A-HJ-XZn]${APOSTROPHE_LIKE}${LETTER_CHAR}{2,}`,
  `${APOSTROPHE}[2-9]0[sS]`,
  `${APOSTROPHE}${anyCase("til")}[lL]?`,
  `${LETTER_CHAR}+[aeiouyAEIOUY]${APOSTROPHE_LIKE}[aeiouA-Z]${LETTER_CHAR}*`,
  `${APOSTROPHE}${anyCase("cause")}`,
  `${anyCase("cont'd")}\\.?`,
  oneOf("nor'easter c'mon e'er s'mores ev'ry li'l nat'l"),
  `[oO]${APOSTROPHE_LIKE}[oO]`,
];

const URL_CHAR = String.raw`[^ \t\n\f\r"<>\|\(\)\{\}]`;
const URL_LAST = String.raw`[^ \t\n\f\r"<>\|.!?\(\)\{\},\-]`;
const URL_PATH = String.raw`(?:\/[^ \t\n\f\r"<>\|\(\)]+${URL_LAST})?`;
const HOST_CHAR = String.raw`[^ \t\n\f\r"\`'<>\|.!?\(\)\{\},-_$]`;
const MAIL_CHAR = String.raw`[^ \t\n\f\r"<>\|\(\)\u00A0\{\}]`;
const MAIL_HOST_CHAR = String.raw`[^ \t\n\f\r"<>\|\(\)\{\}.\u00A0]`;

const SYMBOLS = String
  .raw`[+%\&~\^\|\\\u00A6\u00A7\u00A8\u00A9\u00AC\u00AE\u00AF\u00B0-\u00BA\u00D7\u00F7\u0387\u05BE\u05C0\u05C3\u05C6` +
  String
    .raw`\u05F3\u05F4\u0600-\u0603\u0606-\u060A\u060C\u0614\u061B\u061E\u066A\u066D\u0703-\u070D\u07F6\u07F7\u07F8\u0964\u0965\u0E4F` +
  String
    .raw`\u1FBD\u2016\u2017\u2020-\u2023\u2030-\u2038\u203B\u203E-\u2042\u2044\u207A-\u207F\u208A-\u208E\u2100-\u214F\u2190-\u21FF` +
  String.raw`\u2200-\u2BFF\u3012\u30FB\uFF01-\uFF0F\uFF1A-\uFF20\uFF3B-\uFF40\uFF5B-\uFF65]`;

const brackets = (text: string): string => text.replaceAll("(", "-LRB-").replaceAll(")", "-RRB-");
const joined = (text: string): string => text.replaceAll(" ", "\u00A0");
const amp = (text: string): string => text.replace(/&amp;/gi, "&");
/** Soft hyphens stand for line breaks only. */
const soft = (text: string): string => text.replaceAll("\u00AD", "") || "-";

/** Quotes as the Treebank writes them: `` ` `` and ``` `` ``` open, `'` and `''` close. */
function quotes(text: string, opening: boolean): string {
  return text.replace(/&apos;|'/g, opening ? "`" : "'")
    .replace(/"|&quot;/g, opening ? "``" : "''")
    .replace(/[\u0091\u2018\u201B\u2039]/g, "`").replace(/[\u0092\u2019\u203A]/g, "'")
    .replace(/[\u0093\u201C\u00AB]/g, "``").replace(/[\u0094\u201D\u00BB]/g, "''");
}
const closing = (text: string): string => quotes(text, false);
const opening = (text: string): string => quotes(text, true);

const CURRENCY: Readonly<Record<string, string>> = {
  "\u00A2": "cents",
  "\u00A3": "#",
  "\u0080": "$",
  "\u00A4": "$",
  "\u20A0": "$",
  "\u20AC": "$",
};
const FRACTIONS: Readonly<Record<string, string>> = {
  "\u00BC": "1/4",
  "\u00BD": "1/2",
  "\u00BE": "3/4",
  "\u2153": "1/3",
  "\u2154": "2/3",
};

type PatternOptions = Partial<Omit<TokenPattern, "pattern" | "starts">>;

function token(
  starts: string,
  text: string,
  options: PatternOptions & { before?: string } = {},
): TokenPattern {
  const { before = "", ...rest } = options;
  return { starts, pattern: new RegExp(`(${text})${before}`, "vy"), ...rest };
}

const skip = (): undefined => undefined;
const always = (text: string) => (): string => text;

/** Kinds of tokens: of equally long ones the first wins. */
export const TOKEN_PATTERNS: readonly TokenPattern[] = [
  token("L", "[cC]\\+\\+", { needs: "++" }),
  token("L", "[cCfF]#", { needs: "#" }),
  token("L", anyCase("cannot"), { rereads: -3 }),
  token("O", anyCase("'twas"), { rereads: -3, needs: "'" }),
  token("O", anyCase("'tis"), { rereads: -2, needs: "'" }),
  token("L", oneOf("gonna gotta lemme gimme wanna"), { rereads: -2 }),
  token("O", TAG, { write: joined, needs: ">" }),
  token("O", `&(?:${oneOf("md mdash ndash")});|[\u0096\u0097\u2013\u2014\u2015]`, { write: always("--") }),
  token("O", anyCase("&amp;"), { write: always("&") }),
  token("O", `&(?:${oneOf("ht tl ur lr qc ql qr odq cdq")}|#[0-9]+);`),
  token("LO", WORD, { before: CLITIC, write: soft }),
  token("LO", "[A-Za-z\u00AD]*[A-MO-Za-mo-z]\u00AD*", { before: NEGATION, write: soft }),
  token("LO", WORD, { write: soft }),
  ...APOSTROPHE_WORDS.map((text) => token("LO", text)),
  token("L", `[yY]${APOSTROPHE}`, { before: LETTER_CHAR }),
  token("L", `${anyCase("http")}[sS]?:\\/\\/${URL_CHAR}+${URL_LAST}`, { needs: "://" }),
  token("L", String.raw`${anyCase("www")}\.(?:${URL_LAST}+\.)+[a-zA-Z]{2,4}${URL_PATH}`, { needs: "." }),
  token("LDO", String.raw`(?:${HOST_CHAR}+\.)+${oneOf("com net org edu")}${URL_PATH}`, { needs: "." }),
  token(
    "LDO",
    `(?:${anyCase("&lt;")}|<)?[a-zA-Z0-9]${MAIL_CHAR}*@(?:${MAIL_HOST_CHAR}+\\.)*${MAIL_HOST_CHAR}+(?:${
      anyCase("&gt;")
    }|>)?`,
    { needs: "@" },
  ),
  token("O", `@[a-zA-Z_][a-zA-Z_0-9]*|#${LETTER}+`),
  token("O", CLITIC, { before: "[^A-Za-z]", write: closing }),
  token("L", NEGATION, { before: "[^A-Za-z]", write: closing }),
  token("DO", `${DIGIT}{1,2}[\\-\\/]${DIGIT}{1,2}[\\-\\/]${DIGIT}{2,4}`),
  token("DO", NUMBER, { write: soft }),
  token("DO", "[\u207A\u207B\u208A\u208B]?(?:[\u2070\u00B9\u00B2\u00B3\u2074-\u2079]+|[\u2080-\u2089]+)"),
  token("DO", FRACTION, { write: joined }),
  token("O", "[\u00BC\u00BD\u00BE\u2153-\u215E]", { write: (text) => FRACTIONS[text] ?? text }),
  token(
    "LO",
    `${oneOf("-rrb- -lrb- -rcb- -lcb- -rsb- -lsb- c\\.d\\.s pro- anti-")}|[sS](?:&|${
      anyCase("&amp;")
    })(?:[pP]-500|[lL][sS])|${anyCase("cap")}${APOSTROPHE}[nN]|[cC]${APOSTROPHE}${anyCase("est")}`,
    { write: amp },
  ),
  token("LD", SLASHED, { needs: "/" }),
  token("LO", "[A-Z]*\\$|#"),
  token("O", "[\u00A2\u00A3\u00A4\u00A5\u0080\u20A0\u20AC\u060B\u0E3F\u20A4\uFFE0\uFFE1\uFFE5\uFFE6]", {
    write: (text) => CURRENCY[text] ?? text,
  }),
  // Of one letter and a period the period ends the sentence; a longer acronym keeps its own and leaves one more.
  token("L", "[A-Za-z]\\.", {
    before: `${SPACE_OR_NEWLINE}+${STARTERS}${SPACE_OR_NEWLINE}`,
    rereads: -1,
    needs: ".",
  }),
  token("L", `${LONG_ACRONYM}\\.`, {
    before: `${SPACE_OR_NEWLINE}+${STARTERS}${SPACE_OR_NEWLINE}`,
    rereads: -1,
    keepsReread: true,
    needs: ".",
  }),
  token("L", `${BEFORE_NUMBER}\\.`, { before: `${SPACE_OR_NEWLINE}?${DIGIT_CHAR}`, needs: "." }),
  token("L", "(?:[pP][tT][eyEY]|[cC][oO])\\.", { before: `${SPACE}(?:${oneOf("ltd lim")})`, needs: "." }),
  token("L", `${ABBREVIATION}\\.`, { before: SENTENCE_END, rereads: -1, keepsReread: true, needs: "." }),
  token("L", `${ABBREVIATION}\\.`, { before: "[\\s\\S]{2}", needs: "." }),
  token("L", `${ABBREVIATION}\\.`, { rereads: -1, keepsReread: true, needs: "." }),
  token("L", `${TITLE}\\.`, { needs: "." }),
  token("L", TITLE, { before: SPACE }),
  token("L", ACRONYM, { before: SPACE_OR_NEWLINE }),
  token("O", `${APOSTROPHE}[0-9][0-9]`, { before: SPACE_OR_NEWLINE }),
  token("LDO", String.raw`(?:${LETTER}|${DIGIT})+(?:\.(?:${LETTER}|${DIGIT})+)*\.${FILE_ENDING}`, {
    before: `(?:${SPACE_OR_NEWLINE}|[.?!,])`,
    needs: ".",
  }),
  token("LO", `${WORD}\\.`, { before: INNER_PUNCTUATION, write: soft, needs: "." }),
  ...[
    String.raw`\([0-9]{2,3}\)[ \u00A0]?${PHONE_END}`,
    String.raw`(?:\+\+?)?[0-9]{2,4}[\- \u00A0][0-9]{2,4}[\- \u00A0]${PHONE_END}`,
    String.raw`(?:\+\+?)?[0-9]{2,4}[\- \u00A0]${PHONE_END}`,
    String.raw`(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}`,
  ].map((text) => token("DO", text, { write: (found) => brackets(joined(found)) })),
  token("O", `"|${anyCase("&quot;")}`, { before: "[A-Za-z0-9$]", write: opening }),
  token("O", `"|${anyCase("&quot;")}`, { write: closing }),
  token("O", "\\x7F", { write: skip }),
  token("O", `<|${anyCase("&lt;")}`, { write: always("<") }),
  token("O", `>|${anyCase("&gt;")}`, { write: always(">") }),
  token("O", String.raw`[<>]?[:;=][\-o*']?[\(\)DPdpO\\\{@\|\[\]]`, {
    before: "[^A-Za-z0-9]",
    write: brackets,
  }),
  token(
    "LO",
    String.raw`[\-\^x=~<>']_[\-\^x=~<>']|\([\-\^x=~<>'][_.]?[\-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'\`]\)`,
    {
      write: brackets,
    },
  ),
  ...[["\\{", "-LCB-"], ["\\}", "-RCB-"], ["\\[", "-LSB-"], ["\\]", "-RSB-"], ["\\(", "-LRB-"], [
    "\\)",
    "-RRB-",
  ]]
    .map(([text, name]) => token("O", text!, { write: always(name!) })),
  token("O", "-+", { write: (text) => text.length === 3 || text.length === 4 ? "--" : text }),
  token("O", "\\.{3,5}|(?:\\.[ \u00A0]){2,4}\\.|[\u0085\u2026]", { write: always("...") }),
  token("O", "@+|#+|_+"),
  token("O", "\\*+|(?:\\\\\\*){1,3}"),
  token("O", INNER_PUNCTUATION),
  token("O", "[?!]+"),
  token("O", "[.\u00A1\u00BF\u037E\u0589\u061F\u06D4\u0700-\u0702\u07FA\u3002]"),
  token("O", "[=\\/]"),
  token("LD", `${HYPHENATED}\\.`, { before: INNER_PUNCTUATION, write: soft, needs: "-" }),
  token("LD", HYPHENATED, { write: soft, needs: "-" }),
  token("LD", `${THING}\\.`, { before: INNER_PUNCTUATION, needs: "." }),
  token("LD", THING),
  token("L", `${UPPER_THING}\\.`, { before: INNER_PUNCTUATION, write: amp, needs: "." }),
  token("L", UPPER_THING, { write: amp }),
  token("O", "'", { before: "[A-Za-z][^ \\t\\n\\r\u00A0]", write: opening }),
  token("O", CLITIC, { write: closing }),
  token("L", NEGATION, { write: closing }),
  token(
    "O",
    `''|[\`\u2018\u2019\u201A\u201B\u201C\u201D\u0091\u0092\u0093\u0094\u201E\u201F\u2039\u203A\u00AB\u00BB]{1,2}|${APOSTROPHE}`,
    { write: closing },
  ),
  token("O", "<<|>>"),
  token("O", SYMBOLS),
  token("O", `\\0|${SPACE}+|[\u200B\u200E\u200F\uFEFF]`, { write: skip }),
  token("O", NEWLINE, { write: skip }),
  token("O", anyCase("&nbsp;"), { write: skip }),
];

/** First characters of words, sticky. */
export const LETTER_START = new RegExp(WORD_CHAR, "vy");

/** Words that the lexer splits, so that a plain word may not be taken without looking. */
export const SPLIT_WORDS: ReadonlySet<string> = new Set([
  "cannot",
  "gonna",
  "gotta",
  "lemme",
  "gimme",
  "wanna",
]);

/** Whether a word of plain letters keeps the period that ends a text after it. */
export function keepsPeriod(word: string): boolean {
  KEEPS_PERIOD.lastIndex = 0;
  return KEEPS_PERIOD.test(word);
}
const KEEPS_PERIOD = new RegExp(`^(?:${ABBREVIATION}|${TITLE})$`, "v");
