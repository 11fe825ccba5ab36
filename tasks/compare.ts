/**
 * Compares captions of files or models on the same images: side by side, with significance, and what got better and worse.
 *
 * deno task compare --before runs/first --after runs/second --dataset sample
 * deno task compare --before a.json --after b.json c.json
 *
 * @module
 */

import { UserError } from "../lib/base/errors.ts";
import {
  findChanges,
  formatComparisonPage,
  formatDifference,
  formatScore,
  MODEL_SCORE_TITLES,
} from "../lib/evaluate/report.ts";
import { createCommand, runTask } from "../lib/host/arguments.ts";
import { compareSources } from "../lib/host/compare.ts";
import { readPictures } from "../lib/host/evaluate.ts";
import { addEvaluateOptions } from "../lib/host/evaluate_options.ts";
import { writeFileAtomically } from "../lib/host/files.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { METRIC_NAMES } from "../lib/text/metrics/corpus.ts";
import { METRIC_TITLES } from "../lib/text/metrics/titles.ts";

await runTask(async ({ handleInterrupt }) => {
  const flags = addEvaluateOptions(
    createCommand("compare", "Compare captions of files or models on the same images")
      .requiredOption("--before <source>", "predictions file, run folder, Hub id or embedded:captioner")
      .requiredOption("--after <sources...>", "one or more to compare with it")
      .option("--output-dir <dir>", "folder of captions and compare.html", "results/comparison")
      .option(
        "--clip-model <dir>",
        "compare captions with images too: a CLIP or SigLIP, such as embedded:siglip",
      ),
  ).parse().opts();
  const { outputDir, sortBy, json } = flags;
  if (flags.after.includes(flags.before)) throw new UserError(`Cannot compare "${flags.before}" with itself`);
  const compared = await compareSources([flags.before, ...flags.after], {
    ...flags,
    signal: handleInterrupt(),
  });
  const { models, differences, images } = compared;
  const otherScores = Object.keys(models[0]!.others).map((name) => ({
    title: MODEL_SCORE_TITLES[name] ?? name,
    cells: models.map(({ others }) => formatScore(others[name]!)),
    differences: models.map(({ otherDifferences: found }) =>
      found[name] ? formatDifference(found[name]) : ""
    ),
  }));
  const facts = [
    ...compared.facts,
    ...otherScores.map(({ title, cells, differences }) =>
      [title, cells.map((cell, i) => `${cell} ${differences[i]}`.trim()).join(", ")] as const
    ),
  ];
  const [first, ...others] = models;
  const changes = others.map((model) => findChanges(first!, model, sortBy));
  const shown = changes.flatMap(({ worse, better }) => [...worse.slice(0, 250), ...better.slice(0, 250)]);
  const pictures = await readPictures(shown.map(({ after }) => after), images);
  await writeFileAtomically(
    `${outputDir}/compare.html`,
    formatComparisonPage({
      title: `Comparison with ${flags.before}`,
      facts,
      models,
      differences,
      sortBy,
      picture: ({ id }) => pictures.get(id),
    }),
  );
  const summary = {
    count: first!.rows.length,
    tokenizer: flags.tokenizer,
    sort_by: sortBy,
    models: models.map(({ name, values, figures, others, otherDifferences }, i) => ({
      name,
      ...values,
      ...others,
      ...figures,
      ...(i > 0 && {
        differences: { ...differences[i], ...otherDifferences },
        better: changes[i - 1]!.better.length,
        worse: changes[i - 1]!.worse.length,
      }),
    })),
  };
  await writeFileAtomically(`${outputDir}/compare.json`, `${JSON.stringify(summary, null, 2)}\n`);
  if (json) return console.log(JSON.stringify(summary));
  const header = ["", first!.name, ...others.flatMap(({ name }) => [name, "difference (p)"])];
  const metrics = METRIC_NAMES.map((name) => [
    METRIC_TITLES[name],
    formatScore(first!.values[name]),
    ...others.flatMap(({ values }, i) => [
      formatScore(values[name]),
      formatDifference(differences[i + 1]![name]),
    ]),
  ]);
  const names = new Set(models.flatMap(({ facts }) => Object.keys(facts)));
  const figures = [...names].map((name) => [
    name,
    first!.facts[name] ?? "",
    ...others.flatMap((model) => [model.facts[name] ?? "", ""]),
  ]);
  const likeness = otherScores.map(({ title, cells, differences }) => [
    title,
    cells[0]!,
    ...cells.slice(1).flatMap((cell, i) => [cell, differences[i + 1]!]),
  ]);
  console.log(
    formatTable([...metrics, ...likeness, ...figures], { header, right: header.map((_, c) => c).slice(1) }),
  );
  for (const [i, { name }] of others.entries()) {
    const { better, worse } = changes[i]!;
    console.log(`\n${name}: ${better.length} better, ${worse.length} worse by ${METRIC_TITLES[sortBy]}`);
    for (const { before, after } of [...better.slice(0, 3), ...worse.slice(0, 3)]) {
      console.log(
        `  ${after.id}  ${before.values[sortBy].toFixed(2)} "${before.candidate}" → ${
          after.values[sortBy].toFixed(2)
        } "${after.candidate}"`,
      );
    }
  }
  console.log(`\n* p below 0.05 by paired bootstrap\nKept in ${outputDir}: compare.html, compare.json`);
});
