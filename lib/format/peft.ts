/**
 * LoRA adapters in PEFT's files: `adapter_config.json` and `adapter_model.safetensors`.
 *
 * A module's tensors are `base_model.model.<path>.lora_A.weight` [R, in] and `….lora_B.weight` [out, R], `<path>` being
 * the module's in the Hugging Face model. Source: https://huggingface.co/docs/peft/developer_guides/checkpoint
 *
 * @module
 */

import { describeNames, describeShape, quote } from "../base/errors.ts";
import { type FileFolder, readText } from "./byte_source.ts";
import { openCheckpoint } from "./checkpoint.ts";
import { describeJson, formatJson, type JsonObject } from "./json.ts";
import { JsonConfig } from "./json_config.ts";
import { type TensorData, type TensorSource, writeSafetensors } from "./safetensors.ts";

/** Put by PEFT before the path of every module. */
export const PEFT_PREFIX = "base_model.model.";

/** The part of `adapter_config.json` that decides what an adapter computes. */
export interface AdapterConfig {
  /** Name or folder of the model below the adapter; `null` when unknown. */
  baseModel: string | null;
  /** R. */
  rank: number;
  /** Scale of the update is `alpha / rank`, or `alpha / sqrt(rank)` with `useRslora`. */
  alpha: number;
  /** Probability that an input of A is dropped while training. */
  dropout: number;
  /** Last parts of the paths of adapted modules, such as `q_proj`. */
  targetModules: readonly string[];
  /** Rank-stabilised scaling. */
  useRslora: boolean;
  /** Other ranks, by the end of a module's path ({@linkcode endsWithPath}). @default {none} */
  rankPattern?: Readonly<Record<string, number>> | undefined;
  /** Other alphas, likewise. @default {none} */
  alphaPattern?: Readonly<Record<string, number>> | undefined;
  /** That the base's weights lie as [in, out], as GPT-2's do; A and B lie alike either way. @default {false} */
  fanInFanOut?: boolean | undefined;
  /** Modules saved whole beside the adapter; `null` for none. */
  modulesToSave: readonly string[] | null;
  /** What the model is for, such as `CAUSAL_LM`; `null` when unsaid. */
  taskType: string | null;
}

/** An opened adapter folder. */
export interface Adapter {
  /** Its settings. */
  readonly config: AdapterConfig;
  /** Settings in the file that are not known here; PEFT drops such with a warning. */
  readonly unknownKeys: readonly string[];
  /** All tensors, under the names in the file. */
  readonly tensors: TensorSource;
  /** Sizes of the adapted linear modules, by path. */
  readonly modules: ReadonlyMap<string, { inFeatures: number; outFeatures: number }>;
  /** Names of tensors that belong to `modulesToSave`. */
  readonly savedTensors: readonly string[];
}

/** Keys with the value every adapter of this project has; another value would change what the adapter computes. */
const FIXED_FIELDS: JsonObject = {
  bias: "none",
  exclude_modules: null,
  layer_replication: null,
  layers_pattern: null,
  layers_to_transform: null,
  lora_bias: false,
  target_parameters: null,
  trainable_token_indices: null,
  use_dora: false,
  use_qalora: false,
};

/** Keys that say how an adapter was begun or trained, and do not change what it computes. */
const FREE_FIELDS: JsonObject = {
  auto_mapping: null,
  corda_config: null,
  eva_config: null,
  inference_mode: true,
  init_lora_weights: true,
  loftq_config: {},
  megatron_config: null,
  megatron_core: "megatron.core",
  qalora_group_size: 16,
  revision: null,
};

const OWN_KEYS = [
  "alpha_pattern",
  "base_model_name_or_path",
  "fan_in_fan_out",
  "lora_alpha",
  "lora_dropout",
  "modules_to_save",
  "peft_type",
  "peft_version",
  "r",
  "rank_pattern",
  "target_modules",
  "task_type",
  "use_rslora",
];

/** Most names of modules in a setting: each is compared with every module. */
const MAX_NAMES = 2048;

/** Version of PEFT whose set of keys is written. */
const PEFT_VERSION = "0.17.0";

/** The factor of an adapter's update: `alpha / rank`, or `alpha / sqrt(rank)` when rank-stabilised. */
export function loraScale(config: Pick<AdapterConfig, "alpha" | "rank" | "useRslora">): number {
  return config.alpha / (config.useRslora ? Math.sqrt(config.rank) : config.rank);
}

/** Name in the file of a module's A or B: `base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight`. */
export function loraTensorName(module: string, part: "A" | "B"): string {
  return `${PEFT_PREFIX}${module}.lora_${part}.weight`;
}

/** Writes `adapter_config.json`: every key of PEFT 0.17 to 0.20's common set, sorted. */
export function formatAdapterConfig(config: AdapterConfig): string {
  return formatJson({
    ...FIXED_FIELDS,
    ...FREE_FIELDS,
    alpha_pattern: { ...config.alphaPattern },
    base_model_name_or_path: config.baseModel,
    fan_in_fan_out: config.fanInFanOut ?? false,
    lora_alpha: config.alpha,
    lora_dropout: config.dropout,
    modules_to_save: config.modulesToSave && [...config.modulesToSave],
    peft_type: "LORA",
    peft_version: PEFT_VERSION,
    r: config.rank,
    rank_pattern: { ...config.rankPattern },
    target_modules: [...config.targetModules].sort(),
    task_type: config.taskType,
    use_rslora: config.useRslora,
  });
}

/**
 * Reads `adapter_config.json`.
 *
 * @throws {SyntaxError} If it is not a JSON object.
 * @throws {RangeError | TypeError} If a needed key is missing or wrong, or a setting asks for what is not supported here.
 */
export function parseAdapterConfig(
  text: string,
  name: string,
): { config: AdapterConfig; unknownKeys: string[] } {
  const json = JsonConfig.parse(text, name);
  json.choice("peft_type", ["LORA"]);
  for (const [key, wanted] of Object.entries(FIXED_FIELDS)) {
    const found = json.fields[key] ?? wanted;
    if (JSON.stringify(found) !== JSON.stringify(wanted)) {
      throw new RangeError(
        `Cannot use "${name}": "${key}" is ${describeJson(found)}, only ${
          JSON.stringify(wanted)
        } is supported`,
      );
    }
  }
  const config: AdapterConfig = {
    baseModel: json.optionalString("base_model_name_or_path") ?? null,
    rank: json.integer("r"),
    alpha: json.number("lora_alpha"),
    // Dropout acts while training alone; old files that leave it out were trained with PEFT's default of 0.
    dropout: json.optionalNumber("lora_dropout") ?? 0,
    targetModules: json.strings("target_modules"),
    useRslora: json.optionalBoolean("use_rslora") ?? false,
    rankPattern: parsePattern(json, "rank_pattern"),
    alphaPattern: parsePattern(json, "alpha_pattern"),
    fanInFanOut: json.optionalBoolean("fan_in_fan_out") ?? false,
    modulesToSave: json.optionalStrings("modules_to_save") ?? null,
    taskType: json.optionalString("task_type") ?? null,
  };
  for (const key of ["target_modules", "rank_pattern", "alpha_pattern"]) {
    const count = Object.keys(json.fields[key] ?? {}).length;
    if (count > MAX_NAMES) {
      throw new RangeError(
        `Cannot use "${name}": "${key}" has ${count} names, expected at most ${MAX_NAMES}`,
      );
    }
  }
  const ranks = [["r", config.rank], ...Object.entries(config.rankPattern ?? {})] as const;
  for (const [key, rank] of ranks) {
    if (!Number.isInteger(rank) || rank < 1) {
      throw new RangeError(
        `Cannot use "${name}": ${key === "r" ? "" : "the rank of "}"${key}" is ${rank}, expected at least 1`,
      );
    }
  }
  if (config.dropout < 0 || config.dropout >= 1) {
    throw new RangeError(`Cannot use "${name}": "lora_dropout" is ${config.dropout}, expected 0 to below 1`);
  }
  const known = new Set([...Object.keys(FIXED_FIELDS), ...Object.keys(FREE_FIELDS), ...OWN_KEYS]);
  return { config, unknownKeys: Object.keys(json.fields).filter((key) => !known.has(key)) };
}

/** PEFT takes keys as regular expressions; here they are ends of paths, or whole ones after a `^`, which is what people write. */
function parsePattern(json: JsonConfig, key: string): Record<string, number> {
  const pattern = json.optionalObject(key);
  const keys = Object.keys(pattern?.fields ?? {});
  const odd = keys.find((module) => !/^\^?[\w.]+$/.test(module));
  if (odd !== undefined) {
    throw new RangeError(
      `Cannot use "${json.name}": "${key}" has the expression ${quote(odd)}, only module names are supported`,
    );
  }
  return Object.fromEntries(keys.map((module) => [module, pattern!.number(module)]));
}

/** Rank of a module's pair. */
export function rankOf(config: Pick<AdapterConfig, "rank" | "rankPattern">, module: string): number {
  return Object.entries(config.rankPattern ?? {}).find(([end]) => endsWithPath(module, end))?.[1] ??
    config.rank;
}

/**
 * Opens an adapter folder and checks that its tensors are what its settings promise: A and B in pairs, of the ranks given,
 * for target modules only, and nothing else but modules saved whole.
 *
 * @throws {RangeError} If a file or half of a pair is missing, or a tensor belongs to nothing.
 * @throws {TypeError} If a tensor is misshapen.
 */
export async function openAdapter(folder: FileFolder): Promise<Adapter> {
  const file = await folder.open("adapter_config.json");
  if (file === undefined) {
    throw new RangeError(`Cannot load "${folder.name}": it has no "adapter_config.json"`);
  }
  const { config, unknownKeys } = parseAdapterConfig(await readText(file), file.name);
  const tensors = await openCheckpoint(folder, { stem: "adapter_model" });
  const modules = new Map<string, { inFeatures: number; outFeatures: number }>();
  const savedTensors: string[] = [];
  for (const name of tensors.tensors.keys()) {
    const module = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(name)?.[1];
    if (module === undefined) savedTensors.push(name);
    else if (!modules.has(module)) modules.set(module, checkPair(tensors, module, config));
  }
  const missing = config.targetModules.filter((target) =>
    ![...modules.keys()].some((path) => endsWithPath(path, target))
  );
  if (missing.length > 0) {
    throw new RangeError(`Cannot load "${tensors.name}": no tensor adapts ${describeNames(missing)}`);
  }
  const stray = savedTensors.filter((name) => !isSaved(name, config));
  if (stray.length > 0) {
    throw new RangeError(
      `Cannot load "${tensors.name}": ${
        describeNames(stray, 3)
      } are neither LoRA pairs nor of "modules_to_save"`,
    );
  }
  return { config, unknownKeys, tensors, modules, savedTensors };
}

function checkPair(
  tensors: TensorSource,
  module: string,
  config: AdapterConfig,
): { inFeatures: number; outFeatures: number } {
  const shapes = (["A", "B"] as const).map((part) => {
    const name = loraTensorName(module, part);
    const tensor = tensors.tensors.get(name);
    if (tensor === undefined) {
      throw new RangeError(`Cannot load "${tensors.name}": tensor ${quote(name)} is missing`);
    }
    const rankAt = part === "A" ? 0 : 1;
    const rank = rankOf(config, module);
    if (tensor.shape.length !== 2 || tensor.shape[rankAt] !== rank) {
      const wanted = part === "A" ? `[${rank}, in]` : `[out, ${rank}]`;
      throw new TypeError(
        `Cannot load "${tensors.name}": tensor ${quote(name)} has shape ${
          describeShape(tensor.shape)
        }, expected ${wanted}`,
      );
    }
    return tensor.shape;
  });
  if (!config.targetModules.some((target) => endsWithPath(module, target))) {
    throw new RangeError(
      `Cannot load "${tensors.name}": module ${quote(module)} is adapted, but "target_modules" has only ` +
        describeNames(config.targetModules),
    );
  }
  return { inFeatures: shapes[0]![1]!, outFeatures: shapes[1]![0]! };
}

/** Whether a module's path is `end` or ends with it, part by part. A `^` before it asks for the whole path. */
export function endsWithPath(path: string, end: string): boolean {
  return end.startsWith("^") ? path === end.slice(1) : path === end || path.endsWith(`.${end}`);
}

function isSaved(name: string, config: AdapterConfig): boolean {
  const path = name.slice(PEFT_PREFIX.length);
  return name.startsWith(PEFT_PREFIX) &&
    (config.modulesToSave ?? []).some((module) => `.${path}`.includes(`.${module}.`));
}

/**
 * The bytes of an adapter's files, by name.
 *
 * @param config Its settings.
 * @param tensors A and B of each module under {@linkcode loraTensorName}, and tensors of modules saved whole.
 */
export function encodeAdapter(
  config: AdapterConfig,
  tensors: ReadonlyMap<string, TensorData>,
): Map<"adapter_config.json" | "adapter_model.safetensors", Uint8Array<ArrayBuffer>> {
  return new Map([
    ["adapter_config.json", new TextEncoder().encode(formatAdapterConfig(config))],
    ["adapter_model.safetensors", writeSafetensors(tensors, { format: "pt" })],
  ]);
}
