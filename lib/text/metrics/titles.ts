/**
 * What metrics are called on pages.
 *
 * @module
 */

import type { MetricName } from "./corpus.ts";

/** Titles of the metrics. */
export const METRIC_TITLES: Readonly<Record<MetricName, string>> = {
  bleu_1: "BLEU-1",
  bleu_2: "BLEU-2",
  bleu_3: "BLEU-3",
  bleu_4: "BLEU-4",
  rouge_l: "ROUGE-L (COCO)",
  cider_d: "CIDEr-D",
  cider: "CIDEr",
  rouge1: "ROUGE-1",
  rouge2: "ROUGE-2",
  rougeL: "ROUGE-L",
  rougeLsum: "ROUGE-Lsum",
  meteor: "METEOR",
};
