/**
 * The word lists of `data/words`, compiled once into tables that a caption is looked up in.
 *
 * @module
 */

import age from "../../data/words/age.json" with { type: "json" };
import animals from "../../data/words/animals.json" with { type: "json" };
import context from "../../data/words/context.json" with { type: "json" };
import disability from "../../data/words/disability.json" with { type: "json" };
import doers from "../../data/words/doers.json" with { type: "json" };
import gender from "../../data/words/gender.json" with { type: "json" };
import nationality from "../../data/words/nationality.json" with { type: "json" };
import people from "../../data/words/people.json" with { type: "json" };
import raceEthnicity from "../../data/words/race_ethnicity.json" with { type: "json" };
import religion from "../../data/words/religion.json" with { type: "json" };
import sexualOrientation from "../../data/words/sexual_orientation.json" with { type: "json" };

/** Categories of protected terms, in the order that reports list them. */
export const PROTECTED_CATEGORIES = [
  "gender",
  "sexual orientation",
  "race/ethnicity",
  "nationality",
  "religion",
  "disability",
  "age",
] as const;

/** One of {@linkcode PROTECTED_CATEGORIES}. */
export type ProtectedCategory = typeof PROTECTED_CATEGORIES[number];

/**
 * When a word of a list is a protected term: `always`, as an adjective `ofPeople` ("black" before or of a person), also as a noun with an
 * article (`ofPeopleOrAlone`: "an American"), or never, because the guidelines ask for it (`accepted`: "child").
 */
export type TermUse = "always" | "ofPeople" | "ofPeopleOrAlone" | "accepted";

/** A word or phrase of a list. */
export interface TermEntry {
  /** Lower case. */
  readonly words: readonly string[];
  /** Of the list that it stands in. */
  readonly category: ProtectedCategory;
  /** When it counts. */
  readonly use: TermUse;
  /** It says nothing of people in a caption about animals alone: "his", "mother". */
  readonly withPeople: boolean;
  /** Before an animal it is part of the animal's name: "king penguin". */
  readonly notBeforeAnimals: boolean;
  /** Words that make it a false friend when they follow: "cowboy hat". */
  readonly unlessBefore: readonly (readonly string[])[];
  /** Words that make it a false friend wherever they stand: "queen" with "chess". */
  readonly unlessWith: readonly string[];
  /** Words that make it a false friend when they precede: "gingerbread man". */
  readonly unlessAfter: readonly (readonly string[])[];
}

interface WordList {
  readonly category: string;
  readonly sources: readonly string[];
  readonly always: readonly string[];
  readonly ofPeople: readonly string[];
  readonly ofPeopleOrAlone: readonly string[];
  readonly accepted?: readonly string[];
  readonly withPeople?: readonly string[];
  readonly notBeforeAnimals?: readonly string[];
  readonly unlessWith?: Readonly<Record<string, readonly string[] | undefined>>;
  readonly unlessBefore: Readonly<Record<string, readonly string[]>>;
  readonly unlessAfter: Readonly<Record<string, readonly string[]>>;
}

const LISTS: readonly WordList[] = [
  gender,
  sexualOrientation,
  raceEthnicity,
  // Demonyms that are nouns as well form their plural with s; where they do not, the form is in no caption.
  {
    ...nationality,
    always: [
      ...nationality.always,
      ...nationality.plurals,
      ...nationality.ofPeopleOrAlone.map((demonym) => `${demonym}s`),
    ],
  },
  religion,
  disability,
  age,
];

/** Words of a list's entry: parts of hyphenated ones stay together. */
function wordsOfEntry(entry: string): string[] {
  return entry.split(" ");
}

function entriesOf(list: WordList): TermEntry[] {
  const category = PROTECTED_CATEGORIES.find((name) => name === list.category);
  if (category === undefined) {
    throw new RangeError(`Cannot use a word list of category "${list.category}": no such category`);
  }
  const withPeople = new Set(list.withPeople);
  const notBeforeAnimals = new Set(list.notBeforeAnimals);
  const uses: readonly TermUse[] = ["always", "ofPeopleOrAlone", "ofPeople", "accepted"];
  return uses.flatMap((use) =>
    (list[use] ?? []).map((entry) => ({
      words: wordsOfEntry(entry),
      category,
      use,
      withPeople: withPeople.has(entry),
      notBeforeAnimals: notBeforeAnimals.has(entry),
      unlessWith: list.unlessWith?.[entry] ?? [],
      unlessBefore: (list.unlessBefore[entry] ?? []).map(wordsOfEntry),
      unlessAfter: (list.unlessAfter[entry] ?? []).map(wordsOfEntry),
    }))
  );
}

/** Entries by their first word, longest first; of equally long ones, those that count in more cases. */
function indexEntries(entries: readonly TermEntry[]): Map<string, TermEntry[]> {
  const index = new Map<string, TermEntry[]>();
  for (const entry of entries) {
    const first = entry.words[0]!;
    const found = index.get(first);
    if (found === undefined) index.set(first, [entry]);
    else found.push(entry);
  }
  for (const found of index.values()) found.sort((a, b) => b.words.length - a.words.length);
  return index;
}

/** Every entry of the seven lists, by its first word. */
export const TERMS: ReadonlyMap<string, readonly TermEntry[]> = indexEntries(LISTS.flatMap(entriesOf));

/** Pronouns stand for people, but no adjective stands before them. */
export const PRONOUNS: ReadonlySet<string> = new Set([
  "he",
  "him",
  "his",
  "himself",
  "she",
  "her",
  "hers",
  "herself",
]);

const nounsAmong = (list: WordList) =>
  [...list.always, ...(list.accepted ?? [])].filter((entry) => !entry.includes(" ") && !PRONOUNS.has(entry));

/** Words that adjectives may stand before and stay adjectives of a person. */
export const MODIFIERS: ReadonlySet<string> = new Set([
  ...people.modifiers,
  ...LISTS.flatMap((list) => [...list.ofPeople, ...list.ofPeopleOrAlone]).filter((entry) =>
    !entry.includes(" ")
  ),
  "elderly",
  "gay",
  "lesbian",
  "bisexual",
  "deaf",
  "autistic",
  "transgender",
  "middle-aged",
  "biracial",
  "same-sex",
  "lgbt",
  "lgbtq",
  "african-american",
  "dark-skinned",
  "paralyzed",
]);

/** Words for people: nouns of `people.json` and the nouns among the protected terms. */
export const PEOPLE: ReadonlySet<string> = new Set([
  ...people.nouns,
  ...doers.nouns.flatMap((noun) => [noun, `${noun}s`]),
  ...nounsAmong(gender),
  ...nounsAmong(age),
  ...["male", "female"],
  ...["monk", "monks", "nun", "nuns", "priest", "priests", "rabbi", "pastor", "missionary", "missionaries"],
  ...["gays", "lesbians", "amputee", "amputees", "paraplegic", "americans", "muslims", "christians", "jews"],
].filter((noun) => !["masculine", "feminine", "manly", "womanly", "girly", "elderly"].includes(noun)));

/** Animals. */
export const ANIMALS: ReadonlySet<string> = new Set(
  // "A girl pets a dog."
  animals.nouns.filter((noun) => !context.verbs.includes(noun)),
);

/** Words for people that are as often the first part of a thing's name: "police car". */
export const COMPOUNDING: ReadonlySet<string> = new Set(people.compounding);

/** Words for people that are as often things, so that "black" or "old" before them says nothing: "speaker". */
export const AMBIGUOUS_PEOPLE: ReadonlySet<string> = new Set(people.ambiguous);

/** Words for several of anything, which `of` may follow: "a family of elephants". */
export const GATHERINGS: ReadonlySet<string> = new Set(people.gatherings);

/** Words that a noun with an article may come after. */
export const DETERMINERS: ReadonlySet<string> = new Set(context.determiners);

/** Forms of "be" and their like. */
export const COPULAS: ReadonlySet<string> = new Set(context.copulas);

/** Words that come after a noun and never are one: prepositions, verbs. */
export const CLOSERS: ReadonlySet<string> = new Set([...context.closers, ...context.verbs]);

/** Verbs of captions in the third person, singular and plural. */
export const VERBS: ReadonlySet<string> = new Set(context.verbs);

/** Numbers written out, as ages are. */
export const NUMBERS: ReadonlySet<string> = new Set(context.numbers);

/** Decades of a life: "in his twenties". */
export const DECADES: ReadonlySet<string> = new Set(context.decades);

/** Words that say whose decade it is. */
export const POSSESSIVES: ReadonlySet<string> = new Set(context.possessives);

/** Countries, as words: somebody "from Mexico". */
export const COUNTRIES: readonly (readonly string[])[] = nationality.countriesAfterFrom.map(wordsOfEntry)
  .sort((a, b) => b.length - a.length);

/** Sources of each category's list, for pages that show them. */
export const LIST_SOURCES: Readonly<Record<ProtectedCategory, readonly string[]>> = Object.fromEntries(
  LISTS.map(({ category, sources }) => [category, sources]),
) as Record<ProtectedCategory, readonly string[]>;
