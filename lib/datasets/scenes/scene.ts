/**
 * What a drawn scene is: the part that a caption tells (groups, relation, background, sky item), and the part it does not (where
 * exactly and how big on the canvas).
 *
 * @module
 */

import type { Background, Colour, Kind, SkyItem } from "./vocabulary.ts";

/** Side of the square canvas on which scenes are laid out; drawings scale it to any picture size. */
export const CANVAS = 64;

/** Equal objects that a caption names together. */
export interface Group {
  /** What they are. */
  readonly kind: Kind;
  /** Colour of each of them. */
  readonly colour: Colour;
  /** 1 to 4. */
  readonly count: number;
  /** Named in the caption; absent = neither small nor large. */
  readonly size?: "small" | "large";
}

/** How the second group stands to the first: `main` is beside, above, left of, or right of `other`. */
export type Relation = "beside" | "above" | "left" | "right";

/** One object on the canvas; units of {@linkcode CANVAS}. */
export interface Placement {
  /** What it shows: a member of a group of the scene, or its sky item. */
  readonly group: "main" | "other" | "sky";
  /** Horizontal centre. */
  readonly x: number;
  /** Lower edge. */
  readonly bottom: number;
  /** Side of its square box. */
  readonly size: number;
  /** Drawn looking left instead of right. */
  readonly mirrored: boolean;
}

/** A scene with one or two groups of objects. */
export interface ObjectScene {
  /** Tells the two sorts of scenes apart. */
  readonly type: "objects";
  /** Behind everything. */
  readonly background: Background;
  /** What the caption names first. */
  readonly main: Group;
  /** How `main` stands to `other`. */
  readonly relation?: Relation;
  /** Present exactly when `relation` is. */
  readonly other?: Group;
  /** Sun, moon or cloud, if there is one. */
  readonly sky?: SkyItem;
  /** Where everything is drawn. */
  readonly placements: readonly Placement[];
  /** Which of the looks that no caption names (tints of the background, skin, hair), each in [0, 1). */
  readonly look: readonly [number, number, number];
}

/** A sheet of text. */
export interface DocumentScene {
  /** Tells the two sorts of scenes apart. */
  readonly type: "document";
  /** 1 or 2 columns. */
  readonly columns: 1 | 2;
  /** Whether a heading stands above the lines. */
  readonly heading: boolean;
  /** For every line the lengths of its words in tenths of a column; an empty line ends a paragraph. */
  readonly lines: readonly (readonly number[])[];
  /** Clockwise degrees by which the sheet lies askew. */
  readonly tilt: number;
  /** Desk under the sheet, in [0, 1). */
  readonly look: number;
}

/** A declarative description of one picture. */
export type Scene = ObjectScene | DocumentScene;
