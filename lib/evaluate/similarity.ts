/**
 * Scores from vectors: BERTScore from the states of tokens, CLIPScore and its kin from embeddings.
 *
 * Sources: Zhang et al., "BERTScore: Evaluating Text Generation with BERT", 2020; Hessel et al., "CLIPScore: A Reference-free
 * Evaluation Metric for Image Captioning", 2021; Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023
 *
 * @module
 */

/** States of a text's tokens. */
export interface TokenStates {
  /** [T, D]. */
  readonly values: ArrayLike<number>;
  /** D. */
  readonly width: number;
  /** How much each token counts, [T]. @default {1, but 0 for the first and the last, which begin and end the text} */
  readonly weights?: ArrayLike<number>;
}

/** Each in [-1, 1], for real texts near 1. */
export interface BertScore {
  /** Mean over the candidate's tokens of the likeliest partner's cosine. */
  readonly precision: number;
  /** The same over the reference's. */
  readonly recall: number;
  /** Harmonic mean. */
  readonly f1: number;
}

/**
 * BERTScore without idf and without rescaling. Tokens that do not count may still be partners, as in the authors' program.
 *
 * @returns Zeros where a side has no token that counts
 * @throws {RangeError} If the widths differ
 */
export function bertScore(candidate: TokenStates, reference: TokenStates): BertScore {
  if (candidate.width !== reference.width) {
    throw new RangeError(`Cannot compare states of ${candidate.width} and ${reference.width} numbers`);
  }
  const [ours, theirs] = [unitRows(candidate), unitRows(reference)];
  const { width } = candidate;
  const [rows, columns] = [ours.length / width, theirs.length / width];
  const bestOfRow = new Float64Array(rows).fill(-Infinity);
  const bestOfColumn = new Float64Array(columns).fill(-Infinity);
  for (let i = 0; i < rows; i++) {
    for (let j = 0; j < columns; j++) {
      let cosine = 0;
      for (let c = 0; c < width; c++) cosine += ours[i * width + c]! * theirs[j * width + c]!;
      bestOfRow[i] = Math.max(bestOfRow[i]!, cosine);
      bestOfColumn[j] = Math.max(bestOfColumn[j]!, cosine);
    }
  }
  const precision = weightedMean(bestOfRow, candidate.weights);
  const recall = weightedMean(bestOfColumn, reference.weights);
  if (precision === undefined || recall === undefined) return { precision: 0, recall: 0, f1: 0 };
  return { precision, recall, f1: 2 * precision * recall / (precision + recall) };
}

/** Weight of CLIPScore, which spreads cosines that lie close together. */
const CLIP_WEIGHT = 2.5;

/** CLIPScore: 2.5 times the cosine of image and caption, at least 0. */
export function clipScore(cosine: number): number {
  return CLIP_WEIGHT * Math.max(0, cosine);
}

/** RefCLIPScore: harmonic mean of CLIPScore and the largest cosine of caption and reference, at least 0. */
export function refClipScore(score: number, referenceCosines: readonly number[]): number {
  const nearest = Math.max(0, ...referenceCosines);
  return score + nearest === 0 ? 0 : 2 * score * nearest / (score + nearest);
}

/** Probability that image and caption belong together, as SigLIP was trained to say it. */
export function siglipScore(cosine: number, { logScale, bias }: { logScale: number; bias: number }): number {
  return 1 / (1 + Math.exp(-(Math.exp(logScale) * cosine + bias)));
}

/** Cosine of two vectors; 0 where one is zero. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [dot, squaresA, squaresB] = [0, 0, 0];
  for (let c = 0; c < a.length; c++) {
    dot += a[c]! * b[c]!;
    squaresA += a[c]! ** 2;
    squaresB += b[c]! ** 2;
  }
  return squaresA === 0 || squaresB === 0 ? 0 : dot / Math.sqrt(squaresA * squaresB);
}

function unitRows({ values, width }: TokenStates): Float64Array {
  const unit = Float64Array.from(values);
  for (let start = 0; start < unit.length; start += width) {
    let squares = 0;
    for (let c = 0; c < width; c++) squares += unit[start + c]! ** 2;
    const norm = Math.sqrt(squares) || 1;
    for (let c = 0; c < width; c++) unit[start + c]! /= norm;
  }
  return unit;
}

function weightedMean(values: Float64Array, weights?: ArrayLike<number>): number | undefined {
  let [sum, whole] = [0, 0];
  for (const [t, value] of values.entries()) {
    const weight = weights === undefined ? (t > 0 && t < values.length - 1 ? 1 : 0) : weights[t]!;
    sum += weight * value;
    whole += weight;
  }
  return whole === 0 ? undefined : sum / whole;
}
