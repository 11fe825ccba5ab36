/**
 * How the benchmarks measure: plans in turn, the best of several rounds, by the clock and by the processor time of all threads.
 *
 * On a software adapter the processor time hardly depends on what else the machine does, so ratios are taken from it; on a
 * GPU they are taken from the clock.
 *
 * @module
 */

import type { Gpu } from "../lib/gpu/device.ts";
import type { Plan } from "../lib/gpu/plan.ts";

export { peakResidentBytes } from "../lib/host/memory.ts";

/** What one run took. */
export interface Cost {
  /** Milliseconds by the clock. */
  wallMs: number;
  /** Milliseconds of all threads of the process together; NaN where the system does not tell. */
  cpuMs: number;
}

/** Processor time of all threads since the process began, in milliseconds; NaN where the system does not tell. */
export function processCpuMs(): number {
  let nanoseconds = 0;
  try {
    for (const { name } of Deno.readDirSync("/proc/self/task")) {
      nanoseconds += Number(Deno.readTextFileSync(`/proc/self/task/${name}/schedstat`).split(" ")[0]);
    }
  } catch {
    return NaN;
  }
  return nanoseconds / 1e6;
}

/** Time of work that ends when its promise does. */
export async function timeOnce(work: () => Promise<unknown>): Promise<Cost> {
  const cpu = processCpuMs();
  const start = performance.now();
  await work();
  return { wallMs: performance.now() - start, cpuMs: processCpuMs() - cpu };
}

/** Time of one run of a plan, or of other work that was submitted by `submit`, up to the GPU's last command. */
export async function timeSubmitted(gpu: Gpu, submit: () => void): Promise<Cost> {
  const cpu = processCpuMs();
  const start = performance.now();
  submit();
  // Deno's call blocks until the work is done; the promise then takes 10 ms more, which are not the GPU's.
  const done = gpu.device.queue.onSubmittedWorkDone();
  if (!("Deno" in globalThis)) await done;
  const cost = { wallMs: performance.now() - start, cpuMs: processCpuMs() - cpu };
  await done;
  return cost;
}

/** Runs each in turn, `rounds` times after one run that is not counted, and gives the best of each. */
export async function compare(variants: readonly (() => Promise<Cost>)[], rounds: number): Promise<Cost[]> {
  const best = variants.map((): Cost => ({ wallMs: Infinity, cpuMs: Infinity }));
  for (let round = -1; round < rounds; round++) {
    for (const [i, variant] of variants.entries()) {
      const { wallMs, cpuMs } = await variant();
      if (round < 0) continue;
      const entry = best[i]!;
      entry.wallMs = Math.min(entry.wallMs, wallMs);
      entry.cpuMs = Math.min(entry.cpuMs, cpuMs);
    }
  }
  return best;
}

/** {@linkcode compare} for plans on one device. */
export function comparePlans(gpu: Gpu, plans: readonly Plan[], rounds: number): Promise<Cost[]> {
  return compare(plans.map((plan) => () => timeSubmitted(gpu, () => plan.run())), rounds);
}

/** The number that ratios are taken of: processor time on a software adapter, else the clock. */
export function steadyMs(gpu: Gpu, cost: Cost): number {
  return gpu.software && !Number.isNaN(cost.cpuMs) ? cost.cpuMs : cost.wallMs;
}

/**
 * Rate in GFLOP/s. On a software adapter as if every core had worked all the time on this alone, from the processor time,
 * which equals the clock's rate on an idle machine.
 */
export function gflops(gpu: Gpu, flops: number, cost: Cost): number {
  const cores = navigator.hardwareConcurrency;
  const ms = gpu.software && !Number.isNaN(cost.cpuMs) ? cost.cpuMs / cores : cost.wallMs;
  return flops / ms / 1e6;
}

/** Load of the machine over the last minute, which says whether figures by the clock mean anything. */
export function machineLoad(): number {
  try {
    return Deno.loadavg()[0]!;
  } catch {
    return NaN;
  }
}
