/**
 * Loading a model: how long, and how much memory the process takes at most, each in a process of its own.
 *
 * @module
 */

import { openCheckpoint } from "../lib/format/checkpoint.ts";
import { DTYPE_BYTES } from "../lib/format/safetensors.ts";
import { openGpu } from "../lib/gpu/device.ts";
import { openFileFolder } from "../lib/host/files.ts";
import { hashedDecoder, hashedEncoder, hashModels } from "../lib/host/hash_models.ts";
import { makeRandomModels } from "../lib/host/make_random.ts";
import { projectPath, resolveModelFolder } from "../lib/host/model_folders.ts";
import { startProgress } from "../lib/host/progress.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";
import { formatBytes, formatTable } from "../lib/host/terminal.ts";
import { loadDecoderModel, loadVisionModel, openDecoderConfig } from "../lib/models/load.ts";
import { peakResidentBytes } from "./measure.ts";

/** Which half of a captioner a folder is. */
type Part = "encoder" | "decoder";

/** A model put on the GPU by a fresh process. */
export interface LoadResult {
  /** Folder, as given. */
  model: string;
  /** All tensors of its files in bytes, also those that a captioner leaves out. */
  checkpointBytes: number;
  /** What is on the GPU of them. */
  gpuBytes: number;
  /** From opening the folder to the last byte on the GPU. */
  seconds: number;
  /** Most resident memory before: the program and an open adapter. */
  startBytes: number;
  /** Most resident memory after, which on a software adapter includes the GPU's. */
  peakBytes: number;
  /** For the hash by which a training run knows the model again, its files being in the system's cache. */
  hashSeconds: number;
}

/** A model to load. */
interface LoadCase {
  name: string;
  path: string;
  part: Part;
}

/**
 * Measures the models `encoder` and `decoder` of a folder; without one, of random checkpoints made for it: the default pair in bf16
 * and SmolLM-360M in f32, or with `quick` the embedded models.
 */
export async function measureLoads(
  options: { models?: string | undefined; quick: boolean },
): Promise<LoadResult[]> {
  const { models, quick } = options;
  if (models !== undefined) return await measureCases(pairIn(models));
  if (quick) {
    return await measureCases([
      { name: "embedded:siglip", path: await resolveModelFolder("embedded:siglip"), part: "encoder" },
      { name: "embedded:llama", path: await resolveModelFolder("embedded:llama"), part: "decoder" },
    ]);
  }
  const folder = await Deno.makeTempDir({ prefix: "captioner-load-" });
  try {
    const results: LoadResult[] = [];
    for (const [preset, dtype] of [["default", "bf16"], ["modern", "f32"]] as const) {
      const outputDir = `${folder}/${preset}`;
      const made = await makeRandomModels({ preset, outputDir, dtype, seed: 1 });
      const cases = pairIn(outputDir).map((each, i) => ({
        ...each,
        name: `${made[i]!.model.split("/")[1]}, ${dtype}`,
      }));
      results.push(...await measureCases(cases));
      await Deno.remove(outputDir, { recursive: true });
    }
    return results;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function pairIn(folder: string): LoadCase[] {
  return (["encoder", "decoder"] as const).map((part) => ({
    name: `${folder}/${part}`,
    path: `${folder}/${part}`,
    part,
  }));
}

async function measureCases(cases: readonly LoadCase[]): Promise<LoadResult[]> {
  using progress = startProgress({ label: "load", total: cases.length });
  const results: LoadResult[] = [];
  for (const { name, path, part } of cases) {
    const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", projectPath("bench/load.ts"), path, part],
    }).output();
    if (!success) throw new Error(`Cannot load "${path}": ${new TextDecoder().decode(stderr).trim()}`);
    results.push({ ...JSON.parse(new TextDecoder().decode(stdout)), model: name });
    progress.update(results.length);
  }
  return results;
}

/** Loads a model in this process. */
async function measureLoad(path: string, part: Part): Promise<Omit<LoadResult, "model">> {
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const startBytes = peakResidentBytes();
  const start = performance.now();
  const folder = await openFileFolder(path);
  const isEncoder = part === "encoder";
  const { weights } = isEncoder
    ? await loadVisionModel(gpu, folder)
    : await loadDecoderModel(gpu, folder, await openDecoderConfig(folder));
  // A write waits in memory of its own for the next submission: its copy belongs to the time and to the peak.
  gpu.device.queue.submit([]);
  await gpu.device.queue.onSubmittedWorkDone();
  gpu.check();
  const seconds = (performance.now() - start) / 1000;
  const peakBytes = peakResidentBytes();
  const hashStart = performance.now();
  await hashModels([isEncoder ? await hashedEncoder(folder) : await hashedDecoder(folder)]);
  const hashSeconds = (performance.now() - hashStart) / 1000;
  const { tensors } = await openCheckpoint(folder);
  const checkpointBytes = [...tensors.values()].reduce(
    (sum, { dtype, shape }) => sum + DTYPE_BYTES[dtype] * shape.reduce((product, n) => product * n, 1),
    0,
  );
  return {
    checkpointBytes,
    gpuBytes: weights.sizeBytes,
    seconds,
    startBytes,
    peakBytes,
    hashSeconds,
  };
}

/** The results as a table. */
export function formatLoads(results: readonly LoadResult[]): string {
  return formatTable(
    results.map(({ model, checkpointBytes, gpuBytes, seconds, startBytes, peakBytes, hashSeconds }) => [
      model,
      formatBytes(checkpointBytes),
      formatBytes(gpuBytes),
      `${seconds.toFixed(2)} s`,
      (gpuBytes / seconds / 1e6).toFixed(0),
      formatBytes(startBytes),
      formatBytes(peakBytes),
      (peakBytes / checkpointBytes).toFixed(2),
      `${hashSeconds.toFixed(2)} s`,
    ]),
    {
      header: [
        "loaded",
        "checkpoint",
        "on the GPU",
        "clock",
        "MB/s",
        "before",
        "peak",
        "peak / checkpoint",
        "hash",
      ],
      right: [1, 2, 3, 4, 5, 6, 7, 8],
    },
  );
}

if (import.meta.main) {
  const [path, part] = Deno.args;
  console.log(JSON.stringify(await measureLoad(path!, part as Part)));
  Deno.exit();
}
