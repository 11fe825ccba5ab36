/**
 * Scores captions: of a file, or of a model on a data set.
 *
 * deno task evaluate --predictions captions.json
 * deno task evaluate --model runs/mine --dataset sample --split test
 * deno task evaluate --model runs/mine --dataset sample --calibrate
 *
 * @module
 */

import { UserError } from "../lib/base/errors.ts";
import { coverageOf } from "../lib/evaluate/coverage.ts";
import { formatCoverage } from "../lib/evaluate/coverage_page.ts";
import { formatInterval, formatScore } from "../lib/evaluate/report.ts";
import { createCommand, EXIT_CODES, parseInteger, runTask } from "../lib/host/arguments.ts";
import { calibrateModel, checkCalibration, checkThresholds } from "../lib/host/calibrate.ts";
import { addCalibrateOptions } from "../lib/host/calibrate_options.ts";
import { captionDataset, forgetCaptions } from "../lib/host/caption_dataset.ts";
import {
  evaluateRows,
  openSynonyms,
  readPredictions,
  scoreWithModels,
  writeEvaluation,
} from "../lib/host/evaluate.ts";
import { describeEvaluation, summarizeEvaluation } from "../lib/host/evaluate_facts.ts";
import { addEvaluateOptions } from "../lib/host/evaluate_options.ts";
import { formatTable } from "../lib/host/terminal.ts";
import { METRIC_NAMES } from "../lib/text/metrics/corpus.ts";
import { METRIC_TITLES } from "../lib/text/metrics/titles.ts";

await runTask(async ({ handleInterrupt }) => {
  const command = addEvaluateOptions(addCalibrateOptions(
    createCommand("evaluate", "Score captions with BLEU, ROUGE, CIDEr and METEOR")
      .option("--predictions <file>", "JSON or JSON lines {id, candidate, references}, or COCO results")
      .option(
        "--model <dir>",
        "run or exported folder, Hub id or embedded:captioner: captions --dataset, then scores",
      )
      .option(
        "--output-dir <dir>",
        "folder of captions, per-image scores and report.html (a model: results/evaluation)",
      )
      .option(
        "--clip-model <dir>",
        "score captions against images with a CLIP or SigLIP, such as embedded:siglip",
      )
      .option("--bert-model <dir>", "score captions against references with a RoBERTa or BERT")
      .option("--bert-layer <number>", "layer of it whose states are compared", parseInteger({ min: 0 }), 17)
      .option("--restart", "write captions again that the folder has"),
  )).parse();
  const flags = command.opts();
  if (flags.calibrate && command.getOptionValueSource("split") === "default") flags.split = "validation";
  const { predictions, model, json } = flags;
  if ((predictions === undefined) === (model === undefined)) {
    throw new UserError("Cannot evaluate: give either --predictions FILE or --model DIR");
  }
  if (flags.references !== undefined && model !== undefined) {
    throw new UserError(
      "Cannot use --references with --model: the data set has the references; they are for --predictions of COCO",
    );
  }
  if (flags.calibrate) await checkCalibration(flags);
  const outputDir = flags.outputDir ??
    (model === undefined ? undefined : `results/${flags.calibrate ? "calibration" : "evaluation"}`);
  if (flags.restart && outputDir !== undefined) await forgetCaptions(outputDir);
  const signal = handleInterrupt();
  const captioned = model === undefined ? undefined : await captionDataset({
    ...flags,
    model,
    datasets: flags.dataset,
    outputDir: outputDir!,
    splitSeed: flags.seed,
    signal,
  });
  const rows = captioned?.rows ?? await readPredictions(predictions!, flags.references);
  const synonyms = await openSynonyms();
  const bootstrap = { samples: flags.bootstrapSamples, seed: flags.seed };
  const others = await scoreWithModels(rows, { ...flags, ...bootstrap, ...captioned });
  const evaluated = await evaluateRows(rows, { ...flags, ...bootstrap, synonyms, extra: others.scores });
  const coverage = coverageOf(evaluated.rows, { metric: flags.errorMetric, below: flags.errorBelow });
  const judging = model === undefined ? undefined : { ...flags, model, signal };
  const calibrated = judging && flags.calibrate ? await calibrateModel(evaluated.rows, judging) : undefined;
  const draws = command.getOptionValueSource("nonPhotographs") === "cli";
  const checked = judging && !flags.calibrate
    ? await checkThresholds(evaluated.rows, { ...judging, draws })
    : undefined;
  const evaluation = {
    ...flags,
    rows,
    evaluated,
    others,
    captioned,
    coverage,
    calibrated,
    checked,
    meteor: synonyms === undefined ? "exact, stem" : "exact, stem, synonyms",
  };
  const [summary, facts] = [summarizeEvaluation(evaluation), describeEvaluation(evaluation)];
  if (outputDir !== undefined) {
    const title = `Evaluation of ${model ?? predictions}`;
    await writeEvaluation(outputDir, {
      ...flags,
      ...captioned,
      evaluated,
      summary,
      title,
      facts,
      coverage: formatCoverage(coverage),
    });
  }
  if (json) console.log(JSON.stringify(summary));
  else {
    console.log(formatTable(facts));
    console.log(`\n${
      formatTable(
        METRIC_NAMES.map((name) => [
          METRIC_TITLES[name],
          formatScore(evaluated.scores.values[name]),
          formatInterval(evaluated.intervals[name]),
        ]),
        { header: ["metric", "value", "95 % interval"], right: [1, 2] },
      )
    }`);
    if (outputDir !== undefined) {
      console.log(`\nKept in ${outputDir}: report.html, scores.jsonl, scores.csv, summary.json`);
    }
  }
  for (const { id, error } of captioned?.failed.slice(0, 10) ?? []) console.error(`${id}: ${error}`);
  return captioned?.failed.length ? EXIT_CODES.error : EXIT_CODES.ok;
});
