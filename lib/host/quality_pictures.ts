/**
 * What of a report needs the images again: `top_failures/`, thumbnails, and the page that shows them.
 *
 * @module
 */

import { formatQualityPage, type ShownExample, type ShownGroup } from "../quality/report_page.ts";
import { namedCharts } from "../quality/report_charts.ts";
import type { QualityComparison } from "../quality/comparison.ts";
import type { QualitySummary } from "../quality/summary.ts";
import { sourceId } from "../quality/tables.ts";
import type { QualityTotals } from "../quality/totals.ts";
import { writeFileAtomically, writeFolderAtomically } from "./files.ts";
import { readBounded } from "./file_source.ts";
import { MAX_IMAGE_BYTES } from "./image_worker.ts";
import { startProgress } from "./progress.ts";
import type { FoundDuplicates } from "./quality_duplicates.ts";
import type { WorstExample } from "./quality_outputs.ts";
import type { QualityReportOptions } from "./quality_report.ts";
import type { OpenedQualityRows } from "./quality_rows.ts";
import { sharp } from "./sharp.ts";

/** Pairs in the page's gallery. */
const GALLERY = 120;
/** Groups of near duplicates that the page shows, by each method, and images of each. */
const GROUPS = 12, GROUP_IMAGES = 4;
/** Thumbnails are no larger, pixels. */
const THUMBNAIL_SIZE = 240;

/** Writes `top_failures/`, `report.html`, and plots where they are wanted. */
export async function writePictures(
  { opened, worst, found, totals, summary, comparison, options }: {
    opened: OpenedQualityRows;
    worst: readonly WorstExample[];
    found: FoundDuplicates;
    totals: QualityTotals;
    summary: QualitySummary;
    comparison: QualityComparison | undefined;
    options: QualityReportOptions;
  },
): Promise<void> {
  const { outputDir } = options;
  const groups = chooseGroups(found);
  const gallery = worst.slice(0, GALLERY);
  const small = new Set([
    ...gallery.map(({ row }) => row),
    ...groups.flatMap(({ images }) => images.map((i) => found.images.get(i)!.row)),
  ]);
  const wanted = new Set([...small, ...worst.map(({ row }) => row)]);
  const failures = Map.groupBy(worst, ({ row }) => row);
  const names = fileNames(worst);
  const thumbnails = new Map<number, string>();
  using progress = startProgress({ label: "pictures", total: wanted.size, quiet: options.quiet ?? false });
  let done = 0;
  await writeFolderAtomically(`${outputDir}/top_failures`, async (folder) => {
    for (const [failure, name] of names) await folder.write(`${name}.txt`, describe(failure));
    if (!options.images) return;
    for await (const [row, bytes] of readImages(opened, wanted)) {
      options.signal?.throwIfAborted();
      progress.update(++done);
      if (bytes === undefined) continue;
      if (small.has(row)) thumbnails.set(row, await thumbnailOf(bytes));
      for (const failure of failures.get(row) ?? []) {
        const { clip, bert } = failure.example;
        const name = `${names.get(failure)}_c${(clip ?? 0).toFixed(3)}_b${(bert ?? 0).toFixed(3)}.jpg`;
        await folder.write(name, await jpegOf(bytes));
      }
    }
  });
  progress.stop();
  const page = formatQualityPage({
    summary,
    totals,
    comparison,
    worst: gallery.map(({ example, combined, row }): ShownExample => ({
      example,
      combined,
      picture: thumbnails.get(row),
    })),
    groups: groups.map(({ method, count, images }): ShownGroup => ({
      method,
      count,
      images: images.map((i) => {
        const image = found.images.get(i)!;
        return { ...image, picture: thumbnails.get(image.row) };
      }),
    })),
  });
  await writeFileAtomically(`${outputDir}/report.html`, page);
  if (options.plot) await writePlots(outputDir, totals);
}

/** Groups to be shown: those in several splits first. Of each the first images, at least one of every split. */
function chooseGroups({ images, byHash, byEmbedding = [] }: FoundDuplicates) {
  const splitsOf = (group: readonly number[]) => new Set(group.map((i) => images.get(i)!.split));
  const choose = (method: "hash" | "embedding", groups: readonly (readonly number[])[]) =>
    [...groups].sort((a, b) => splitsOf(b).size - splitsOf(a).size).slice(0, GROUPS).map((group) => {
      const firsts = [...splitsOf(group)].map((split) => group.find((i) => images.get(i)!.split === split)!);
      const shown = [...new Set([...firsts, ...group])].slice(0, GROUP_IMAGES);
      return { method, count: group.length, images: shown };
    });
  return [...choose("hash", byHash), ...choose("embedding", byEmbedding)];
}

/** Names of the files of failures: `IDX`, or where rows of several data sets or captions share one, what tells them apart. */
function fileNames(worst: readonly WorstExample[]): Map<WorstExample, string> {
  const names = new Map<WorstExample, string>();
  for (const [idx, same] of Map.groupBy(worst, ({ example }) => example.idx)) {
    for (const [i, failure] of same.entries()) {
      const id = sourceId(failure.example).replaceAll(/[^\w.-]+/g, "_");
      names.set(failure, same.length === 1 ? String(idx) : `${id}-${i}`);
    }
  }
  return names;
}

function describe({ example, combined }: WorstExample): string {
  const { idx, caption, original, objects = [], objectsMatched, clip, bert, flags } = example;
  return [
    `idx: ${idx}`,
    `alt_text: ${caption}`,
    `original_text: ${original}`,
    `objects: ${JSON.stringify(objects)}`,
    `clip_score: ${clip ?? "nan"}`,
    `bert_score: ${bert ?? "nan"}`,
    `obj_miss_frac: ${objects.length === 0 ? "nan" : 1 - objectsMatched / objects.length}`,
    `combined_score: ${combined}`,
    `caption_flags: ${flags.join(" ")}`,
    `source_id: ${sourceId(example)}`,
    ...(example.imageError === undefined ? [] : [`image_error: ${example.imageError}`]),
  ].map((line) => `${line}\n`).join("");
}

/** Bytes of the images of some rows, in their order; `undefined` of those that cannot be read. */
async function* readImages(
  opened: OpenedQualityRows,
  wanted: ReadonlySet<number>,
): AsyncGenerator<[row: number, bytes: Uint8Array | undefined]> {
  const sorted = [...wanted].sort((a, b) => a - b);
  let start = 0;
  for (const { count, read } of opened.groups) {
    const mine = sorted.filter((row) => row >= start && row < start + count).map((row) => row - start);
    if (mine.length > 0) {
      const rows = await read(mine);
      for (const [i, place] of mine.entries()) yield [start + place, await bytesOf(rows[i]!)];
    }
    start += count;
  }
}

async function bytesOf(
  row: Awaited<ReturnType<OpenedQualityRows["groups"][number]["read"]>>[number],
): Promise<Uint8Array | undefined> {
  if (row.error !== undefined || row.readImage === undefined) return undefined;
  try {
    const image = await row.readImage();
    const bytes = typeof image === "string" ? await readBounded(image, MAX_IMAGE_BYTES) : image;
    await sharp(bytes).metadata();
    return bytes;
  } catch {
    return undefined; // counted as broken when it was looked at
  }
}

async function thumbnailOf(bytes: Uint8Array): Promise<string> {
  const small = await flattened(bytes)
    .resize(THUMBNAIL_SIZE, THUMBNAIL_SIZE, { fit: "inside", withoutEnlargement: true })
    .jpeg({ quality: 72 }).toBuffer();
  return `data:image/jpeg;base64,${new Uint8Array(small).toBase64()}`;
}

async function jpegOf(bytes: Uint8Array): Promise<Uint8Array> {
  return new Uint8Array(await flattened(bytes).jpeg({ quality: 90 }).toBuffer());
}

/** Upright, on white. What is damaged is shown as far as it goes. */
function flattened(bytes: Uint8Array) {
  return sharp(bytes, { failOn: "none" }).rotate().flatten({ background: "#ffffff" });
}

/** Charts as files of their own. */
async function writePlots(outputDir: string, totals: QualityTotals): Promise<void> {
  for (const [name, figure] of Object.entries(namedCharts(totals))) {
    const [svg] = /<svg[^]*<\/svg>/.exec(figure) ?? [];
    if (svg !== undefined) await writeFileAtomically(`${outputDir}/${name}.svg`, standalone(svg));
  }
}

/** A chart with what a file of its own needs. */
function standalone(svg: string): string {
  const style = "<style>svg{background:#fff}text{font:13px sans-serif;fill:#444}.grid{stroke:#ddd}" +
    "polyline{fill:none;stroke-width:2}.line-1{stroke:#1f6feb}.line-2{stroke:#d9480f}.dot-1{fill:#1f6feb}.dot-2{fill:#d9480f}</style>";
  return svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ').replace(/>/, `>${style}`);
}
