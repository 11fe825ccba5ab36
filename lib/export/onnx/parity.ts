/**
 * How far an exported captioner's captions are from the engine's.
 *
 * @module
 */

import type { JsonObject } from "../../format/json.ts";
import type { JsonConfig } from "../../format/json_config.ts";
import {
  dtypeOf,
  onnxComponents,
  type OnnxDtype,
  type OnnxLayout,
  type OnnxMix,
  type OnnxVariant,
} from "../../models/onnx_layouts.ts";
import { scoreCorpus } from "../../text/metrics/corpus.ts";

/** A caption by the engine, greedy, and what an exported captioner makes of the same image. */
export interface CaptionPair {
  wanted: { ids: readonly number[]; caption: string; logProb: number };
  /** What people wrote about the image; none where nobody did. */
  references: readonly string[];
  found: {
    caption: string;
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
  /** Mean ROUGE-L of the captions against the engine's: 1 where all have the same words. */
  rougeL: number;
  /** CIDEr-D against what people wrote, of the engine's captions and of these; absent where an image has no such text. */
  ciderD?: { engine: number; exported: number };
}

/** Sums up pairs. */
export async function comparePairs(pairs: readonly CaptionPair[]): Promise<Parity> {
  const score = async (rows: readonly { candidate: string; references: readonly string[] }[]) =>
    (await scoreCorpus(rows.map((row, i) => ({ id: String(i), ...row })))).values;
  const hasReferences = pairs.every(({ references }) => references.length > 0);
  const ciderD = async (of: "wanted" | "found"): Promise<number> =>
    (await score(pairs.map((pair) => ({ candidate: pair[of].caption, references: pair.references }))))
      .cider_d;
  const same = await score(
    pairs.map(({ wanted, found }) => ({ candidate: found.caption, references: [wanted.caption] })),
  );
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
    rougeL: same.rouge_l,
    ...(hasReferences ? { ciderD: { engine: await ciderD("wanted"), exported: await ciderD("found") } } : {}),
  };
}

/** Precisions that must give the engine's captions token for token. */
const EXACT: readonly OnnxDtype[] = ["fp32", "fp16"];

/** Whether a variant must give the engine's captions token for token. */
export function isExact(
  variant: OnnxVariant,
  { layout, mix }: { layout: OnnxLayout; mix?: OnnxMix | undefined },
): boolean {
  return onnxComponents(layout).every((component) => EXACT.includes(dtypeOf(variant, component, mix)));
}

/** What is wrong with a comparison; `undefined` where nothing is. @param bar.minAgreement share of tokens where not all must agree */
export function parityFault(
  dtype: OnnxVariant,
  parity: Parity,
  { isExact, minAgreement }: { isExact: boolean; minAgreement: number },
): string | undefined {
  const { images, sameCaptions, tokens, agreeingTokens } = parity;
  if (isExact) {
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
    rouge_l_to_engine: round(parity.rougeL),
    ...(parity.ciderD === undefined ? {} : {
      cider_d: { engine: round(parity.ciderD.engine), exported: round(parity.ciderD.exported) },
    }),
  };
}

/** As `parity.json` has it, to be shown again. */
export function parseParity(json: JsonConfig): Parity {
  const cider = json.optionalObject("cider_d");
  return {
    images: json.integer("images"),
    sameCaptions: json.integer("same_captions"),
    tokens: json.integer("tokens"),
    agreeingTokens: json.integer("agreeing_tokens"),
    meanDrift: json.number("mean_log_prob_drift_per_token"),
    maxDrift: json.number("max_log_prob_drift_per_token"),
    rougeL: json.number("rouge_l_to_engine"),
    ...(cider === undefined
      ? {}
      : { ciderD: { engine: cider.number("engine"), exported: cider.number("exported") } }),
  };
}

/** Head of the table that {@linkcode parityCells} fills. */
export const PARITY_HEADER = [
  "same captions",
  "same tokens",
  "change of log-probability per token",
  "ROUGE-L to the engine's",
  "CIDEr-D",
];

/** A comparison for people. */
export function parityCells(
  { sameCaptions, images, agreeingTokens, tokens, meanDrift, rougeL, ciderD }: Parity,
): string[] {
  return [
    `${sameCaptions} of ${images}`,
    formatShare(agreeingTokens, tokens),
    meanDrift.toExponential(1),
    rougeL.toFixed(3),
    ciderD === undefined ? "-" : `${ciderD.exported.toFixed(2)} (engine ${ciderD.engine.toFixed(2)})`,
  ];
}
