/**
 * Reports on the quality of captioning data.
 *
 * deno task quality-report --dataset my_pictures --split all
 *
 * @module
 */

import { EXIT_CODES, runTask } from "../lib/host/arguments.ts";
import { parseQualityArguments } from "../lib/host/quality_command.ts";
import { reportQuality } from "../lib/host/quality_report.ts";
import { formatTerminalComparison, formatTerminalSummary } from "../lib/quality/terminal_summary.ts";

await runTask(async ({ handleInterrupt }) => {
  const options = parseQualityArguments(Deno.args, Deno.env.toObject());
  const { summary, comparison, resumed } = await reportQuality({ ...options, signal: handleInterrupt() });
  if (resumed > 0) console.error(`${resumed} rows were known from before a break`);
  if (options.json) console.log(JSON.stringify({ ...summary, ...(comparison && { comparison }) }));
  else {
    console.log(formatTerminalSummary(summary, options.outputDir));
    if (comparison !== undefined) console.log(`\n${formatTerminalComparison(comparison)}`);
  }
  return EXIT_CODES.ok;
});
