/**
 * Every metric over a set of captions.
 *
 * @module
 */

import { describeNames } from "../../base/errors.ts";
import { bleuScores, type BleuStatistics, bleuStatistics, sumBleuStatistics } from "./bleu.ts";
import { CiderCorpus } from "./cider.ts";
import { captionDiversity, type Diversity } from "./diversity.ts";
import { meteorScore, meteorText, type Synonyms } from "./meteor.ts";
import { type CountedText, NgramIndex } from "./ngrams.ts";
import { ptbTokens } from "./ptb_tokenizer.ts";
import { bestRougeScores, RougeIndex } from "./rouge.ts";
import { cocoRougeL } from "./rouge_l.ts";
import { PYTHON_SPACES, wordTokens } from "./word_tokenize.ts";

/** A caption to score. */
export interface CandidateRow {
  /** Names the image; unique in its set. */
  readonly id: string;
  /** What was written; may be empty. */
  readonly candidate: string;
  /** What people wrote; at least one, any of which may be empty. */
  readonly references: readonly string[];
}

/**
 * How captions are cut: `ptb` as the COCO caption evaluation does (and for METEOR as NLTK does), `simple` at white space after
 * lower-casing. ROUGE-1, -2, -L and -Lsum have a way of their own.
 */
export type MetricTokenizer = "ptb" | "simple";

/** Names of the metrics, in the order in which they are shown. */
export const METRIC_NAMES = [
  "bleu_1",
  "bleu_2",
  "bleu_3",
  "bleu_4",
  "rouge_l",
  "cider_d",
  "cider",
  "rouge1",
  "rouge2",
  "rougeL",
  "rougeLsum",
  "meteor",
] as const;

/** A metric. */
export type MetricName = typeof METRIC_NAMES[number];

/** Value of every metric: CIDEr and CIDEr-D in [0, 10], the others in [0, 1]. */
export type MetricValues = Readonly<Record<MetricName, number>>;

/** Scores of one caption. */
export interface ImageScores {
  /** See {@linkcode CandidateRow}. */
  readonly id: string;
  /** Its values; BLEU is that of this caption alone. */
  readonly values: MetricValues;
  /** From which the BLEU of a set is made. */
  readonly bleu: BleuStatistics;
}

/** Scores of a set. */
export interface CorpusScores {
  /** BLEU from summed counts, the others means. */
  readonly values: MetricValues;
  /** One for each row, in order. */
  readonly images: readonly ImageScores[];
  /** Of the candidates. */
  readonly diversity: Diversity;
}

/** Options of {@linkcode scoreCorpus}. */
export interface ScoreCorpusOptions {
  /** How captions are cut. @default {"ptb"} */
  tokenizer?: MetricTokenizer;
  /** WordNet, for METEOR; without it METEOR has no synonyms. */
  synonyms?: Synonyms | undefined;
  /** Told how many rows are scored, of how many. */
  onProgress?(done: number, total: number): void;
}

/** Rows between two reports of progress. */
const ROWS_A_TURN = 500;

/**
 * Scores captions with every metric.
 *
 * @throws {RangeError} If there are none, an id is there twice, or a row has no references
 */
export async function scoreCorpus(
  rows: readonly CandidateRow[],
  options: ScoreCorpusOptions = {},
): Promise<CorpusScores> {
  checkRows(rows);
  const { tokenizer = "ptb", synonyms, onProgress } = options;
  const index = new NgramIndex();
  const rouge = new RougeIndex();
  const counted: { candidate: CountedText; references: CountedText[] }[] = [];
  const firsts: Omit<MetricValues, "cider_d" | "cider">[] = [];
  const statistics: BleuStatistics[] = [];
  const candidates: string[][] = [];
  for (const [i, row] of rows.entries()) {
    const texts = [row.candidate, ...row.references];
    const tokens = texts.map(tokenizer === "ptb" ? ptbTokens : simpleTokens);
    candidates.push(tokens[0]!);
    const [candidate, ...references] = tokens.map((words) => index.count(words)) as [
      CountedText,
      ...CountedText[],
    ];
    counted.push({ candidate, references });
    statistics.push(bleuStatistics(candidate, references));
    const [bleu_1, bleu_2, bleu_3, bleu_4] = bleuScores(statistics[i]!) as [number, number, number, number];
    const [rougeCandidate, ...rougeReferences] = texts.map((text) => rouge.text(text));
    const [meteorCandidate, ...meteorReferences] = texts.map((text, t) =>
      meteorText(tokenizer === "ptb" ? wordTokens(text) : tokens[t]!)
    );
    firsts.push({
      bleu_1,
      bleu_2,
      bleu_3,
      bleu_4,
      rouge_l: cocoRougeL(tokens[0]!, tokens.slice(1)),
      ...bestRougeScores(rougeCandidate!, rougeReferences),
      meteor: meteorScore(meteorCandidate!, meteorReferences, { synonyms }),
    });
    if ((i + 1) % ROWS_A_TURN === 0) {
      onProgress?.(i + 1, rows.length);
      await new Promise((resolve) => setTimeout(resolve));
    }
  }
  const cider = new CiderCorpus(counted.map(({ references }) => references), index.size);
  const images = rows.map(({ id }, i): ImageScores => {
    const { candidate, references } = counted[i]!;
    const scores = cider.score(candidate, references);
    return {
      id,
      values: orderValues({ ...firsts[i]!, cider_d: scores.ciderD, cider: scores.cider }),
      bleu: statistics[i]!,
    };
  });
  onProgress?.(rows.length, rows.length);
  return {
    values: corpusValues(images),
    images,
    diversity: captionDiversity(candidates),
  };
}

/** Values of a set from those of its captions. @throws {RangeError} If there are none */
export function corpusValues(images: readonly ImageScores[]): MetricValues {
  if (images.length === 0) throw new RangeError("Cannot score captions: there are none");
  const values: Partial<Record<MetricName, number>> = {};
  for (const name of METRIC_NAMES) {
    values[name] = images.reduce((sum, image) => sum + image.values[name], 0) / images.length;
  }
  bleuScores(sumBleuStatistics(images.map(({ bleu }) => bleu))).forEach((value, n) => {
    values[METRIC_NAMES[n]!] = value;
  });
  return values as MetricValues;
}

/** Words of a caption without the rules of any language: lower-cased, separated by white space. */
export function simpleTokens(text: string): string[] {
  return text.toLowerCase().split(PYTHON_SPACES).filter((word) => word !== "");
}

function checkRows(rows: readonly CandidateRow[]): void {
  if (rows.length === 0) throw new RangeError("Cannot score captions: there are none");
  const seen = new Set<string>();
  const twice = new Set<string>();
  for (const { id } of rows) (seen.has(id) ? twice : seen).add(id);
  if (twice.size > 0) {
    throw new RangeError(
      `Cannot score captions: ${twice.size} ids are there twice, each may be there once: ${
        describeNames([...twice], 5)
      }`,
    );
  }
  const bare = rows.filter(({ references }) => references.length === 0);
  if (bare.length > 0) {
    throw new RangeError(
      `Cannot score captions: ${bare.length} have no references, each needs at least one: ${
        describeNames(bare.map(({ id }) => id), 5)
      }`,
    );
  }
}

function orderValues(values: MetricValues): MetricValues {
  return Object.fromEntries(METRIC_NAMES.map((name) => [name, values[name]])) as MetricValues;
}
