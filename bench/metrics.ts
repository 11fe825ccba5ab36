/**
 * Captions scored a second: every metric, over made-up captions with the lengths and the repetitions of COCO's.
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { type CandidateRow, scoreCorpus } from "../lib/text/metrics/corpus.ts";
import { ptbTokens } from "../lib/text/metrics/ptb_tokenizer.ts";
import { peakResidentBytes, timeOnce } from "./measure.ts";

/** What was measured of the metrics. */
export interface MetricsResult {
  captions: number;
  references: number;
  wordsPerCaption: number;
  /** PTB tokenisation alone. */
  tokenizeMs: number;
  wallMs: number;
  cpuMs: number;
  peakBytes: number;
}

const REFERENCES = 5;
const WORDS = [
  ..."a a a a the the of on in with and is are two man woman dog cat street".split(" "),
  ..."people sitting standing holding riding wearing red white black next to".split(" "),
];

/** Captions of 12 words on average: half from few common words, half from many rare ones, some with punctuation inside. */
function makeRows(count: number): CandidateRow[] {
  const rng = new Rng(1);
  const rare = Array.from({ length: 20_000 }, () => {
    const letters = Array.from({ length: 3 + rng.int(6) }, () => "etaoinshrdlucm"[rng.int(14)]);
    return letters.join("") + rng.pick(["", "", "s", "ing", "ed", "'s", "-up"]);
  });
  const caption = () => {
    const words = Array.from(
      { length: 8 + rng.int(9) },
      () => rng.next() < 0.5 ? rng.pick(WORDS) : rare[Math.floor(rare.length * rng.next() ** 3)]!,
    );
    const text = words.join(" ");
    const marked = rng.next() < 0.2 ? text.replace(" ", ", ") : text;
    return marked[0]!.toUpperCase() + marked.slice(1) + (rng.next() < 0.7 ? "." : "");
  };
  return Array.from({ length: count }, (_, i) => ({
    id: String(i),
    candidate: caption(),
    references: Array.from({ length: REFERENCES }, caption),
  }));
}

/** Measures every metric with PTB tokenisation, METEOR without synonyms. */
export async function measureMetrics(options: { quick: boolean }): Promise<MetricsResult> {
  const rows = makeRows(options.quick ? 5000 : 100_000);
  let words = 0;
  const tokenize = await timeOnce(() => {
    for (const { candidate, references } of rows) {
      for (const text of [candidate, ...references]) words += ptbTokens(text).length;
    }
    return Promise.resolve();
  });
  const cost = await timeOnce(() => scoreCorpus(rows));
  return {
    captions: rows.length,
    references: REFERENCES,
    wordsPerCaption: words / (rows.length * (1 + REFERENCES)),
    tokenizeMs: tokenize.wallMs,
    ...cost,
    peakBytes: peakResidentBytes(),
  };
}

/** The figures as a table. */
export function formatMetrics(result: MetricsResult): string {
  return formatTable([
    ["captions", `${result.captions}, ${result.references} references each`],
    ["words of a caption", result.wordsPerCaption.toFixed(1)],
    ["PTB tokenisation alone", `${(result.tokenizeMs / 1000).toFixed(1)} s`],
    ["every metric, by the clock", `${(result.wallMs / 1000).toFixed(1)} s`],
    ["every metric, processor time", `${(result.cpuMs / 1000).toFixed(1)} s`],
    ["captions a second", (1000 * result.captions / result.wallMs).toFixed(0)],
    ["peak memory", `${(result.peakBytes / 1e6).toFixed(0)} MB`],
  ]);
}
