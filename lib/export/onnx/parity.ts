/**
 * How far an exported captioner's captions are from the engine's.
 *
 * @module
 */

import type { JsonObject } from "../../format/json.ts";
import type { OnnxDtype } from "../../models/onnx_layouts.ts";

/** A caption by the engine, greedy, and what an exported captioner makes of the same image. */
export interface CaptionPair {
  wanted: { ids: readonly number[]; logProb: number };
  found: {
    /** Its own greedy caption. */
    ids: readonly number[];
    /** Tokens of the engine's caption that it finds likeliest, too, after the same beginning. */
    agreeing: number;
    /** Log-probability that it gives the engine's caption. */
    logProb: number;
  };
}

/** The comparison over several images. */
export interface Parity {
  images: number;
  /** Captions with the same tokens. */
  sameCaptions: number;
  /** Tokens of the engine's captions. */
  tokens: number;
  /** Of these, found likeliest after the same beginning. */
  agreeingTokens: number;
  /** Mean and largest change of a caption's log-probability, per token. */
  meanDrift: number;
  maxDrift: number;
}

/** Sums up pairs. */
export function comparePairs(pairs: readonly CaptionPair[]): Parity {
  const drifts = pairs.map(({ wanted, found }) =>
    Math.abs(found.logProb - wanted.logProb) / wanted.ids.length
  );
  return {
    images: pairs.length,
    sameCaptions: pairs.filter(({ wanted, found }) => wanted.ids.join() === found.ids.join()).length,
    tokens: pairs.reduce((sum, { wanted }) => sum + wanted.ids.length, 0),
    agreeingTokens: pairs.reduce((sum, { found }) => sum + found.agreeing, 0),
    meanDrift: drifts.reduce((sum, drift) => sum + drift, 0) / pairs.length,
    maxDrift: Math.max(...drifts),
  };
}

/** Precisions that must give the engine's captions token for token. */
const EXACT: readonly OnnxDtype[] = ["fp32", "fp16"];

/** What is wrong with a comparison; `undefined` where nothing is. @param minAgreement share of tokens for eight and four bits */
export function parityFault(dtype: OnnxDtype, parity: Parity, minAgreement: number): string | undefined {
  const { images, sameCaptions, tokens, agreeingTokens } = parity;
  if (EXACT.includes(dtype)) {
    return sameCaptions === images
      ? undefined
      : `${images - sameCaptions} of ${images} captions in ${dtype} have other tokens than the engine's`;
  }
  const share = agreeingTokens / tokens;
  return share >= minAgreement
    ? undefined
    : `in ${dtype} ${
      formatShare(agreeingTokens, tokens)
    } of the tokens agree with the engine's, fewer than --min-agreement ${minAgreement}`;
}

/** A share in per cent, rounded down, so that 100 % means all. */
export function formatShare(part: number, whole: number): string {
  return `${(Math.floor(1000 * part / whole) / 10).toFixed(1)} %`;
}

/** As in `parity.json`. */
export function parityJson(parity: Parity): JsonObject {
  const round = (value: number): number => Number(value.toPrecision(3));
  return {
    images: parity.images,
    same_captions: parity.sameCaptions,
    tokens: parity.tokens,
    agreeing_tokens: parity.agreeingTokens,
    mean_log_prob_drift_per_token: round(parity.meanDrift),
    max_log_prob_drift_per_token: round(parity.maxDrift),
  };
}
