/**
 * Pictures that a captioner of photographs should say nothing about: blank ones, noise, pages of text, screenshots. Drawn from a seed,
 * without fonts or files.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import type { RgbImage } from "../image/decode.ts";
import { drawText, fillRectangle, type Rgb } from "../image/pixel_font.ts";

/** Kinds of them. */
export const NON_PHOTOGRAPHS = ["blank", "noise", "text", "screenshot"] as const;
/** One of them. */
export type NonPhotograph = typeof NON_PHOTOGRAPHS[number];

const WORDS =
  ("the of and to in for is on that by this with you it not or be are from at as your all have new more an was we will home can us " +
    "about if page my has search free but our one other do no information time they site he up may what which their news out use any there see " +
    "only so his when contact here business who web also now help get view online first been would how were services some these click its like " +
    "service than find price date back top people had list name just over state year day into email two health world next used go work last")
    .split(" ");

/** Draws one; the same seed gives the same picture. */
export function drawNonPhotograph(kind: NonPhotograph, seed: number): RgbImage {
  const rng = new Rng(seed);
  const [width, height] = rng.pick([[256, 256], [320, 240], [240, 320], [384, 216]] as const);
  const image = { width, height, data: new Uint8Array(width * height * 3) };
  DRAW[kind](image, rng);
  return image;
}

const DRAW: Record<NonPhotograph, (image: RgbImage, rng: Rng) => void> = {
  blank: drawBlank,
  noise: drawNoise,
  text: drawPage,
  screenshot: drawScreenshot,
};

const anyColour = (rng: Rng): Rgb => [rng.int(256), rng.int(256), rng.int(256)];
const grey = (level: number): Rgb => [level, level, level];

/** One colour, or two that run into each other. */
function drawBlank(image: RgbImage, rng: Rng): void {
  const from = rng.next() < 0.5 ? grey(rng.pick([0, 32, 127, 128, 200, 255])) : anyColour(rng);
  const to = rng.next() < 0.7 ? from : anyColour(rng);
  for (let y = 0; y < image.height; y++) {
    const share = y / (image.height - 1);
    const colour = from.map((value, c) => Math.round(value + (to[c]! - value) * share)) as unknown as Rgb;
    fillRectangle(image, { x: 0, y, width: image.width, height: 1 }, colour);
  }
}

/** Uniform or normal noise, grey or in colour, of one to sixteen pixels a grain. */
function drawNoise(image: RgbImage, rng: Rng): void {
  const grain = rng.pick([1, 1, 2, 4, 8, 16]);
  const [isGrey, isNormal] = [rng.next() < 0.3, rng.next() < 0.5];
  const [mean, spread] = [64 + rng.int(128), 20 + rng.int(60)];
  const draw = () =>
    isNormal ? Math.min(255, Math.max(0, Math.round(mean + spread * rng.normal()))) : rng.int(256);
  for (let y = 0; y < image.height; y += grain) {
    for (let x = 0; x < image.width; x += grain) {
      const first = draw();
      const colour: Rgb = isGrey ? grey(first) : [first, draw(), draw()];
      fillRectangle(image, { x, y, width: grain, height: grain }, colour);
    }
  }
}

/** Lines of words on paper or on a dark page. */
function drawPage(image: RgbImage, rng: Rng): void {
  const isDark = rng.next() < 0.25;
  const paper = grey(isDark ? rng.int(40) : 225 + rng.int(31));
  const ink = grey(isDark ? 200 + rng.int(56) : rng.int(70));
  fillRectangle(image, { x: 0, y: 0, width: image.width, height: image.height }, paper);
  const scale = 1 + rng.int(4);
  const margin = 6 + rng.int(20);
  const step = Math.round(scale * (6.5 + 3 * rng.next()));
  for (let y = margin; y + 5 * scale < image.height - margin; y += step) {
    if (rng.next() < 0.08) continue;
    const room = Math.floor((image.width - 2 * margin) / (4 * scale));
    drawText(image, lineOf(rng, room), { x: margin, y, scale, colour: ink });
  }
}

/** A window: its title, a bar of buttons, a list at the side, and fields or boxes with text. */
function drawScreenshot(image: RgbImage, rng: Rng): void {
  const { width, height } = image;
  const isDark = rng.next() < 0.3;
  const accent = anyColour(rng);
  const [page, panel, line, ink] = (isDark ? [30, 45, 70, 220] : [250, 235, 205, 40]).map(grey) as [
    Rgb,
    Rgb,
    Rgb,
    Rgb,
  ];
  const box = (x: number, y: number, w: number, h: number, colour: Rgb) =>
    fillRectangle(image, { x, y, width: w, height: h }, colour);
  const write = (text: string, x: number, y: number, colour = ink) =>
    drawText(image, text, { x, y, scale: 1, colour });
  box(0, 0, width, height, page);
  box(0, 0, width, 14, accent);
  write(lineOf(rng, 20), 6, 5, [255, 255, 255]);
  for (const [i, colour] of ([[240, 90, 80], [240, 190, 70], [90, 200, 90]] as const).entries()) {
    box(width - 12 - i * 10, 4, 6, 6, colour);
  }
  box(0, 14, width, 16, panel);
  for (let x = 6; x + 30 < width; x += 38) write(rng.pick(WORDS), x, 20);
  const side = Math.round(width * (0.2 + 0.1 * rng.next()));
  box(0, 30, side, height - 30, panel);
  const chosen = rng.int(6);
  for (let i = 0; 38 + i * 14 < height - 8; i++) {
    if (i === chosen) box(0, 34 + i * 14, side, 13, accent);
    write(lineOf(rng, Math.floor((side - 14) / 4)), 8, 38 + i * 14);
  }
  for (let y = 38; y + 30 < height;) {
    const tall = 24 + rng.int(40);
    const left = side + 8, wide = width - side - 16;
    box(left, y, wide, tall, line);
    box(left + 1, y + 1, wide - 2, tall - 2, page);
    for (let row = y + 6; row + 6 < y + tall; row += 9) {
      write(lineOf(rng, Math.floor((wide - 60) / 4)), left + 6, row);
    }
    box(left + wide - 44, y + tall - 16, 38, 11, accent);
    write(rng.pick(WORDS).slice(0, 7), left + wide - 40, y + tall - 13, [255, 255, 255]);
    y += tall + 8;
  }
}

/** Words up to so many characters. */
function lineOf(rng: Rng, room: number): string {
  let text = rng.pick(WORDS);
  for (;;) {
    const word = rng.pick(WORDS) + (rng.next() < 0.1 ? "." : "");
    if (text.length + 1 + word.length > room) return text.slice(0, Math.max(0, room));
    text += ` ${word}`;
  }
}
