/**
 * Synonyms from WordNet 3.0, read from its own database files; no part of WordNet comes with this program.
 *
 * Source: Fellbaum, "WordNet: An Electronic Lexical Database", 1998; the formats are those of `wndb(5WN)`; base forms are looked up as
 * NLTK's `morphy` does
 *
 * @module
 */

/** Parts of speech, by the ending of their files. */
export const PARTS_OF_SPEECH = ["noun", "verb", "adj", "adv"] as const;

/** A part of speech. */
export type PartOfSpeech = typeof PARTS_OF_SPEECH[number];

/** Names of the files that {@linkcode WordNet} reads; the exception lists (`*.exc`) may be missing, which changes a few scores. */
export const WORDNET_FILES: readonly string[] = PARTS_OF_SPEECH.flatMap((
  part,
) => [`index.${part}`, `data.${part}`, `${part}.exc`]);

/** Text of a WordNet file by its name, or `undefined` where there is none. */
export type WordNetTexts = (name: string) => string | undefined;

const SUFFIXES: Readonly<Record<PartOfSpeech, readonly (readonly [string, string])[]>> = {
  noun: [["s", ""], ["ses", "s"], ["ves", "f"], ["xes", "x"], ["zes", "z"], ["ches", "ch"], ["shes", "sh"], [
    "men",
    "man",
  ], ["ies", "y"]],
  verb: [["s", ""], ["ies", "y"], ["es", "e"], ["es", ""], ["ed", "e"], ["ed", ""], ["ing", "e"], [
    "ing",
    "",
  ]],
  adj: [["er", ""], ["est", ""], ["er", "e"], ["est", "e"]],
  adv: [],
};

interface Part {
  /** Positions of a word's synsets in the data file, as text between spaces. */
  readonly index: ReadonlyMap<string, readonly number[]>;
  /** The data file: synsets are read where they are asked for. */
  readonly data: string;
  /** Base forms of irregular ones. */
  readonly exceptions: ReadonlyMap<string, readonly string[]>;
}

/** WordNet in memory. */
export class WordNet {
  readonly #parts: ReadonlyMap<PartOfSpeech, Part>;
  readonly #synonyms = new Map<string, ReadonlySet<string>>();
  /** Whether the exception lists were there. */
  readonly hasExceptions: boolean;

  /**
   * Reads the files {@linkcode WORDNET_FILES}.
   *
   * @throws {RangeError} If an index or data file is missing
   * @throws {SyntaxError} If one is damaged
   */
  constructor(texts: WordNetTexts) {
    this.#parts = new Map(PARTS_OF_SPEECH.map((part) => {
      const [index, data] = [`index.${part}`, `data.${part}`].map((name) => {
        const text = texts(name);
        if (text === undefined) throw new RangeError(`Cannot read WordNet: it has no file "${name}"`);
        return text;
      }) as [string, string];
      return [part, {
        index: readIndex(index, `index.${part}`),
        data,
        exceptions: readExceptions(texts(`${part}.exc`) ?? ""),
      }];
    }));
    this.hasExceptions = PARTS_OF_SPEECH.every((part) => texts(`${part}.exc`) !== undefined);
  }

  /** Names of all synsets of a word and its base forms, of one word each, in the case that WordNet writes. */
  synonyms(word: string): ReadonlySet<string> {
    const known = this.#synonyms.get(word);
    if (known !== undefined) return known;
    const names = new Set<string>();
    for (const part of PARTS_OF_SPEECH) {
      const { index, data } = this.#parts.get(part)!;
      for (const form of this.baseForms(word.toLowerCase(), part)) {
        for (const offset of index.get(form) ?? []) {
          for (const name of namesAt(data, offset, part)) if (!name.includes("_")) names.add(name);
        }
      }
    }
    this.#synonyms.set(word, names);
    return names;
  }

  /** Forms of a word that are entries of a part of speech; itself too if it is one. */
  baseForms(word: string, part: PartOfSpeech): string[] {
    const { index, exceptions } = this.#parts.get(part)!;
    const entries = (forms: readonly string[]) => [...new Set(forms)].filter((form) => index.has(form));
    const irregular = exceptions.get(word);
    if (irregular !== undefined) return entries([word, ...irregular]);
    const apply = (forms: readonly string[]) =>
      forms.flatMap((form) =>
        SUFFIXES[part].filter(([suffix]) => form.endsWith(suffix))
          .map(([suffix, replacement]) => form.slice(0, form.length - suffix.length) + replacement)
      );
    let forms = apply([word]);
    let found = entries([word, ...forms]);
    while (found.length === 0 && forms.length > 0) {
      forms = [...new Set(apply(forms))];
      found = entries(forms);
    }
    return found;
  }
}

/** Lines `lemma pos synset_cnt p_cnt [ptr]... sense_cnt tagsense_cnt offset...`; the licence's lines begin with spaces. */
function readIndex(text: string, name: string): Map<string, number[]> {
  const index = new Map<string, number[]>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith(" ")) continue;
    const fields = line.trimEnd().split(" ");
    const count = Number(fields[2]);
    const offsets = fields.slice(-count).map(Number);
    // Four fields, the pointers, two counts, the offsets.
    const isWhole = count > 0 && fields.length === 6 + Number(fields[3]) + count;
    if (!isWhole || !offsets.every(Number.isSafeInteger)) {
      throw new SyntaxError(`Cannot read WordNet's "${name}": its line of "${fields[0]}" is damaged`);
    }
    index.set(fields[0]!, offsets);
  }
  return index;
}

function readExceptions(text: string): Map<string, string[]> {
  return new Map(
    text.split("\n").map((line) => line.trim().split(/\s+/)).filter((fields) => fields.length > 1)
      .map(([form, ...bases]) => [form!, bases]),
  );
}

/** Names of the synset at a byte of a data file: `offset lex_filenum ss_type w_cnt word lex_id [word lex_id]...`, w_cnt hexadecimal. */
function namesAt(data: string, offset: number, part: PartOfSpeech): string[] {
  const end = data.indexOf("\n", offset);
  const fields = data.slice(offset, end < 0 ? undefined : end).split(" ");
  const count = parseInt(fields[3] ?? "", 16);
  if (Number(fields[0]) !== offset || !(count > 0) || fields.length < 4 + 2 * count) {
    throw new SyntaxError(`Cannot read WordNet's "data.${part}": there is no synset at byte ${offset}`);
  }
  // Adjectives carry where they stand: "galore(ip)".
  return Array.from({ length: count }, (_, i) => fields[4 + 2 * i]!.replace(/\((?:a|p|ip)\)$/, ""));
}
