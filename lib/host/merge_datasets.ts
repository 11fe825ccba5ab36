/**
 * Several data sets made one: shuffled, without rows that two of them share, as parquet that Python opens.
 *
 * It is done beside its place and in two passes, both of which continue after a break: rows are set down on disk by the place that the
 * shuffle gives them, a bucket of places a file; then bucket after bucket is put in order and written. Memory holds a row group of a
 * source, or a bucket.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { hashText, Rng } from "../base/rng.ts";
import { sha256Hex } from "../base/sha256.ts";
import { type BadRow, BadRows } from "../datasets/bad_rows.ts";
import { encodeParquet, formatDatasetConfig, type MergedRow, shardName } from "../datasets/parquet_write.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import { type Split, SPLITS } from "../datasets/rows.ts";
import { parseJsonObject } from "../format/json.ts";
import { identifyImage } from "../image/decode.ts";
import { groupsOf, openDataset, type OpenedDataset, type RowGroup } from "./datasets.ts";
import { isDiskFull, removeIfThere, stat, writeFileAtomically } from "./files.ts";
import { type MergeCounts, SeenRows, sumOf } from "./merge_report.ts";
import { startProgress } from "./progress.ts";
import { BUCKET_ROWS, RowSpill } from "./row_spill.ts";
import { acquireRunLock, LOCK_FILE } from "./run_lock.ts";
import { checkSampleNames, sampleOf, type SampleSizes } from "./train_data.ts";

/** How far it is. */
const JOURNAL = "journal.json";
/** After so many bytes the first pass notes how far it is. */
const NOTE_BYTES = 256e6;

/** Options of {@linkcode mergeDatasets}. */
export interface MergeOptions {
  /** Names of the registry, ids of the Hub, folders or files. */
  datasets: readonly string[];
  /** At most so many rows of every data set, or of some by name. */
  sample?: SampleSizes;
  /** Column of captions. @default the first usual name that a data set has */
  captionColumn?: string;
  /** Column of images. @default the first usual name that a data set has */
  imageColumn?: string;
  /** Folder that is made. */
  savePath: string;
  /** Of splits and order. */
  seed: number;
  /** Share of rows that may be bad. */
  maxBadRows: number;
  /** A shard is closed when it has so many bytes of images. @default {500e6} */
  shardBytes?: number;
  /** Ends it; run again, it continues. */
  signal?: AbortSignal;
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** What a merge came to. */
export interface MergeResult extends MergeCounts {
  /** The folder. */
  path: string;
  /** Files of each split. */
  shards: Partial<Record<Split, string[]>>;
  /** Rows left out because they cannot be used. */
  badRows: BadRow[];
}

/** How far a merge is: what its journal holds. */
interface Journal {
  fingerprint: string;
  /** Groups of the sources that were set down. */
  groups: number;
  sizes: Record<string, number>;
  duplicates: Record<string, number>;
  bad: BadRow[];
  /** Known when everything was set down. */
  counts?: MergeCounts;
  /** Shards that are written: split, number in it, and the buckets up to which it has them. */
  shards: { split: Split; bucketEnd: number }[];
}

/**
 * Merges data sets into a folder with `data/SPLIT-*.parquet` and a README that names the splits.
 *
 * @throws {UserError} If the folder is there already, a data set cannot be used, too many rows are bad, or the disk is full
 */
export async function mergeDatasets(options: MergeOptions): Promise<MergeResult> {
  const { savePath } = options;
  if (await stat(savePath)) {
    throw new UserError(
      `Cannot merge into "${savePath}": it is there already; remove it or name another with --save-path`,
    );
  }
  const work = `${savePath}.merging`;
  using _lock = await acquireRunLock(work);
  try {
    return await new Merge(options, work).run();
  } catch (error) {
    await removeIfUnused(work);
    if (!isDiskFull(error) && !isDiskFull((error as Error).cause)) throw error;
    throw new UserError(
      `Cannot merge into "${savePath}": the disk is full; what is done is kept in "${work}": free some space and run again`,
      { cause: error },
    );
  }
}

/** A mistake in the options leaves nothing to continue from. */
async function removeIfUnused(work: string): Promise<void> {
  for await (const { name } of Deno.readDir(work)) if (name !== LOCK_FILE) return;
  await removeIfThere(work);
}

/** Rows of a source that are read at once, and their place before the shuffle. */
type Group = RowGroup & {
  /** Place of the first of them among those of its split. */
  readonly first: number;
};

class Merge {
  readonly #options: MergeOptions;
  readonly #work: string;
  readonly #badRows: BadRows;

  constructor(options: MergeOptions, work: string) {
    this.#options = options;
    this.#work = work;
    this.#badRows = new BadRows({ maxFraction: options.maxBadRows });
  }

  async run(): Promise<MergeResult> {
    const { savePath, datasets, sample } = this.#options;
    const names = expandDatasetNames(datasets);
    checkSampleNames(sample, names);
    const sources: OpenedDataset[] = [];
    for (const name of names) {
      const chosen = sampleOf(sample, name);
      sources.push(await openDataset(name, { ...this.#options, sample: chosen, badRows: this.#badRows }));
    }
    const groups = (await Promise.all(sources.map((source) => groupsOf(source)))).flat();
    const totals: Record<Split, number> = { train: 0, validation: 0, test: 0 };
    const placed = groups.map((group): Group => {
      const first = totals[group.split];
      totals[group.split] += group.count;
      return { ...group, first };
    });
    const fingerprint = await this.#fingerprint(sources, totals);
    let journal = await this.#readJournal(fingerprint);
    const spill = new RowSpill(this.#work, journal.sizes);
    if (journal.counts === undefined) {
      journal = await this.#setDown({ groups: placed, totals, journal, spill });
    } else for (const { id, reason } of journal.bad) this.#badRows.add(id, reason);
    const shards = await this.#write(totals, journal, spill);
    const counts = journal.counts!;
    await this.#finish(shards, counts);
    await Deno.rename(this.#work, savePath);
    return { path: savePath, shards, ...counts, badRows: this.#badRows.rows };
  }

  async #fingerprint(sources: readonly OpenedDataset[], totals: Record<Split, number>): Promise<string> {
    const parts: unknown[] = [];
    const { datasets, sample, captionColumn, imageColumn, seed, shardBytes } = this.#options;
    parts.push({ datasets, sample, captionColumn, imageColumn, seed, shardBytes, totals });
    for (const { files, set } of sources) {
      const shards = new Set(
        SPLITS.flatMap((split) => set?.splits[split] ?? []).map(({ shard }) => shard.name),
      );
      for (const path of shards) parts.push([path, await files?.identity?.(path)]);
    }
    return await sha256Hex(new TextEncoder().encode(JSON.stringify(parts)));
  }

  async #readJournal(fingerprint: string): Promise<Journal> {
    const path = `${this.#work}/${JOURNAL}`;
    if (await stat(path) !== undefined) {
      // Written atomically, so whole; and of the same options and files if it says so.
      const journal = parseJsonObject(await Deno.readTextFile(path), path) as unknown as Journal;
      const isMine = journal.fingerprint === fingerprint;
      if (isMine && (journal.counts || await new RowSpill(this.#work, journal.sizes).restore())) {
        return journal;
      }
    }
    await this.#clear([]);
    return { fingerprint, groups: 0, sizes: {}, duplicates: {}, bad: [], shards: [] };
  }

  /** Removes all but some files of the working folder, the journal last. */
  async #clear(kept: readonly string[]): Promise<void> {
    const names: string[] = [];
    for await (const { name } of Deno.readDir(this.#work)) {
      if (![...kept, LOCK_FILE, JOURNAL].includes(name)) names.push(name);
    }
    for (const name of [...names, JOURNAL]) await removeIfThere(`${this.#work}/${name}`);
  }

  async #writeJournal(journal: Journal): Promise<void> {
    await writeFileAtomically(`${this.#work}/${JOURNAL}`, JSON.stringify(journal));
  }

  /** First pass: every row to the bucket of its place. */
  async #setDown(
    { groups, totals, journal, spill }: {
      groups: readonly Group[];
      totals: Record<Split, number>;
      journal: Journal;
      spill: RowSpill;
    },
  ): Promise<Journal> {
    const { seed, signal, quiet = false } = this.#options;
    const seen = new SeenRows(journal.duplicates);
    for await (const { split, head } of spill.heads()) seen.add(split as Split, head);
    for (const { id, reason } of journal.bad) this.#badRows.add(id, reason);
    const total = sumOf(totals);
    using progress = startProgress({ label: "read", total, quiet });
    const places = Object.fromEntries(
      SPLITS.map((split) => [split, shuffledPlaces(split, totals[split], seed)]),
    );
    let noted = sumOf(spill.sizes);
    const note = async (done: number): Promise<Journal> => {
      const state = {
        ...journal,
        groups: done,
        sizes: spill.sizes,
        duplicates: seen.counts.duplicates,
        bad: this.#badRows.rows,
      };
      await this.#writeJournal(state);
      noted = sumOf(spill.sizes);
      return state;
    };
    let rowsDone = 0;
    try {
      for (const [done, group] of groups.entries()) {
        rowsDone += group.count;
        if (done < journal.groups) continue;
        signal?.throwIfAborted();
        await this.#setDownGroup(group, { places: places[group.split]!, seen, spill });
        this.#badRows.check(total);
        progress.update(rowsDone);
        if (sumOf(spill.sizes) - noted >= NOTE_BYTES) await note(done + 1);
        if (signal?.aborted) await note(done + 1);
      }
    } finally {
      progress.stop();
    }
    const state = { ...await note(groups.length), counts: seen.counts };
    await this.#writeJournal(state);
    return state;
  }

  async #setDownGroup(
    group: Group,
    { places, seen, spill }: { places: Uint32Array; seen: SeenRows; spill: RowSpill },
  ): Promise<void> {
    const { split, source, first, numbers } = group;
    for (const [i, read] of (await group.read()).entries()) {
      const number = numbers[i]!;
      if (read.error !== undefined) {
        this.#badRows.add(`${source}: ${read.id}`, read.error);
        continue;
      }
      const { row: { id, captions }, image } = read;
      const format = identifyImage(image);
      if (format === undefined) {
        this.#badRows.add(`${source}: ${id}`, "its image is none that is known");
        continue;
      }
      const sha256 = await sha256Hex(image);
      if (!seen.add(split, { sha256, captions, source })) continue;
      const path = `${source.replaceAll(/[^\w.-]+/g, "_")}-${number}.${format === "jpeg" ? "jpg" : format}`;
      const place = places[first + i]!;
      await spill.add(split, { place, sha256, captions: [...captions], source, number, path, image });
    }
  }

  /** Second pass: bucket after bucket into shards. */
  async #write(
    totals: Record<Split, number>,
    journal: Journal,
    spill: RowSpill,
  ): Promise<Partial<Record<Split, string[]>>> {
    const { signal, quiet = false, shardBytes = 500e6 } = this.#options;
    await Deno.mkdir(`${this.#work}/data`, { recursive: true });
    using progress = startProgress({ label: "write", total: sumOf(totals), quiet });
    const written = [...journal.shards];
    let rowsDone = 0;
    const pending = (split: Split, shard: number) => `data/${split}-${shard}.part`;
    for (const split of SPLITS) {
      const buckets = Math.ceil(totals[split] / BUCKET_ROWS);
      const mine = () => written.filter((shard) => shard.split === split);
      for (let bucket = mine().at(-1)?.bucketEnd ?? 0; bucket < buckets;) {
        signal?.throwIfAborted();
        const start = bucket;
        let bytes = 0;
        const rows = async function* (): AsyncGenerator<MergedRow> {
          for (; bucket < buckets && bytes < shardBytes; bucket++) {
            for (const { image, path, captions, source, number } of await spill.read(split, bucket)) {
              bytes += image.length;
              yield { image, path, captions, source, sourceId: `${source}-${number}` };
            }
            rowsDone = Math.min(rowsDone + BUCKET_ROWS, sumOf(totals));
            progress.update(rowsDone);
          }
        };
        const path = `${this.#work}/${pending(split, mine().length)}`;
        await writeFileAtomically(path, encodeParquet(rows()));
        written.push({ split, bucketEnd: bucket });
        await this.#writeJournal({ ...journal, shards: written });
        for (let done = start; done < bucket; done++) await spill.remove(split, done);
      }
    }
    const shards: Partial<Record<Split, string[]>> = {};
    for (const split of SPLITS) {
      const count = written.filter((shard) => shard.split === split).length;
      for (let shard = 0; shard < count; shard++) {
        const name = shardName(split, shard, count);
        const from = `${this.#work}/${pending(split, shard)}`;
        // Without its part it got its name before a break.
        if (await stat(from)) await Deno.rename(from, `${this.#work}/${name}`);
        (shards[split] ??= []).push(name);
      }
    }
    return shards;
  }

  async #finish(shards: Partial<Record<Split, string[]>>, counts: MergeCounts): Promise<void> {
    const { datasets } = this.#options;
    const report = { ...counts, bad_rows: this.#badRows.rows };
    await writeFileAtomically(`${this.#work}/merge_report.json`, JSON.stringify(report, null, 2) + "\n");
    const lines = Object.entries(counts.taken).map(([split, sources]) =>
      `| ${split} | ${sumOf(sources)} | ${
        Object.entries(sources).map(([source, count]) => `${source} ${count}`).join(", ")
      } |`
    );
    await writeFileAtomically(
      `${this.#work}/README.md`,
      `${formatDatasetConfig(Object.keys(shards))}\n# Merged captions\n\nMerged from ${
        datasets.join(", ")
      }. Columns: \`image\`, ` +
        `\`alt_text\` (list of captions), \`source\`, \`source_id\`.\n\n| split | rows | sources |\n| --- | --- | --- |\n${
          lines.join("\n")
        }\n`,
    );
    await this.#clear(["data", "README.md", "merge_report.json"]);
    await removeIfThere(`${this.#work}/${LOCK_FILE}`);
  }
}

/** Where each row of a split goes. */
function shuffledPlaces(split: Split, count: number, seed: number): Uint32Array {
  const places = Uint32Array.from({ length: count }, (_, row) => row);
  new Rng(hashText(`merge|${seed}|${split}`)).shuffle(places as unknown as number[]);
  return places;
}
