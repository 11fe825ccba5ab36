/**
 * Measures matmuls, attention, a training step, captions, a server, data sets, loading, the metrics and the quality report; prints tables and keeps the figures as JSON.
 *
 * @module
 */

import { formatAttention, measureAttention } from "../bench/attention.ts";
import { formatCaptions, measureCaption } from "../bench/caption.ts";
import { formatLoads, measureLoads } from "../bench/load.ts";
import { formatMatmuls, measureMatmuls } from "../bench/matmul.ts";
import { formatData, measureData } from "../bench/data.ts";
import { machineLoad } from "../bench/measure.ts";
import { formatMetrics, measureMetrics } from "../bench/metrics.ts";
import { benchModels } from "../bench/models.ts";
import { formatQuality, measureQuality } from "../bench/quality.ts";
import { formatServe, measureServe } from "../bench/serve.ts";
import { formatTraining, measureTraining } from "../bench/train.ts";
import { openGpu } from "../lib/gpu/device.ts";
import { createCommand, Option, parseInteger, runTask } from "../lib/host/arguments.ts";
import { writeFileAtomically } from "../lib/host/files.ts";
import { projectPath } from "../lib/host/model_folders.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";

const PARTS = [
  "matmul",
  "attention",
  "train",
  "caption",
  "serve",
  "data",
  "load",
  "metrics",
  "quality",
] as const;

await runTask(async () => {
  const { only, repeat, json, models: folder, quick = false } = createCommand(
    "bench",
    "Measure kernels, training, captions, a server, data sets and loading",
  )
    .addOption(new Option("--only <part>", "measure this part alone").choices(PARTS))
    .option("--repeat <count>", "rounds of everything, of which the best counts", parseInteger({ min: 1 }), 3)
    .option(
      "--models <dir>",
      "folder whose encoder/ and decoder/ are loaded (default: random ones, made for it)",
    )
    .option("--json", "print the figures as JSON instead of tables")
    .option("--quick", "fewer shapes, and the embedded models alone")
    .parse().opts();
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const say = (text: string): void => json ? console.error(text) : console.log(text);
  const date = new Date().toISOString();
  const machine = { ...gpu.info, subgroupSize: gpu.subgroupSize, cores: navigator.hardwareConcurrency };
  const figures: Record<string, unknown> = {
    date,
    machine,
    deno: Deno.version.deno,
    loadBefore: machineLoad(),
  };
  say(`${gpu.info.description}, ${machine.cores} cores, load ${machineLoad().toFixed(1)}`);
  const models = (await benchModels()).slice(0, quick ? 1 : 2);
  const measures: Record<typeof PARTS[number], () => Promise<[string, unknown]>> = {
    matmul: async () => {
      const rows = await measureMatmuls(gpu, { repeat, quick });
      return [formatMatmuls(rows), rows];
    },
    attention: async () => {
      const result = await measureAttention(gpu, { repeat });
      return [formatAttention(result), result];
    },
    train: async () => {
      const results = [];
      for (const model of models) results.push(await measureTraining(gpu, model, { repeat }));
      return [formatTraining(results), results];
    },
    caption: async () => {
      const results = [];
      for (const model of models) {
        for (const numBeams of [1, 3]) results.push(await measureCaption(gpu, model, { repeat, numBeams }));
      }
      return [formatCaptions(results), results];
    },
    data: async () => {
      const result = await measureData({ repeat, quick });
      return [formatData(result), result];
    },
    serve: async () => {
      const result = await measureServe({ quick });
      return [formatServe(result), result];
    },
    load: async () => {
      const results = await measureLoads({ models: folder, quick });
      return [formatLoads(results), results];
    },
    metrics: async () => {
      const result = await measureMetrics({ quick });
      return [formatMetrics(result), result];
    },
    quality: async () => {
      const result = await measureQuality({ quick });
      return [formatQuality(result), result];
    },
  };
  for (const part of PARTS.filter((part) => only === undefined || only === part)) {
    say(`\n${part}`);
    const [table, figure] = await measures[part]();
    figures[part] = figure;
    say(table);
  }
  figures.loadAfter = machineLoad();
  const text = JSON.stringify(figures, null, 2);
  const path = projectPath(`bench/results/${date.replaceAll(":", "")}.json`);
  await Deno.mkdir(projectPath("bench/results"), { recursive: true });
  await writeFileAtomically(path, `${text}\n`);
  if (json) console.log(text);
  say(`\nload ${machineLoad().toFixed(1)} now; kept in ${path}`);
});
