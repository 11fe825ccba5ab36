/**
 * CIDEr-D as a reward: of single captions, with n-grams weighed by the captions of a whole data set.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { CiderCorpus } from "../text/metrics/cider.ts";
import { NgramIndex } from "../text/metrics/ngrams.ts";
import { ptbTokens } from "../text/metrics/ptb_tokenizer.ts";
import type { Reward } from "./self_critical.ts";

/**
 * CIDEr-D of captions against their images' own, in [0, 10]. An image with one caption is compared with that alone.
 *
 * @param images Captions of every image trained on
 * @throws {UserError} If there are fewer than two images: then no n-gram is rarer than another, and every caption scores 0
 */
export function ciderReward(images: readonly (readonly string[])[]): Reward {
  if (images.length < 2) {
    throw new UserError(
      `Cannot reward captions with CIDEr: there are ${images.length} images to train on, and it weighs n-grams by how few images ` +
        "have them; use --reward clip, or more images",
    );
  }
  const index = new NgramIndex();
  const counted = images.map((captions) => captions.map((caption) => index.count(ptbTokens(caption))));
  const corpus = new CiderCorpus(counted, index.size);
  return (captions) =>
    Promise.resolve(captions.map(({ row, text }) => {
      // Nothing of them is new to the index.
      const references = row.captions.map((caption) => index.count(ptbTokens(caption)));
      return corpus.score(index.lookUp(ptbTokens(text)), references).ciderD;
    }));
}
