/**
 * Captions and objects as words, and which objects a caption mentions.
 *
 * @module
 */

import { IRREGULAR_PLURALS } from "./grammar.ts";

/** Lower case, everything but letters, digits and `_` turned to single spaces: the Python report's form. */
export function normalizeWords(text: string): string {
  return text.toLowerCase().replace(/[^\p{L}\p{M}\p{N}_]+/gu, " ").trim();
}

/** Words of a text in that form. */
export function wordsOf(text: string): string[] {
  const normal = normalizeWords(text);
  return normal === "" ? [] : normal.split(" ");
}

/** Most objects of a row that are read; a list is bounded before it is believed. */
const MAX_OBJECTS = 1000;

/**
 * Objects of a cell: a list of names, text apart by `,` or `;`, or such a list printed by JSON or Python. Anything else, such as boxes
 * with coordinates, names no objects.
 *
 * @returns Names in normal form, none empty; `undefined` where the cell holds none that can be read
 */
export function readObjectNames(cell: unknown): string[] | undefined {
  if (cell === null || cell === undefined) return undefined;
  const parts = typeof cell === "string" ? splitNames(cell) : cell;
  if (!Array.isArray(parts) || !parts.every((part) => typeof part === "string")) return undefined;
  return parts.slice(0, MAX_OBJECTS).map(normalizeWords).filter((name) => name !== "");
}

function splitNames(text: string): string[] {
  const [, inside] = /^\s*\[(.*)\]\s*$/s.exec(text) ?? [];
  return (inside ?? text).split(/[;,]/).map((name) => name.trim().replace(/^(["'])(.*)\1$/s, "$2"));
}

const SINGULARS = new Map(Object.entries(IRREGULAR_PLURALS).map(([one, many]) => [many, one]));

/** Forms of the last word of a name: itself, its plurals and its singulars, so that "bus" is found in "two buses". */
export function wordForms(word: string): string[] {
  const forms = new Set([word]);
  const add = (form: string | undefined) => form !== undefined && form.length > 1 && forms.add(form);
  add(IRREGULAR_PLURALS[word]);
  add(SINGULARS.get(word));
  if (!/(s|x|z|ch|sh)$/.test(word)) add(`${word}s`);
  if (/(s|x|z|ch|sh|o)$/.test(word)) add(`${word}es`);
  if (/[^aeiou]y$/.test(word)) add(`${word.slice(0, -1)}ies`);
  if (/ies$/.test(word)) add(`${word.slice(0, -3)}y`);
  if (/(s|x|z|ch|sh|o)es$/.test(word)) add(word.slice(0, -2));
  if (/[^s]s$/.test(word)) add(word.slice(0, -1));
  return [...forms];
}

/** How many objects a caption mentions. */
export interface ObjectMatch {
  /** Objects that it mentions. */
  readonly matched: number;
  /** Objects that it should. */
  readonly total: number;
  /** Those that it does not. */
  readonly missing: readonly string[];
}

/**
 * Counts the objects that a caption mentions, as whole words, in singular or plural.
 *
 * @param caption In normal form
 * @param objects In normal form
 */
export function matchObjects(caption: string, objects: readonly string[]): ObjectMatch {
  const padded = ` ${caption} `;
  const missing = objects.filter((name) => {
    const space = name.lastIndexOf(" ") + 1;
    const [head, last] = [name.slice(0, space), name.slice(space)];
    return !padded.includes(` ${name} `) &&
      !wordForms(last).some((form) => padded.includes(` ${head}${form} `));
  });
  return { matched: objects.length - missing.length, total: objects.length, missing };
}
