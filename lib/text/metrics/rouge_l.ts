/**
 * ROUGE-L as the COCO caption evaluation computes it: precision and recall each of the best reference, recall weighing more.
 *
 * Source: Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004; pycocoevalcap, `rouge.py`
 *
 * @module
 */

import { commonLength } from "./subsequence.ts";

const BETA = 1.2;

/**
 * F-measure in [0, 1] of tokenized texts. A text without words counts as one empty word, as a split at spaces makes it.
 *
 * @throws {RangeError} If there are no references
 */
export function cocoRougeL(candidate: readonly string[], references: readonly (readonly string[])[]): number {
  if (references.length === 0) throw new RangeError("Cannot score a caption without references");
  const words = candidate.length === 0 ? [""] : candidate;
  let [precision, recall] = [0, 0];
  for (const reference of references) {
    const wanted = reference.length === 0 ? [""] : reference;
    const common = commonLength(words, wanted);
    precision = Math.max(precision, common / words.length);
    recall = Math.max(recall, common / wanted.length);
  }
  if (precision === 0 || recall === 0) return 0;
  return (1 + BETA ** 2) * precision * recall / (recall + BETA ** 2 * precision);
}
