/**
 * Compares every case folder below a folder with the results that PyTorch computed for it.
 *
 * @module
 */

import { openGpu } from "../lib/gpu/device.ts";
import { createCommand, EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { findParityCases, formatParity, type ParityReport, runParityCase } from "../lib/host/parity.ts";
import { prepareDriverEnvironment } from "../lib/host/quiet_driver.ts";

await runTask(async () => {
  const command = createCommand("parity", "Compare cases of PyTorch results with what this program computes")
    .argument("<dir>", "a case folder, or a folder with such folders below")
    .option("--verbose", "show every gradient")
    .option("--json", "print one JSON object instead of tables")
    .parse();
  const { verbose = false, json = false } = command.opts();
  const folders = await findParityCases(command.args[0]!);
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const reports: ParityReport[] = [];
  for (const folder of folders) {
    const report = await runParityCase(gpu, folder);
    reports.push(report);
    if (!json) console.log(formatParity(report, { verbose }) + "\n");
  }
  gpu.destroy();
  const count = (status: ParityReport["status"]): number =>
    reports.filter((report) => report.status === status).length;
  const allPassed = count("passed") === reports.length;
  if (json) console.log(JSON.stringify({ passed: allPassed, cases: reports }, undefined, 1));
  else {
    console.log(
      `${count("passed")} passed, ${count("failed")} failed, ${count("not supported")} not supported`,
    );
  }
  return allPassed ? EXIT_CODES.ok : EXIT_CODES.error;
});
