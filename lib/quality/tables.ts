/**
 * The tables of the report: columns and cells, named as the Python report names them, then what is only known here.
 *
 * @module
 */

import { formatCsvRow } from "../format/csv.ts";
import { captionMatches, categoryKey, missedShare, type QualityExample } from "./example.ts";
import { PROTECTED_CATEGORIES } from "./protected_terms.ts";
import { finite } from "./ranking.ts";

/** What an example has by its place among the others. */
export interface Placed {
  /** Mean inverse frequency of its objects. */
  readonly reweight: number | undefined;
  /** From 0 for the best to 1 for the worst. */
  readonly combined: number;
}

/** Columns of `per_example_scores.csv`. */
export const EXAMPLE_COLUMNS: readonly string[] = [
  "idx",
  "alt_text",
  "original_text",
  "objects",
  "word_count",
  "has_image",
  ...PROTECTED_CATEGORIES.flatMap((category) => [
    `protected_${categoryKey(category)}_transformed`,
    `protected_${categoryKey(category)}_original`,
  ]),
  "clip_score",
  "bert_score",
  "objs_matched",
  "objs_total",
  "obj_miss_frac",
  "reweight_suggested",
  "source_id",
  "split",
  "image",
  "clip_score_mismatched",
  "caption_flags",
  "image_flags",
  "width",
  "height",
  "image_sha256",
  "image_hash",
];

/** Columns of `ranked_by_combined.csv`: those and the score that they are sorted by. */
export const RANKED_COLUMNS: readonly string[] = [...EXAMPLE_COLUMNS, "combined_score"];

/** A number as Python's readers take it: nothing where there is none. */
function numberCell(value: number | undefined): string {
  return finite(value) === undefined ? "" : String(value);
}

/** Cells of an example, one a column of {@linkcode EXAMPLE_COLUMNS}. */
export function exampleCells(example: QualityExample, { reweight }: Pick<Placed, "reweight">): string[] {
  const { originalMatches, objects = [], image } = example;
  const found = captionMatches(example);
  return [
    String(example.idx),
    example.caption,
    example.original,
    JSON.stringify(objects),
    String(example.words),
    image === undefined ? "False" : "True",
    ...PROTECTED_CATEGORIES.flatMap((category) => [
      String(found[category]),
      originalMatches === undefined ? "" : String(originalMatches[category] ?? 0),
    ]),
    numberCell(example.clip),
    numberCell(example.bert),
    String(example.objectsMatched),
    String(objects.length),
    numberCell(missedShare(example)),
    numberCell(reweight),
    sourceId(example),
    example.split,
    example.id,
    numberCell(example.mismatched),
    example.flags.join(" "),
    (example.imageError === undefined ? image?.flags ?? [] : ["broken"]).join(" "),
    numberCell(image?.width),
    numberCell(image?.height),
    image?.sha256 ?? "",
    image?.hash ?? "",
  ];
}

/** What names a row among all data sets of a run: `SOURCE-NUMBER`. */
export function sourceId({ source, idx }: Pick<QualityExample, "source" | "idx">): string {
  return `${source}-${idx}`;
}

/** The text of `objects_below_N.csv` and `object_counts.csv`. */
export function formatCounts(rows: readonly (readonly [name: string, count: number])[]): string {
  return [["object", "count"], ...rows.map(([name, value]) => [name, String(value)])].map((cells) =>
    formatCsvRow(cells)
  ).join(
    "",
  );
}

/** Columns of `reweighting_probs.csv`. */
export const REWEIGHT_COLUMNS: readonly string[] = ["idx", "reweight_raw", "reweight_norm", "source_id"];

/** Columns of `scores.parquet`: what training may filter by, and what names the row. */
export const SCORE_COLUMNS = [
  { name: "source_id", type: "STRING" },
  { name: "idx", type: "INT32" },
  { name: "split", type: "STRING" },
  { name: "caption", type: "STRING" },
  { name: "clip_score", type: "DOUBLE" },
  { name: "bert_score", type: "DOUBLE" },
  { name: "obj_miss_frac", type: "DOUBLE" },
  { name: "quality_score", type: "DOUBLE" },
  { name: "reweight", type: "DOUBLE" },
  { name: "caption_flags", type: "STRING" },
  { name: "image_flags", type: "STRING" },
] as const;

/** Cells of an example, one a column of {@linkcode SCORE_COLUMNS}; absent ones are `null`. */
export function scoreCells(example: QualityExample, placed: Placed): (string | number | null)[] {
  const { imageError, image } = example;
  return [
    sourceId(example),
    example.idx,
    example.split,
    example.caption,
    finite(example.clip) ?? null,
    finite(example.bert) ?? null,
    missedShare(example) ?? null,
    1 - placed.combined,
    placed.reweight ?? null,
    example.flags.join(" "),
    (imageError === undefined ? image?.flags ?? [] : ["broken"]).join(" "),
  ];
}
