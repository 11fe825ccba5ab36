/**
 * Prompts for pictures of objects that a data set has too few of, and captions for these pictures, both neutral.
 *
 * @module
 */

import scenes from "../../data/words/scenes.json" with { type: "json" };
import { hashText, Rng } from "../base/rng.ts";
import { indefiniteArticle, nounKind, pluralOf } from "./grammar.ts";
import { neutralizeCaption } from "./neutralize.ts";
import { findProtectedTerms } from "./protected_terms.ts";
import { ANIMALS, PEOPLE } from "./word_lists.ts";

/** An object and how often a data set has it. */
export interface RareObject {
  readonly object: string;
  readonly count: number;
}

/** Kinds of scenes, by the names of the Python project. */
export const SCENE_CATEGORIES = ["indoor", "outdoor", "activity", "object_focus", "contextual"] as const;

/** One of {@linkcode SCENE_CATEGORIES}. */
export type SceneCategory = typeof SCENE_CATEGORIES[number];

/** A prompt; fields as the Python project names them, and some more. */
export interface PromptRow {
  /** `p00001`: name of the picture that is made from it. */
  readonly id: string;
  /** What an image model is told. */
  readonly prompt: string;
  /** What the picture shows, without light and style: its alternative text. */
  readonly caption: string;
  /** Singular, as the data set names them. */
  readonly objects: readonly string[];
  /** How often the data set has them. */
  readonly original_count: number | readonly number[];
  readonly type: "single_object" | "combination";
  readonly category: SceneCategory;
  /** For the image model; below 2^31, which every one takes. */
  readonly seed: number;
}

/** Options of {@linkcode generatePrompts}. */
export interface PromptOptions {
  /** @default 5 */
  readonly promptsPerObject?: number;
  /** Prompts with two or three objects too. @default true */
  readonly includeCombinations?: boolean;
  /** How many of them. @default twice the number of objects, at most 100 */
  readonly combinationCount?: number | undefined;
  /** Only objects with this count or less. @default {no limit} */
  readonly maxCount?: number | undefined;
  /** @default 42 */
  readonly seed?: number;
}

/** Prompts, and objects that there are none for. */
export interface GeneratedPrompts {
  readonly prompts: readonly PromptRow[];
  /** Objects that were used: neutral words, each once. */
  readonly objects: readonly RareObject[];
  /** Objects that were left out, with the reason. */
  readonly skipped: readonly { readonly object: string; readonly reason: string }[];
}

/** A sentence with `{a}`, one of the object, or `{several}`. */
type Template = string;

/** What kind of thing an object is, as far as it decides where it can be. */
type Nature = "person" | "animal" | "pet" | "outdoors" | "indoors" | "food" | "thing";

const TEMPLATES: Readonly<Record<Nature, Partial<Record<SceneCategory, readonly Template[]>>>> = {
  person: {
    indoor: [
      "{a} in a bright kitchen",
      "{a} beside a large window",
      "{a} in a library",
      "{several} around a table",
    ],
    outdoor: [
      "{a} on a path in a park",
      "{a} in front of a brick wall",
      "{several} on a beach",
      "{a} at a bus stop",
    ],
    activity: ["{a} with a guitar", "{a} on a bicycle", "{several} in a workshop", "{a} with a book in hand"],
    contextual: ["{a} at a market", "{several} at a picnic", "{a} on a train"],
  },
  animal: {
    outdoor: ["{a} in tall grass", "{a} near a river", "{several} in an open field", "{a} under a tree"],
    activity: ["{a} in motion", "{a} at a water hole", "{several} on the move"],
    object_focus: ["{a} seen from the side", "a close view of {a}", "{a} in soft focus"],
    contextual: ["{a} in a natural setting", "{several} in a nature reserve", "{a} at dawn"],
  },
  pet: {
    indoor: ["{a} on a rug", "{a} beside a window", "{several} on a couch", "{a} in a cozy room"],
    outdoor: ["{a} in a garden", "{a} on a lawn", "{several} in a park"],
    activity: ["{a} with a ball", "{a} in motion", "{several} at play"],
    object_focus: ["a close view of {a}", "{a} in soft focus"],
    contextual: ["{a} at home", "{a} on a doorstep"],
  },
  outdoors: {
    outdoor: [
      "{a} in the open air",
      "{a} in front of trees",
      "{several} under a blue sky",
      "{a} in the rain",
    ],
    object_focus: ["{a} seen from a low angle", "a close view of {a}", "{a} in the center of the picture"],
    contextual: ["{a} in a quiet town", "{a} on a busy day", "{several} near a park", "{a} in a snowy place"],
  },
  indoors: {
    indoor: [
      "{a} in a bright room",
      "{a} near a window",
      "{several} in a large room",
      "{a} in a small apartment",
    ],
    object_focus: ["a close view of {a}", "{a} against a plain wall", "{a} in the center of the picture"],
    contextual: ["{a} at home", "{a} in a hotel room", "{several} in a shop"],
  },
  food: {
    indoor: ["{a} on a wooden table", "{a} on a white plate", "{several} on a kitchen counter"],
    outdoor: ["{a} on a picnic blanket", "{several} at a market stall"],
    activity: ["{a} ready to be served", "hands with {a} over a table"],
    object_focus: ["a close view of {a}", "{a} on a dark background", "{a} on a cutting board"],
    contextual: ["{a} at breakfast", "{a} in a small cafe", "{several} on a tray"],
  },
  thing: {
    indoor: [
      "{a} on a wooden table",
      "{a} near a window",
      "{several} on a shelf",
      "{a} on the floor of a bright room",
    ],
    outdoor: ["{a} on a park bench", "{a} on the grass", "{a} in front of a brick wall"],
    activity: ["{a} in use", "hands with {a}"],
    object_focus: ["a close view of {a}", "{a} on a plain background", "{a} in the center of the picture"],
    contextual: ["{a} in an everyday setting", "{several} in a shop", "{a} in a workshop"],
  },
};

const COMBINATIONS: Readonly<Record<SceneCategory, readonly Template[]>> = {
  indoor: ["{all} in one room", "{all} indoors"],
  outdoor: ["{all} outdoors", "{all} under an open sky"],
  activity: ["a busy scene with {all}", "{all} in one lively scene"],
  object_focus: ["{all} side by side", "{all} on a plain background"],
  contextual: ["{all} in an everyday setting", "a scene with {all}"],
};

/** Light, view and style: for the image model, not for the caption. */
const MODIFIERS: readonly (readonly string[])[] = [
  [
    "in soft natural light",
    "in bright daylight",
    "in the light of sunset",
    "in overcast light",
    "in even light",
  ],
  ["from eye level", "from above", "from a low angle", "off center", "with a blurred background"],
  ["a realistic photograph", "in natural colors", "with sharp focus", "with fine detail"],
];

const natures: readonly (readonly [Nature, ReadonlySet<string>])[] = [
  ["person", PEOPLE],
  ["pet", new Set(scenes.pets)],
  ["food", new Set(scenes.food)],
  ["outdoors", new Set(scenes.outdoors)],
  ["indoors", new Set(scenes.indoors)],
  ["animal", ANIMALS],
];

function natureOf(object: string): Nature {
  const last = object.slice(object.lastIndexOf(" ") + 1);
  for (const name of [object, last]) {
    const found = natures.find(([, words]) => words.has(name));
    if (found !== undefined) return found[0];
  }
  return "thing";
}

/** How often another draw is made where one gave a prompt that there is already. */
const DRAWS = 40;
const MAX_SEED = 2 ** 31;
const NAME = /^[\p{L}\p{N}](?:[\p{L}\p{M}\p{N} '’&-]{0,58}[\p{L}\p{M}\p{N}])?$/u;

/**
 * Makes prompts for objects: so many of each over the kinds of scenes that suit it, and combinations of several. The same objects and
 * seed give the same prompts. Fewer are made where there are no more different ones.
 *
 * @throws {RangeError} If an option is no whole number >= 0
 */
export function generatePrompts(list: readonly RareObject[], options: PromptOptions = {}): GeneratedPrompts {
  const {
    promptsPerObject = 5,
    includeCombinations = true,
    combinationCount,
    maxCount = Infinity,
    seed = 42,
  } = options;
  for (const [name, value] of Object.entries({ promptsPerObject, combinationCount: combinationCount ?? 0 })) {
    if (!Number.isInteger(value) || value < 0) {
      throw new RangeError(`Cannot make prompts: ${name} is ${value}, expected a whole number >= 0`);
    }
  }
  const { objects, skipped } = chooseObjects(list.filter(({ count }) => count <= maxCount));
  const maker = new PromptMaker(seed);
  for (const rare of objects) maker.addSingles(rare, promptsPerObject);
  if (includeCombinations && objects.length >= 2) {
    maker.addCombinations(objects, combinationCount ?? Math.min(2 * objects.length, 100));
  }
  return { prompts: maker.prompts, objects, skipped };
}

/** Objects in neutral words, each once; what is no name of a thing is left out. */
function chooseObjects(list: readonly RareObject[]): Pick<GeneratedPrompts, "objects" | "skipped"> {
  const counts = new Map<string, number>();
  const skipped: { object: string; reason: string }[] = [];
  for (const { object, count } of list) {
    const name = object.trim().toLowerCase().replace(/\s+/g, " ");
    const neutral = neutralizeCaption(name).caption;
    if (!NAME.test(name)) skipped.push({ object, reason: "it is no name of a thing" });
    else if (neutral === "" || findProtectedTerms(neutral).length > 0) {
      skipped.push({ object, reason: "nothing is left of it without protected terms" });
    } else counts.set(neutral, (counts.get(neutral) ?? 0) + count);
  }
  return { objects: [...counts].map(([object, count]) => ({ object, count })), skipped };
}

class PromptMaker {
  readonly prompts: PromptRow[] = [];
  readonly #seed: number;
  readonly #rng: Rng;
  readonly #seen = new Set<string>();

  constructor(seed: number) {
    this.#seed = seed;
    this.#rng = new Rng(seed);
  }

  addSingles({ object, count }: RareObject, wanted: number): void {
    const byCategory = TEMPLATES[natureOf(object)];
    const categories = SCENE_CATEGORIES.filter((category) => byCategory[category] !== undefined);
    for (let made = 0; made < wanted; made++) {
      const category = categories[made % categories.length]!;
      const row = { objects: [object], original_count: count, type: "single_object", category } as const;
      this.#add(row, () => fill(this.#pick(byCategory[category]!), object));
    }
  }

  addCombinations(objects: readonly RareObject[], wanted: number): void {
    for (let made = 0; made < wanted; made++) {
      const category = SCENE_CATEGORIES[made % SCENE_CATEGORIES.length]!;
      const some = this.#sample(objects, objects.length === 2 ? 2 : 2 + this.#rng.int(2));
      const row = {
        objects: some.map(({ object }) => object),
        original_count: some.map(({ count }) => count),
        type: "combination",
        category,
      } as const;
      const all = joinNames(row.objects.map(oneOf));
      this.#add(row, () => this.#pick(COMBINATIONS[category]).replace("{all}", () => all));
    }
  }

  #add(row: Omit<PromptRow, "id" | "prompt" | "caption" | "seed">, draw: () => string): void {
    for (let tries = 0; tries < DRAWS; tries++) {
      const caption = capitalize(draw());
      const prompt = [caption, ...this.#modifiers()].join(", ");
      if (this.#seen.has(prompt) || findProtectedTerms(prompt).length > 0) continue;
      this.#seen.add(prompt);
      const id = `p${String(this.prompts.length + 1).padStart(5, "0")}`;
      const seed = hashText(`${this.#seed}|${prompt}`) % MAX_SEED;
      this.prompts.push({ id, prompt, caption, ...row, seed });
      return;
    }
  }

  /** None, one or two; the plain prompt in three of ten cases, as in the Python project. */
  #modifiers(): string[] {
    if (this.#rng.next() < 0.3) return [];
    return this.#sample(MODIFIERS, 1 + this.#rng.int(2)).map((group) => this.#pick(group));
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#rng.int(list.length)]!;
  }

  #sample<T>(list: readonly T[], count: number): T[] {
    const rest = [...list];
    return Array.from({ length: count }, () => rest.splice(this.#rng.int(rest.length), 1)[0]!);
  }
}

function fill(template: Template, object: string): string {
  return template.replace("{a}", () => oneOf(object)).replace("{several}", () => severalOf(object));
}

/** One of an object: "a dog", "an apple", "bread", "a pair of scissors", "shoes". */
export function oneOf(object: string): string {
  const kind = nounKind(object);
  if (kind === "pair") return `a pair of ${object}`;
  return kind === "countable" ? `${indefiniteArticle(object)} ${object}` : object;
}

/** More than one of an object, or as it is where it is not counted. */
function severalOf(object: string): string {
  const kind = nounKind(object);
  if (kind === "pair") return `several pairs of ${object}`;
  return kind === "countable" ? `several ${pluralOf(object)}` : object;
}

function joinNames(names: readonly string[]): string {
  if (names.length === 2) return names.join(" and ");
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
