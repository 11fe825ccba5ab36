/**
 * What was trained of a captioner, as the files of its folder: `projection.safetensors`, `adapter/` in PEFT's layout, and
 * `vision.safetensors` where vision layers were trained.
 *
 * @module
 */

import { describeNames } from "../base/errors.ts";
import { type ByteSource, type FileFolder, readText } from "../format/byte_source.ts";
import { findNonFinite } from "../format/checkpoint.ts";
import { JsonConfig } from "../format/json_config.ts";
import { encodeAdapter, openAdapter, PEFT_PREFIX } from "../format/peft.ts";
import { openSafetensors, type TensorSource, writeSafetensors } from "../format/safetensors.ts";
import { VISION_PREFIX } from "./captioner.ts";
import { type CaptionerFolderConfig, parseCaptionerConfig } from "./captioner_config.ts";
import { DECODER_PREFIX } from "./lora.ts";

/** Trained tensors under their `TrainableSpec` names. */
export type TrainedTensors = Map<string, { shape: readonly number[]; data: Float32Array<ArrayBufferLike> }>;

/** Names of the files. */
const CONFIG = "config.json",
  PROJECTION = "projection.safetensors",
  VISION = "vision.safetensors",
  ADAPTER = "adapter";
const PROJECTION_PREFIX = "projection.";

/**
 * The files of trained tensors, by path in the captioner's folder. Every value keeps its 32 bits.
 *
 * @throws {RangeError} If a tensor belongs to no file
 */
export function encodeTrained(
  tensors: TrainedTensors,
  config: CaptionerFolderConfig,
): Map<string, Uint8Array<ArrayBuffer>> {
  const files = new Map<string, Uint8Array<ArrayBuffer>>();
  const pick = (prefix: string, renamed: string) =>
    new Map(
      [...tensors].filter(([name]) => name.startsWith(prefix)).map(([name, { shape, data }]) => [
        renamed + name.slice(prefix.length),
        { dtype: "F32" as const, shape, data },
      ]),
    );
  const groups = [
    pick(PROJECTION_PREFIX, PROJECTION_PREFIX),
    pick(DECODER_PREFIX, PEFT_PREFIX),
    pick(VISION_PREFIX, VISION_PREFIX),
  ] as const;
  const [projection, adapter, vision] = groups;
  if (groups.reduce((sum, group) => sum + group.size, 0) !== tensors.size) {
    const stray = [...tensors.keys()].filter((name) =>
      ![PROJECTION_PREFIX, DECODER_PREFIX, VISION_PREFIX].some((prefix) => name.startsWith(prefix))
    );
    throw new RangeError(
      `Cannot save ${describeNames(stray, 3)}: neither projection, nor LoRA, nor vision encoder`,
    );
  }
  files.set(PROJECTION, writeSafetensors(projection, { format: "pt" }));
  if (adapter.size > 0) {
    const { rank, alpha, dropout, targetModules } = config.lora;
    const settings = {
      baseModel: config.decoder.reference,
      rank,
      alpha,
      dropout,
      targetModules,
      useRslora: false,
      modulesToSave: null,
      taskType: "CAUSAL_LM",
    };
    for (const [name, bytes] of encodeAdapter(settings, adapter)) files.set(`${ADAPTER}/${name}`, bytes);
  }
  if (vision.size > 0) files.set(VISION, writeSafetensors(vision, { format: "pt" }));
  return files;
}

/** Reads `config.json` of a captioner's folder. @throws {RangeError} If there is none, else as {@linkcode parseCaptionerConfig} */
export async function readCaptionerConfig(folder: FileFolder): Promise<CaptionerFolderConfig> {
  const file = await requireFile(folder, CONFIG);
  return parseCaptionerConfig(JsonConfig.parse(await readText(file), file.name));
}

/**
 * Reads the trained tensors of a captioner's folder. Whoever uses them checks names and shapes against its model.
 *
 * @throws {RangeError} If a file is missing, holds what does not belong there, or a value is NaN or infinite
 * @throws {SyntaxError | TypeError} If a file is damaged, or the adapter is not what its settings and `config.json` say
 */
export async function readTrained(
  folder: FileFolder,
  config: CaptionerFolderConfig,
): Promise<TrainedTensors> {
  const tensors: TrainedTensors = new Map();
  await addTensors(tensors, await openSafetensors(await requireFile(folder, PROJECTION)), {
    prefix: PROJECTION_PREFIX,
    renamed: PROJECTION_PREFIX,
  });
  if (config.lora.rank > 0) {
    const adapter = await openAdapter({
      name: `${folder.name}/${ADAPTER}`,
      open: (path) => folder.open(`${ADAPTER}/${path}`),
    });
    const { rank, alpha, useRslora } = adapter.config;
    if (rank !== config.lora.rank || alpha !== config.lora.alpha || useRslora) {
      throw new RangeError(
        `Cannot load "${folder.name}": its adapter has rank ${rank} and alpha ${alpha}${
          useRslora ? " (rslora)" : ""
        }, ` +
          `"${CONFIG}" says rank ${config.lora.rank} and alpha ${config.lora.alpha}`,
      );
    }
    await addTensors(tensors, adapter.tensors, { prefix: PEFT_PREFIX, renamed: DECODER_PREFIX });
  }
  if (config.unfrozenVisionLayers > 0) {
    await addTensors(tensors, await openSafetensors(await requireFile(folder, VISION)), {
      prefix: VISION_PREFIX,
      renamed: VISION_PREFIX,
    });
  }
  return tensors;
}

async function addTensors(
  tensors: TrainedTensors,
  source: TensorSource,
  { prefix, renamed }: { prefix: string; renamed: string },
): Promise<void> {
  for (const [name, { shape }] of source.tensors) {
    if (!name.startsWith(prefix)) {
      throw new RangeError(`Cannot load "${source.name}": tensor "${name}" does not begin with "${prefix}"`);
    }
    const data = await source.readF32(name);
    const bad = findNonFinite(data);
    if (bad !== undefined) {
      throw new RangeError(
        `Cannot load "${source.name}": tensor "${name}" has ${bad.count} values that are NaN or infinite`,
      );
    }
    tensors.set(renamed + name.slice(prefix.length), { shape, data });
  }
}

async function requireFile(folder: FileFolder, path: string): Promise<ByteSource> {
  const file = await folder.open(path);
  if (file === undefined) throw new RangeError(`Cannot load "${folder.name}": it has no "${path}"`);
  return file;
}
