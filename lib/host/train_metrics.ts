/**
 * The metrics that a run's evaluations were asked for.
 *
 * @module
 */

import { clipScore } from "../evaluate/similarity.ts";
import { scoreCorpus } from "../text/metrics/corpus.ts";
import type { Synonyms } from "../text/metrics/meteor.ts";
import type { ScoreSamples } from "../train/evaluation.ts";
import type { ImageSimilarity } from "./image_similarity.ts";
import type { DataRow } from "./train_data.ts";
import type { EvalMetric } from "./train_eval_options.ts";

/** What metrics need. */
export interface EvalMetricsOptions {
  /** Their names. */
  metrics: readonly EvalMetric[];
  /** For `clip`. */
  similarity: ImageSimilarity | undefined;
  /** For METEOR; without it METEOR has no synonyms. */
  synonyms: Synonyms | undefined;
}

/**
 * Scores captions of rows, under the names that `deno task evaluate` prints: `clip` is `clip_score`, the mean CLIPScore. `undefined` where
 * nothing was asked for.
 */
export function scoreRows(rows: readonly DataRow[], options: EvalMetricsOptions): ScoreSamples | undefined {
  const { metrics, similarity, synonyms } = options;
  if (metrics.length === 0) return undefined;
  return async (samples) => {
    const scores: Record<string, number> = {};
    const textual = metrics.filter((name) => name !== "clip");
    if (textual.length > 0) {
      const { values } = await scoreCorpus(
        samples.map(({ row, caption, references }) => ({ id: String(row), candidate: caption, references })),
        { synonyms },
      );
      for (const name of textual) scores[name] = values[name];
    }
    if (metrics.includes("clip")) {
      await similarity!.prepare(samples.map(({ row }) => rows[row]!));
      const cosines = await similarity!.score(
        samples.map(({ row, caption }) => ({ row: rows[row]!, text: caption })),
      );
      scores["clip_score"] = cosines.reduce((sum, cosine) => sum + clipScore(cosine), 0) / cosines.length;
    }
    return scores;
  };
}
