/**
 * Thresholds of models, wherever the models are.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import {
  type Calibration,
  CALIBRATION_FILE,
  formatCalibration,
  readCalibration,
} from "../models/calibration.ts";
import { stat, writeFileAtomically } from "./files.ts";
import { EMBEDDED_PREFIX, openModelFolder, resolveModelFolder } from "./model_folders.ts";

/**
 * Thresholds of a model: a folder, a Hub id, or `embedded:captioner`; `undefined` where it was not calibrated.
 *
 * @throws {UserError} If there is no such model, the file is damaged, or the model was trained after it was written
 */
export async function openCalibration(model: string): Promise<Calibration | undefined> {
  const folder = await openModelFolder(model);
  try {
    return await readCalibration(folder);
  } catch (error) {
    throw new UserError(`${describeError(error)} (${calibrateCommand(model)})`, { cause: error });
  }
}

/** As {@linkcode openCalibration}. @throws {UserError} If the model was not calibrated, with the command that does it */
export async function requireCalibration(model: string): Promise<Calibration> {
  const calibration = await openCalibration(model);
  if (calibration !== undefined) return calibration;
  throw new UserError(
    `Cannot tell which captions of "${model}" to leave out: it has no ${CALIBRATION_FILE}; find its thresholds with ` +
      calibrateCommand(model),
  );
}

/** Folder that a model's thresholds are written to. @throws {UserError} If the model is the Hub's, whose copy here is not ours to change */
export async function calibrationFolder(model: string): Promise<string> {
  if (!model.startsWith(EMBEDDED_PREFIX) && !(await stat(model))?.isDirectory) {
    throw new UserError(
      `Cannot keep thresholds with "${model}": only those of a folder can be found, and the Hub's copy here is shared`,
    );
  }
  return await resolveModelFolder(model);
}

/** Keeps thresholds with a model. */
export async function writeCalibration(model: string, calibration: Calibration): Promise<string> {
  const path = `${await calibrationFolder(model)}/${CALIBRATION_FILE}`;
  await writeFileAtomically(path, formatCalibration(calibration));
  return path;
}

function calibrateCommand(model: string): string {
  return `deno task evaluate --calibrate --model ${model} --dataset NAME`;
}
