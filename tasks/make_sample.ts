/**
 * Renders the embedded sample data set: drawn scenes with captions, as a Hugging Face image folder.
 *
 * deno task make-sample [--output-dir data/sample] [--seed 2026] [--train 600] [--validation 60] [--test 100]
 *
 * @module
 */

import { UserError } from "../lib/base/errors.ts";
import { Rng } from "../lib/base/rng.ts";
import {
  generateScene,
  type Scene,
  sceneCaption,
  sceneKey,
  sceneToSvg,
  splitOfKey,
} from "../lib/datasets/scenes.ts";
import { createCommand, parseInteger, runTask } from "../lib/host/arguments.ts";
import { renderSvgToPng } from "../lib/host/render.ts";

const SPLITS = ["train", "validation", "test"] as const;

/** What decides the sample. */
interface Setting {
  seed: number;
  imageSize: number;
  counts: Record<(typeof SPLITS)[number], number>;
}

await runTask(async () => {
  const count = parseInteger({ min: 0 });
  const { outputDir, seed, imageSize, train, validation, test } = createCommand(
    "make-sample",
    "Render the sample image folder with captions from a seed",
  )
    .option("--output-dir <folder>", "where to write; an earlier sample is replaced", "data/sample")
    .option("--seed <number>", "seed of the scenes", count, 2026)
    .option("--image-size <pixels>", "width and height of the pictures", parseInteger({ min: 1 }), 128)
    .option("--train <count>", "training pictures", count, 600)
    .option("--validation <count>", "validation pictures", count, 60)
    .option("--test <count>", "test pictures", count, 100)
    .parse().opts();
  const counts = { train, validation, test };

  // Every scene is drawn at most once, and its key alone says to which split it belongs.
  const scenes: Record<(typeof SPLITS)[number], Scene[]> = { train: [], validation: [], test: [] };
  const seen = new Set<string>();
  const rng = new Rng(seed);
  while (SPLITS.some((split) => scenes[split].length < counts[split])) {
    const scene = generateScene(rng);
    const key = sceneKey(scene);
    const split = splitOfKey(key);
    if (seen.has(key) || scenes[split].length === counts[split]) continue;
    seen.add(key);
    scenes[split].push(scene);
  }

  await removeEarlierSample(outputDir);
  for (const split of SPLITS) {
    await Deno.mkdir(`${outputDir}/${split}`, { recursive: true });
    const rows: string[] = [];
    for (const [i, scene] of scenes[split].entries()) {
      const fileName = `${String(i).padStart(4, "0")}.png`;
      const png = await renderSvgToPng(sceneToSvg(scene, { size: imageSize }), imageSize);
      await Deno.writeFile(`${outputDir}/${split}/${fileName}`, png);
      const { altText, originalAltText, objects } = sceneCaption(scene);
      rows.push(
        JSON.stringify({
          file_name: fileName,
          alt_text: altText,
          original_alt_text: originalAltText,
          objects,
        }),
      );
    }
    await Deno.writeTextFile(`${outputDir}/${split}/metadata.jsonl`, rows.join("\n") + "\n");
  }
  await Deno.writeTextFile(`${outputDir}/README.md`, datasetCard({ seed, imageSize, counts }));
  console.log(
    `Wrote ${SPLITS.map((split) => `${counts[split]} ${split}`).join(", ")} pictures to ${outputDir}`,
  );
});

/** Removes what this task wrote before, and nothing else. */
async function removeEarlierSample(outputDir: string): Promise<void> {
  const exists = (path: string) => Deno.stat(path).then(() => true, () => false);
  if (!(await exists(outputDir))) return;
  if (!(await exists(`${outputDir}/train/metadata.jsonl`))) {
    throw new UserError(
      `Cannot write to "${outputDir}": it exists and is not a sample made by this task; name another folder`,
    );
  }
  for (const split of SPLITS) await Deno.remove(`${outputDir}/${split}`, { recursive: true });
}

function datasetCard({ seed, imageSize, counts }: Setting): string {
  return `---
license: mit
language: en
task_categories: [image-to-text]
pretty_name: Drawn scenes with alt text
size_categories: [n<1K]
---

# Drawn scenes with alt text

${imageSize}x${imageSize} pictures of drawn scenes, each with one caption that is a fixed function of what the picture shows
(rules: \`lib/datasets/scenes/caption.ts\`). No scene of the test split occurs in another split.

| split | pictures |
|---|---|
${SPLITS.map((split) => `| ${split} | ${counts[split]} |`).join("\n")}

Columns: \`alt_text\` (neutral caption), \`original_alt_text\` (the same in less neutral words), \`objects\` (nouns in the caption).

Made by \`deno task make-sample --seed ${seed} --image-size ${imageSize} --train ${counts.train} --validation ${counts.validation} --test ${counts.test}\`.
`;
}
