/**
 * What was trained of a captioner, as the files of its folder: `projection.safetensors`, `adapter/` in PEFT's layout, and
 * `vision.safetensors` where vision layers were trained.
 *
 * @module
 */

import { describeError, describeNames, describeShape, quote } from "../base/errors.ts";
import { sameShape } from "../base/shape.ts";
import type { ByteSource, FileFolder } from "../format/byte_source.ts";
import { findNonFinite, openCheckpoint } from "../format/checkpoint.ts";
import { type Adapter, encodeAdapter, openAdapter, PEFT_PREFIX } from "../format/peft.ts";
import { openSafetensors, type TensorSource, writeSafetensors } from "../format/safetensors.ts";
import { renameTensors } from "../format/tensor_view.ts";
import type { WeightSpec } from "../nn/weights.ts";
import { type CaptionerConfig, type TrainableSpec, trainableSpecs, VISION_PREFIX } from "./captioner.ts";
import {
  type BaseModelReference,
  CAPTIONER_MODEL_TYPE,
  type CaptionerFolderConfig,
  parseCaptionerConfig,
} from "./captioner_config.ts";
import { DECODER_PREFIX, type LoraConfig } from "./lora.ts";
import {
  MERGED_LAYOUTS,
  type MergedLayout,
  mergedProjectionName,
  parseMergedConfig,
} from "./merged_captioner.ts";
import { openConfig } from "./model_source.ts";
import { isPythonName, parsePythonConfig, PYTHON_MODEL_TYPE, pythonTrainedName } from "./python_captioner.ts";

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
    const settings = {
      baseModel: config.decoder.reference,
      ...config.lora,
      useRslora: config.lora.useRslora ?? false,
      // PEFT sets this for GPT-2's Conv1D.
      fanInFanOut: config.lora.targetModules.includes("c_attn"),
      modulesToSave: null,
      taskType: "CAUSAL_LM",
    };
    for (const [name, bytes] of encodeAdapter(settings, adapter)) files.set(`${ADAPTER}/${name}`, bytes);
  }
  if (vision.size > 0) files.set(VISION, writeSafetensors(vision, { format: "pt" }));
  return files;
}

/**
 * Reads `config.json` of a captioner's folder: this project's, the Python project's, or a merged one.
 *
 * @throws {RangeError} If there is none, else as {@linkcode parseCaptionerConfig}
 */
export async function readCaptionerConfig(folder: FileFolder): Promise<CaptionerFolderConfig> {
  const json = await openConfig(folder);
  const type = json.choice("model_type", [CAPTIONER_MODEL_TYPE, PYTHON_MODEL_TYPE, ...MERGED_LAYOUTS]);
  if (type === PYTHON_MODEL_TYPE) return parsePythonConfig(json, folder.name);
  if (type !== CAPTIONER_MODEL_TYPE) return parseMergedConfig(json, folder.name);
  const config = parseCaptionerConfig(json);
  // Base models that lie in the captioner's own folder move with it.
  const place = ({ reference }: BaseModelReference): BaseModelReference => ({
    reference: reference.startsWith("./") ? `${folder.name}/${reference.slice(2)}` : reference,
  });
  return { ...config, encoder: place(config.encoder), decoder: place(config.decoder) };
}

/**
 * Reads what was trained of a captioner, exactly the tensors of `specs`.
 *
 * @throws {RangeError} As {@linkcode readTrained}, and if a tensor is missing or misshapen, or one is there that `specs` lack
 */
export async function readTrainedOf(
  folder: FileFolder,
  settings: CaptionerFolderConfig,
  specs: readonly WeightSpec[],
): Promise<TrainedTensors> {
  const type = (await openConfig(folder)).string("model_type");
  const layout = MERGED_LAYOUTS.find((layout) => layout === type);
  const found = layout !== undefined
    ? await readMerged(folder, layout, settings)
    : type === PYTHON_MODEL_TYPE
    ? await readPython(folder, specs)
    : await readTrained(folder, settings);
  return pick(found, specs, folder.name);
}

/**
 * {@linkcode trainableSpecs} of a captioner or adapter that was read from files.
 *
 * @param name What was read, for messages
 * @throws {RangeError} If it adapts modules that the decoder has not, or more layers than the encoder has
 */
export function trainableSpecsOf(name: string, config: CaptionerConfig): TrainableSpec[] {
  try {
    return trainableSpecs(config);
  } catch (error) {
    throw new RangeError(`Cannot use "${name}": ${describeError(error)}`, { cause: error });
  }
}

/**
 * Reads the pairs of a PEFT adapter, exactly the tensors of `specs`.
 *
 * @throws {RangeError} If the adapter was made for another model: a pair is missing, misshapen, or has no module; or it saved whole
 * modules beside its pairs
 */
export async function readAdapterOf(adapter: Adapter, specs: readonly WeightSpec[]): Promise<TrainedTensors> {
  const { name } = adapter.tensors;
  if (adapter.savedTensors.length > 0) {
    throw new RangeError(
      `Cannot load "${name}": it holds whole modules beside LoRA pairs, ${
        describeNames(adapter.savedTensors, 3)
      } ` +
        `("modules_to_save"), which are not supported`,
    );
  }
  const tensors: TrainedTensors = new Map();
  await addTensors(tensors, adapter.tensors, { prefix: PEFT_PREFIX, renamed: DECODER_PREFIX });
  return pick(tensors, specs, name);
}

function pick(found: TrainedTensors, specs: readonly WeightSpec[], file: string): TrainedTensors {
  const tensors: TrainedTensors = new Map();
  for (const { name, shape } of specs) {
    const tensor = found.get(name);
    if (tensor === undefined || !sameShape(tensor.shape, shape)) {
      throw new RangeError(
        `Cannot load "${file}": trained tensor "${name}" is ${
          tensor ? describeShape(tensor.shape) : "missing"
        }, expected ${describeShape(shape)}`,
      );
    }
    tensors.set(name, tensor);
  }
  const surplus = [...found.keys()].filter((name) => !tensors.has(name));
  if (surplus.length > 0) {
    throw new RangeError(
      `Cannot load "${file}": its model has no place for trained ${describeNames(surplus, 3)}`,
    );
  }
  return tensors;
}

/** Trained tensors of the Python project's file: LoRA and projection, and of the encoder those that `specs` ask for. */
async function readPython(folder: FileFolder, specs: readonly WeightSpec[]): Promise<TrainedTensors> {
  const file = await openCheckpoint(folder);
  const strange = [...file.tensors.keys()].filter((name) => !isPythonName(name));
  if (strange.length > 0) {
    throw new RangeError(`Cannot load "${file.name}": ${describeNames(strange, 3)} belong to no captioner`);
  }
  const wanted = new Set(specs.map(({ name }) => name));
  const tensors: TrainedTensors = new Map();
  await addTensors(
    tensors,
    renameTensors(file, (stored) => {
      const name = pythonTrainedName(stored);
      return name?.startsWith(VISION_PREFIX) && !wanted.has(name) ? undefined : name;
    }),
    { prefix: "", renamed: "" },
  );
  return tensors;
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
    const [found, wanted] = [adapter.config, config.lora].map(describeRanks);
    if (found !== wanted) {
      throw new RangeError(
        `Cannot load "${folder.name}": its adapter has ${found}, "${CONFIG}" says ${wanted}`,
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

/** Ranks and factors in words. */
function describeRanks(lora: LoraConfig): string {
  const patterns = [["rank", lora.rankPattern], ["alpha", lora.alphaPattern]] as const;
  return [
    `rank ${lora.rank} and alpha ${lora.alpha}`,
    ...patterns.flatMap(([what, pattern]) =>
      Object.entries(pattern ?? {}).sort().map(([module, value]) => `${what} ${value} for ${quote(module)}`)
    ),
    ...(lora.useRslora ? ["rank-stabilised"] : []),
  ].join(", ");
}

/** The projection of a merged folder. Idefics3's has no bias: it is in the norm before it. */
async function readMerged(
  folder: FileFolder,
  layout: MergedLayout,
  { projection }: CaptionerFolderConfig,
): Promise<TrainedTensors> {
  const file = await openCheckpoint(folder);
  const tensors: TrainedTensors = new Map();
  const source = renameTensors(file, (stored) => mergedProjectionName(layout, stored, projection.type));
  await addTensors(tensors, source, { prefix: "", renamed: "" });
  const weight = tensors.get("projection.projection.weight");
  if (layout === "idefics3" && weight !== undefined) {
    const width = weight.shape[0]!;
    tensors.set("projection.projection.bias", { shape: [width], data: new Float32Array(width) });
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
      throw new RangeError(
        `Cannot load "${source.name}": tensor ${quote(name)} does not begin with "${prefix}"`,
      );
    }
    const data = await source.readF32(name);
    const bad = findNonFinite(data);
    if (bad !== undefined) {
      throw new RangeError(
        `Cannot load "${source.name}": tensor ${
          quote(name)
        } has ${bad.count} values that are NaN or infinite`,
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
