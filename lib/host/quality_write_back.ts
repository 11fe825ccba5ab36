/**
 * Scores written into the metadata of image folders, as columns that training filters by.
 *
 * @module
 */

import { describeNames, UserError } from "../base/errors.ts";
import { resolveInside } from "../datasets/file_source.ts";
import { findMetadata } from "../datasets/image_folder.ts";
import { expandDatasetNames } from "../datasets/registry.ts";
import { formatCsvRow, parseCsv } from "../format/csv.ts";
import type { QualityExample } from "../quality/example.ts";
import { SCORE_COLUMNS, scoreCells } from "../quality/tables.ts";
import { openFolder } from "./file_source.ts";
import { stat, writeFileAtomically } from "./files.ts";
import type { QualitySpill } from "./quality_spill.ts";

/** Columns that are written; those of the same name are replaced. */
const WRITTEN = ["clip_score", "bert_score", "quality_score", "caption_flags", "image_flags"] as const;

type Scores = Readonly<Record<typeof WRITTEN[number], string | number | null>>;

/**
 * Refuses data sets whose files are not ours to change, before any work is done.
 *
 * @throws {UserError} If one is no image folder on disk, or each image has several lines
 */
export async function checkWriteBack(datasets: readonly string[], captions: "first" | "all"): Promise<void> {
  if (captions === "all") {
    throw new UserError(
      "Cannot use --write-back with --captions all: a row would get several scores; leave one out",
    );
  }
  for (const name of expandDatasetNames(datasets)) {
    const isFolder = (await stat(name))?.isDirectory && (await findMetadata(openFolder(name))).length > 0;
    if (isFolder) continue;
    throw new UserError(
      `Cannot write scores into "${name}": only image folders on disk with metadata.jsonl or metadata.csv take them; ` +
        `filter others with train --scores scores.parquet`,
    );
  }
}

/** Writes the scores. Each metadata file is replaced at once; lines that were not looked at stay as they are. */
export async function writeBack(
  datasets: readonly string[],
  spill: QualitySpill,
  combinedOf: (example: number) => number,
): Promise<number> {
  const byImage = new Map<string, Scores>();
  let at = 0;
  for await (const found of spill.read()) {
    for (const example of "error" in found ? [] : found) {
      byImage.set(example.id, scoresOf(example, combinedOf(at++)));
    }
  }
  let written = 0;
  for (const name of expandDatasetNames(datasets)) {
    for (const path of await findMetadata(openFolder(name))) {
      const folder = path.split("/").slice(0, -1).join("/");
      const find = (fileName: unknown): Scores | undefined => {
        if (typeof fileName !== "string") return undefined;
        const scores = byImage.get(`${name}/${resolveInside(folder, fileName)}`);
        if (scores !== undefined) written++;
        return scores;
      };
      const text = await Deno.readTextFile(`${name}/${path}`);
      const changed = path.endsWith(".csv") ? withCsvScores(text, find) : withJsonScores(text, find);
      await writeFileAtomically(`${name}/${path}`, changed);
    }
  }
  return written;
}

function scoresOf(example: QualityExample, combined: number): Scores {
  const cells = scoreCells(example, { reweight: undefined, combined });
  return Object.fromEntries(
    WRITTEN.map((name) => [name, cells[SCORE_COLUMNS.findIndex((column) => column.name === name)]!]),
  ) as Scores;
}

type FindScores = (fileName: unknown) => Scores | undefined;

function withJsonScores(text: string, find: FindScores): string {
  return text.split("\n").map((line) => {
    try {
      const row: unknown = JSON.parse(line);
      if (typeof row !== "object" || row === null || Array.isArray(row)) return line;
      const scores = find((row as Record<string, unknown>).file_name);
      return scores === undefined ? line : JSON.stringify({ ...row, ...scores });
    } catch {
      return line; // a line that is no JSON is reported, not repaired
    }
  }).join("\n");
}

function withCsvScores(text: string, find: FindScores): string {
  const [head, ...records] = [...parseCsv(text)];
  if (head === undefined) return text;
  const kept = head.fields.filter((name) => !(WRITTEN as readonly string[]).includes(name));
  const lines = records.map(({ line, fields }) => {
    if (fields.length !== head.fields.length) {
      throw new UserError(
        `Cannot write scores into a CSV: line ${line} has ${fields.length} fields, expected ${head.fields.length} (${
          describeNames(head.fields)
        })`,
      );
    }
    const scores = find(fields[head.fields.indexOf("file_name")]);
    const own = kept.map((name) => fields[head.fields.indexOf(name)]!);
    // This table is the user's, and what looks like a formula in it is theirs, too.
    return formatCsvRow([...own, ...WRITTEN.map((name) => String(scores?.[name] ?? ""))], {
      formulas: "kept",
    });
  });
  return formatCsvRow([...kept, ...WRITTEN], { formulas: "kept" }) + lines.join("");
}
