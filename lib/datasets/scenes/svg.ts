/**
 * Scenes as SVG text.
 *
 * @module
 */

import { DRAWINGS, type Paint, SKY_DRAWINGS } from "./drawings.ts";
import { CANVAS, type DocumentScene, type ObjectScene, type Placement, type Scene } from "./scene.ts";
import { type Background, type Colour, FILLS } from "./vocabulary.ts";

/** Options of {@linkcode sceneToSvg}. */
export interface SceneSvgOptions {
  /** Width and height of the picture in pixels. */
  readonly size: number;
}

const SKINS = ["#f3cda6", "#d79f6c", "#a86b3c", "#6f4526"];
const PLAIN_TINTS = ["#ffffff", "#ececef", "#fbf3df"];
const DARK_LINE = "#26262b";
const LIGHT_LINE = "#dfe3f0";

/**
 * The picture of a scene.
 *
 * @returns A complete SVG document without scripts, fonts or references
 */
export function sceneToSvg(scene: Scene, { size }: SceneSvgOptions): string {
  const body = scene.type === "document" ? documentBody(scene) : objectsBody(scene);
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${size}" height="${size}" viewBox="0 0 ${CANVAS} ${CANVAS}">${body}</svg>`;
}

function objectsBody(scene: ObjectScene): string {
  const line = scene.background === "night" ? LIGHT_LINE : DARK_LINE;
  // What stands further down is nearer and is painted later.
  const ordered = [...scene.placements].sort((a, b) => a.bottom - b.bottom);
  return backgroundBody(scene.background, scene.look[0]) +
    ordered.map((placement) => placementBody(scene, placement, line)).join("");
}

function placementBody(scene: ObjectScene, placement: Placement, line: string): string {
  const scale = placement.size / 100;
  const left = placement.x - placement.size / 2;
  const top = placement.bottom - placement.size;
  const turn = placement.mirrored ? " translate(100 0) scale(-1 1)" : "";
  // Outlines stay one canvas unit wide at most, whatever the object's size.
  const attributes = `transform="translate(${round(left)} ${round(top)}) scale(${round(scale)})${turn}" ` +
    `stroke="${line}" stroke-width="${round(0.8 / scale)}" stroke-linejoin="round"`;
  if (placement.group === "sky") {
    return scene.sky ? `<g ${attributes}>${SKY_DRAWINGS[scene.sky]}</g>` : "";
  }
  const group = placement.group === "main" ? scene.main : scene.other;
  if (!group) return "";
  const paint: Paint = {
    fill: FILLS[group.colour],
    shade: shadeOf(group.colour),
    line: group.colour === "black" ? LIGHT_LINE : DARK_LINE,
    skin: SKINS[Math.floor(scene.look[1] * SKINS.length)] as string,
  };
  return `<g ${attributes}>${DRAWINGS[group.kind](paint)}</g>`;
}

/** A neighbour of the fill that no caption would name otherwise: dark colours lighten, light ones darken. */
function shadeOf(colour: Colour): string {
  const target = colour === "black" ? 0x6a : colour === "white" ? 0xa8 : 0xff;
  const share = colour === "black" || colour === "white" ? 0.5 : 0.35;
  const hex = FILLS[colour];
  const mixed = [1, 3, 5].map((at) => {
    const value = parseInt(hex.slice(at, at + 2), 16);
    return Math.round(value + (target - value) * share).toString(16).padStart(2, "0");
  });
  return "#" + mixed.join("");
}

function backgroundBody(background: Background, look: number): string {
  const horizon = round(27 + 6 * look);
  const halves = (sky: string, ground: string) =>
    `<rect width="${CANVAS}" height="${CANVAS}" fill="${sky}"/>` +
    `<rect y="${horizon}" width="${CANVAS}" height="${round(CANVAS - horizon)}" fill="${ground}"/>`;
  switch (background) {
    case "plain":
      return `<rect width="${CANVAS}" height="${CANVAS}" fill="${
        PLAIN_TINTS[Math.floor(look * PLAIN_TINTS.length)]
      }"/>`;
    case "grass":
      return halves("#c9ecff", "#86cf5b");
    case "snow":
      return halves("#b9c9da", "#f7fafc") +
        [[6, 9], [22, 5], [38, 14], [54, 7], [14, 20], [58, 22], [46, 24], [29, 22]]
          .map(([x, y]) => `<circle cx="${x}" cy="${y}" r="0.9" fill="#fff"/>`).join("");
    case "beach":
      return halves("#c9ecff", "#f2dba0") + `<rect y="${horizon - 7}" width="64" height="7" fill="#49b4c8"/>`;
    case "sea":
      return halves("#d8f1ff", "#2f7fc4") +
        [38, 46, 54].map((y, i) =>
          `<path d="M${
            i * 5 - 8
          } ${y}q4-2.4 8 0t8 0 8 0 8 0 8 0 8 0 8 0 8 0 8 0" fill="none" stroke="#79b9e6" stroke-width="1"/>`
        ).join("");
    case "sky":
      return `<rect width="64" height="64" fill="#9fd8fb"/><rect y="40" width="64" height="24" fill="#b9e4fd"/>`;
    case "night":
      return halves("#141a44", "#2b3a35");
    case "room":
      return halves("#f0d9c0", "#9a6a45") +
        `<rect y="${round(horizon - 1.2)}" width="64" height="2" fill="#fff6ea"/>` +
        `<path d="M0 ${horizon + 12}H64M0 ${horizon + 24}H64" stroke="#875a38" stroke-width="0.7"/>`;
    case "mountain":
      return halves("#d5eefc", "#86cf5b") +
        `<path d="M-6 ${horizon + 1}L30 1 70 ${horizon + 1}z" fill="#8d8a94"/>` +
        `<path d="M20.5 8 30 1l11 8-5 3-5-2.4-4 3z" fill="#fff"/>`;
  }
}

function documentBody(scene: DocumentScene): string {
  const desk = ["#b9bcc4", "#a8875f", "#7d8fa3"][Math.floor(scene.look * 3)];
  const columnWidth = scene.columns === 1 ? 34 : 15.5;
  const lineStep = 42 / 12;
  const top = scene.heading ? 14 : 8;
  let ink = scene.heading ? `<rect x="15" y="8" width="22" height="2.6" fill="#303036"/>` : "";
  for (let column = 0; column < scene.columns; column++) {
    scene.lines.forEach((words, row) => {
      let x = 15 + column * (columnWidth + 3);
      const y = top + row * lineStep;
      for (const length of words) {
        const width = (length / 10) * columnWidth;
        ink += `<rect x="${round(x)}" y="${round(y)}" width="${
          round(width - 0.9)
        }" height="1.5" fill="#5b5b63"/>`;
        x += width;
      }
    });
  }
  return `<rect width="64" height="64" fill="${desk}"/><g transform="rotate(${round(scene.tilt)} 32 32)">` +
    `<rect x="10" y="3" width="44" height="58" fill="#fff" stroke="#77777d" stroke-width="0.6"/>${ink}</g>`;
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
