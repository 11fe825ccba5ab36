/**
 * Rendered scenes for pretraining the embedded models: pixels kept as bytes in memory, captions as token ids.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import { generateScene, sceneCaption, sceneKey, sceneToSvg, splitOfKey } from "../datasets/scenes.ts";
import { fitImage, type ProcessorConfig } from "../image/processor.ts";
import { renderSvg } from "./render.ts";

/** Side at which scenes are drawn, as in the sample data set. */
const DRAWN_PX = 128;

/** Scenes that are in neither the validation nor the test split. */
export interface TinyScenes {
  /** [count, I, I, 3] bytes. */
  pixels: Uint8Array;
  captions: string[];
  /** Bytes of one image. */
  stride: number;
}

/** Draws `count` scenes of the training split and resizes them as the captioner will. */
export async function renderTrainingScenes(
  count: number,
  options: { seed: number; processor: ProcessorConfig; sizePx: number; onProgress?: (done: number) => void },
): Promise<TinyScenes> {
  const rng = new Rng(options.seed);
  const stride = options.sizePx ** 2 * 3;
  const pixels = new Uint8Array(count * stride);
  const captions: string[] = [];
  const drawing: Promise<void>[] = [];
  while (captions.length < count) {
    const scene = generateScene(rng);
    if (splitOfKey(sceneKey(scene)) !== "train") continue;
    const place = captions.length;
    captions.push(sceneCaption(scene).altText);
    drawing.push(
      renderSvg(sceneToSvg(scene, { size: DRAWN_PX }), DRAWN_PX).then((data) => {
        const fitted = fitImage({ width: DRAWN_PX, height: DRAWN_PX, data }, options.processor);
        pixels.set(fitted.data, place * stride);
      }),
    );
    if (drawing.length === 64) {
      await Promise.all(drawing.splice(0));
      options.onProgress?.(captions.length);
    }
  }
  await Promise.all(drawing);
  return { pixels, captions, stride };
}
