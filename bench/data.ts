/**
 * Reading of data sets: image parquet by row groups, pictures decoded and resized by workers, and the memory of a process that streams a
 * set larger than it may hold.
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import { encodeParquet, type MergedRow, shardName } from "../lib/datasets/parquet_write.ts";
import { openParquet } from "../lib/datasets/parquet.ts";
import { openFile, removeIfThere, writeFileAtomically } from "../lib/host/files.ts";
import { ImageWorkers } from "../lib/host/image_workers.ts";
import { sharp } from "../lib/host/sharp.ts";
import { formatBytes, formatTable } from "../lib/host/terminal.ts";
import type { ProcessorConfig } from "../lib/image/processor.ts";
import { type Cost, timeOnce } from "./measure.ts";

/** Pictures of a photograph's size and detail. */
const [WIDTH, HEIGHT, PICTURES] = [640, 480, 40];
const SHARD_BYTES = 500e6;
const SHARDS = { full: 4, quick: 1 };
/** As SigLIP's. */
const PROCESSOR: ProcessorConfig = {
  resize: { target: { height: 224, width: 224 }, filter: "bicubic" },
  rescaleFactor: 1 / 255,
  normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
};

/** What was measured of data sets. */
export interface DataResult {
  rows: number;
  bytes: number;
  /** Writing of the set. */
  write: Cost;
  /** Reading of one file, images and captions. */
  read: Cost & { rows: number; bytes: number };
  /** Reading of its captions alone. */
  captions: Cost & { rows: number };
  /** Decoding and resizing by so many workers. */
  decode: { workers: number; images: number; cost: Cost }[];
  /** One pass over the whole set by a process of its own, in shuffled batches of 32 from a buffer of 1000. */
  stream: { wallMs: number; peakBytes: number; rows: number };
}

/** Writes a set into a folder of its own, measures, and removes it. */
export async function measureData(options: { repeat: number; quick: boolean }): Promise<DataResult> {
  const folder = await Deno.makeTempDir({ prefix: "bench-data-" });
  try {
    return await measureIn(folder, options);
  } finally {
    await removeIfThere(folder);
  }
}

async function measureIn(
  folder: string,
  { repeat, quick }: { repeat: number; quick: boolean },
): Promise<DataResult> {
  const pictures = await makePictures();
  const shardCount = quick ? SHARDS.quick : SHARDS.full;
  let [rows, bytes] = [0, 0];
  await Deno.mkdir(`${folder}/data`);
  const write = await timeOnce(async () => {
    for (let shard = 0; shard < shardCount; shard++) {
      let shardBytes = 0;
      const some = async function* (): AsyncGenerator<MergedRow> {
        for (; shardBytes < SHARD_BYTES; rows++) {
          const image = pictures[rows % PICTURES]!;
          shardBytes += image.length;
          yield {
            image,
            path: `${rows}.jpg`,
            captions: [`Picture number ${rows}.`],
            source: "b",
            sourceId: `b-${rows}`,
          };
        }
        bytes += shardBytes;
      };
      await writeFileAtomically(`${folder}/${shardName("train", shard, shardCount)}`, encodeParquet(some()));
    }
  });
  const source = await openFile(`${folder}/${shardName("train", 0, shardCount)}`);
  const read = async (columns: string[]): Promise<Cost & { rows: number; bytes: number }> => {
    let best: Cost = { wallMs: Infinity, cpuMs: Infinity };
    let [count, size] = [0, 0];
    for (let round = 0; round < repeat; round++) {
      [count, size] = [0, 0];
      const cost = await timeOnce(async () => {
        const file = await openParquet(source);
        for (const group of file.groups.keys()) {
          for (const row of await file.read(group, columns)) {
            count++;
            size += (row.image as { bytes: Uint8Array } | undefined)?.bytes.length ?? 0;
          }
        }
      });
      best = { wallMs: Math.min(best.wallMs, cost.wallMs), cpuMs: Math.min(best.cpuMs, cost.cpuMs) };
    }
    return { ...best, rows: count, bytes: size };
  };
  const decode = [];
  for (const workers of [1, 2]) decode.push(await measureDecode(pictures, workers));
  return {
    rows,
    bytes,
    write,
    read: await read(["image", "alt_text"]),
    captions: await read(["alt_text"]),
    decode,
    stream: await measureStream(folder),
  };
}

/** Smooth shapes with grain: JPEG files of 640 x 480 pixels and about 100 kB. */
export async function makePictures(): Promise<Uint8Array[]> {
  const rng = new Rng(7);
  return await Promise.all(Array.from({ length: PICTURES }, async () => {
    const data = new Uint8Array(WIDTH * HEIGHT * 3);
    const [a, b, c] = [rng.next() * 0.05, rng.next() * 0.05, rng.next() * 6];
    for (let y = 0; y < HEIGHT; y++) {
      for (let x = 0; x < WIDTH; x++) {
        const value = 128 + 90 * Math.sin(a * x + c) * Math.cos(b * y);
        for (let channel = 0; channel < 3; channel++) {
          data[(y * WIDTH + x) * 3 + channel] = value + 40 * (rng.next() - 0.5) + 10 * channel;
        }
      }
    }
    const raw = { width: WIDTH, height: HEIGHT, channels: 3 as const };
    return new Uint8Array(await sharp(data, { raw }).jpeg({ quality: 88 }).toBuffer());
  }));
}

async function measureDecode(
  pictures: readonly Uint8Array[],
  workers: number,
): Promise<{ workers: number; images: number; cost: Cost }> {
  const images = 10 * pictures.length;
  using pool = new ImageWorkers({ config: PROCESSOR, workerCount: workers });
  // The workers start with the first pictures, which are not counted.
  await Promise.all(pictures.slice(0, 4).map((picture) => pool.prepare(picture)));
  const cost = await timeOnce(async () => {
    const inputs = Array.from({ length: images }, (_, i) => pictures[i % pictures.length]!);
    for await (const { error } of pool.map(inputs)) if (error !== undefined) throw new Error(error);
  });
  return { workers, images, cost };
}

async function measureStream(folder: string): Promise<DataResult["stream"]> {
  const script = new URL("./data_stream.ts", import.meta.url).pathname;
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", script, folder],
    stderr: "inherit",
  });
  const { success, stdout } = await process.output();
  if (!success) throw new Error("Cannot measure a stream: its process failed");
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The figures as a table. */
export function formatData({ rows, bytes, write, read, captions, decode, stream }: DataResult): string {
  const rate = (count: number, ms: number) => Math.round(count / ms * 1000).toLocaleString("en-US");
  const megabytes = (size: number, ms: number) =>
    `${Math.round(size / ms / 1000).toLocaleString("en-US")} MB/s`;
  const lines = [
    ["write image parquet", `${rate(rows, write.wallMs)} rows/s`, megabytes(bytes, write.wallMs)],
    [
      "read images and captions",
      `${rate(read.rows, read.wallMs)} rows/s`,
      megabytes(read.bytes, read.wallMs),
    ],
    ["read captions alone", `${rate(captions.rows, captions.wallMs)} rows/s`, ""],
    ...decode.map(({ workers, images, cost }) => [
      `decode and resize, ${workers} worker${workers > 1 ? "s" : ""}`,
      `${rate(images, cost.wallMs)} images/s`,
      `${rate(images, cost.cpuMs)} images per second of processor time`,
    ]),
    [
      `stream ${formatBytes(bytes)} in shuffled batches`,
      `${rate(stream.rows, stream.wallMs)} rows/s`,
      `peak memory ${formatBytes(stream.peakBytes)}`,
    ],
  ];
  return formatTable(lines, { header: ["what", "rate", "beside"], right: [1] });
}
