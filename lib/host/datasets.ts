/**
 * Data sets by what `--dataset` calls them: a name, the id of a repository at the Hub, a folder or a file.
 *
 * @module
 */

import { describeError, describeNames, suggest, UserError } from "../base/errors.ts";
import type { BadRows } from "../datasets/bad_rows.ts";
import { type CaptionSet, MAX_IMAGE_BYTES, openCaptionSet, type ReadRow } from "../datasets/caption_set.ts";
import { type DataFiles, fileSourceOf } from "../datasets/data_files.ts";
import { type CaptionSetRules, chooseRows } from "../datasets/group_rows.ts";
import type { FileSource } from "../datasets/file_source.ts";
import { parseHubReference } from "../datasets/hub/names.ts";
import { findMetadata, loadImageFolder } from "../datasets/image_folder.ts";
import { ALL_DATASETS, EMBEDDED_DATASET, NAMED_DATASETS, namedDataset } from "../datasets/registry.ts";
import { type ImageRow, type Split, SPLITS } from "../datasets/rows.ts";
import { TABLE_EXTENSIONS } from "../datasets/table_files.ts";
import { hubDataFiles, openLocalFiles } from "./data_files.ts";
import { fetchImage } from "./fetch_image.ts";
import { openFolder, readBounded } from "./file_source.ts";
import { stat } from "./files.ts";
import { openHubRepo } from "./hub_repo.ts";
import { projectPath } from "./model_folders.ts";

/** Where the Hub keeps what it converted to parquet itself. */
const CONVERTED = "refs/convert/parquet";

/** The third part of `org/name/configuration`, which the Hub's ids do not have. */
const CONFIGURATION = /^((?:datasets\/)?[^/@]+\/[^/@]+)\/[^@]+/;

/** Options of {@linkcode openDataset}. */
export interface OpenDatasetOptions {
  /** Column of captions. @default the first usual name that the data set has */
  captionColumn?: string | undefined;
  /** Column of images. @default the first usual name that the data set has */
  imageColumn?: string | undefined;
  /** The split of the data set that is used, and then divided. @default all */
  split?: string | undefined;
  /** At most so many rows: of all where the splits are made here, else of every split. */
  sample?: number | undefined;
  /** Of splits that no file names. */
  seed: number;
  /** Collects rows that cannot be used. */
  badRows: BadRows;
  /** Read from afar by range, and never the whole. @default {false} */
  streaming?: boolean;
  /** Whether tables without a column of images are refused. @default {true} */
  requireImages?: boolean;
  /** Columns that rows of tables are given with; image folders give all. @default {none} */
  columns?: readonly string[];
  /** Ends downloads. */
  signal?: AbortSignal;
  /** Shows no progress of downloads. @default {false} */
  quiet?: boolean;
}

/** An opened data set. */
export interface OpenedDataset {
  /** As it was asked for. */
  readonly name: string;
  /** Its files; absent for image folders on disk. */
  readonly files?: DataFiles;
  /** Rows in all, good and bad. */
  readonly total: number;
  /** The tables, if it is made of them; image folders are not. */
  readonly set?: CaptionSet;
  /** Good rows of a split, or the first so many. */
  load(split: Split, limit?: number): Promise<readonly ImageRow[]>;
}

/** Rows of a split that are read at once, with their images. */
export interface RowGroup {
  /** Split of all of them. */
  readonly split: Split;
  /** Name of their data set. */
  readonly source: string;
  /** How many there are. */
  readonly count: number;
  /** Number of each among all rows that are used of the data set. */
  readonly numbers: ArrayLike<number>;
  /** Reads them; the images belong to the caller. */
  read(): Promise<ReadRow[]>;
}

/** Rows of an image folder that are read at once. */
const FOLDER_ROWS = 64;

/**
 * All rows of a data set, group by group: split after split, each in the order of the data set.
 *
 * @param keep Of a row by its split and number, and of image folders by its columns: whether it is wanted. @default all are
 */
export async function groupsOf(
  { name, set, load }: OpenedDataset,
  keep: (split: Split, row: Pick<ImageRow, "number"> & Partial<ImageRow>) => boolean = () => true,
): Promise<RowGroup[]> {
  const groups: RowGroup[] = [];
  for (const split of SPLITS) {
    for (const all of set?.splits[split] ?? []) {
      const rows = chooseRows([all], (index) => keep(split, { number: all.numbers[index]! }))[0];
      if (rows === undefined) continue;
      const { numbers } = rows;
      const read = () => set!.readGroup(rows);
      groups.push({ split, source: name, count: rows.rows.length, numbers, read });
    }
    if (set !== undefined) continue;
    const all = (await load(split)).filter((row) => keep(split, row));
    for (let at = 0; at < all.length; at += FOLDER_ROWS) {
      const some = all.slice(at, at + FOLDER_ROWS);
      const numbers = some.map(({ number }) => number);
      groups.push({
        split,
        source: name,
        count: some.length,
        numbers,
        read: () => Promise.all(some.map(readRow)),
      });
    }
  }
  return groups;
}

async function readRow(row: ImageRow): Promise<ReadRow> {
  try {
    return { row, image: await row.readImage() };
  } catch (error) {
    return { id: row.id, error: describeError(error) };
  }
}

/**
 * Opens a data set: `sample`, a name of the registry, a folder or file, or `org/name[@revision]` of the Hub.
 *
 * @throws {UserError} If there is none of that name, or it cannot be used
 */
export async function openDataset(name: string, options: OpenDatasetOptions): Promise<OpenedDataset> {
  if (name === EMBEDDED_DATASET) {
    return await openImageFolder(name, openFolder(projectPath("data/sample")), options);
  }
  const named = namedDataset(name);
  if (named !== undefined) {
    return await openFromHub(name, named.repo, { ...options, rules: namedRules(named, options) });
  }
  const info = await stat(name);
  if (info !== undefined) return await openLocal(name, info.isDirectory, options);
  if (parseHubReference(name.replace(CONFIGURATION, "$1"), "dataset") !== undefined) {
    return await openFromHub(name, name, { ...options, rules: rulesOf(options) });
  }
  const names = [EMBEDDED_DATASET, ...NAMED_DATASETS.map((dataset) => dataset.name), ALL_DATASETS];
  const near = suggest(name, names);
  throw new UserError(
    `Cannot find the data set "${name}": there is no such folder or file, and it is none of ${
      describeNames(names)
    }; give one of these, a folder, a file, or an id of the Hugging Face hub as org/name` +
      (near === undefined ? "" : `. Did you mean "${near}"?`),
  );
}

function rulesOf({ captionColumn, imageColumn, split }: OpenDatasetOptions): CaptionSetRules {
  return {
    ...(captionColumn !== undefined && { captionColumn }),
    ...(imageColumn !== undefined && { imageColumn }),
    ...(split !== undefined && { sourceSplits: [split] }),
  };
}

/** The sample of docornot is taken before the documents are picked out, as in the Python project. */
function namedRules({ rules }: { rules: CaptionSetRules }, options: OpenDatasetOptions): CaptionSetRules {
  const head = rules.head === undefined ? {} : { head: options.sample ?? rules.head };
  return { ...rules, ...head };
}

async function openLocal(
  name: string,
  isFolder: boolean,
  options: OpenDatasetOptions,
): Promise<OpenedDataset> {
  if (isFolder) {
    const source = openFolder(name);
    if (await isImageFolder(source)) return await openImageFolder(name, source, options);
  }
  return await openTables(name, await openLocalFiles(name), { ...options, rules: rulesOf(options) });
}

/** Whether images with a metadata file are meant, and not tables that happen to be called so. */
async function isImageFolder(source: FileSource): Promise<boolean> {
  if (await source.exists("state.json") || await source.exists("dataset_dict.json")) return false;
  return (await findMetadata(source)).length > 0;
}

async function openFromHub(
  name: string,
  reference: string,
  options: OpenDatasetOptions & { rules: CaptionSetRules },
): Promise<OpenedDataset> {
  const { signal, quiet = false } = options;
  const open = async (text: string) =>
    await openHubRepo(text, { type: "dataset", quiet, ...(signal && { signal }) });
  const [, id = reference, config, revision = ""] =
    /^((?:datasets\/)?[^/@]+\/[^/@]+)(?:\/([^@]+))?(@.*)?$/.exec(reference) ?? [];
  let repo = await open(`${id}${revision}`);
  const isReadable = ({ path }: { path: string }) =>
    TABLE_EXTENSIONS.some((extension) => path.toLowerCase().endsWith(`.${extension}`));
  if (!repo.files.some(isReadable) && repo.revision === "main") {
    repo = await open(`datasets/${repo.id}@${CONVERTED}`);
  }
  // A few rows of a large set are fetched by range; what is read whole is downloaded once and kept.
  const remote = options.streaming === true || options.sample !== undefined ||
    options.rules.head !== undefined;
  const all = hubDataFiles(repo, { remote, ...(signal && { signal }) });
  const files = chooseConfiguration(all, config, repo.revision === CONVERTED);
  const source = fileSourceOf(files);
  if (await isImageFolder(source)) return await openImageFolder(name, source, { ...options, files });
  return await openTables(name, files, options);
}

/** Files of one configuration: those below a folder of its name. What the Hub converted has a folder for each. */
function chooseConfiguration(files: DataFiles, wanted: string | undefined, isConverted: boolean): DataFiles {
  const foldersOf = (path: string) => path.split("/").slice(0, -1);
  const configurations = isConverted
    ? [...new Set(files.paths.flatMap((path) => foldersOf(path).slice(0, 1)))]
    : [];
  const chosen = wanted ??
    (configurations.length > 1 && configurations.includes("default") ? "default" : undefined);
  if (chosen === undefined && configurations.length > 1) {
    throw new UserError(
      `Cannot use "${files.name}": it has several configurations, ${
        describeNames(configurations)
      }; name one as ${files.name}/${configurations[0]}`,
    );
  }
  if (chosen === undefined) return files;
  const paths = files.paths.filter((path) => foldersOf(path).includes(chosen));
  if (paths.length > 0) return { ...files, paths };
  const known = [...new Set(files.paths.flatMap(foldersOf))];
  throw new UserError(
    `Cannot use "${files.name}": it has no folder "${chosen}"; it has ${describeNames(known)}`,
  );
}

async function openTables(
  name: string,
  files: DataFiles,
  options: OpenDatasetOptions & { rules: CaptionSetRules },
): Promise<OpenedDataset> {
  const { rules, sample, seed, badRows, signal, requireImages = true, columns = [] } = options;
  const set = await openCaptionSet(files, {
    rules,
    seed,
    badRows,
    requireImages,
    columns,
    fetchImage: (url) => fetchImage(url, { maxBytes: MAX_IMAGE_BYTES, ...(signal && { signal }) }),
    ...(sample !== undefined && { sample }),
  });
  return { name, files, set, total: set.total, load: (split, limit) => set.load(split, limit) };
}

async function openImageFolder(
  name: string,
  source: FileSource,
  options: OpenDatasetOptions & { files?: DataFiles },
): Promise<OpenedDataset> {
  const { captionColumn, seed, badRows, sample } = options;
  const loaded = await loadImageFolder(source, {
    badRows,
    seed,
    ...(captionColumn === undefined ? {} : { captionColumn }),
  });
  const isOnDisk = options.files === undefined;
  const rows: Partial<Record<Split, ImageRow[]>> = {};
  let number = 0;
  for (const split of SPLITS) {
    rows[split] = loaded.rows[split].slice(0, sample).map((row): ImageRow => {
      const id = `${source.name}/${row.image}`;
      return {
        ...row,
        id,
        number: number++,
        ...(isOnDisk && { path: id }),
        readImage: () =>
          isOnDisk ? readBounded(id, MAX_IMAGE_BYTES) : source.read(row.image, { maxBytes: MAX_IMAGE_BYTES }),
      };
    });
  }
  if (options.files?.fetch) await options.files.fetch(Object.values(rows).flat().map(({ image }) => image));
  return { name, total: loaded.total, load: (split, limit) => Promise.resolve(rows[split]!.slice(0, limit)) };
}
