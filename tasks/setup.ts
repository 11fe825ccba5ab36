/**
 * Looks for a WebGPU adapter, and installs a software driver where there is none and apt is at hand.
 *
 * @module
 */

import { createCommand, runTask } from "../lib/host/arguments.ts";
import { setUp } from "../lib/host/setup.ts";

await runTask(async () => {
  const { install } = createCommand("setup", "Make sure that WebGPU finds an adapter")
    .option("--no-install", "print the command that would install a driver, and run nothing")
    .parse().opts();
  const adapter = await setUp({ install, say: console.log });
  console.log(`Ready: WebGPU on ${adapter}`);
});
