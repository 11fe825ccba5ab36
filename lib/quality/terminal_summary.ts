/**
 * The report on one screen: 24 lines of 80 columns.
 *
 * @module
 */

import { CAPTION_FLAGS } from "./caption_checks.ts";
import { comparisonCells, type QualityComparison } from "./comparison.ts";
import { IMAGE_FLAGS } from "./image_facts.ts";
import type { QualitySummary } from "./summary.ts";
import { formatValue, thresholdOf, type Verdict } from "./verdicts.ts";

const WIDTH = 80;
/** Grades as marks, which are read without colour. */
const MARKS = { excellent: "++", good: "+ ", fair: "~ ", poor: "! " } as const;

/** The summary in at most 24 lines of at most 80 columns. */
export function formatTerminalSummary(summary: QualitySummary, outputDir: string): string {
  const { total_samples: rows, samples_with_images: images, bad_rows: bad } = summary;
  const number = (value: number | null, digits = 3) => value === null ? "–" : value.toFixed(digits);
  const lines = [
    `${summary.dataset}, ${summary.split}: ${rows} captions, ${images} images` +
    (bad > 0 ? `, ${bad} unusable rows` : ""),
    ...(summary.clip_model === null ? [] : [
      `alignment  ${number(summary.clip_score_mean)} ± ${number(summary.clip_score_std)}, wrong captions ${
        number(summary.clip_score_mismatched_mean)
      } (${summary.clip_model})`,
    ]),
    ...(summary.bert_model === null ? [] : [
      `fidelity   ${number(summary.bert_score_mean)} ± ${
        number(summary.bert_score_std)
      } (${summary.bert_model}${summary.bert_is_reference ? "" : "; not BERTScore's scale"})`,
    ]),
    `captions   ${number(summary.avg_word_count, 1)} words, vocabulary ${summary.unique_words}, ${
      number(summary.vocabulary_entropy, 2)
    } bits, Gini ${number(summary.word_dist_gini)}`,
    ...(summary.obj_num_unique === 0 ? [] : [
      `objects    ${summary.obj_num_unique} different, ${number(summary.obj_entropy_bits, 2)} bits, top 5 ${
        formatValue(summary.obj_top5_share, { unit: "share" })
      }, ${summary.obj_rare_count} rare (< ${summary.obj_rare_threshold})`,
    ]),
    "",
    ...verdictLines(summary),
    "",
    ...faultLine("caption faults", summary.caption_flags, CAPTION_FLAGS),
    ...faultLine("image faults", summary.image_flags, IMAGE_FLAGS),
    ...summary.imbalance_warnings.slice(0, 3).map((warning) => `imbalance: ${warning}`),
    `open ${outputDir}/report.html`,
  ];
  return lines.map((line) => line.length > WIDTH ? `${line.slice(0, WIDTH - 1)}…` : line).join("\n");
}

/** Verdicts in two columns; bias of the categories that nobody mentions in one cell. */
function verdictLines(summary: QualitySummary): string[] {
  const cell = ({ id, title, value, grade }: Verdict): string => {
    const category = id.replace(/^protected_/, "");
    const before = summary.bias[category]?.original;
    const threshold = thresholdOf(id);
    const shown = before === undefined || before === null
      ? formatValue(value, threshold)
      : `${formatValue(before, threshold)} → ${formatValue(value, threshold)}`;
    const short = title.replace(/ \(.*\)$/, "").replace(
      "Training images that are in another split, too",
      "Leaked images",
    )
      .replace("Image-text alignment", "Alignment").replace(
        "Objects that captions mention",
        "Objects mentioned",
      );
    return `${MARKS[grade]} ${short} ${shown}`;
  };
  const silent = summary.verdicts.filter(({ id, value }) =>
    id.startsWith("protected_") && value === 0 && !summary.bias[id.replace(/^protected_/, "")]?.original
  );
  const shown = summary.verdicts.filter((verdict) => !silent.includes(verdict)).map(cell);
  if (silent.length > 0) shown.push(`++ ${silent.length} other kinds of bias: none`);
  const half = Math.ceil(shown.length / 2);
  return shown.slice(0, half).map((left, i) => `${left.padEnd(40)}${shown[half + i] ?? ""}`.trimEnd());
}

function faultLine(
  title: string,
  counts: Readonly<Record<string, number>>,
  names: Readonly<Record<string, string>>,
): string[] {
  const found = Object.keys(names).filter((name) => counts[name]! > 0)
    .map((name) => `${name.replaceAll("_", " ")} ${counts[name]}`);
  return found.length === 0 ? [] : [`${title}: ${found.join(", ")}`];
}

/** A comparison as lines: only what changed or has a verdict. */
export function formatTerminalComparison({ name, warnings, values }: QualityComparison): string {
  const changed = values.filter(({ before, after }) => before !== after);
  const lines = changed.map((value) => {
    const [before, after, verdict] = comparisonCells(value);
    return `${value.title.slice(0, 32).padEnd(32)} ${before!.padStart(18)} → ${after!.padEnd(18)} ${verdict}`
      .trimEnd();
  });
  return [
    `compared with ${name}:${changed.length === 0 ? " nothing changed" : ""}`,
    ...warnings.map((warning) => `  ${warning}`),
    ...lines,
  ].join("\n");
}
