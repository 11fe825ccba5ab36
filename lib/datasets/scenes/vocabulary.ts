/**
 * What a drawn scene may hold: kinds of objects, colours, backgrounds, and which of them go together.
 *
 * @module
 */

/** A colour that captions name; the fill of an object. */
export type Colour =
  | "red"
  | "orange"
  | "yellow"
  | "green"
  | "blue"
  | "purple"
  | "pink"
  | "brown"
  | "black"
  | "white";

/** A kind of object that captions count, colour and place. */
export type Kind =
  | "house"
  | "tree"
  | "flower"
  | "car"
  | "bus"
  | "boat"
  | "person"
  | "dog"
  | "cat"
  | "bird"
  | "fish"
  | "ball"
  | "star"
  | "cup"
  | "chair"
  | "umbrella"
  | "kite"
  | "balloon"
  | "plane"
  | "mushroom";

/** Something in the upper sky of a scene: always of one colour, never counted. */
export type SkyItem = "sun" | "moon" | "cloud";

/** What lies behind the objects. */
export type Background =
  | "plain"
  | "grass"
  | "snow"
  | "beach"
  | "sea"
  | "sky"
  | "night"
  | "room"
  | "mountain";

/** Fill of each colour, sRGB. Far enough apart to be told from a few pixels. */
export const FILLS: Readonly<Record<Colour, string>> = {
  red: "#e0202c",
  orange: "#ff8a14",
  yellow: "#ffdc1e",
  green: "#1f9d3a",
  blue: "#2458e6",
  purple: "#8a2bc9",
  pink: "#ff86c0",
  brown: "#80481c",
  black: "#1c1c1f",
  white: "#fcfcfc",
};

/** All colours, in the order of {@linkcode FILLS}. */
export const COLOURS: readonly Colour[] = Object.keys(FILLS) as Colour[];

/** What captions and pictures need to know of a kind. */
export interface KindFacts {
  /** Plural word of captions. */
  readonly plural: string;
  /** Colours it comes in. */
  readonly colours: readonly Colour[];
  /** Backgrounds it may stand, swim or fly before. */
  readonly backgrounds: readonly Background[];
  /** Flies: placed in the upper part of outdoor scenes, may be above what stands on the ground. */
  readonly flies: boolean;
  /** May be called small or large (a large person would be odd English). */
  readonly sized: boolean;
}

const all = COLOURS;

/** What is known of each kind. */
export const KINDS: Readonly<Record<Kind, KindFacts>> = {
  house: {
    plural: "houses",
    colours: ["red", "orange", "yellow", "blue", "pink", "brown", "white"],
    backgrounds: ["plain", "grass", "snow", "mountain", "night"],
    flies: false,
    sized: true,
  },
  tree: {
    plural: "trees",
    colours: ["green", "orange", "yellow", "pink"],
    backgrounds: ["plain", "grass", "snow", "mountain", "night"],
    flies: false,
    sized: true,
  },
  flower: {
    plural: "flowers",
    colours: ["red", "orange", "yellow", "blue", "purple", "pink", "white"],
    backgrounds: ["plain", "grass", "mountain", "room"],
    flies: false,
    sized: true,
  },
  car: {
    plural: "cars",
    colours: all.filter((colour) => colour !== "brown"),
    backgrounds: ["plain", "grass", "snow", "beach", "mountain", "night"],
    flies: false,
    sized: true,
  },
  bus: {
    plural: "buses",
    colours: ["red", "orange", "yellow", "green", "blue", "purple", "white"],
    backgrounds: ["plain", "grass", "snow", "mountain", "night"],
    flies: false,
    sized: true,
  },
  boat: {
    plural: "boats",
    colours: all,
    backgrounds: ["plain", "sea"],
    flies: false,
    sized: true,
  },
  person: {
    plural: "people",
    colours: all.filter((colour) => colour !== "brown"),
    backgrounds: ["plain", "grass", "snow", "beach", "mountain", "night", "room"],
    flies: false,
    sized: false,
  },
  dog: {
    plural: "dogs",
    colours: ["brown", "black", "white"],
    backgrounds: ["plain", "grass", "snow", "beach", "mountain", "night", "room"],
    flies: false,
    sized: true,
  },
  cat: {
    plural: "cats",
    colours: ["orange", "black", "white"],
    backgrounds: ["plain", "grass", "snow", "night", "room"],
    flies: false,
    sized: true,
  },
  bird: {
    plural: "birds",
    colours: ["red", "yellow", "green", "blue", "pink", "black", "white"],
    backgrounds: ["plain", "sky", "night"],
    flies: true,
    sized: true,
  },
  fish: {
    plural: "fish",
    colours: ["red", "orange", "yellow", "green", "purple", "pink", "black"],
    backgrounds: ["plain", "sea"],
    flies: false,
    sized: true,
  },
  ball: {
    plural: "balls",
    colours: all,
    backgrounds: ["plain", "grass", "snow", "beach", "sea", "room"],
    flies: false,
    sized: true,
  },
  star: {
    plural: "stars",
    colours: ["red", "orange", "yellow", "green", "blue", "purple", "pink", "white"],
    backgrounds: ["plain", "night", "sky"],
    flies: true,
    sized: true,
  },
  cup: {
    plural: "cups",
    colours: all,
    backgrounds: ["plain", "room"],
    flies: false,
    sized: true,
  },
  chair: {
    plural: "chairs",
    colours: all,
    backgrounds: ["plain", "room", "beach", "grass"],
    flies: false,
    sized: true,
  },
  umbrella: {
    plural: "umbrellas",
    colours: all,
    backgrounds: ["plain", "room", "beach", "grass"],
    flies: false,
    sized: true,
  },
  kite: {
    plural: "kites",
    colours: all.filter((colour) => colour !== "brown"),
    backgrounds: ["plain", "sky"],
    flies: true,
    sized: true,
  },
  balloon: {
    plural: "balloons",
    colours: all.filter((colour) => colour !== "brown"),
    backgrounds: ["plain", "sky"],
    flies: true,
    sized: true,
  },
  plane: {
    plural: "planes",
    colours: ["red", "orange", "yellow", "green", "blue", "white"],
    backgrounds: ["plain", "sky", "night"],
    flies: true,
    sized: true,
  },
  mushroom: {
    plural: "mushrooms",
    colours: ["red", "orange", "yellow", "purple", "brown"],
    backgrounds: ["plain", "grass", "mountain", "night"],
    flies: false,
    sized: true,
  },
};

/** All kinds, in the order of {@linkcode KINDS}. */
export const KIND_NAMES: readonly Kind[] = Object.keys(KINDS) as Kind[];

/** Colours that would not stand out before a background, and are therefore not drawn there. */
export const HIDDEN_COLOURS: Readonly<Record<Background, readonly Colour[]>> = {
  plain: ["white"],
  grass: ["green"],
  snow: ["white"],
  beach: ["yellow"],
  sea: ["blue"],
  sky: ["blue"],
  night: ["black"],
  room: ["brown"],
  mountain: ["green"],
};

/** The sky items a background may have; none where the list is empty. */
export const SKY_ITEMS: Readonly<Record<Background, readonly SkyItem[]>> = {
  plain: [],
  grass: ["sun", "cloud"],
  snow: ["sun", "cloud"],
  beach: ["sun", "cloud"],
  sea: ["sun", "cloud"],
  sky: [],
  night: ["moon"],
  room: [],
  mountain: [],
};

/** Backgrounds with ground below and open sky above, where something can fly over something else. */
export const OUTDOORS: readonly Background[] = ["grass", "snow", "beach", "sea", "night", "mountain"];

/** Colours a kind can have before a background. A green tree stands out of green grass by its height. */
export function visibleColours(kind: Kind, background: Background): Colour[] {
  const hidden = HIDDEN_COLOURS[background];
  return KINDS[kind].colours.filter((colour) => kind === "tree" || !hidden.includes(colour));
}
