/**
 * How well protected terms are found and removed, on the labelled captions, and how fast.
 *
 * deno run -A bench/protected_terms.ts
 *
 * @module
 */

import { formatTable } from "../lib/host/terminal.ts";
import { neutralizeCaption } from "../lib/quality/neutralize.ts";
import { findProtectedTerms, type ProtectedCategory } from "../lib/quality/protected_terms.ts";
import {
  countHits,
  type LabelledCaption,
  precisionAndRecall,
  readLabelledCaptions,
} from "../tests/quality/labelled_captions.ts";
import { timeOnce } from "./measure.ts";

const CAPTIONS = 1_000_000;

const labelled = readLabelledCaptions();
const sets: Record<string, readonly LabelledCaption[]> = {
  tuned: labelled.filter(({ heldBack }) => !heldBack),
  "held back": labelled.filter(({ heldBack }) => heldBack),
  fresh: readLabelledCaptions("fresh"),
};
const rows = Object.entries(sets).flatMap(([name, captions]) =>
  Object.entries(countHits(captions)).map(([category, counts]) => {
    const { precision, recall } = precisionAndRecall(counts);
    const marks = counts.hits + counts.misses;
    return [name, category as ProtectedCategory, String(marks), precision.toFixed(3), recall.toFixed(3)];
  })
);
console.log(formatTable([["captions", "category", "marks", "precision", "recall"], ...rows]));
for (const [name, captions] of Object.entries(sets)) {
  const plain = captions.filter(({ terms }) => terms.length === 0);
  const touched = plain.filter(({ caption }) => neutralizeCaption(caption).changed).length;
  const marks = captions.flatMap(({ caption, terms }) => {
    const neutral = neutralizeCaption(caption).caption;
    return terms.map(({ text }) => !new RegExp(`(?<![\\w-])${text}(?![\\w-])`).test(neutral));
  });
  const removed = marks.filter(Boolean).length;
  console.log(
    `${name}: rules remove ${removed} of ${marks.length} marked terms and change ${touched} of ${plain.length} captions without one`,
  );
}
let found = 0;
const { wallMs, cpuMs } = await timeOnce(() => {
  for (let i = 0; i < CAPTIONS; i++) {
    found += findProtectedTerms(labelled[i % labelled.length]!.caption).length;
  }
  return Promise.resolve();
});
console.log(
  `${CAPTIONS} captions, ${found} terms: ${(wallMs / 1000).toFixed(1)} s by the clock, ${
    (cpuMs / 1000).toFixed(1)
  } s of processor time`,
);
