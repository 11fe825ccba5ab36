/**
 * The quality report: captions without images by a process of its own, whose memory is told, and how fast images are looked at.
 *
 * @module
 */

import { removeIfThere } from "../lib/host/files.ts";
import { ImageWorkers } from "../lib/host/image_workers.ts";
import { formatBytes, formatDuration, formatTable } from "../lib/host/terminal.ts";
import { makePictures } from "./data.ts";
import { type Cost, timeOnce } from "./measure.ts";

/** What was measured of the report. */
export interface QualityResult {
  /** A report on captions alone, everything written. */
  captions: Cost & { count: number; bytes: number; peakBytes: number };
  /** Pictures decoded alone, and decoded and looked at, by one worker. */
  images: { count: number; decode: Cost; inspect: Cost };
}

const CAPTIONS = { full: 1_000_000, quick: 20_000 };

/** Measures in a folder of its own, and removes it. */
export async function measureQuality(options: { quick: boolean }): Promise<QualityResult> {
  const folder = await Deno.makeTempDir({ prefix: "bench-quality-" });
  try {
    const script = new URL("./quality_captions.ts", import.meta.url).pathname;
    const count = options.quick ? CAPTIONS.quick : CAPTIONS.full;
    const process = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", script, folder, String(count)],
      stderr: "inherit",
    });
    const { success, stdout } = await process.output();
    if (!success) throw new Error("Cannot measure a quality report: its process failed");
    const { captions, ...cost } = JSON.parse(new TextDecoder().decode(stdout));
    return { captions: { ...cost, count: captions }, images: await measureImages() };
  } finally {
    await removeIfThere(folder);
  }
}

async function measureImages(): Promise<QualityResult["images"]> {
  const pictures = await makePictures();
  const config = {
    resize: { target: { height: 224, width: 224 }, filter: "bicubic" as const },
    rescaleFactor: 1 / 255,
    normalize: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] },
  };
  using pool = new ImageWorkers({ config, workerCount: 1 });
  const images = Array.from({ length: 5 }, () => pictures).flat();
  await Promise.all(pictures.map((picture) => pool.inspect(picture)));
  return {
    count: images.length,
    decode: await timeOnce(() => Promise.all(images.map((picture) => pool.prepare(picture)))),
    inspect: await timeOnce(() => Promise.all(images.map((picture) => pool.inspect(picture)))),
  };
}

/** The figures as a table. */
export function formatQuality({ captions, images }: QualityResult): string {
  const rate = (count: number, ms: number) => Math.round(count / ms * 1000).toLocaleString("en-US");
  return formatTable([
    [
      "captions with originals and objects",
      `${captions.count}, ${formatBytes(captions.bytes)} of JSON lines`,
    ],
    ["report, by the clock", formatDuration(captions.wallMs / 1000)],
    ["report, processor time", formatDuration(captions.cpuMs / 1000)],
    ["captions a second", rate(captions.count, captions.wallMs)],
    ["peak memory", formatBytes(captions.peakBytes)],
    ["images decoded and resized, a second of processor time", rate(images.count, images.decode.cpuMs)],
    ["images decoded, resized and looked at", rate(images.count, images.inspect.cpuMs)],
  ]);
}
