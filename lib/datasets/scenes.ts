/**
 * Drawn scenes with captions: a seeded world of pictures that a small captioner can learn completely.
 *
 * @module
 */

import { hashText } from "../base/rng.ts";

export { generateScene } from "./scenes/generate.ts";
export { DOCUMENT_CAPTION, type SceneCaption, sceneCaption, sceneKey } from "./scenes/caption.ts";
export { type SceneSvgOptions, sceneToSvg } from "./scenes/svg.ts";
export {
  CANVAS,
  type DocumentScene,
  type Group,
  type ObjectScene,
  type Placement,
  type Relation,
  type Scene,
} from "./scenes/scene.ts";
export {
  type Background,
  type Colour,
  COLOURS,
  type Kind,
  KIND_NAMES,
  type KindFacts,
  KINDS,
  type SkyItem,
} from "./scenes/vocabulary.ts";

/** Part of a data set that a scene belongs to. */
export type SceneSplit = "train" | "validation" | "test";

/**
 * The split of a scene, decided by its key alone: 80 % train, 8 % validation, 12 % test. Whatever draws scenes, and from whatever seed,
 * a test scene is never among the training scenes.
 *
 * @param key What `sceneKey` returned
 */
export function splitOfKey(key: string): SceneSplit {
  const share = hashText(`split|${key}`) % 100;
  return share < 80 ? "train" : share < 88 ? "validation" : "test";
}

/** Whether a scene of this key belongs to the test split. */
export function isTestScene(key: string): boolean {
  return splitOfKey(key) === "test";
}
