/**
 * `report.html`: the whole report on one page that opens offline. What it shows is there without its script, which adds sliders to read
 * charts by and orders to the gallery.
 *
 * @module
 */

import { escapeHtml, formatPage, isPicture } from "../format/html.ts";
import { CAPTION_FLAGS } from "./caption_checks.ts";
import { comparisonCells, type QualityComparison } from "./comparison.ts";
import type { QualityExample } from "./example.ts";
import { missedShare } from "./example.ts";
import { IMAGE_FLAGS } from "./image_facts.ts";
import { qualityCharts } from "./report_charts.ts";
import script from "./report_script.html" with { type: "text" };
import style from "./report_style.css" with { type: "text" };
import type { QualitySummary } from "./summary.ts";
import type { Mention, QualityTotals } from "./totals.ts";
import { describeThreshold, formatValue, thresholdOf, THRESHOLDS } from "./verdicts.ts";

/** An example with its picture. */
export interface ShownExample {
  readonly example: QualityExample;
  /** From 0 to 1, 1 is the worst. */
  readonly combined: number;
  /** Small picture as a `data:` address. */
  readonly picture?: string | undefined;
}

/** A group of near duplicates. */
export interface ShownGroup {
  readonly method: "hash" | "embedding";
  /** How many images it has; fewer may be shown. */
  readonly count: number;
  readonly images: readonly {
    readonly sourceId: string;
    readonly split: string;
    readonly picture?: string | undefined;
  }[];
}

/** What the page shows. */
export interface QualityPage {
  readonly summary: QualitySummary;
  readonly totals: QualityTotals;
  readonly comparison?: QualityComparison | undefined;
  /** The worst first. */
  readonly worst: readonly ShownExample[];
  readonly groups: readonly ShownGroup[];
}

/** The page. Everything that comes from the data set is escaped. */
export function formatQualityPage(page: QualityPage): string {
  const { summary, totals, comparison, worst, groups } = page;
  const sections: [id: string, title: string, body: string][] = [
    ["verdicts", "Verdicts", verdictsTable(summary)],
    ...(comparison
      ? [["comparison", "Before and after", comparisonTable(comparison)] as [string, string, string]]
      : []),
    ["figures", "Figures", figuresTable(summary)],
    ["charts", "Distributions", qualityCharts(totals)],
    ["bias", "Bias", biasTable(summary, totals.mentions)],
    ["faults", "Faults", faultsTable(summary)],
    ["duplicates", "Near-duplicate images", duplicatesPart(summary, groups)],
    ["worst", "Worst pairs", gallery(worst)],
  ];
  const shown = sections.filter(([, , body]) => body !== "");
  return formatPage(
    `Quality of ${summary.dataset}, ${summary.split}`,
    `<nav aria-label="Parts of the report"><ul>${
      shown.map(([id, title]) => `<li><a href="#${id}">${title}</a></li>`).join("")
    }</ul></nav>
${shown.map(([id, title, body]) => `<h2 id="${id}">${title}</h2>\n${body}`).join("\n")}`,
    { style, end: script },
  );
}

const cell = (text: string) => `<td>${escapeHtml(text)}</td>`;
const number = (text: string) => `<td class="n">${escapeHtml(text)}</td>`;
const head = (text: string) => `<th scope="row">${escapeHtml(text)}</th>`;
const columns = (...titles: string[]) =>
  `<tr>${titles.map((title) => `<th scope="col">${title}</th>`).join("")}</tr>`;
const wide = (rows: readonly string[], title: string) =>
  `<div class="wide" tabindex="0" role="region" aria-label="${escapeHtml(title)}"><table>${
    rows.join("\n")
  }</table></div>`;

function verdictsTable({ verdicts, imbalance_warnings: warnings }: QualitySummary): string {
  const rows = verdicts.map(({ id, title, value, grade }) => {
    const threshold = thresholdOf(id);
    const bounds = `${escapeHtml(describeThreshold(threshold))}<br>${escapeHtml(threshold.source)}`;
    return `<tr><th scope="row">${escapeHtml(title)}<div class="threshold">${bounds}</div></th>` +
      `${number(formatValue(value, threshold))}<td><span class="grade-${grade}">${grade}</span></td></tr>`;
  });
  return wide([columns("Check, its thresholds and their source", "Value", "Verdict"), ...rows], "Verdicts") +
    warnings.map((warning) => `<p><strong>Imbalance:</strong> ${escapeHtml(warning)}</p>`).join("");
}

function comparisonTable(comparison: QualityComparison): string {
  const { name, warnings, values } = comparison;
  const rows = values.map((value) => {
    const [before, after, verdict] = comparisonCells(value);
    return `<tr>${head(value.title)}${number(before!)}${number(after!)}${cell(verdict!)}</tr>`;
  });
  return `<p>Before: ${escapeHtml(name)}</p>${
    warnings.map((warning) => `<p><strong>${escapeHtml(warning)}</strong></p>`).join("")
  }${wide([columns("Value", "Before", "After", "Change"), ...rows], "Before and after")}`;
}

function figuresTable(summary: QualitySummary): string {
  const figure = (value: number | null, digits = 3) => value === null ? "–" : value.toFixed(digits);
  const share = (value: number) => formatValue(value, { unit: "share" });
  const rows: [string, string][] = [
    ["Captions", String(summary.total_samples)],
    ["Images that could be read", String(summary.samples_with_images)],
    ["Captions with an original", String(summary.samples_with_originals)],
    ["Rows that cannot be used", String(summary.bad_rows)],
    ["Model of images and texts", summary.clip_model ?? "none"],
    ...(summary.clip_score_mean === null ? [] : [
      [
        "Cosine of image and caption",
        `${figure(summary.clip_score_mean)} ± ${figure(summary.clip_score_std)}, median ${
          figure(summary.clip_score_median)
        }, from ${figure(summary.clip_score_min)} to ${figure(summary.clip_score_max)}`,
      ],
      ["Cosine with captions of other images", figure(summary.clip_score_mismatched_mean)],
      ["Right captions above wrong ones", figure(summary.clip_ranking_accuracy)],
    ] as [string, string][]),
    [
      "Encoder of texts",
      summary.bert_model === null ? "none" : summary.bert_model +
        (summary.bert_is_reference ? "" : " (its scores are not on BERTScore's usual scale)"),
    ],
    ...(summary.bert_score_mean === null ? [] : [
      [
        "Caption against original",
        `${figure(summary.bert_score_mean)} ± ${figure(summary.bert_score_std)}`,
      ] as [
        string,
        string,
      ],
    ]),
    [
      "Words of a caption",
      `${figure(summary.avg_word_count, 1)}, median ${figure(summary.median_word_count, 1)}`,
    ],
    ["Vocabulary", `${summary.unique_words} of ${summary.total_words} words`],
    [
      "Entropy of words",
      `${figure(summary.vocabulary_entropy, 2)} bits, Gini ${figure(summary.word_dist_gini)}`,
    ],
    ["Captions equal to an earlier one", share(summary.duplicate_rate)],
    ...(summary.obj_num_unique === 0 ? [["Objects", "none are named"] as [string, string]] : [
      ["Objects", `${summary.obj_num_unique} in ${summary.obj_total_mentions} mentions`],
      ["Entropy of objects", `${figure(summary.obj_entropy_bits, 2)} bits, Gini ${figure(summary.obj_gini)}`],
      [
        "Five and ten most frequent objects",
        `${share(summary.obj_top5_share)} and ${share(summary.obj_top10_share)}`,
      ],
      [`Objects with fewer than ${summary.obj_rare_threshold} mentions`, String(summary.obj_rare_count)],
      ["Captions that mention none of their objects", share(summary.obj_miss_rate)],
    ] as [string, string][]),
  ];
  return wide(rows.map(([title, value]) => `<tr>${head(title)}${cell(value)}</tr>`), "Figures") +
    (summary.bad_row_examples.length === 0
      ? ""
      : `<details><summary>Rows that cannot be used</summary><ul>${
        summary.bad_row_examples.map(({ id, reason }) => `<li>${escapeHtml(`${id}: ${reason}`)}</li>`).join(
          "",
        )
      }</ul></details>`);
}

const BIAS_TITLE = new Map(THRESHOLDS.map(({ id, title }) => [id, title]));

function biasTable(summary: QualitySummary, mentions: ReadonlyMap<string, readonly Mention[]>): string {
  const share = (value: number | null) => value === null ? "–" : formatValue(value, { unit: "share" });
  const rows = Object.entries(summary.bias).map(([category, { original, transformed, change }]) => {
    const grade = summary.verdicts.find(({ id }) => id === `protected_${category}`)?.grade;
    const changed = change === null ? "–" : `${change > 0 ? "+" : ""}${(change * 100).toFixed(1)} %`;
    return `<tr>${head(BIAS_TITLE.get(`protected_${category}`) ?? category)}${number(share(original))}${
      number(share(transformed))
    }${number(changed)}<td>${
      grade === undefined ? "" : `<span class="grade-${grade}">${grade}</span>`
    }</td></tr>`;
  });
  const contexts = [...mentions].map(([category, found]) =>
    `<details><summary>${
      escapeHtml(BIAS_TITLE.get(`protected_${category}`) ?? category)
    }: ${found.length} mentions</summary><ul>${found.map(mentionItem).join("")}</ul></details>`
  );
  const note = summary.samples_with_originals === 0
    ? "<p>The data set has no originals to compare with.</p>"
    : `<p>Original captions are known of ${summary.samples_with_originals} of ${summary.total_samples}.</p>`;
  return `${note}${
    wide([columns("Category", "Original", "Now", "Change", "Verdict"), ...rows], "Bias by category")
  }
${contexts.join("\n")}`;
}

function mentionItem({ idx, caption, start, text }: Mention): string {
  const end = start + text.length;
  return `<li>${escapeHtml(caption.slice(0, start))}<mark>${escapeHtml(caption.slice(start, end))}</mark>${
    escapeHtml(caption.slice(end))
  } <span class="threshold">row ${idx}</span></li>`;
}

function faultsTable({ caption_flags: captions, image_flags: images }: QualitySummary): string {
  const rows = (
    kind: string,
    counts: Readonly<Record<string, number>>,
    names: Readonly<Record<string, string>>,
  ) =>
    Object.entries(names).map(([name, meaning]) =>
      `<tr>${head(`${kind}: ${name.replaceAll("_", " ")}`)}${cell(meaning)}${
        number(String(counts[name] ?? 0))
      }</tr>`
    );
  return wide(
    [
      columns("Fault", "Meaning", "Found"),
      ...rows("caption", captions, CAPTION_FLAGS),
      ...rows("image", images, IMAGE_FLAGS),
    ],
    "Faults",
  );
}

function duplicatesPart(summary: QualitySummary, groups: readonly ShownGroup[]): string {
  if (summary.images_inspected === 0) return "<p>No image was looked at.</p>";
  const { near_duplicates_by_hash: hash, near_duplicates_by_embedding: embedding } = summary;
  const leaks = summary.splits.length > 1
    ? `Groups that lie in several splits: ${hash.leakedGroups}.`
    : "One split was looked at; leaks between splits show with --split all.";
  const list = groups.map(({ method, count, images }) =>
    `<h3>${count} alike by ${method}${
      new Set(images.map(({ split }) => split)).size > 1 ? ", in several splits" : ""
    }</h3><div class="pair">${
      images.map(({ sourceId, split, picture }) =>
        `<figure>${image(picture, "")}<figcaption>${
          escapeHtml(`${sourceId}, ${split}`)
        }</figcaption></figure>`
      ).join("")
    }</div>`
  );
  return `<p>Groups by perceptual hash: ${hash.groups}, with ${hash.surplus} images too many${
    embedding === null ? "" : `; by embedding, which may only show the same things: ${embedding.groups}`
  }; images that are equal to an earlier one byte by byte: ${summary.identical_images}. ${leaks}</p>${
    list.join("\n")
  }`;
}

function image(picture: string | undefined, alt: string): string {
  return picture !== undefined && isPicture(picture)
    ? `<img decoding="async" alt="${escapeHtml(alt)}" src="${picture}">`
    : "";
}

function gallery(worst: readonly ShownExample[]): string {
  if (worst.length === 0) return "";
  const flags = [...new Set(worst.flatMap(({ example }) => flagsOf(example)))].sort();
  const sorts = [
    ["combined down", "all scores together"],
    ["clip up", "alignment, least first"],
    ["bert up", "fidelity, least first"],
    ["missed down", "objects left out, most first"],
    ["words up", "words, fewest first"],
    ["words down", "words, most first"],
  ];
  const option = ([value, title]: readonly string[]) =>
    `<option value="${escapeHtml(value!)}">${escapeHtml(title!)}</option>`;
  return `<div class="controls" id="controls" hidden>
<div><label for="sort">Sort by</label><select id="sort">${sorts.map(option).join("")}</select></div>
<div><label for="filter">Show</label><select id="filter">${
    [["", "all"], ...flags.map((flag) => [flag, flag.replaceAll("_", " ")])].map(option).join("")
  }</select></div>
<p id="shown" role="status"></p></div>
<div class="samples" id="gallery">${worst.map(card).join("\n")}</div>`;
}

function flagsOf({ flags, image: facts, imageError }: QualityExample): string[] {
  return [...flags, ...facts?.flags ?? [], ...(imageError === undefined ? [] : ["broken"])];
}

function card({ example, combined, picture }: ShownExample): string {
  const { caption, original, clip, bert, objects = [], idx, source, split, words } = example;
  const missed = missedShare(example);
  const flags = flagsOf(example);
  const entry = (term: string, text: string) => `<dt>${term}</dt><dd>${escapeHtml(text)}</dd>`;
  const scores = [
    `combined ${combined.toFixed(3)}`,
    ...(clip === undefined ? [] : [`alignment ${clip.toFixed(3)}`]),
    ...(bert === undefined ? [] : [`fidelity ${bert.toFixed(3)}`]),
    ...(missed === undefined ? [] : [`objects left out ${Math.round(missed * 100)} %`]),
  ];
  return `<article data-combined="${combined}" data-clip="${clip ?? ""}" data-bert="${
    bert ?? ""
  }" data-missed="${missed ?? ""}" data-words="${words}" data-flags="${flags.join(" ")}">${
    // What the picture shows is what is in doubt.
    image(picture, "The picture that the caption should describe")}<dl>${
    entry("caption", caption === "" ? "(nothing)" : caption)
  }${original === "" ? "" : entry("original", original)}${
    objects.length === 0 ? "" : entry("objects", objects.join(", "))
  }${entry("scores", scores.join(", "))}${
    flags.length === 0 ? "" : entry("faults", flags.join(", ").replaceAll("_", " "))
  }${example.imageError === undefined ? "" : entry("image", example.imageError)}${
    entry("row", `${source}-${idx}, ${split}`)
  }</dl></article>`;
}
