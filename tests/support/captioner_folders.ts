/** A captioner's folder and those of its base models, in memory, with random weights of odd sizes. */
import { encodeBf16 } from "../../lib/base/half.ts";
import { type FileFolder, memoryFolder } from "../../lib/format/byte_source.ts";
import type { JsonObject } from "../../lib/format/json.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { type CaptionerConfig, type ProjectionConfig, trainableSpecs } from "../../lib/models/captioner.ts";
import { formatCaptionerConfig } from "../../lib/models/captioner_config.ts";
import { encodeTrained, type TrainedTensors } from "../../lib/models/captioner_files.ts";
import { decoderSpecs } from "../../lib/models/decoder.ts";
import { parseDecoder } from "../../lib/models/decoder_families.ts";
import type { LoraConfig } from "../../lib/models/lora.ts";
import { parseVision, visionSpecs } from "../../lib/models/vision.ts";
import { transpose, type WeightSpec } from "../../lib/nn/weights.ts";
import { randomValues } from "./gpu.ts";

/** What a captioner is made of. */
export interface FoldersOptions {
  vision?: JsonObject;
  decoder: JsonObject;
  projection?: ProjectionConfig;
  lora: LoraConfig;
  unfrozenVisionLayers?: number;
  /** Precision of the base models' matrices. @default {"F32"} */
  dtype?: "F32" | "BF16";
}

/** A small SigLIP: 9 patches, 3 heads. */
export const SMALL_SIGLIP: JsonObject = {
  model_type: "siglip_vision_model",
  hidden_size: 33,
  intermediate_size: 27,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  image_size: 15,
  patch_size: 5,
};

/** A small Llama: 6 heads over 2, 61 tokens. */
export const SMALL_LLAMA: JsonObject = {
  model_type: "llama",
  hidden_size: 28,
  intermediate_size: 37,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 6,
  vocab_size: 61,
  max_position_embeddings: 40,
  eos_token_id: 2,
  pad_token_id: 1,
  bos_token_id: 0,
};

/** A captioner in memory. */
export interface CaptionerFolders {
  config: CaptionerConfig;
  /** Its own folder. */
  folder: FileFolder;
  /** Opens a base model by its reference. */
  openModel: (reference: string) => Promise<FileFolder>;
  trained: TrainedTensors;
}

/** Makes the folders. */
export function captionerFolders(options: FoldersOptions): CaptionerFolders {
  const { vision = SMALL_SIGLIP, decoder, lora, projection = { type: "linear" }, dtype = "F32" } = options;
  const config: CaptionerConfig = {
    vision: parseVision(new JsonConfig(vision, "encoder")),
    decoder: parseDecoder(new JsonConfig(decoder, "decoder")),
    projection,
    lora,
    unfrozenVisionLayers: options.unfrozenVisionLayers ?? 0,
  };
  let seed = 1;
  const draw = ({ name, shape }: WeightSpec): Float32Array<ArrayBuffer> => {
    const size = shape.reduce((product, n) => product * n, 1);
    if (shape.length === 1) {
      const isScale = /(norm\d?|ln_\w|layrnorm)\.weight$/.test(name);
      return randomValues(size, seed++, 0.3).map((value) => value + (isScale ? 1 : 0));
    }
    return randomValues(size, seed++, 1.5 / Math.sqrt(size / shape[0]!));
  };
  const folderOf = (name: string, fields: JsonObject, specs: readonly WeightSpec[]): FileFolder => {
    const tensors = new Map(specs.map((spec): [string, TensorData] => {
      const values = draw(spec);
      const stored = spec.transposed ? transpose(values, spec.shape.toReversed()) : values;
      const shape = spec.transposed ? spec.shape.toReversed() : spec.shape;
      return [
        spec.name,
        dtype === "BF16" && shape.length > 1
          ? { dtype, shape, data: encodeBf16(stored) }
          : { dtype: "F32", shape, data: stored },
      ];
    }));
    return memoryFolder(
      name,
      new Map([["config.json", encode(JSON.stringify(fields))], [
        "model.safetensors",
        writeSafetensors(tensors),
      ]]),
    );
  };
  const bases = new Map([
    ["encoder", folderOf("encoder", vision, visionSpecs(config.vision))],
    ["decoder", folderOf("decoder", decoder, decoderSpecs(config.decoder))],
  ]);
  const trained: TrainedTensors = new Map(
    trainableSpecs(config).map((spec) => [spec.name, { shape: spec.shape, data: draw(spec) }]),
  );
  const settings = {
    ...config,
    encoder: { reference: "encoder" },
    decoder: { reference: "decoder" },
    maxLength: 12,
    appendEos: true,
  };
  const folder = memoryFolder(
    "captioner",
    new Map<string, Uint8Array>([
      ...encodeTrained(trained, settings),
      ["config.json", encode(formatCaptionerConfig(settings))],
      ["tokenizer.json", encode(JSON.stringify(TOKENIZER))],
      [
        "tokenizer_config.json",
        encode(JSON.stringify({ eos_token: "</s>", pad_token: "<pad>", bos_token: "<s>" })),
      ],
      ["preprocessor_config.json", encode(JSON.stringify({ image_processor_type: "SiglipImageProcessor" }))],
    ]),
  );
  return { config, folder, openModel: (reference) => Promise.resolve(bases.get(reference)!), trained };
}

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** `tokenizer.json` of 60 ids: three special ones and single characters. */
const TOKENIZER = {
  version: "1.0",
  added_tokens: ["<s>", "<pad>", "</s>"].map((content, id) => ({
    id,
    content,
    special: true,
    normalized: false,
  })),
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
  post_processor: null,
  decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
  model: {
    type: "BPE",
    vocab: Object.fromEntries([
      ...["<s>", "<pad>", "</s>"],
      ...Array.from({ length: 57 }, (_, i) => String.fromCharCode(65 + i)),
    ].map((text, id) => [text, id])),
    merges: [],
  },
};

/** Writes a golden CLIP or RoBERTa into a folder, with a tokenizer of single characters. @returns The folder */
export async function writeGoldenModel(name: "clip" | "roberta", folder: string): Promise<string> {
  for (const file of ["config.json", "model.safetensors"]) {
    const from = new URL(`../golden/parity/${name}/model/${file}`, import.meta.url);
    await Deno.copyFile(from, `${folder}/${file}`);
  }
  const texts = {
    "tokenizer.json": TOKENIZER,
    "tokenizer_config.json": { eos_token: "</s>", pad_token: "<pad>", bos_token: "<s>" },
    "preprocessor_config.json": {
      image_processor_type: "CLIPImageProcessor",
      size: { shortest_edge: 32 },
      crop_size: 32,
    },
  };
  for (const [file, json] of Object.entries(texts)) {
    await Deno.writeTextFile(`${folder}/${file}`, JSON.stringify(json));
  }
  return folder;
}
