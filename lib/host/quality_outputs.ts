/**
 * Writes the tables of a report from what was found of each row, in two passes over it, with a few bytes of memory an example.
 *
 * @module
 */

import { PlainTableEncoder } from "../datasets/parquet_write.ts";
import { formatCsvRow } from "../format/csv.ts";
import { mostCommon, rareClasses } from "../quality/distribution.ts";
import type { QualityExample } from "../quality/example.ts";
import { NumberList } from "../quality/number_list.ts";
import { badnessRange, reweight, scaleBadness } from "../quality/ranking.ts";
import {
  EXAMPLE_COLUMNS,
  exampleCells,
  formatCounts,
  RANKED_COLUMNS,
  REWEIGHT_COLUMNS,
  SCORE_COLUMNS,
  scoreCells,
  sourceId,
} from "../quality/tables.ts";
import type { QualityTotals } from "../quality/totals.ts";
import { writeAll, writeFileAtomically } from "./files.ts";
import { DuplicateFinder, type FoundDuplicates } from "./quality_duplicates.ts";
import type { QualitySpill } from "./quality_spill.ts";

/** Examples of a bucket: what is in memory at once when they are put in order. */
const BUCKET_ROWS = 10_000;
/** Rows of a row group of `scores.parquet`. */
const GROUP_ROWS = 10_000;
/** Characters of text that are written at once. */
const TEXT_CHARACTERS = 1e6;

/** First pass: adds everything up, and finds images that are nearly the same. */
export async function addUp(
  spill: QualitySpill,
  totals: QualityTotals,
  { minCosine, onProgress }: { minCosine: number; onProgress(rows: number): void },
): Promise<{ found: FoundDuplicates; badRows: { id: string; reason: string }[] }> {
  const finder = new DuplicateFinder();
  const badRows: { id: string; reason: string }[] = [];
  let row = 0;
  for await (const found of spill.read()) {
    if ("error" in found) badRows.push({ id: found.id, reason: found.error });
    else {
      for (const example of found) totals.add(example);
      if (found[0] !== undefined) finder.add(found[0], row);
    }
    onProgress(++row);
  }
  return { found: await finder.find(spill, minCosine), badRows };
}

/** An example of the worst, with where its row lies. */
export interface WorstExample {
  readonly example: QualityExample;
  /** Line of its row. */
  readonly row: number;
  /** From 0 to 1, 1 is the worst. */
  readonly combined: number;
}

/**
 * Second pass: writes `per_example_scores.csv`, `ranked_by_combined.csv`, `scores.parquet` and `reweighting_probs.csv`.
 *
 * @param work Folder for files that are not done
 * @returns The worst examples, the worst first
 */
export async function writeExampleTables(
  spill: QualitySpill,
  totals: QualityTotals,
  { outputDir, work, topk, onProgress }: {
    outputDir: string;
    work: string;
    topk: number;
    onProgress(rows: number): void;
  },
): Promise<WorstExample[]> {
  const badness = totals.badness.values;
  const order = Uint32Array.from(badness.keys()).sort((a, b) => badness[b]! - badness[a]! || a - b);
  const rankOf = new Uint32Array(order.length);
  for (const [rank, example] of order.entries()) rankOf[example] = rank;
  const range = badnessRange(badness);
  const worst: WorstExample[] = [];
  const weights = new WeightList();
  const scores = new PlainTableEncoder(SCORE_COLUMNS);
  let cells: (string | number | null)[][] = [];

  using perExample = await TextFile.create(`${work}/per_example_scores.csv`);
  using parquet = await Deno.create(`${work}/scores.parquet`);
  using buckets = new Buckets(work, Math.ceil(order.length / BUCKET_ROWS));
  const writeScores = async (parts: Uint8Array[]) => {
    for (const part of parts) await writeAll(parquet, part);
  };
  await perExample.add(formatCsvRow(EXAMPLE_COLUMNS));
  let [at, row] = [0, 0];
  let lastRow = -1;
  for await (const found of spill.read()) {
    for (const example of "error" in found ? [] : found) {
      const rank = rankOf[at]!;
      const combined = scaleBadness(badness[at]!, range);
      const weight = reweight(example, totals.objects);
      const line = exampleCells(example, { reweight: weight });
      await perExample.add(formatCsvRow(line));
      await buckets.add(rank, formatCsvRow([...line, String(combined)]));
      cells.push(scoreCells(example, { reweight: weight, combined }));
      if (cells.length === GROUP_ROWS) await writeScores(scores.write(cells.splice(0)));
      if (rank < topk) worst[rank] = { example, row, combined };
      // A row of several captions has one weight.
      if (row !== lastRow) weights.add(example, weight ?? 0);
      lastRow = row;
      at++;
    }
    onProgress(++row);
  }
  if (cells.length > 0 || at === 0) await writeScores(scores.write(cells));
  cells = [];
  await writeScores(scores.finish());
  await parquet.sync();
  await perExample.end();
  await Deno.rename(`${work}/per_example_scores.csv`, `${outputDir}/per_example_scores.csv`);
  await Deno.rename(`${work}/scores.parquet`, `${outputDir}/scores.parquet`);
  await writeFileAtomically(`${outputDir}/ranked_by_combined.csv`, encodeLines(buckets.ordered()));
  await writeFileAtomically(`${outputDir}/reweighting_probs.csv`, encodeLines(weights.lines()));
  return worst;
}

/** Writes `object_counts.csv` and `objects_below_N.csv`. */
export async function writeObjectTables(
  outputDir: string,
  { objects }: QualityTotals,
  rareThreshold: number,
): Promise<void> {
  await writeFileAtomically(`${outputDir}/object_counts.csv`, formatCounts(mostCommon(objects)));
  await writeFileAtomically(
    `${outputDir}/objects_below_${rareThreshold}.csv`,
    formatCounts(rareClasses(objects, rareThreshold)),
  );
}

/** Weights of rows, 24 bytes each. */
class WeightList {
  readonly #sources: string[] = [];
  readonly #source = new NumberList();
  readonly #idx = new NumberList();
  readonly #raw = new NumberList();

  add({ source, idx }: QualityExample, raw: number): void {
    if (!this.#sources.includes(source)) this.#sources.push(source);
    this.#source.add(this.#sources.indexOf(source));
    this.#idx.add(idx);
    this.#raw.add(raw);
  }

  *lines(): Generator<string> {
    yield formatCsvRow(REWEIGHT_COLUMNS);
    let sum = 0;
    for (const raw of this.#raw.values) sum += raw;
    for (const [i, raw] of this.#raw.values.entries()) {
      const [idx, source] = [this.#idx.values[i]!, this.#sources[this.#source.values[i]!]!];
      yield formatCsvRow([
        String(idx),
        String(raw),
        String(sum > 0 ? raw / sum : 0),
        sourceId({ source, idx }),
      ]);
    }
  }
}

/** Text as bytes, a megabyte at a time. */
export async function* encodeLines(
  lines: Iterable<string> | AsyncIterable<string>,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  let [parts, size]: [string[], number] = [[], 0];
  for await (const line of lines) {
    parts.push(line);
    size += line.length;
    if (size < TEXT_CHARACTERS) continue;
    yield encoder.encode(parts.join(""));
    [parts, size] = [[], 0];
  }
  yield encoder.encode(parts.join(""));
}

/** A file of text that is written in large parts. */
class TextFile implements Disposable {
  readonly #file: Deno.FsFile;
  #parts: string[] = [];
  #size = 0;

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  static async create(path: string): Promise<TextFile> {
    return new TextFile(await Deno.create(path));
  }

  async add(text: string): Promise<void> {
    this.#parts.push(text);
    this.#size += text.length;
    if (this.#size >= TEXT_CHARACTERS) await this.#write();
  }

  async end(): Promise<void> {
    await this.#write();
    await this.#file.sync();
  }

  async #write(): Promise<void> {
    const bytes = new TextEncoder().encode(this.#parts.join(""));
    [this.#parts, this.#size] = [[], 0];
    await writeAll(this.#file, bytes);
  }

  [Symbol.dispose](): void {
    this.#file.close();
  }
}

/** Lines by rank, set down in files of neighbouring ranks, so that each can be put in order by itself. */
class Buckets implements Disposable {
  readonly #folder: string;
  readonly #texts: string[][];
  #waiting = 0;

  constructor(folder: string, count: number) {
    this.#folder = folder;
    this.#texts = Array.from({ length: count }, () => []);
    for (let bucket = 0; bucket < count; bucket++) Deno.writeTextFileSync(this.#path(bucket), "");
  }

  async add(rank: number, line: string): Promise<void> {
    const text = `${rank} ${JSON.stringify(line)}\n`;
    this.#texts[Math.floor(rank / BUCKET_ROWS)]!.push(text);
    this.#waiting += text.length;
    if (this.#waiting >= 8 * TEXT_CHARACTERS) await this.#flush();
  }

  async *ordered(): AsyncGenerator<string> {
    await this.#flush();
    yield formatCsvRow(RANKED_COLUMNS);
    for (const bucket of this.#texts.keys()) {
      const lines: string[] = [];
      for (const entry of (await Deno.readTextFile(this.#path(bucket))).split("\n")) {
        const space = entry.indexOf(" ");
        if (space > 0) lines[Number(entry.slice(0, space)) % BUCKET_ROWS] = entry.slice(space + 1);
      }
      for (const line of lines) yield JSON.parse(line);
    }
  }

  async #flush(): Promise<void> {
    for (const [bucket, texts] of this.#texts.entries()) {
      if (texts.length > 0) await Deno.writeTextFile(this.#path(bucket), texts.join(""), { append: true });
      this.#texts[bucket] = [];
    }
    this.#waiting = 0;
  }

  #path(bucket: number): string {
    return `${this.#folder}/ranked.${bucket}`;
  }

  [Symbol.dispose](): void {
    for (const bucket of this.#texts.keys()) Deno.removeSync(this.#path(bucket));
  }
}
