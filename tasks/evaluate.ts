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
import { coverageOf, summarizeCoverage } from "../lib/evaluate/coverage.ts";
import { describeCoverage, formatCoverage } from "../lib/evaluate/coverage_page.ts";
import { formatInterval, formatScore, MODEL_SCORE_TITLES } from "../lib/evaluate/report.ts";
import { createCommand, EXIT_CODES, parseInteger, runTask } from "../lib/host/arguments.ts";
import {
  addCalibrateOptions,
  calibrateModel,
  checkCalibration,
  checkThresholds,
  describeCalibration,
  describeCheck,
} from "../lib/host/calibrate.ts";
import { captionDataset, forgetCaptions } from "../lib/host/caption_dataset.ts";
import {
  describeTimes,
  evaluateRows,
  openSynonyms,
  readPredictions,
  scoreWithModels,
  writeEvaluation,
} from "../lib/host/evaluate.ts";
import { addEvaluateOptions } from "../lib/host/evaluate_options.ts";
import { formatBytes, formatTable } from "../lib/host/terminal.ts";
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
  const { values, diversity } = evaluated.scores;
  const times = describeTimes(rows);
  const meteor = synonyms === undefined ? "exact, stem" : "exact, stem, synonyms";
  const summary = {
    ...values,
    ...others.values,
    count: rows.length,
    tokenizer: flags.tokenizer,
    meteor_stages: meteor,
    intervals: { ...evaluated.intervals, ...others.intervals },
    diversity,
    ...(coverage && { coverage: summarizeCoverage(coverage) }),
    ...(calibrated && { calibration: calibrated }),
    ...(checked && { abstention: checked }),
    ...(times && { time_ms: times }),
    ...(captioned?.memory && { memory: captioned.memory }),
    ...(captioned &&
      { failed: captioned.failed, model_bytes: captioned.modelBytes, resumed: captioned.resumed }),
  };
  const facts: [string, string][] = [
    [
      "Captions",
      model === undefined ? predictions! : `${model} on ${flags.dataset.join(", ")}, ${flags.split}`,
    ],
    ["Images", `${rows.length}${captioned?.failed.length ? `, ${captioned.failed.length} failed` : ""}`],
    ["Tokenizer", flags.tokenizer],
    ["METEOR", meteor],
    [
      "Words of a caption",
      `${diversity.meanLength.toFixed(1)} (${diversity.minLength} to ${diversity.maxLength})`,
    ],
    ["Vocabulary", `${diversity.vocabulary} words`],
    ["Distinct-1, -2", `${diversity.distinct1.toFixed(3)}, ${diversity.distinct2.toFixed(3)}`],
    ["Repetition", diversity.repetition.toFixed(3)],
    ["Duplicates", diversity.duplicates.toFixed(3)],
    ...Object.entries(others.values).map(([name, value]): [string, string] => [
      MODEL_SCORE_TITLES[name] ?? name,
      `${formatScore(value)} (${formatInterval(others.intervals[name]!)})`,
    ]),
    ...describeCoverage(coverage),
    ...describeCalibration(calibrated),
    ...describeCheck(checked),
    ...(times
      ? [["Time of a caption", `median ${times.p50} ms, 95 % within ${times.p95} ms`] as [string, string]]
      : []),
    ...(captioned?.modelBytes === undefined
      ? []
      : [["Weights", formatBytes(captioned.modelBytes)] as [string, string]]),
    ...(captioned?.memory === undefined
      ? []
      : [["Peak memory", formatBytes(captioned.memory.peakBytes)] as [string, string]]),
  ];
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
          formatScore(values[name]),
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
