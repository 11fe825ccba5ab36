/**
 * Which images of a report are nearly the same, by their places among all images: 72 bytes of memory an image, 48 more where it is
 * embedded, and names of those in groups alone.
 *
 * @module
 */

import { formatCsvRow } from "../format/csv.ts";
import type { QualityExample } from "../quality/example.ts";
import {
  countDuplicates,
  type DuplicateCounts,
  embeddingGroups,
  ImagePrints,
} from "../quality/near_duplicates.ts";
import { NumberList } from "../quality/number_list.ts";
import { sourceId } from "../quality/tables.ts";
import { writeFileAtomically } from "./files.ts";
import type { QualitySpill } from "./quality_spill.ts";

/** An image of a group. */
export interface SeenImage {
  /** Line of its row. */
  readonly row: number;
  readonly id: string;
  readonly sourceId: string;
  readonly split: string;
}

/** Groups of near duplicates, by places among the images. */
export interface FoundDuplicates {
  /** Images of the groups by their places. */
  readonly images: ReadonlyMap<number, SeenImage>;
  readonly byHash: readonly (readonly number[])[];
  /** Absent where images were not embedded. */
  readonly byEmbedding?: readonly (readonly number[])[];
}

/** Takes images one by one, and then finds groups. */
export class DuplicateFinder {
  readonly #prints = new ImagePrints();
  /** Row of each image. */
  readonly #rows = new NumberList();
  /** Place of the image of each embedding. */
  readonly #embedded: number[] = [];

  /** Takes the image of a row, if it has one. A blank image is like every other; it is reported as blank. */
  add({ image, embedding }: QualityExample, row: number): void {
    if (image === undefined || image.flags.includes("blank")) return;
    if (embedding !== undefined) this.#embedded[embedding] = this.#rows.size;
    this.#prints.add(image.hash, image.thumb);
    this.#rows.add(row);
  }

  /** Finds groups by hash, and by embedding where there are embeddings. */
  async find(spill: QualitySpill, minCosine: number): Promise<FoundDuplicates> {
    const byHash = this.#prints.groups();
    const byEmbedding = spill.embeddingCount === 0 ? undefined : this.#byEmbedding(spill, minCosine);
    const wanted = new Map(
      [...byHash, ...byEmbedding ?? []].flat().map((place) => [this.#rows.values[place]!, place]),
    );
    const images = new Map<number, SeenImage>();
    let row = 0;
    for await (const found of wanted.size === 0 ? [] : spill.read()) {
      const place = wanted.get(row);
      if (place !== undefined && !("error" in found)) {
        const [first] = found;
        images.set(place, { row, id: first!.id, sourceId: sourceId(first!), split: first!.split });
      }
      row++;
    }
    return { images, byHash, ...(byEmbedding && { byEmbedding }) };
  }

  #byEmbedding(spill: QualitySpill, minCosine: number): number[][] {
    // Embeddings of blank images have no place among the images.
    const places = [...this.#embedded.keys()].filter((place) => this.#embedded[place] !== undefined);
    const read = spill.embeddingReader();
    const groups = embeddingGroups({
      count: places.length,
      width: spill.width,
      minCosine,
      read: (i) => read(places[i]!),
    });
    return groups.map((group) => group.map((i) => this.#embedded[places[i]!]!));
  }
}

/** Writes `near_duplicates.csv`: a line for every image of a group. */
export async function writeDuplicates(outputDir: string, found: FoundDuplicates): Promise<void> {
  const lines = [formatCsvRow(["method", "group", "leaks", "source_id", "split", "image"])];
  for (const [method, groups] of [["hash", found.byHash], ["embedding", found.byEmbedding ?? []]] as const) {
    for (const [number, group] of groups.entries()) {
      const images = group.map((place) => found.images.get(place)!);
      const leaks = new Set(images.map(({ split }) => split)).size > 1 ? "True" : "False";
      for (const { sourceId, split, id } of images) {
        lines.push(formatCsvRow([method, String(number), leaks, sourceId, split, id]));
      }
    }
  }
  await writeFileAtomically(`${outputDir}/near_duplicates.csv`, lines.join(""));
}

/** What the summary says of the duplicates. */
export function duplicateCounts(
  { images, byHash, byEmbedding }: FoundDuplicates,
): { byHash: DuplicateCounts; byEmbedding: DuplicateCounts | null } {
  const splitOf = (place: number) => images.get(place)!.split;
  return {
    byHash: countDuplicates(byHash, splitOf),
    byEmbedding: byEmbedding === undefined ? null : countDuplicates(byEmbedding, splitOf),
  };
}
