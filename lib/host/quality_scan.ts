/**
 * Looks at every row of data sets once: text, image, and what models say of them. Images of the next rows are decoded by workers while the
 * GPU is busy with these.
 *
 * @module
 */

import { describeError } from "../base/errors.ts";
import { bertScore } from "../evaluate/similarity.ts";
import { examineText, type QualityExample, type QualityRow } from "../quality/example.ts";
import type { ClipScorer } from "./clip_scorer.ts";
import { ImageWorkers, type InspectedImage } from "./image_workers.ts";
import { startProgress } from "./progress.ts";
import type { OpenedQualityRows, QualityGroup, ReadQualityRow } from "./quality_rows.ts";
import type { QualitySpill, SpilledRow } from "./quality_spill.ts";
import type { TextScorer } from "./text_scorer.ts";

/** What rows are looked at with. */
export interface ScanOptions {
  /** Compares images with captions. */
  readonly clip?: ClipScorer | undefined;
  /** Compares captions with originals. */
  readonly bert?: TextScorer | undefined;
  /** Whether images are looked at. */
  readonly images: boolean;
  /** Rows in a batch of a model. */
  readonly batchSize: number;
  /** Ends after the rows that are being looked at. */
  readonly signal?: AbortSignal | undefined;
  /** Shows no progress. @default {false} */
  readonly quiet?: boolean;
}

/** Rows looked at together where nothing but text is read. */
const TEXT_ROWS = 1000;
/** Time between two moments at which what was found is certain to be on the disk. */
const SYNC_MS = 15_000;

/** Looks at the rows that the spill does not have yet. */
export async function scanRows(
  opened: OpenedQualityRows,
  spill: QualitySpill,
  options: ScanOptions,
): Promise<void> {
  const { signal, quiet = false, images, clip } = options;
  if (spill.rows >= opened.total) return;
  const step = images || clip || options.bert ? options.batchSize : TEXT_ROWS;
  // A batch that was cut short is looked at again: what a row is compared with depends on the others of its batch.
  await spill.keep(batchBefore(opened.groups, { row: spill.rows, step }));
  using progress = startProgress({ label: "report", total: opened.total, initial: spill.rows, quiet });
  using workers = images ? new ImageWorkers({ config: clip?.processor }) : undefined;
  let synced = performance.now();
  let next: Promise<PreparedRow[]> | undefined;
  const finish = async (ready: Promise<PreparedRow[]>) => {
    await spill.add(await scoreRows(await ready, spill, options));
    progress.update(spill.rows);
    if (performance.now() - synced < SYNC_MS) return;
    await spill.sync();
    synced = performance.now();
  };
  try {
    for await (const rows of chunksOf(opened.groups, { from: spill.rows, step })) {
      signal?.throwIfAborted();
      const ready = prepareRows(rows, workers);
      ready.catch(() => {}); // reported when its turn comes
      if (next !== undefined) await finish(next);
      next = ready;
    }
    if (next !== undefined) await finish(next);
  } finally {
    await spill.sync();
  }
}

/** The row that begins the batch in which a row lies. */
function batchBefore(groups: readonly QualityGroup[], { row, step }: { row: number; step: number }): number {
  let start = 0;
  for (const { count } of groups) {
    if (row < start + count) return start + Math.floor((row - start) / step) * step;
    start += count;
  }
  return start;
}

/** Rows from a place on, some at a time; groups that lie before it are not read. */
async function* chunksOf(
  groups: readonly QualityGroup[],
  { from, step }: { from: number; step: number },
): AsyncGenerator<ReadQualityRow[]> {
  let start = 0;
  for (const { count, read } of groups) {
    const skip = Math.max(0, from - start);
    start += count;
    if (skip >= count) continue;
    const rows = await read();
    for (let at = skip; at < rows.length; at += step) yield rows.slice(at, at + step);
  }
}

type PreparedRow =
  | {
    readonly examples: readonly QualityExample[];
    readonly image?: InspectedImage;
    readonly error?: undefined;
  }
  | { readonly id: string; readonly error: string };

async function prepareRows(
  rows: readonly ReadQualityRow[],
  workers: ImageWorkers | undefined,
): Promise<PreparedRow[]> {
  return await Promise.all(rows.map(async (row): Promise<PreparedRow> => {
    if (row.error !== undefined) return row;
    const examples = row.examples.map(examineText);
    if (workers === undefined || row.readImage === undefined) return { examples };
    try {
      const image = await workers.inspect(await row.readImage());
      const { facts, sha256 } = image;
      // Half of the hash tells a million images apart.
      const known = { ...facts, sha256: sha256.slice(0, 32) };
      return { examples: examples.map((example) => ({ ...example, image: known })), image };
    } catch (error) {
      const imageError = describeError(error);
      return { examples: examples.map((example) => ({ ...example, imageError })) };
    }
  }));
}

/** Scores by the models, and embeddings set down. */
async function scoreRows(
  rows: readonly PreparedRow[],
  spill: QualitySpill,
  { clip, bert }: ScanOptions,
): Promise<SpilledRow[]> {
  const scores = new Map<QualityRow, Partial<QualityExample>>();
  const note = (example: QualityRow, found: Partial<QualityExample>) =>
    scores.set(example, { ...scores.get(example), ...found });
  if (clip !== undefined) await alignRows(rows, { clip, spill, note });
  if (bert !== undefined) await compareWithOriginals(rows, { bert, note });
  return rows.map((row): SpilledRow =>
    row.error !== undefined ? row : row.examples.map((example) => ({ ...example, ...scores.get(example) }))
  );
}

type Note = (example: QualityExample, found: Partial<QualityExample>) => void;

async function alignRows(
  rows: readonly PreparedRow[],
  { clip, spill, note }: { clip: ClipScorer; spill: QualitySpill; note: Note },
): Promise<void> {
  const seen = rows.flatMap((row) =>
    row.error === undefined && row.image?.pixelValues !== undefined
      ? [{ examples: row.examples, pixels: row.image.pixelValues }]
      : []
  );
  if (seen.length === 0) return;
  const images = (await clip.embedImages(seen.map(({ pixels }) => pixels))).map(toUnit);
  const pairs = seen.flatMap(({ examples }, row) => examples.map((example) => ({ row, example })));
  const texts = (await clip.embedTexts(pairs.map(({ example }) => example.caption))).map(toUnit);
  for (const image of images) await spill.addEmbedding(image);
  const first = spill.embeddingCount - images.length;
  for (const [i, { row, example }] of pairs.entries()) {
    const wrong = mismatchOf(pairs, i);
    note(example, {
      embedding: first + row,
      clip: dot(images[row]!, texts[i]!),
      ...(wrong !== undefined && { mismatched: dot(images[row]!, texts[wrong]!) }),
    });
  }
}

/** The next pair of another image with another caption; `undefined` where the batch has none. */
function mismatchOf(
  pairs: readonly { row: number; example: QualityExample }[],
  i: number,
): number | undefined {
  const { row, example } = pairs[i]!;
  for (let step = 1; step < pairs.length; step++) {
    const other = (i + step) % pairs.length;
    const { row: otherRow, example: { caption } } = pairs[other]!;
    if (otherRow !== row && caption !== example.caption) return other;
  }
  return undefined;
}

async function compareWithOriginals(
  rows: readonly PreparedRow[],
  { bert, note }: { bert: TextScorer; note: Note },
): Promise<void> {
  const pairs = rows.flatMap((row) => row.error === undefined ? row.examples : [])
    .filter(({ original }) => original !== "");
  if (pairs.length === 0) return;
  const states = await bert.states(pairs.flatMap(({ caption, original }) => [caption, original]));
  for (const [i, example] of pairs.entries()) {
    note(example, { bert: bertScore(states[2 * i]!, states[2 * i + 1]!).f1 });
  }
}

function toUnit(vector: Float32Array): Float32Array {
  const norm = Math.hypot(...vector) || 1;
  return vector.map((value) => value / norm);
}

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let c = 0; c < a.length; c++) sum += a[c]! * b[c]!;
  return sum;
}
