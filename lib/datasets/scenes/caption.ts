/**
 * The caption of a scene: a fixed function of what the picture shows, so that a model that sees perfectly is exactly right.
 *
 * Rules: groups of equal objects are named once, with their count. Beside: the left one comes first. Of a large and a small one the
 * large one comes first, and "to the left of" or "to the right of" says where it stands. Of two above one another
 * the upper comes first. Then the place, then the sun, moon or cloud.
 *
 * @module
 */

import { hashText } from "../../base/rng.ts";
import type { Group, ObjectScene, Relation, Scene } from "./scene.ts";
import { type Background, type Kind, KINDS, type SkyItem } from "./vocabulary.ts";

/** The texts that belong to a scene. */
export interface SceneCaption {
  /** Neutral caption, at most 16 words; what a model should write. */
  readonly altText: string;
  /** The same content in less neutral words, as people write it. */
  readonly originalAltText: string;
  /** Nouns (singular) of everything the caption names, each once, in the order of the caption. */
  readonly objects: string[];
}

/** The caption of every document, whatever it shows. */
export const DOCUMENT_CAPTION = "Text document.";

const COUNT_WORDS = ["", "a", "two", "three", "four"];
const SKY_PHRASES: Readonly<Record<SkyItem, string>> = {
  sun: "under a yellow sun",
  moon: "under a white moon",
  cloud: "under a white cloud",
};
const RELATION_PHRASES: Readonly<Record<Relation, string>> = {
  beside: "beside",
  above: "above",
  left: "to the left of",
  right: "to the right of",
};
const PLACE_PHRASES: Readonly<Record<Background, string>> = {
  plain: "",
  grass: "on the grass",
  snow: "in the snow",
  beach: "on the beach",
  sea: "on the sea",
  sky: "in the sky",
  night: "at night",
  room: "in a room",
  mountain: "by a mountain",
};
const PRAISE = ["lovely", "gorgeous", "beautiful", "charming", "stunning", "pretty"];
const PEOPLE = [["handsome man", "handsome men"], ["beautiful woman", "beautiful women"], [
  "young lady",
  "young ladies",
]];

/** The neutral caption, its less neutral twin, and the nouns in it. */
export function sceneCaption(scene: Scene): SceneCaption {
  if (scene.type === "document") {
    return {
      altText: DOCUMENT_CAPTION,
      originalAltText: scene.columns === 2
        ? "A boring page full of words in two columns"
        : "A boring page full of words",
      objects: ["document"],
    };
  }
  const altText = sentence(scene, describeGroup) + ".";
  // The choice of words hangs on the scene alone, so that equal scenes have equal captions.
  const taste = hashText(altText);
  let position = 0;
  const originalAltText = sentence(scene, (group) => describeWithTaste(group, taste + position++));
  const nouns: string[] = [scene.main.kind];
  if (scene.other) nouns.push(scene.other.kind);
  if (scene.background === "mountain") nouns.push("mountain");
  if (scene.sky) nouns.push(scene.sky);
  return { altText, originalAltText, objects: [...new Set(nouns)] };
}

/**
 * Identity of what a scene shows. Pictures of one key differ only in what no caption tells (exact positions, tints); splits are made
 * by it. A sheet of text is identified by its layout and words.
 */
export function sceneKey(scene: Scene): string {
  if (scene.type === "document") {
    const lines = scene.lines.map((words) => words.join(".")).join("/");
    return `document|${scene.columns}|${scene.heading ? "heading" : "plain"}|${lines}`;
  }
  const parts = [scene.background, groupKey(scene.main)];
  if (scene.other) parts.push(scene.relation as string, groupKey(scene.other));
  if (scene.sky) parts.push(scene.sky);
  return parts.join("|");
}

function groupKey({ count, size, colour, kind }: Group): string {
  return `${count} ${size ?? "medium"} ${colour} ${kind}`;
}

function sentence(scene: ObjectScene, describe: (group: Group) => string): string {
  const parts = [describe(scene.main)];
  if (scene.relation && scene.other) parts.push(RELATION_PHRASES[scene.relation], describe(scene.other));
  parts.push(placePhrase(scene.background, scene.main.kind));
  if (scene.sky) parts.push(SKY_PHRASES[scene.sky]);
  const text = parts.filter((part) => part !== "").join(" ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function placePhrase(background: Background, kind: Kind): string {
  return background === "sea" && kind === "fish" ? "in the sea" : PLACE_PHRASES[background];
}

function describeGroup({ kind, colour, count, size }: Group): string {
  const noun = count === 1 ? kind : KINDS[kind].plural;
  if (kind === "person") return withCount(count, `${noun} in ${colour}`);
  return withCount(count, size ? `${size} ${colour} ${noun}` : `${colour} ${noun}`);
}

function describeWithTaste(group: Group, taste: number): string {
  const { kind, colour, count } = group;
  const noun = count === 1 ? kind : KINDS[kind].plural;
  const praise = PRAISE[taste % PRAISE.length] as string;
  if (kind === "person") {
    const [one, many] = PEOPLE[taste % PEOPLE.length] as [string, string];
    return withCount(count, `${count === 1 ? one : many} dressed in ${colour}`);
  }
  return withCount(count, [praise, group.size, colour, noun].filter(Boolean).join(" "));
}

function withCount(count: number, words: string): string {
  const article = /^[aeiou]/.test(words) ? "an" : "a";
  return `${count === 1 ? article : COUNT_WORDS[count]} ${words}`;
}
