/**
 * Captions of a whole split, kept line by line, so that what was written once is not written again.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { BadRows } from "../datasets/bad_rows.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import type { ImageRow, Split } from "../datasets/rows.ts";
import { parsePredictions, type PredictionRow } from "../evaluate/predictions.ts";
import { JsonConfig } from "../format/json_config.ts";
import type { Caption, CaptionOptions, ImageCaptioner, PreparedImage } from "../generate/caption_images.ts";
import { formatConfidence } from "../models/calibration.ts";
import type { OnnxVariant } from "../models/onnx_layouts.ts";
import { openDataset } from "./datasets.ts";
import { filesBelow, removeIfThere, stat, writeAll, writeFileAtomically } from "./files.ts";
import { MemoryWatch } from "./memory.ts";
import { resolveModelFolder } from "./model_folders.ts";
import { startProgress } from "./progress.ts";
import { loadCaptioner, type RuntimeChoice } from "./runtimes.ts";
import { weightBytes } from "./weight_bytes.ts";

/** Options of {@linkcode captionDataset}. */
export interface CaptionDatasetOptions extends CaptionOptions {
  /** Run folder, exported folder, Hub id or `embedded:captioner`. */
  model: string;
  /** What runs it. @default {"auto"} */
  runtime?: RuntimeChoice;
  /** Precision of an exported folder. @default {what suits the runtime} */
  dtype?: OnnxVariant;
  /** Names of data sets. */
  datasets: readonly string[];
  /** Which part of them. */
  split: Split;
  /** At most so many images of every data set. */
  sample?: number;
  /** Column of captions. @default the first usual name that a data set has */
  captionColumn?: string;
  /** Folder that holds `predictions.jsonl` and what it was made with. */
  outputDir: string;
  /** Share of images that may be unreadable. @default {0.1} */
  maxBadRows?: number;
  /** Of splits that no folder names. @default {42} */
  splitSeed?: number;
  /** Ends after the batch that is being made; what was written stays. */
  signal?: AbortSignal;
  /** Images that another process tried in vain: they are not tried again. @default {none} */
  failed?: readonly FailedRow[];
  /** Shows no progress. @default {false} */
  quiet?: boolean;
}

/** Captions of a split. */
export interface CaptionedDataset {
  /** Captions with their references, in the order of the data set. */
  readonly rows: readonly PredictionRow[];
  /** Images by id, to be shown. */
  readonly images: ReadonlyMap<string, ImageRow>;
  /** Images that could not be captioned, with the reason. */
  readonly failed: readonly FailedRow[];
  /** Captions that were there before. */
  readonly resumed: number;
  /** Bytes of all weights; of an exported folder those that ran, unknown where nothing had to run. */
  readonly modelBytes?: number;
  /** Memory of the process that captioned; unknown where no process has. */
  readonly memory?: CaptioningMemory;
}

/** Memory that captioning took. */
export interface CaptioningMemory {
  /** Most resident memory of the process in bytes; of a software adapter its GPU memory, too. */
  readonly peakBytes: number;
  /** Buffers on the GPU in bytes, where they are known. */
  readonly gpuBytes?: number;
}

/** Forgets the captions of a folder, and what they were made with. */
export async function forgetCaptions(outputDir: string): Promise<void> {
  for (const name of [PREDICTIONS, SETTINGS, MEMORY]) await removeIfThere(`${outputDir}/${name}`);
}

const PREDICTIONS = "predictions.jsonl", SETTINGS = "predictions.json", MEMORY = "memory.json";

/**
 * Captions every image of a split that has no caption in the folder yet.
 *
 * @throws {UserError} If the folder holds captions of other settings, the split is empty, or too many images fail
 * @throws {DOMException} `AbortError` if it was interrupted
 */
export async function captionDataset(options: CaptionDatasetOptions): Promise<CaptionedDataset> {
  const { outputDir, signal, batchSize = 4 } = options;
  const wanted = await wantedRows(options);
  await Deno.mkdir(outputDir, { recursive: true });
  await checkSettings(options);
  const known = await readKept(`${outputDir}/${PREDICTIONS}`);
  const failed: FailedRow[] = [...options.failed ?? []];
  const tried = new Set([...known.keys(), ...failed.map(({ id }) => id)]);
  const todo = [...wanted].filter(([id]) => !tried.has(id));
  const resumed = wanted.size - todo.length;
  const memory = new MemoryWatch();
  let ran: RuntimeChoice = options.runtime ?? "auto";
  if (todo.length > 0) {
    const loaded = await loadCaptioner(options.model, { runtime: ran, dtype: options.dtype });
    ran = loaded.runtime;
    using captioner = loaded.captioner;
    using file = await Deno.open(`${outputDir}/${PREDICTIONS}`, { append: true, create: true });
    using progress = startProgress({
      label: "caption",
      total: wanted.size,
      initial: resumed,
      quiet: options.quiet ?? false,
    });
    for (let start = 0; start < todo.length; start += batchSize) {
      signal?.throwIfAborted();
      const batch = todo.slice(start, start + batchSize);
      for (const result of await captionRows(captioner, batch, { ...options, batchSize })) {
        if ("error" in result) failed.push(result);
        else known.set(result.id, result);
      }
      const lines = batch.map(([id]) => known.get(id)).filter((row) => row !== undefined).map(formatRow);
      await writeAll(file, new TextEncoder().encode(lines.join("")));
      memory.look();
      progress.update(resumed + start + batch.length);
    }
    await keepMemory(`${outputDir}/${MEMORY}`, {
      peakBytes: memory.peakBytes,
      ...(captioner.gpuBytes !== undefined && { gpuBytes: captioner.gpuBytes }),
    });
  }
  const share = failed.length / wanted.size;
  if (share > (options.maxBadRows ?? 0.1) || failed.length === wanted.size) {
    throw new UserError(
      `Cannot evaluate: ${failed.length} of ${wanted.size} images could not be captioned, such as "${
        failed[0]!.id
      }": ${failed[0]!.error}`,
    );
  }
  return {
    // References are those of the data set now, whatever the file says.
    rows: [...wanted].flatMap(([id, { captions }]) => {
      const row = known.get(id);
      return row === undefined ? [] : [{ ...row, references: captions }];
    }),
    images: wanted,
    failed,
    resumed,
    ...await weightBytes(options.model, { runtime: ran, dtype: options.dtype }),
    ...await readMemory(`${outputDir}/${MEMORY}`),
  };
}

/** Keeps the most that any of the processes took that captioned into a folder. */
async function keepMemory(path: string, now: CaptioningMemory): Promise<void> {
  const { memory: before } = await readMemory(path);
  const gpuBytes = Math.max(now.gpuBytes ?? 0, before?.gpuBytes ?? 0);
  const most = {
    peak_bytes: Math.max(now.peakBytes, before?.peakBytes ?? 0),
    ...(gpuBytes > 0 && { gpu_bytes: gpuBytes }),
  };
  await writeFileAtomically(path, `${JSON.stringify(most)}\n`);
}

async function readMemory(path: string): Promise<{ memory?: CaptioningMemory }> {
  if (await stat(path) === undefined) return {};
  const file = JsonConfig.parse(await Deno.readTextFile(path), path);
  const gpuBytes = file.optionalNumber("gpu_bytes");
  return { memory: { peakBytes: file.number("peak_bytes"), ...(gpuBytes !== undefined && { gpuBytes }) } };
}

async function wantedRows(options: CaptionDatasetOptions): Promise<Map<string, ImageRow>> {
  const badRows = new BadRows({ maxFraction: options.maxBadRows ?? 0.1 });
  const rows = new Map<string, ImageRow>();
  let total = 0;
  for (const name of expandDatasetNames(options.datasets)) {
    const dataset = await openDataset(name, {
      badRows,
      seed: options.splitSeed ?? 42,
      quiet: options.quiet ?? false,
      captionColumn: options.captionColumn,
      sample: options.sample,
      ...(options.signal && { signal: options.signal }),
    });
    total += dataset.total;
    for (const row of await dataset.load(options.split, options.sample)) {
      const plain = options.datasets.length === 1 ? row.image : `${name}/${row.image}`;
      rows.set(rows.has(plain) ? `${plain}#${row.number}` : plain, row);
    }
  }
  badRows.check(total);
  if (rows.size === 0) {
    throw new UserError(
      `Cannot evaluate: ${options.datasets.join(", ")} has no images in the split "${options.split}"`,
    );
  }
  return rows;
}

/** Refuses to mix captions of different models or settings in one file. */
async function checkSettings(options: CaptionDatasetOptions): Promise<void> {
  const {
    model,
    datasets,
    split,
    outputDir,
    numBeams,
    maxNewTokens,
    temperature,
    topP,
    repetitionPenalty,
    seed,
  } = options;
  const settings = {
    model,
    model_files: await describeFiles(model),
    datasets,
    split,
    runtime: options.runtime ?? "auto",
    dtype: options.dtype ?? null,
    num_beams: numBeams ?? 3,
    max_new_tokens: maxNewTokens ?? null,
    temperature: temperature ?? 0,
    top_p: topP ?? 1,
    repetition_penalty: repetitionPenalty ?? 1,
    seed: seed ?? 42,
  };
  const path = `${outputDir}/${SETTINGS}`;
  const text = `${JSON.stringify(settings, null, 2)}\n`;
  if (await stat(path) !== undefined) {
    if (await Deno.readTextFile(path) === text) return;
    // A model that could not be opened has left its settings, but no caption that could be mixed up.
    if (await stat(`${outputDir}/${PREDICTIONS}`) !== undefined) {
      throw new UserError(
        `Cannot continue in "${outputDir}": its captions were made with another model, data set or settings (${SETTINGS}); ` +
          `give another --output-dir, or --restart to write all captions again`,
      );
    }
  }
  await writeFileAtomically(path, text);
}

/** Weights of a model's folder by size and time: a model that was trained further is another. */
async function describeFiles(model: string): Promise<string[]> {
  const folder = await resolveModelFolder(model);
  const described: string[] = [];
  for (const { path } of await filesBelow(folder)) {
    if (!/^[^/]*\.safetensors$|^adapter\/|config\.json$|\.onnx(_data.*)?$/.test(path)) continue;
    const info = await stat(`${folder}/${path}`);
    described.push(`${path} ${info?.size} ${info?.mtime?.toISOString() ?? ""}`);
  }
  return described.sort();
}

/** Captions written before; a line that a kill cut off is dropped from the file. */
async function readKept(path: string): Promise<Map<string, PredictionRow>> {
  if (await stat(path) === undefined) return new Map();
  const text = await Deno.readTextFile(path);
  const whole = text.slice(0, text.lastIndexOf("\n") + 1);
  if (whole !== text) await writeFileAtomically(path, whole);
  if (whole === "") return new Map();
  return new Map(parsePredictions(whole, { name: path }).map((row) => [row.id, row]));
}

function formatRow({ id, image, candidate, references, timeMs, confidence }: PredictionRow): string {
  const row = { id, image, candidate, references, time_ms: timeMs };
  return `${JSON.stringify({ ...row, ...(confidence && formatConfidence(confidence)) })}\n`;
}

/** An image that has no caption. */
export interface FailedRow {
  readonly id: string;
  readonly error: string;
}

interface ReadyRow {
  readonly id: string;
  readonly row: ImageRow;
  readonly image: PreparedImage;
}

/** Captions rows together; when an image spoils the batch it alone fails. */
async function captionRows(
  captioner: ImageCaptioner,
  batch: readonly (readonly [string, ImageRow])[],
  options: CaptionOptions & { batchSize: number },
): Promise<(PredictionRow | FailedRow)[]> {
  const prepared = await Promise.all(batch.map(async ([id, row]): Promise<ReadyRow | FailedRow> => {
    try {
      return { id, row, image: await captioner.prepare(await row.readImage()) };
    } catch (error) {
      return { id, error: describeError(error) };
    }
  }));
  const good = prepared.filter((one) => "image" in one);
  const captions: Caption[] = good.length === 0
    ? []
    : await captioner.captionPrepared(good.map(({ image }) => image), options);
  return prepared.map((one): PredictionRow | FailedRow => {
    if ("error" in one) return one;
    const { caption, timeMs, confidence } = captions.shift()!;
    const { id, row } = one;
    const image = row.path ?? row.image;
    return {
      id,
      image,
      candidate: caption,
      references: row.captions,
      timeMs: Math.round(timeMs),
      ...(confidence && { confidence }),
    };
  });
}
