/**
 * A checkpoint as files: what was trained, in the layout of a captioner's folder, and what training continues from.
 *
 * @module
 */

import { sameShape } from "../base/shape.ts";
import { type FileFolder, readText } from "../format/byte_source.ts";
import { openSafetensors, writeSafetensors } from "../format/safetensors.ts";
import { type CaptionerFolderConfig, formatCaptionerConfig } from "../models/captioner_config.ts";
import { encodeTrained, readCaptionerConfig, readTrained } from "../models/captioner_files.ts";
import type { EngineState } from "./engine_types.ts";
import type { TrainingCheckpoint } from "./trainer_types.ts";
import { formatTrainerState, parseTrainerState, type StateSettings } from "./trainer_state.ts";

/** Files by path in their folder. */
export type FolderFiles = Map<string, Uint8Array | string>;

/** What the files of a captioner need beyond its tensors. */
export interface CaptionerFilesOptions {
  /** The captioner's `config.json`. */
  config: CaptionerFolderConfig;
  /** Files copied beside: `tokenizer.json`, `tokenizer_config.json`, `preprocessor_config.json`. */
  copies: ReadonlyMap<string, Uint8Array | string>;
}

const TRAINER_STATE = "trainer_state.json", OPTIMIZER = "optimizer.safetensors";

/** Files of a captioner as it is now, `config.json` last: it is what makes a folder a captioner. */
export function encodeCaptioner(engine: EngineState, options: CaptionerFilesOptions): FolderFiles {
  const { config, copies } = options;
  return new Map<string, Uint8Array | string>([
    ...encodeTrained(engine.values, config),
    ...copies,
    ["config.json", formatCaptionerConfig(config)],
  ]);
}

/** Files of a checkpoint: the captioner, AdamW's moments, and where training stands. The same state gives the same bytes. */
export function encodeCheckpoint(
  checkpoint: TrainingCheckpoint,
  options: CaptionerFilesOptions & { settings: StateSettings },
): FolderFiles {
  const { engine, state } = checkpoint;
  const moments = [["m", engine.m], ["v", engine.v]] as const;
  const tensors = new Map(
    moments.flatMap(([prefix, tensors]) =>
      [...tensors].map(([name, { shape, data }]) => [
        `${prefix}.${name}`,
        { dtype: "F32" as const, shape, data },
      ])
    ),
  );
  return new Map<string, Uint8Array | string>([
    ...encodeCaptioner(engine, options),
    [OPTIMIZER, writeSafetensors(tensors, { format: "pt" })],
    [TRAINER_STATE, formatTrainerState(state, options.settings)],
  ]);
}

/**
 * Reads a checkpoint back, exactly.
 *
 * @throws {RangeError | SyntaxError | TypeError} If a file is missing or damaged, or the files do not belong together
 */
export async function readCheckpoint(
  folder: FileFolder,
): Promise<TrainingCheckpoint & { config: CaptionerFolderConfig }> {
  const config = await readCaptionerConfig(folder);
  const stateFile = await folder.open(TRAINER_STATE);
  const optimizerFile = await folder.open(OPTIMIZER);
  if (stateFile === undefined || optimizerFile === undefined) {
    const lost = stateFile === undefined ? TRAINER_STATE : OPTIMIZER;
    throw new RangeError(`Cannot continue from "${folder.name}": it has no "${lost}"`);
  }
  const state = parseTrainerState(await readText(stateFile), stateFile.name);
  const values = await readTrained(folder, config);
  const optimizer = await openSafetensors(optimizerFile);
  const engine: EngineState = { values, m: new Map(), v: new Map() };
  for (const [name, { shape }] of values) {
    for (const moment of ["m", "v"] as const) {
      const key = `${moment}.${name}`;
      const found = optimizer.tensors.get(key);
      if (found === undefined || !sameShape(found.shape, shape)) {
        throw new RangeError(
          `Cannot continue from "${folder.name}": "${OPTIMIZER}" has no tensor "${key}" of shape [${
            shape.join(", ")
          }]`,
        );
      }
      engine[moment].set(name, { shape, data: await optimizer.readF32(key) });
    }
  }
  return { config, state, engine };
}
