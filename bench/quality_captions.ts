/**
 * Writes made-up captions with originals and objects, and reports on them in this process, whose memory is then told.
 *
 * @module
 */

import { Rng } from "../lib/base/rng.ts";
import { writeFileAtomically } from "../lib/host/files.ts";
import { reportQuality } from "../lib/host/quality_report.ts";
import { RANKING_WEIGHTS } from "../lib/quality/ranking.ts";
import { peakResidentBytes, processCpuMs } from "./measure.ts";

const [folder, count] = [Deno.args[0]!, Number(Deno.args[1])];
const PEOPLE = "man woman boy girl person child lady gentleman player rider".split(" ");
const PLACES = [
  "on the beach",
  "in the snow",
  "near a white wall",
  "at night",
  "beside a red car",
  "in a kitchen",
];
const OBJECTS = Array.from({ length: 3000 }, (_, i) => `object${i}`);

/** Captions as long as COCO's, some of them equal; objects as skewed as words are. */
function* lines(): Generator<Uint8Array> {
  const rng = new Rng(1);
  const encoder = new TextEncoder();
  let text = "";
  for (let i = 0; i < count; i++) {
    const objects = Array.from(
      { length: 1 + rng.int(3) },
      () => OBJECTS[Math.floor(OBJECTS.length * rng.next() ** 3)]!,
    );
    const place = rng.pick(PLACES);
    const number = rng.int(100) === 0 ? "" : ` number ${rng.int(100_000)}`;
    text += JSON.stringify({
      alt_text: `A person with ${objects.join(" and a ")} ${place}, seen from the side${number}.`,
      original_alt_text: `A young ${rng.pick(PEOPLE)} with ${
        objects.join(" and ")
      } ${place}, looking at his dog.`,
      objects,
    }) + "\n";
    if (text.length < 2e6) continue;
    yield encoder.encode(text);
    text = "";
  }
  yield encoder.encode(text);
}

await writeFileAtomically(`${folder}/captions.jsonl`, lines());
const [startMs, startCpuMs] = [performance.now(), processCpuMs()];
const { summary } = await reportQuality({
  datasets: [`${folder}/captions.jsonl`],
  split: "all",
  captions: "first",
  images: false,
  seed: 42,
  outputDir: `${folder}/report`,
  clipModel: "none",
  bertModel: "none",
  bertLayer: 17,
  batchSize: 32,
  topk: 300,
  rareThreshold: 50,
  imbalanceGiniAlert: 0.5,
  imbalanceTopkAlert: 0.5,
  weights: RANKING_WEIGHTS,
  duplicateCosine: 0.98,
  plot: false,
  writeBack: false,
  restart: false,
});
console.log(JSON.stringify({
  captions: summary.total_samples,
  bytes: (await Deno.stat(`${folder}/captions.jsonl`)).size,
  wallMs: performance.now() - startMs,
  cpuMs: processCpuMs() - startCpuMs,
  peakBytes: peakResidentBytes(),
}));
