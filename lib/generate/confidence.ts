/**
 * How sure a model is of a caption: its log-probability, and how much of that is owed to the image.
 *
 * @module
 */

import type { ProcessorConfig } from "../image/processor.ts";
import type { Confidence } from "../models/calibration.ts";
import { logProbOf, logSoftmax } from "./sampling.ts";
import { refuseNan } from "./search.ts";

export type { Confidence };

/** Runs given captions after one image (teacher forcing). */
export interface TeacherForcing {
  /** Begins with the pixelValues [C, I, I] of an image, which later captions follow: logits [V] of the first token. */
  begin(pixelValues: Float32Array): Promise<Float32Array>;
  /**
   * Runs captions after the image begun, which stays as it is. `onLogits` is told the logits [V] that the token `at` (1 or more)
   * of a caption is judged by, in any order.
   */
  follow(
    captions: readonly (readonly number[])[],
    onLogits: (logits: Float32Array, place: { caption: number; at: number }) => void,
  ): Promise<void>;
}

/**
 * The picture that says nothing: every pixel has the colour that the image processor subtracts (mid-grey for SigLIP and ViT, the mean
 * of the training pictures for CLIP), so that all pixelValues are 0; mid-grey where nothing is subtracted.
 *
 * @returns [C, I, I]
 */
export function blankPixelValues(
  { normalize, rescaleFactor }: ProcessorConfig,
  { channels, size }: { channels: number; size: number },
): Float32Array {
  return new Float32Array(channels * size ** 2).fill(normalize === undefined ? 127.5 * rescaleFactor : 0);
}

/** Sums up what a caption's log-probabilities with and without its image say. @throws {RangeError} if it has no tokens */
export function confidenceOf(
  { logProb, blankLogProb, tokens }: { logProb: number; blankLogProb: number; tokens: number },
): Confidence {
  if (!(tokens >= 1)) throw new RangeError(`Cannot judge a caption of ${tokens} tokens: expected at least 1`);
  const imageGain = logProb - blankLogProb;
  return { logProb, logProbPerToken: logProb / tokens, imageGain, imageGainPerToken: imageGain / tokens };
}

/** Log-probabilities of given captions. What was begun last is not run again for the same image. */
export class CaptionScorer {
  readonly #forcing: TeacherForcing;
  readonly #blank: Float32Array;
  #begun: { pixelValues: Float32Array; first: Float64Array } | undefined;

  /** @param options.blank see {@linkcode blankPixelValues} */
  constructor(forcing: TeacherForcing, { blank }: { blank: Float32Array }) {
    this.#forcing = forcing;
    this.#blank = blank;
  }

  /** log p(caption | image) of each caption, the sum over tokens. @throws {RangeError} when the model's scores are not numbers */
  async score(pixelValues: Float32Array, captions: readonly (readonly number[])[]): Promise<number[]> {
    if (this.#begun?.pixelValues !== pixelValues) {
      this.#begun = undefined;
      const logits = await this.#forcing.begin(pixelValues);
      refuseNan(logits);
      this.#begun = { pixelValues, first: logSoftmax(logits) };
    }
    const { first } = this.#begun;
    const sums = captions.map(([id]) => first[id!]!);
    await this.#forcing.follow(captions, (logits, { caption, at }) => {
      const logProb = logProbOf(logits, captions[caption]![at]!);
      refuseNan([logProb]);
      sums[caption]! += logProb;
    });
    return sums;
  }

  /** log p(caption | blank) of each caption. */
  async scoreBlank(captions: readonly (readonly number[])[]): Promise<number[]> {
    return await this.score(this.#blank, captions);
  }
}
