/**
 * The drawing of each kind of object as SVG, in a box of 100 by 100 units whose lower edge is the ground.
 *
 * Flat fills and thin outlines; silhouettes differ, so that a vision model of 8-pixel patches can tell them.
 *
 * @module
 */

import type { Kind, SkyItem } from "./vocabulary.ts";

/** How one object is painted. */
export interface Paint {
  /** Fill of what carries the object's colour, CSS colour. */
  readonly fill: string;
  /** A darker or lighter relative of the fill, for details that should not be named. */
  readonly shade: string;
  /** Outline, CSS colour. */
  readonly line: string;
  /** Skin of a person, CSS colour. */
  readonly skin: string;
}

const METAL = "#3a3a40";
const WOOD = "#7a5230";
const GLASS = "#cfe8f5";
const CREAM = "#f6ead2";

/** SVG elements of an object in its box; stroke width and line joins are inherited from the group around it. */
export const DRAWINGS: Readonly<Record<Kind, (paint: Paint) => string>> = {
  house: ({ fill }) =>
    `<rect x="14" y="46" width="72" height="54" fill="${fill}"/>` +
    `<path d="M4 48 50 10 96 48z" fill="#5d4a50"/>` +
    `<rect x="42" y="68" width="17" height="32" fill="${METAL}"/>` +
    `<rect x="21" y="57" width="15" height="15" fill="${GLASS}"/><rect x="65" y="57" width="15" height="15" fill="${GLASS}"/>`,
  tree: ({ fill }) =>
    `<rect x="43" y="62" width="14" height="38" fill="${WOOD}"/>` +
    `<path d="M50 2a24 22 0 0 1 24 20 22 22 0 0 1 4 42 30 22 0 0 1-56 0 22 22 0 0 1 4-42 24 22 0 0 1 24-20z" fill="${fill}"/>`,
  flower: ({ fill, shade }) =>
    `<path d="M50 50V100" stroke="#2f8a3c" stroke-width="8"/><path d="M50 88q22-4 26-24-22 0-26 24z" fill="#2f8a3c"/>` +
    [0, 72, 144, 216, 288]
      .map((turn) =>
        `<ellipse cx="50" cy="14" rx="14" ry="17" transform="rotate(${turn} 50 34)" fill="${fill}"/>`
      )
      .join("") +
    `<circle cx="50" cy="34" r="11" fill="${shade}"/>`,
  car: ({ fill }) =>
    `<path d="M2 82V62q0-8 10-9l12-2 14-20q2-3 6-3h26q4 0 6 3l10 20 8 3q6 2 6 9v19z" fill="${fill}"/>` +
    `<path d="M33 51l10-15h10v15zM59 51V36h10l7 15z" fill="${GLASS}"/>` +
    wheel(24, 84, 13) + wheel(76, 84, 13),
  bus: ({ fill }) =>
    `<rect x="2" y="26" width="96" height="62" rx="8" fill="${fill}"/>` +
    [9, 31, 53, 75].map((x) => `<rect x="${x}" y="35" width="16" height="20" fill="${GLASS}"/>`).join("") +
    wheel(23, 88, 11) + wheel(77, 88, 11),
  boat: ({ fill, shade }) =>
    `<path d="M48 4V70" stroke="${WOOD}" stroke-width="6"/>` +
    `<path d="M54 8 90 60H54z" fill="${fill}"/><path d="M43 20V60H16z" fill="${shade}"/>` +
    `<path d="M3 68H97L80 98H20z" fill="${fill}"/>`,
  person: ({ fill, skin }) =>
    `<path d="M36 66h12v34H36zM52 66h12v34H52z" fill="#54585f"/>` +
    `<path d="M34 34h32q8 0 10 9l6 25-9 3-7-19v22H34V52l-7 19-9-3 6-25q2-9 10-9z" fill="${fill}"/>` +
    `<circle cx="50" cy="17" r="15" fill="${skin}"/><path d="M34 15a16 15 0 0 1 32 0q-16-8-32 0z" fill="#3b2a20"/>`,
  dog: ({ fill, shade, line }) =>
    `<path d="M8 36q10 6 12 18l50-2q0-20 4-27 6-7 15-5l3 11 7 4q1 12-8 13l-9 2v50H70V78H32v22H20V70Q8 60 3 40z" fill="${fill}"/>` +
    `<path d="M73 24q-9 4-8 24 10 0 12-18z" fill="${shade}"/><circle cx="86" cy="30" r="3" fill="${line}"/>`,
  cat: ({ fill, shade, line }) =>
    `<path d="M66 92q24 2 22-20-1-10 7-14" fill="none" stroke="${fill}" stroke-width="9"/>` +
    `<path d="M26 100q-4-40 24-44 28 4 24 44z" fill="${fill}"/>` +
    `<path d="M22 4 40 16q10-3 20 0L78 4l2 32q-4 26-30 26T20 36z" fill="${fill}"/>` +
    `<ellipse cx="50" cy="82" rx="11" ry="15" fill="${shade}" stroke="none"/>` +
    `<circle cx="39" cy="34" r="5" fill="#8fd14f"/><circle cx="61" cy="34" r="5" fill="#8fd14f"/><path d="M46 45h8l-4 6z" fill="#e78b9b" stroke="${line}" stroke-width="1"/>`,
  bird: ({ fill, shade, line }) =>
    `<path d="M2 44 28 54 24 68z" fill="${fill}"/>` +
    `<path d="M18 58q14-22 44-18 4-18 20-16 14 4 12 20-2 36-40 36-26 0-36-22z" fill="${fill}"/>` +
    `<path d="M58 52Q30 44 26 8q34 4 42 40z" fill="${shade}"/>` +
    `<path d="M92 36l8 5-9 5z" fill="#ff8a14"/><circle cx="82" cy="37" r="4" fill="${line}"/>`,
  fish: ({ fill, shade, line }) =>
    `<path d="M30 58 2 34V84z" fill="${shade}"/><path d="M40 40q14-22 34-14l-6 18z" fill="${shade}"/>` +
    `<ellipse cx="60" cy="58" rx="38" ry="24" fill="${fill}"/>` +
    `<circle cx="80" cy="52" r="6" fill="#fff"/><circle cx="81" cy="52" r="3" fill="${line}"/><path d="M62 44q-10 14 0 28" fill="none"/>`,
  ball: ({ fill, shade }) =>
    `<circle cx="50" cy="55" r="44" fill="${fill}"/>` +
    `<path d="M10 40q40 22 80 0 4 12 3 22-43 20-86 0 0-14 3-22z" fill="${shade}"/>`,
  star: ({ fill }) =>
    `<path d="M50 4 63 37 98 39 71 61 80 96 50 76 20 96 29 61 2 39 37 37z" fill="${fill}"/>`,
  cup: ({ fill, shade }) =>
    `<path d="M72 42q26-4 24 18-2 18-28 18" fill="none" stroke="${fill}" stroke-width="10"/>` +
    `<path d="M8 26H78L70 98H16z" fill="${fill}"/><ellipse cx="43" cy="26" rx="35" ry="10" fill="${shade}"/>`,
  chair: ({ fill, shade }) =>
    `<path d="M22 60v40M78 66v34M36 60v30M88 60v30" stroke="${WOOD}" stroke-width="7"/>` +
    `<rect x="18" y="2" width="18" height="60" rx="5" fill="${fill}"/>` +
    `<path d="M18 56H94L86 72H18z" fill="${fill}"/><path d="M23 12h8v38h-8z" fill="${shade}" stroke="none"/>`,
  umbrella: ({ fill, shade }) =>
    `<path d="M50 6V86q0 12 12 11 8-2 7-11" fill="none" stroke="${METAL}" stroke-width="6"/>` +
    `<path d="M2 56A48 48 0 0 1 98 56q-8-9-16-9t-16 9q-8-9-16-9t-16 9q-8-9-16-9t-16 9z" fill="${fill}"/>` +
    `<path d="M34 56Q36 26 50 8q14 18 16 48-8-9-16-9t-16 9z" fill="${shade}" stroke="none"/>`,
  kite: ({ fill, shade }) =>
    `<path d="M52 66q14 8 2 16t4 18" fill="none"/><path d="M46 78l14 6-14 8z" fill="${fill}"/>` +
    `<path d="M50 2 84 30 50 72 16 30z" fill="${fill}"/><path d="M50 2V72L16 30z" fill="${shade}" stroke="none"/><path d="M16 30H84M50 2V72" fill="none"/>`,
  balloon: ({ fill, shade }) =>
    `<path d="M50 68q-10 10 0 18t0 14" fill="none"/><path d="M50 60l8 11H42z" fill="${fill}"/>` +
    `<ellipse cx="50" cy="34" rx="30" ry="33" fill="${fill}"/><ellipse cx="39" cy="21" rx="7" ry="9" fill="${shade}" stroke="none"/>`,
  plane: ({ fill, shade }) =>
    `<path d="M14 52 4 20H18L36 46z" fill="${shade}"/>` +
    `<path d="M8 44H78q16 2 21 14-5 10-21 10H26Q10 66 8 44z" fill="${fill}"/>` +
    `<path d="M42 58H66L38 92H26z" fill="${shade}"/><path d="M50 46 38 22h10l20 24z" fill="${shade}"/>` +
    `<path d="M78 49q9 1 13 6H80z" fill="${GLASS}"/>`,
  mushroom: ({ fill }) =>
    `<path d="M36 50h28l5 44q-19 10-38 0z" fill="${CREAM}"/>` +
    `<path d="M3 58Q6 8 50 6t47 52q-47 12-94 0z" fill="${fill}"/>` +
    `<circle cx="34" cy="32" r="9" fill="${CREAM}" stroke="none"/><circle cx="64" cy="26" r="8" fill="${CREAM}" stroke="none"/><circle cx="76" cy="48" r="7" fill="${CREAM}" stroke="none"/><circle cx="52" cy="50" r="6" fill="${CREAM}" stroke="none"/>`,
};

/** SVG elements of what is in the upper sky, in the same box. */
export const SKY_DRAWINGS: Readonly<Record<SkyItem, string>> = {
  sun: [0, 45, 90, 135, 180, 225, 270, 315]
    .map((turn) =>
      `<path d="M50 0 58 18H42z" transform="rotate(${turn} 50 50)" fill="#ffc400" stroke="none"/>`
    )
    .join("") + `<circle cx="50" cy="50" r="29" fill="#ffd91e" stroke="#e0a000"/>`,
  moon: `<path d="M62 6A45 45 0 1 0 94 70 38 38 0 0 1 62 6z" fill="#fdfdf2" stroke="#c9c9b8"/>`,
  cloud:
    `<path d="M20 84a20 20 0 0 1-2-40 24 24 0 0 1 42-18 20 20 0 0 1 26 22 18 18 0 0 1-4 36z" fill="#fff" stroke="#8a97a8"/>`,
};

function wheel(x: number, y: number, radius: number): string {
  return `<circle cx="${x}" cy="${y}" r="${radius}" fill="#222226"/><circle cx="${x}" cy="${y}" r="${
    radius * 0.4
  }" fill="#d8d8dc" stroke="none"/>`;
}
