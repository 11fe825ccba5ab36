/**
 * Data sets with captions before and after, written so that every loader reads them.
 *
 * @module
 */

import {
  encodeImageTable,
  formatDatasetConfig,
  type ImageTableRow,
  shardName,
} from "../datasets/parquet_write.ts";
import { type Split, SPLITS } from "../datasets/rows.ts";
import { UserError } from "../base/errors.ts";
import { identifyImage } from "../image/decode.ts";
import { type FolderWriter, writeFolderAtomically } from "./files.ts";
import { refuseForeignFolder } from "./own_folder.ts";

/** How a data set is laid out: images beside a `metadata.jsonl`, JSON lines that name images, or parquet with images inside. */
export type CuratedFormat = "image-folder" | "jsonl" | "parquet";

/** All of {@linkcode CuratedFormat}. */
export const CURATED_FORMATS: readonly CuratedFormat[] = ["image-folder", "jsonl", "parquet"];

/** A row that is written. */
export interface CuratedRow {
  readonly split: Split;
  /** Bytes of the image file, as they were. */
  readonly image: Uint8Array;
  /** At least one. */
  readonly captions: readonly string[];
  /** As they were before. */
  readonly original: readonly string[];
  /** Nouns of what the image shows. */
  readonly objects: readonly string[];
  /** Who rewrote it: a model, `rules`, a person. */
  readonly curation: string;
}

/** What is said of a data set that is written. */
export interface CuratedAbout {
  readonly format: CuratedFormat;
  /** Where its rows come from. */
  readonly dataset: string;
  /** Who rewrote its captions. */
  readonly by: string;
  /** The command that writes it. */
  readonly task: "curate" | "review";
}

/** What the README of such a folder says, by which it is known as one that may be replaced. */
const MARK = "Curated captions, written by `deno task";
/** A shard of parquet is closed when it has so many bytes of images. */
const SHARD_BYTES = 500e6;

/**
 * Writes a data set; a folder that was written here before is replaced. Rows of a split come together.
 *
 * @throws {UserError} If something of other origin has the name, there is no row, or the disk is full
 */
export async function writeCuratedDataset(
  path: string,
  rows: AsyncIterable<CuratedRow>,
  about: CuratedAbout,
): Promise<void> {
  await refuseForeignFolder(path, MARK);
  await writeFolderAtomically(path, async (folder) => {
    const splits = about.format === "parquet"
      ? await writeParquet(folder, rows)
      : await writeFiles(folder, rows, about.format);
    if (splits.length === 0) {
      throw new UserError(`Cannot write "${path}": no row is left of "${about.dataset}"`);
    }
    await folder.write("README.md", describe(splits, about));
  });
}

function describe(
  splits: readonly Split[],
  { format, dataset, by, task }: CuratedAbout,
): string {
  const head = format === "parquet" ? `${formatDatasetConfig(splits)}\n` : "";
  return `${head}# Curated captions\n\n${MARK} ${task}\` from ${dataset}, captions by ${by}.\n\nColumns: \`alt_text\` (the caption), ` +
    "`original_alt_text` (as it was), `objects` (what the image shows), `curation` (who rewrote it).\n";
}

/** One caption is a string, several are a list, as loaders take both. */
const oneOrList = (captions: readonly string[]) => captions.length === 1 ? captions[0]! : captions;

async function writeFiles(
  folder: FolderWriter,
  rows: AsyncIterable<CuratedRow>,
  format: "image-folder" | "jsonl",
): Promise<Split[]> {
  const lines = new Map<Split, string[]>();
  for await (const { split, image, captions, original, objects, curation } of rows) {
    const mine = lines.get(split) ?? [];
    lines.set(split, mine);
    const kind = identifyImage(image);
    const name = `${String(mine.length).padStart(6, "0")}.${kind === "jpeg" ? "jpg" : kind ?? "bin"}`;
    await folder.write(format === "jsonl" ? `images/${split}/${name}` : `${split}/${name}`, image);
    const place = format === "jsonl" ? { image: `images/${split}/${name}` } : { file_name: name };
    const columns = {
      alt_text: oneOrList(captions),
      original_alt_text: oneOrList(original),
      objects,
      curation,
    };
    mine.push(`${JSON.stringify({ ...place, ...columns })}\n`);
  }
  for (const [split, mine] of lines) {
    const path = format === "jsonl" ? `${split}.jsonl` : `${split}/metadata.jsonl`;
    await folder.write(path, encodeLines(mine));
  }
  return SPLITS.filter((split) => lines.has(split));
}

function* encodeLines(lines: readonly string[]): Generator<Uint8Array> {
  const encoder = new TextEncoder();
  for (const line of lines) yield encoder.encode(line);
}

const COLUMNS = { lists: ["alt_text", "original_alt_text", "objects"], texts: ["curation"] };

async function writeParquet(folder: FolderWriter, rows: AsyncIterable<CuratedRow>): Promise<Split[]> {
  const iterator = rows[Symbol.asyncIterator]();
  const shards = new Map<Split, number>();
  let next = await iterator.next();
  while (!next.done) {
    const { split } = next.value;
    const shard = shards.get(split) ?? 0;
    let bytes = 0;
    const some = async function* (): AsyncGenerator<ImageTableRow> {
      for (let place = 0; !next.done && next.value.split === split && bytes < SHARD_BYTES; place++) {
        const { image, captions, original, objects, curation } = next.value;
        bytes += image.length;
        const kind = identifyImage(image);
        yield {
          image,
          path: `${split}-${shard}-${place}.${kind === "jpeg" ? "jpg" : kind ?? "bin"}`,
          cells: { alt_text: captions, original_alt_text: original, objects, curation },
        };
        next = await iterator.next();
      }
    };
    await folder.write(`data/${split}-${shard}.part`, encodeImageTable(some(), COLUMNS));
    shards.set(split, shard + 1);
  }
  for (const [split, count] of shards) {
    for (let shard = 0; shard < count; shard++) {
      await Deno.rename(
        `${folder.path}/data/${split}-${shard}.part`,
        `${folder.path}/${shardName(split, shard, count)}`,
      );
    }
  }
  return SPLITS.filter((split) => shards.has(split));
}
