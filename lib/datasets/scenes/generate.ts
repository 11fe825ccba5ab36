/**
 * Random scenes, laid out on the canvas so that objects are large enough to be told and hardly overlap.
 *
 * @module
 */

import type { Rng } from "../../base/rng.ts";
import type { DocumentScene, Group, ObjectScene, Placement, Relation, Scene } from "./scene.ts";
import {
  type Background,
  type Kind,
  KIND_NAMES,
  KINDS,
  OUTDOORS,
  SKY_ITEMS,
  type SkyItem,
  visibleColours,
} from "./vocabulary.ts";

// Sides of object boxes on the 64-unit canvas. Small, unnamed and large differ by 1.7 times or more each, so that size words can be seen.
const SMALL = 15;
const MEDIUM = 26;
const LARGE = 44;

const BACKGROUNDS: readonly Background[] = ["plain", ...OUTDOORS, "sky", "room"];

/** Layouts and how often each is drawn. */
const LAYOUTS: readonly (readonly [weight: number, draw: (rng: Rng) => Scene])[] = [
  [0.19, drawSingle],
  [0.2, drawCounted],
  [0.17, drawBeside],
  [0.13, drawLargeAndSmall],
  [0.11, drawAbove],
  [0.15, drawLandscape],
  [0.05, drawDocument],
];

/**
 * Draws one scene; equal generator states give equal scenes.
 *
 * @param rng Advanced by as many draws as the scene needs
 */
export function generateScene(rng: Rng): Scene {
  let left = rng.next();
  for (const [weight, draw] of LAYOUTS) {
    left -= weight;
    if (left < 0) return draw(rng);
  }
  return drawDocument(rng);
}

function drawSingle(rng: Rng): ObjectScene {
  const background = pickBackground(rng);
  const group = pickGroup(rng, background, kindsBefore(background));
  const named = KINDS[group.kind].sized ? rng.pick([undefined, "small", "large"] as const) : undefined;
  const main: Group = named ? { ...group, size: named } : group;
  const size = around(rng, named === "small" ? SMALL : named === "large" ? LARGE : MEDIUM, 0.04);
  const x = between(rng, size / 2 + 2, 62 - size / 2);
  return scene(rng, { background, main }, [
    place(rng, "main", x, standingLine(rng, main.kind, background, size), size),
  ]);
}

function drawCounted(rng: Rng): ObjectScene {
  const background = pickBackground(rng);
  const count = 2 + rng.int(3);
  const main: Group = { ...pickGroup(rng, background, kindsBefore(background)), count };
  return scene(rng, { background, main }, arrange(rng, main, { background, left: 1, right: 63 }));
}

function drawBeside(rng: Rng): ObjectScene {
  const background = pickBackground(rng);
  const [main, other] = pickTwo(rng, background, kindsBefore(background));
  const size = around(rng, 25, 0.04);
  const line = standingLine(rng, main.kind, background, size);
  return scene(rng, { background, main, relation: "beside", other }, [
    place(rng, "main", between(rng, 14, 19), line + between(rng, -1.5, 1.5), size),
    place(rng, "other", between(rng, 45, 50), line + between(rng, -1.5, 1.5), size),
  ]);
}

function drawLargeAndSmall(rng: Rng): ObjectScene {
  const background = pickBackground(rng);
  const [first, second] = pickTwo(
    rng,
    background,
    kindsBefore(background).filter((kind) => KINDS[kind].sized),
  );
  const relation: Relation = rng.pick(["left", "right"]);
  const largeSize = around(rng, 39, 0.03);
  const smallSize = around(rng, SMALL, 0.03);
  const [largeX, smallX] = [between(rng, 21, 22), between(rng, 52, 54)];
  const mirror = (x: number) => relation === "left" ? x : 64 - x;
  return scene(
    rng,
    { background, main: { ...first, size: "large" }, relation, other: { ...second, size: "small" } },
    [
      place(rng, "main", mirror(largeX), standingLine(rng, first.kind, background, largeSize), largeSize),
      place(rng, "other", mirror(smallX), standingLine(rng, second.kind, background, smallSize), smallSize),
    ],
  );
}

function drawAbove(rng: Rng): ObjectScene {
  const background = rng.pick([...OUTDOORS, "plain", "plain", "sky"] as const);
  const fliers = KIND_NAMES.filter((kind) => KINDS[kind].flies && kind !== "star");
  const standing = kindsBefore(background).filter((kind) => !KINDS[kind].flies);
  const anywhere = kindsBefore(background);
  const outdoors = OUTDOORS.includes(background);
  const main = pickGroup(rng, background, outdoors ? fliers : anywhere);
  let other = pickGroup(rng, background, outdoors ? standing : anywhere);
  while (sameLook(main, other)) other = pickGroup(rng, background, anywhere);
  const size = around(rng, 24, 0.04);
  const upperX = between(rng, 18, 46);
  // The lower one is nearly straight below: what is far to the side would rather be called beside.
  const lowerX = Math.min(48, Math.max(16, upperX + between(rng, -8, 8)));
  return scene(rng, { background, main, relation: "above", other }, [
    place(rng, "main", upperX, between(rng, 27, 30), size),
    place(rng, "other", lowerX, between(rng, 59, 62), size),
  ]);
}

/** A large main object, one or two smaller companions, and something in the sky. */
function drawLandscape(rng: Rng): ObjectScene {
  const background = rng.pick(["grass", "snow", "beach", "sea", "night"] as const);
  const standing = kindsBefore(background).filter((kind) => !KINDS[kind].flies);
  const big = standing.filter((kind) =>
    ["house", "car", "bus", "boat", "person", "tree", "umbrella"].includes(kind)
  );
  const main = pickGroup(rng, background, big);
  const companions = standing.filter((kind) => kind !== main.kind);
  const other: Group = { ...pickGroup(rng, background, companions), count: 1 + rng.int(2) };
  const sky: SkyItem = rng.pick(SKY_ITEMS[background]);
  // Captions of two objects beside one another begin with the left one.
  const size = around(rng, 29, 0.03);
  const mainPlacement = place(rng, "main", between(rng, 16, 17), between(rng, 57, 61), size);
  const skySize = around(rng, 17, 0.06);
  return scene(rng, { background, main, relation: "beside", other, sky }, [
    place(rng, "sky", between(rng, 10, 54), 3 + skySize, skySize),
    mainPlacement,
    ...arrange(rng, other, { background, left: 32, right: 63, group: "other" }),
  ]);
}

function drawDocument(rng: Rng): DocumentScene {
  const columns = rng.next() < 0.3 ? 2 : 1;
  const lines = Array.from({ length: 7 + rng.int(6) }, () => {
    if (rng.next() < 0.12) return [];
    const words: number[] = [];
    let left = rng.next() < 0.2 ? 6 : 10;
    while (left > 0) {
      const length = Math.min(left, 1 + rng.int(3));
      words.push(length);
      left -= length;
    }
    return words;
  });
  return {
    type: "document",
    columns,
    heading: rng.next() < 0.5,
    lines,
    tilt: between(rng, -4, 4),
    look: rng.next(),
  };
}

interface ArrangeOptions {
  readonly background: Background;
  /** Left and right edge of the room on the canvas. */
  readonly left: number;
  readonly right: number;
  /** @default "main" */
  readonly group?: "main" | "other";
}

/** Places the members of a group side by side, or four of them two by two. */
function arrange(rng: Rng, group: Group, options: ArrangeOptions): Placement[] {
  const { background, left, right } = options;
  const width = right - left;
  const twoByTwo = group.count === 4;
  const perRow = twoByTwo ? 2 : group.count;
  const floats = floatsBefore(group.kind, background);
  const roomPerObject = twoByTwo ? (floats ? 21 : 17.5) : width / perRow - 1;
  const size = around(rng, Math.min(group.count === 1 ? 23 : 24, roomPerObject), 0.03);
  const step = Math.min(width / perRow, size * 1.35);
  const start = left + (width - step * perRow) / 2 + step / 2;
  const shift = between(rng, -1, 1) * ((width - step * perRow) / 2);
  const line = standingLine(rng, group.kind, background, size);
  return Array.from({ length: group.count }, (_, i) => {
    const row = Math.floor(i / perRow);
    const bottom = twoByTwo
      ? 60 - (1 - row) * (floats ? 27 : 19) + between(rng, -1.5, 1.5)
      : line + between(rng, -2, 2);
    const x = start + shift + step * (i % perRow) + between(rng, -0.5, 0.5);
    return place(rng, options.group ?? "main", x, Math.min(62, bottom), size);
  });
}

/** Where the lower edge of an object goes: on the ground, or anywhere in the air. */
function standingLine(rng: Rng, kind: Kind, background: Background, size: number): number {
  if (floatsBefore(kind, background)) return between(rng, size + 3, KINDS[kind].flies ? 56 : 61);
  return between(rng, Math.max(48, size + 6), 61);
}

/** Whether an object needs no ground under it: it flies, or there is none. */
function floatsBefore(kind: Kind, background: Background): boolean {
  return background === "plain" || background === "sky" || KINDS[kind].flies;
}

function kindsBefore(background: Background): Kind[] {
  return KIND_NAMES.filter((kind) => KINDS[kind].backgrounds.includes(background));
}

function pickBackground(rng: Rng): Background {
  return rng.pick(BACKGROUNDS);
}

function pickGroup(rng: Rng, background: Background, kinds: readonly Kind[]): Group {
  const kind = rng.pick(kinds);
  return { kind, colour: rng.pick(visibleColours(kind, background)), count: 1 };
}

/** Two objects that differ in kind or colour; before an open sky both stand or both fly, to be beside one another. */
function pickTwo(rng: Rng, background: Background, kinds: readonly Kind[]): [Group, Group] {
  const first = pickGroup(rng, background, kinds);
  const level = background === "plain"
    ? kinds
    : kinds.filter((kind) => KINDS[kind].flies === KINDS[first.kind].flies);
  let second = pickGroup(rng, background, level);
  while (sameLook(first, second)) second = pickGroup(rng, background, level);
  return [first, second];
}

function sameLook(a: Group, b: Group): boolean {
  return a.kind === b.kind && a.colour === b.colour;
}

function place(rng: Rng, group: Placement["group"], x: number, bottom: number, size: number): Placement {
  return { group, x, bottom, size, mirrored: rng.next() < 0.5 };
}

function scene(
  rng: Rng,
  told: Pick<ObjectScene, "background" | "main" | "relation" | "other" | "sky">,
  placements: readonly Placement[],
): ObjectScene {
  return { type: "objects", ...told, placements, look: [rng.next(), rng.next(), rng.next()] };
}

function between(rng: Rng, low: number, high: number): number {
  return low + (high - low) * rng.next();
}

function around(rng: Rng, value: number, share: number): number {
  return value * between(rng, 1 - share, 1 + share);
}
