/**
 * Sets up, checks types, and runs the tests; the last line is `N passed, N failed`.
 *
 * @module
 */

import { createCommand, runTask } from "../lib/host/arguments.ts";
import { runTests } from "../lib/host/run_tests.ts";
import { setUp } from "../lib/host/setup.ts";

await runTask(async () => {
  const command = createCommand("test", "Set up, check types and run the tests")
    .argument("[paths...]", "test files and folders", ["tests/"])
    .option("--filter <text>", "run only tests with this in their names")
    .option("--no-install", "do not install a missing driver")
    .parse();
  const { install, filter } = command.opts();
  await setUp({ install, say: console.log });
  const { passed, failed } = await runTests(command.processedArgs[0], { filter });
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
});
