/**
 * Data sets with a name of their own: where they are at the Hub and what is particular about them. The names and rules are those of
 * the Python project.
 *
 * @module
 */

import type { CaptionSetRules } from "./group_rows.ts";

/** A data set with a name. */
export interface NamedDataset {
  /** What `--dataset` calls it. */
  readonly name: string;
  /** Its repository at the Hub. */
  readonly repo: string;
  /** One line for people. */
  readonly about: string;
  /** What is particular about it. */
  readonly rules: CaptionSetRules;
}

/** Name of the embedded pictures. */
export const EMBEDDED_DATASET = "sample";
/** Stands for every named data set. */
export const ALL_DATASETS = "all";

/** Every data set with a name, in the order that `all` has. */
export const NAMED_DATASETS: readonly NamedDataset[] = [
  {
    name: "flickr",
    repo: "Mozilla/flickr30k-transformed-captions-gpt4o",
    about:
      "31,014 photographs of everyday scenes; everything is in the split test, which is divided 80/10/10",
    rules: { sourceSplits: ["test"], captionColumn: "alt_text", imageColumn: "image" },
  },
  {
    name: "coco",
    repo: "Mozilla/coco-gpt4o",
    about: "COCO with captions rewritten, as Arrow files; its train split is divided 80/10/10",
    rules: { sourceSplits: ["train"], captionColumn: "alt_text", imageColumn: "image" },
  },
  {
    name: "pexels",
    repo: "Mozilla/pexels-gpt4o",
    about: "stock photographs; its train split is divided 80/10/10",
    rules: { sourceSplits: ["train"], captionColumn: "alt_text", imageColumn: "image" },
  },
  {
    name: "docornot",
    repo: "mozilla/docornot",
    about:
      'the documents among the first 2,000 rows (--sample changes it), each with the caption "Text document."',
    rules: {
      sourceSplits: ["train"],
      caption: "Text document.",
      imageColumn: "image",
      keep: { columns: ["is_document"], test: (row) => row.is_document === 1 || row.is_document === true },
      head: 2000,
    },
  },
  {
    name: "validation",
    repo: "Mozilla/alt-text-validation",
    about:
      "rows with a gpt_alt_text: train has all, validation and test copies of the first and second tenth",
    rules: {
      sourceSplits: ["train"],
      captionColumn: "gpt_alt_text",
      imageColumn: "image",
      keep: {
        columns: ["gpt_alt_text"],
        test: ({ gpt_alt_text: text }) => typeof text === "string" && text.trim() !== "",
      },
      division: "copies",
    },
  },
  {
    name: "textcaps",
    repo: "lmms-lab/TextCaps",
    about:
      "pictures with writing, five captions each; train and validation as published, whose test split has no captions",
    rules: { sourceSplits: ["train", "validation"], captionColumn: "caption_str", imageColumn: "image" },
  },
];

/** The data set of a name. */
export function namedDataset(name: string): NamedDataset | undefined {
  return NAMED_DATASETS.find((dataset) => dataset.name === name);
}

/** Names with `all` replaced by every named data set; each once. */
export function expandDatasetNames(names: readonly string[]): string[] {
  const expanded = names.flatMap((name) =>
    name === ALL_DATASETS ? NAMED_DATASETS.map(({ name }) => name) : [name]
  );
  return [...new Set(expanded)];
}
