/**
 * The adapter of a training run.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import { prepareDriverEnvironment } from "./quiet_driver.ts";

/** Kinds of adapters that can be asked for; `cuda` and `mps` mean `gpu`, as the Python project's names. */
export const DEVICES = ["auto", "gpu", "cpu", "cuda", "mps"] as const;

/** Opens the adapter. @throws {UserError} If it is not of the kind asked for */
export async function openTrainGpu(device: typeof DEVICES[number]): Promise<Gpu> {
  prepareDriverEnvironment();
  const gpu = await openGpu();
  const isWanted = device === "auto" || (device === "cpu") === gpu.software;
  if (isWanted) return gpu;
  const found = `"${gpu.info.description || gpu.info.device}", ${
    gpu.software ? "a software adapter" : "a GPU"
  }`;
  gpu.destroy();
  throw new UserError(
    `Cannot use --device ${device}: the adapter that answered is ${found}; use --device auto`,
  );
}
