/**
 * Letters of three by five pixels, to be drawn where there are no fonts.
 *
 * @module
 */

import type { RgbImage } from "./decode.ts";

/** A colour, 0 to 255 each. */
export type Rgb = readonly [red: number, green: number, blue: number];

/** Rows of a glyph from above, three bits each as an octal digit, the left pixel first. */
const GLYPHS: Readonly<Record<string, string>> = {
  A: "25755",
  B: "65656",
  C: "34443",
  D: "65556",
  E: "74647",
  F: "74644",
  G: "34553",
  H: "55755",
  I: "72227",
  J: "11152",
  K: "55655",
  L: "44447",
  M: "57755",
  N: "65555",
  O: "25552",
  P: "65644",
  Q: "25563",
  R: "65655",
  S: "34216",
  T: "72222",
  U: "55557",
  V: "55552",
  W: "55775",
  X: "55255",
  Y: "55222",
  Z: "71247",
  0: "75557",
  1: "26227",
  2: "61247",
  3: "61216",
  4: "55711",
  5: "74616",
  6: "34652",
  7: "71222",
  8: "25252",
  9: "25316",
  ".": "00002",
};

/** Fills a rectangle; what lies outside the picture is left out. */
export function fillRectangle(
  image: RgbImage,
  { x, y, width, height }: { x: number; y: number; width: number; height: number },
  colour: Rgb,
): void {
  const right = Math.min(image.width, x + width);
  for (let row = Math.max(0, y); row < Math.min(image.height, y + height); row++) {
    for (let column = Math.max(0, x); column < right; column++) {
      image.data.set(colour, (row * image.width + column) * 3);
    }
  }
}

/** Writes a line of capital letters, digits and full stops; other characters are spaces. A character takes 4 by 6 `scale` pixels. */
export function drawText(
  image: RgbImage,
  text: string,
  { x, y, scale, colour }: { x: number; y: number; scale: number; colour: Rgb },
): void {
  for (const [i, character] of [...text.toUpperCase()].entries()) {
    const rows = GLYPHS[character] ?? "00000";
    for (let row = 0; row < 5; row++) {
      for (let column = 0; column < 3; column++) {
        if ((Number(rows[row]) >> (2 - column) & 1) === 0) continue;
        const place = { x: x + (i * 4 + column) * scale, y: y + row * scale, width: scale, height: scale };
        fillRectangle(image, place, colour);
      }
    }
  }
}
