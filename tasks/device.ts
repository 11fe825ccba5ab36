/**
 * Prints adapter, driver, limits, features and a measured matmul rate.
 *
 * @module
 */

import { createCommand, runTask } from "../lib/host/arguments.ts";
import { formatDeviceReport, reportDevice } from "../lib/host/device_report.ts";

await runTask(async () => {
  const { json } = createCommand("device", "Show the WebGPU adapter and how fast it multiplies")
    .option("--json", "print JSON")
    .parse().opts();
  const report = await reportDevice();
  console.log(json ? JSON.stringify(report, null, 2) : formatDeviceReport(report));
});
