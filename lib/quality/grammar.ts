/**
 * What English asks of words beside each other: articles by sound, plurals, verbs of one and of several.
 *
 * @module
 */

/** Words that begin with a vowel's letter and a consonant's sound, and the reverse. */
const CONSONANT_SOUND = /^(?:uni(?!n|m)|use|usual|usu|ute|uk|euro|eu|one(?!i)|once|ouija|u-|ufo)/;
const VOWEL_SOUND =
  /^(?:hour|honest|honou?r|heir|[fhlmnrsx](?:-|$)|8|11|18|mri|lcd|led tv|x-ray|suv|hd|fm|mp3)/;

/** `a` or `an`, by the sound that a word begins with. */
export function indefiniteArticle(word: string): "a" | "an" {
  const lower = word.toLowerCase();
  if (VOWEL_SOUND.test(lower)) return "an";
  return /^[aeiouà-æè-ïò-öù-ü]/.test(lower) && !CONSONANT_SOUND.test(lower) ? "an" : "a";
}

/** Plurals that no rule gives, by their singulars. */
export const IRREGULAR_PLURALS: Readonly<Record<string, string>> = {
  person: "people",
  man: "men",
  woman: "women",
  child: "children",
  grandchild: "grandchildren",
  stepchild: "stepchildren",
  foot: "feet",
  tooth: "teeth",
  goose: "geese",
  mouse: "mice",
  ox: "oxen",
  leaf: "leaves",
  wolf: "wolves",
  shelf: "shelves",
  knife: "knives",
  half: "halves",
  loaf: "loaves",
  calf: "calves",
  scarf: "scarves",
  headscarf: "headscarves",
  thief: "thieves",
  life: "lives",
  potato: "potatoes",
  tomato: "tomatoes",
  hero: "heroes",
  mango: "mangoes",
  cactus: "cacti",
  monarch: "monarchs",
};

/** Nouns of things that are not counted, alone or as the last word of a name. */
const UNCOUNTABLE: ReadonlySet<string> = new Set(
  ("bread butter cheese rice pasta spaghetti salad soup coffee tea milk water juice beer wine cream ice sugar salt pepper flour meat beef pork bacon ham " +
    "chicken salmon tuna seafood fruit lettuce broccoli spinach cabbage corn garlic popcorn chocolate honey jam ketchup mustard sauce food toast cereal cake-mix yogurt " +
    "snow rain fog smoke fire sand grass dirt mud soil hay straw ivy moss wood metal steel plastic paper leather cotton wool silk concrete gravel " +
    "furniture luggage baggage equipment jewelry jewellery clothing machinery traffic scenery art music graffiti lightning sunlight water sky hair money mail garbage trash rubbish debris " +
    "pottery silverware cutlery glassware foliage vegetation wildlife greenery")
    .split(" "),
);

/** Nouns that are plural in form and take no article: a pair of them is one. */
const PAIRS: ReadonlySet<string> = new Set(
  "scissors glasses sunglasses eyeglasses goggles pants trousers jeans shorts tights pajamas pyjamas leggings binoculars pliers tweezers tongs headphones shears"
    .split(" "),
);

/** Nouns with one form for one and for several. */
const SAME: ReadonlySet<string> = new Set(
  "sheep deer fish moose bison aircraft spacecraft series species salmon trout swine".split(" "),
);

/** How a noun is used with numbers and articles. */
export type NounKind = "countable" | "uncountable" | "plural" | "pair";

/** How the last word of a name is used: `bread` has no article, `scissors` come in pairs, `shoes` are several. */
export function nounKind(name: string): NounKind {
  const last = lastWord(name);
  if (PAIRS.has(last)) return "pair";
  if (UNCOUNTABLE.has(last)) return "uncountable";
  if (SAME.has(last)) return "countable";
  if (Object.values(IRREGULAR_PLURALS).includes(last)) return "plural";
  const isSingularInS = /(?:ss|us|is|as|os|ics)$/.test(last) || ["bus", "gas", "lens", "yes"].includes(last);
  return last.endsWith("s") && last.length > 3 && !isSingularInS ? "plural" : "countable";
}

/** The plural of a name's last word: `wine glasses`, `knives`. Plurals and what is not counted stay. */
export function pluralOf(name: string): string {
  if (nounKind(name) !== "countable") return name;
  const last = lastWord(name);
  const before = name.slice(0, name.length - last.length);
  if (SAME.has(last)) return name;
  const irregular = IRREGULAR_PLURALS[last];
  if (irregular !== undefined) return before + irregular;
  if (last.endsWith("person")) return `${before}${last.slice(0, -6)}people`;
  if (/[^aeiou]y$/.test(last)) return `${before}${last.slice(0, -1)}ies`;
  if (/(?:s|x|z|ch|sh)$/.test(last)) return `${name}es`;
  return `${name}s`;
}

function lastWord(name: string): string {
  return name.slice(name.lastIndexOf(" ") + 1).toLowerCase();
}

const PLURAL_VERBS: Readonly<Record<string, string>> = {
  is: "are",
  was: "were",
  has: "have",
  does: "do",
  goes: "go",
  isn: "aren",
};

/** The form of a verb that `they` takes, of the form that `he` or `she` takes: `runs` gives `run`. */
export function pluralVerb(verb: string): string {
  const known = PLURAL_VERBS[verb];
  if (known !== undefined) return known;
  if (!verb.endsWith("s") || verb.endsWith("ss")) return verb;
  if (verb.endsWith("ies")) return verb.length > 4 ? `${verb.slice(0, -3)}y` : verb.slice(0, -1);
  if (/(?:ss|sh|ch|x|zz)es$/.test(verb)) return verb.slice(0, -2);
  return verb.slice(0, -1);
}
