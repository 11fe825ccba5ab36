/**
 * The models of a training run: base models from folders, start values of what is trained, tokenizer and image processor.
 *
 * @module
 */

import { hashText, Rng } from "../base/rng.ts";
import { UserError } from "../base/errors.ts";
import type { FileFolder } from "../format/byte_source.ts";
import { type Adapter, openAdapter } from "../format/peft.ts";
import type { ProcessorConfig } from "../image/processor.ts";
import {
  type CaptionerConfig,
  initialValues,
  type ProjectionConfig,
  trainableSpecs,
  VISION_PREFIX,
} from "../models/captioner.ts";
import { type CaptionerFolderConfig, checkCaptionerConfig } from "../models/captioner_config.ts";
import {
  readAdapterOf,
  readCaptionerConfig,
  readTrainedOf,
  trainableSpecsOf,
} from "../models/captioner_files.ts";
import { defaultLoraTargets } from "../models/decoder_families.ts";
import { openDecoderConfig, openVisionConfig } from "../models/load.ts";
import { openPart } from "../models/model_source.ts";
import { type LoraConfig, resolveLora } from "../models/lora.ts";
import { visionFiles } from "../models/vision.ts";
import { matchWeights } from "../nn/weights.ts";
import type { CaptionTokenizer } from "../text/tokenizer.ts";
import { openFileFolder } from "./files.ts";
import { hashedDecoder, hashedEncoder, hashModels } from "./hash_models.ts";
import { hashOf, hashValues } from "./hashes.ts";
import { resolveModelFolder } from "./model_folders.ts";
import { parseProcessor, parseTokenizer, readModelText } from "../models/model_texts.ts";

/** LoRA as asked for; without targets it adapts what is usual for the decoder's family. */
export type LoraOptions = Omit<LoraConfig, "targetModules"> & { targetModules?: readonly string[] };

/** Which models, and how they are adapted. */
export interface TrainModelOptions {
  /** Vision encoder: embedded name, folder or Hub id. */
  encoderModel: string;
  /** Language model: embedded name, folder or Hub id. */
  decoderModel: string;
  /** Folder of `preprocessor_config.json`. @default the encoder's */
  featureExtractorModel?: string;
  /** A captioner whose trained tensors are the start; its base models and shape are used. */
  baseModel?: string;
  /** Form of the projection. */
  projection: ProjectionConfig;
  /** LoRA; rank 0 for none. */
  lora: LoraOptions;
  /** PEFT adapter of the decoder to start from; brings its own LoRA settings. */
  adapter?: string;
  /** Last vision layers that are trained. */
  unfrozenVisionLayers: number;
  /** Most tokens of a caption, its end token included. */
  maxLength: number;
  /** Whether captions end with the end token. */
  appendEos: boolean;
  /** Of start values. */
  seed: number;
  /** Ends downloads and hashing with an `AbortError`. */
  signal?: AbortSignal;
  /** Told how many bytes of the models were hashed, and of how many. */
  onProgress?(done: number, total: number): void;
}

/** Opened models; nothing is on the GPU yet. */
export interface TrainModels {
  /** What the run's `config.json` will say. */
  settings: CaptionerFolderConfig;
  /** Sizes of the whole captioner. */
  config: CaptionerConfig;
  /** The encoder's files. */
  encoderFolder: FileFolder;
  /** The decoder's files. */
  decoderFolder: FileFolder;
  /** The decoder's. */
  tokenizer: CaptionTokenizer;
  /** How pictures become pixel values. */
  processor: ProcessorConfig;
  /** Tokenizer and preprocessor files, copied into every checkpoint. */
  copies: Map<string, string>;
  /** Start of every trainable tensor. */
  start: Map<string, Float32Array>;
  /** Hash of the encoder's configuration and those of its weights that are used. */
  encoderHash: string;
  /** Hash of all of the above. */
  hash: string;
}

/**
 * Opens and checks the models.
 *
 * @throws {UserError} If there is no such model
 * @throws {RangeError | SyntaxError | TypeError} If a file is missing, damaged, or they do not fit together
 */
export async function openTrainModels(options: TrainModelOptions): Promise<TrainModels> {
  const resolve = (reference: string) => resolveModelFolder(reference, options);
  const base = options.baseModel === undefined
    ? undefined
    : await openFileFolder(await resolve(options.baseModel));
  const shape = base === undefined ? undefined : await readCaptionerConfig(base);
  const adapter = options.adapter === undefined
    ? undefined
    : await openAdapter(await openFileFolder(await resolve(options.adapter)));
  const encoder = { reference: await lasting(shape?.encoder.reference ?? options.encoderModel, resolve) };
  const decoder = { reference: await lasting(shape?.decoder.reference ?? options.decoderModel, resolve) };
  const encoderFolder = await openFileFolder(await resolve(encoder.reference));
  const decoderFolder = await openFileFolder(await resolve(decoder.reference));
  const decoderConfig = await openDecoderConfig(decoderFolder);
  const targetModules = options.lora.targetModules ?? defaultLoraTargets(decoderConfig.family);
  const settings: CaptionerFolderConfig = {
    encoder,
    decoder,
    projection: shape?.projection ?? options.projection,
    lora: adapter !== undefined
      ? loraOfAdapter(adapter, options.lora.dropout)
      : shape?.lora ?? resolveLora(decoderConfig, { ...options.lora, targetModules }),
    unfrozenVisionLayers: shape?.unfrozenVisionLayers ?? options.unfrozenVisionLayers,
    maxLength: options.maxLength,
    appendEos: options.appendEos,
  };
  checkCaptionerConfig(settings);
  const config: CaptionerConfig = {
    vision: await openVisionConfig(encoderFolder),
    decoder: decoderConfig,
    projection: settings.projection,
    lora: settings.lora,
    unfrozenVisionLayers: settings.unfrozenVisionLayers,
  };
  const extractorFolder = options.featureExtractorModel !== undefined
    ? await openFileFolder(await resolve(options.featureExtractorModel))
    : base ?? encoderFolder;
  const texts = {
    tokenizer: await readModelText(base ?? decoderFolder, "tokenizer.json"),
    config: await readModelText(base ?? decoderFolder, "tokenizer_config.json"),
    processor: await readModelText(extractorFolder, "preprocessor_config.json"),
  };
  const copies = new Map(Object.values(texts).map(({ name, text }): [string, string] => [name, text]));
  const tokenizer = parseTokenizer(texts, config.decoder);
  const { eosIds } = config.decoder;
  if (eosIds.length > 0 && !eosIds.includes(tokenizer.eosId)) {
    throw new UserError(
      `Cannot train "${decoderFolder.name}": the tokenizer of "${texts.tokenizer.folder}" ends texts with token ${tokenizer.eosId}, ` +
        `its "config.json" with ${eosIds.join(" or ")} ("eos_token_id"); use the tokenizer of the same model`,
    );
  }
  const processor = parseProcessor(texts.processor, config.vision);
  const start = await startValues({ config, settings, base, adapter, encoderFolder, seed: options.seed });
  const models = [await hashedEncoder(encoderFolder), await hashedDecoder(decoderFolder)];
  const [encoderHash, decoderHash] = await hashModels(models, options) as [string, string];
  const parts = [encoderHash, decoderHash, JSON.stringify(settings), ...copies.values()];
  if (base !== undefined || adapter !== undefined) parts.push(await hashValues(start));
  const hash = await hashOf(parts);
  return {
    settings,
    config,
    encoderFolder,
    decoderFolder,
    tokenizer,
    processor,
    copies,
    start,
    encoderHash,
    hash,
  };
}

/** What an adapter's own settings say; the rate of dropout is the run's where the file has none. */
function loraOfAdapter({ config }: Adapter, dropout: number): LoraConfig {
  const { rank, alpha, targetModules, useRslora, rankPattern, alphaPattern } = config;
  return {
    rank,
    alpha,
    dropout: config.dropout || dropout,
    targetModules,
    ...(rankPattern && Object.keys(rankPattern).length > 0 && { rankPattern }),
    ...(alphaPattern && Object.keys(alphaPattern).length > 0 && { alphaPattern }),
    ...(useRslora && { useRslora }),
  };
}

/** A reference that means the same from another working folder. */
async function lasting(reference: string, resolve: typeof resolveModelFolder): Promise<string> {
  const folder = await resolve(reference);
  return folder === reference ? await Deno.realPath(folder) : reference;
}

async function startValues(
  { config, settings, base, adapter, encoderFolder, seed }: {
    config: CaptionerConfig;
    settings: CaptionerFolderConfig;
    base: FileFolder | undefined;
    adapter: Adapter | undefined;
    encoderFolder: FileFolder;
    seed: number;
  },
): Promise<Map<string, Float32Array>> {
  const file = base?.name ?? adapter?.tensors.name;
  const specs = file === undefined ? trainableSpecs(config) : trainableSpecsOf(file, config);
  const start = new Map<string, Float32Array>();
  if (base !== undefined) {
    for (const [name, { data }] of await readTrainedOf(base, settings, specs)) {
      start.set(name, new Float32Array(data));
    }
    return start;
  }
  if (adapter !== undefined) {
    const pairs = specs.filter(({ group }) => group === "lora");
    for (const [name, { data }] of await readAdapterOf(adapter, pairs)) {
      start.set(name, new Float32Array(data));
    }
  }
  // The name enters the seed: a tensor starts alike whatever else is trained.
  for (const spec of specs.filter(({ group, name }) => group !== "vision" && !start.has(name))) {
    start.set(spec.name, initialValues(spec, new Rng(hashText(`start|${seed}|${spec.name}`))));
  }
  const vision = specs.filter(({ group }) => group === "vision")
    .map(({ name, shape }) => ({ name: name.slice(VISION_PREFIX.length), shape }));
  if (vision.length === 0) return start;
  const { tensors: checkpoint } = await openPart(encoderFolder, "encoder");
  // Extra tensors are the whole model's other layers: its loader judges them.
  const names = matchWeights(checkpoint, vision, {
    ...visionFiles(config.vision),
    ignore: [{ pattern: /./, reason: "not trained" }],
  });
  for (const [name, stored] of names) start.set(VISION_PREFIX + name, await checkpoint.readF32(stored));
  return start;
}
