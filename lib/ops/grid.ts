/**
 * Workgroup counts.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";

/** A count of workgroups folded over x and y, for kernels that read `group.x + group.y * groups.x` and check the end. */
export function foldGrid(gpu: Gpu, count: number): [number, number, number] {
  const limit = gpu.device.limits.maxComputeWorkgroupsPerDimension;
  if (count <= limit) return [Math.max(count, 1), 1, 1];
  const y = Math.ceil(count / limit);
  return [Math.ceil(count / y), y, 1];
}
