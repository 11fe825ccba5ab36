/**
 * Given captions run by onnxruntime: several at once as rows of one batch, a token a step, after an image that is run once.
 *
 * @module
 */

import type { TeacherForcing } from "./confidence.ts";
import type { OnnxStepper } from "./onnx_stepper.ts";

/** Captions run together. */
const MAX_ROWS = 16;

/** An exported captioner ready to be given captions. Graphs for browsers tell the scores of the last token alone, hence the steps. */
export class OnnxForcing implements TeacherForcing {
  readonly #begun: OnnxStepper;

  /** @param stepper of one image and one beam, used by nobody else */
  constructor(stepper: OnnxStepper) {
    this.#begun = stepper;
  }

  async begin(pixelValues: Float32Array): Promise<Float32Array> {
    const [logits] = await (await this.#begun.prefill(pixelValues, 1)).logits();
    return logits!;
  }

  async follow(
    captions: readonly (readonly number[])[],
    onLogits: (logits: Float32Array, place: { caption: number; at: number }) => void,
  ): Promise<void> {
    for (let start = 0; start < captions.length; start += MAX_ROWS) {
      const together = captions.slice(start, start + MAX_ROWS);
      const stepper = this.#begun.fork(together.length);
      const parents = Uint32Array.from(together, (_, row) => row);
      for (let at = 1; together.some(({ length }) => length > at); at++) {
        // What a caption that has ended goes on with, nobody looks at.
        const tokens = Uint32Array.from(together, (ids) => ids[at - 1] ?? 0);
        const rows = await (await stepper.step({ tokens, parents, live: [true] })).logits();
        for (const [row, { length }] of together.entries()) {
          if (at < length) onLogits(rows[row]!, { caption: start + row, at });
        }
      }
    }
  }
}
