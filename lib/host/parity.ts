/**
 * Parity with reference results: finds case folders, runs them, and says how far every figure is from what PyTorch computed.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { readText } from "../format/byte_source.ts";
import { JsonConfig } from "../format/json_config.ts";
import type { Gpu } from "../gpu/device.ts";
import { openConfig } from "../models/model_source.ts";
import { parseText } from "../models/text.ts";
import { parseTwoTower } from "../models/two_tower.ts";
import { openFileFolder, stat } from "./files.ts";
import type { ParityRow } from "./parity_rows.ts";
import { runTextEncoder } from "./parity_text.ts";
import { openTrainingConfig, runTraining } from "./parity_training.ts";
import { runTwoTower } from "./parity_two_tower.ts";
import { formatTable } from "./terminal.ts";

export type { ParityRow } from "./parity_rows.ts";

/** What came of one case. */
export interface ParityReport {
  /** Path of the case. */
  folder: string;
  /** `failed`: a figure is beyond its tolerance, or the case could not be run. */
  status: "passed" | "failed" | "not supported";
  /** Why it could not be run. */
  reason?: string;
  /** All comparisons made. */
  rows: ParityRow[];
}

/** Levels of folders below the one given in which cases are looked for. */
const MAX_DEPTH = 6;

/**
 * The case folders at or below `folder`, in order: those that hold `case.json`, or `inputs.safetensors` and
 * `expected.safetensors`.
 *
 * @throws {UserError} when there is no such folder, or no case in it
 */
export async function findParityCases(folder: string): Promise<string[]> {
  await openFileFolder(folder);
  const root = folder.replace(/(?<=.)\/+$/, "");
  const found = await casesBelow(root, MAX_DEPTH);
  if (found.length === 0) {
    throw new UserError(
      `Cannot compare "${folder}": neither it nor a folder below holds a case ("case.json", or "inputs.safetensors" ` +
        'and "expected.safetensors"); name a folder such as tests/golden/parity',
    );
  }
  return found;
}

async function casesBelow(folder: string, depth: number): Promise<string[]> {
  const holds = async (name: string): Promise<boolean> => (await stat(`${folder}/${name}`))?.isFile === true;
  if (await holds("case.json")) return [folder];
  if (await holds("expected.safetensors") && await holds("inputs.safetensors")) return [folder];
  if (depth === 0) return [];
  const names: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (!isFile && (await stat(`${folder}/${name}`))?.isDirectory) names.push(name);
  }
  const found: string[] = [];
  for (const name of names.sort()) found.push(...await casesBelow(`${folder}/${name}`, depth - 1));
  return found;
}

/** Runs the case in `folder`, a training case, two towers or a text encoder, by what it holds. Errors become part of the report. */
export async function runParityCase(gpu: Gpu, folder: string): Promise<ParityReport> {
  let run: () => Promise<ParityRow[]>;
  try {
    run = await planCase(gpu, folder);
  } catch (error) {
    const status = error instanceof RangeError ? "not supported" : "failed";
    return { folder, status, reason: describeError(error), rows: [] };
  }
  try {
    const rows = await run();
    return { folder, status: rows.every(({ passed }) => passed) ? "passed" : "failed", rows };
  } catch (error) {
    return { folder, status: "failed", reason: describeError(error), rows: [] };
  }
}

/** Reads a case's configuration. A RangeError says that its models are not supported. */
async function planCase(gpu: Gpu, folder: string): Promise<() => Promise<ParityRow[]>> {
  const files = await openFileFolder(folder);
  const caseFile = await files.open("case.json");
  if (caseFile !== undefined) {
    const json = JsonConfig.parse(await readText(caseFile), caseFile.name);
    await openTrainingConfig(folder, json);
    return () => runTraining(gpu, folder, json);
  }
  const json = await openConfig(await openFileFolder(`${folder}/model`));
  if (["siglip", "clip"].includes(json.string("model_type"))) {
    parseTwoTower(json);
    return () => runTwoTower(gpu, folder);
  }
  parseText(json);
  return () => runTextEncoder(gpu, folder);
}

/** Gradients shown of a case without `verbose`, beside those beyond tolerance. */
const GRADIENTS_SHOWN = 3;

/** A case's report as a title and a table. */
export function formatParity(report: ParityReport, options: { verbose: boolean }): string {
  const { folder, status, reason, rows } = report;
  if (reason !== undefined) {
    return `${folder}: ${status === "failed" ? "FAILED" : status}: ${reason}`;
  }
  const gradients = rows.filter(({ what }) => what.startsWith("grad."));
  const worst = gradients.toSorted((a, b) => share(b) - share(a)).filter((row, i) =>
    !row.passed || i < GRADIENTS_SHOWN
  );
  const shown = options.verbose
    ? rows
    : rows.filter((row) => !gradients.includes(row) || worst.includes(row));
  const bad = rows.filter(({ passed }) => !passed).length;
  const lines = shown.map((row) => [
    row.what,
    row.tolerance === 0 ? "" : row.absolute.toExponential(1),
    row.tolerance === 0 ? "" : row.relative.toExponential(1),
    row.tolerance === 0 ? "equal" : row.tolerance.toExponential(0),
    row.passed ? "ok" : "FAILED",
    row.note ?? "",
  ]);
  const hidden = rows.length - shown.length;
  const count = bad === 0
    ? `all ${rows.length} comparisons within tolerance`
    : `${bad} of ${rows.length} comparisons FAILED`;
  return [
    `${folder}: ${count}`,
    formatTable(lines, {
      header: ["", "absolute", "relative", "tolerance", "", ""],
      right: [1, 2, 3],
    }),
    ...(hidden === 0 ? [] : [`(${hidden} more gradients, all closer: --verbose shows them)`]),
  ].join("\n");
}

/** Error as a share of what is allowed; nothing but rounding passes by its size, not by this. */
function share({ relative, tolerance, passed }: ParityRow): number {
  return passed && relative > tolerance ? 0 : relative / tolerance;
}
