/**
 * SVG text to pixels, through sharp.
 *
 * @module
 */

import { sharp } from "./sharp.ts";

/**
 * Renders a square SVG.
 *
 * @param svg A complete SVG document
 * @param sizePx Width and height in pixels
 * @returns RGB bytes `[sizePx, sizePx, 3]`, transparent parts white
 */
export async function renderSvg(svg: string, sizePx: number): Promise<Uint8Array> {
  return new Uint8Array(await pipeline(svg, sizePx).raw().toBuffer());
}

/**
 * Renders a square SVG to a PNG file.
 *
 * @param svg A complete SVG document
 * @param sizePx Width and height in pixels
 * @returns The bytes of an RGB PNG without metadata
 */
export async function renderSvgToPng(svg: string, sizePx: number): Promise<Uint8Array> {
  return new Uint8Array(await pipeline(svg, sizePx).png({ compressionLevel: 9, effort: 10 }).toBuffer());
}

function pipeline(svg: string, sizePx: number) {
  return sharp(new TextEncoder().encode(svg))
    .resize(sizePx, sizePx, { fit: "fill" })
    .flatten({ background: "#ffffff" })
    .toColourspace("srgb");
}
