/**
 * An exported folder opened to be written again: what its graphs compute, and their weights in f32.
 *
 * @module
 */

import { UserError } from "../../base/errors.ts";
import type { FileFolder } from "../../format/byte_source.ts";
import type { JsonObject } from "../../format/json.ts";
import { JsonConfig, openConfig } from "../../format/json_config.ts";
import { readOnnxTensors, type StoredTensor } from "../../format/onnx_read.ts";
import { type CaptionerConfig, projectionSpecs } from "../../models/captioner.ts";
import { decoderSpecs } from "../../models/decoder.ts";
import { parseDecoder } from "../../models/decoder_families.ts";
import {
  isOnnxFolder,
  type OnnxComponent,
  type OnnxFolderConfig,
  type OnnxLayout,
  onnxPath,
  parseOnnxFolder,
} from "../../models/onnx_layouts.ts";
import { parseVision, visionSpecs } from "../../models/vision.ts";
import { transpose, type WeightSpec } from "../../nn/weights.ts";
import { type GraphWeights, latestOnly, TRANSPOSED } from "./layers.ts";
import type { CaptionerWeightsToWrite } from "./layouts.ts";
import type { DescribedCaptioner } from "./readme.ts";

/** A folder of `deno task export`. */
export interface ExportedFolder extends DescribedCaptioner {
  folder: FileFolder;
  own: OnnxFolderConfig;
  /** `config.json` as it is. */
  fields: JsonObject;
}

/** Keys of both base models in a layout's `config.json`. */
const PARTS: Record<OnnxLayout, { encoder: string; decoder: string }> = {
  parts: { encoder: "vision_config", decoder: "text_config" },
  "web-llava": { encoder: "vision_config", decoder: "text_config" },
  "web-pipeline": { encoder: "encoder", decoder: "decoder" },
};

/**
 * Opens a layout's folder.
 *
 * @throws {UserError} when it is none, or none that can be written again
 * @throws {RangeError | SyntaxError | TypeError} when a file is missing or damaged
 */
export async function openExportedFolder(folder: FileFolder): Promise<ExportedFolder> {
  const json = await openConfig(folder);
  if (!isOnnxFolder(json)) {
    throw new UserError(
      `Cannot quantize "${folder.name}": it is no exported captioner; name one of the folders that deno task export wrote`,
    );
  }
  const own = parseOnnxFolder(json);
  if (own.decoder === undefined || own.hiddenSize === undefined) {
    throw new UserError(`Cannot quantize "${folder.name}": an older version wrote it; export it again`);
  }
  const keys = PARTS[own.layout];
  const decoder = json.object(keys.decoder);
  // Where the layout has another width for transformers.js' sake, the true one counts.
  const fields = "hidden_size" in decoder.fields
    ? { ...decoder.fields, hidden_size: own.hiddenSize }
    : decoder.fields;
  return {
    folder,
    own,
    fields: json.fields,
    settings: {
      encoder: { reference: own.encoder },
      decoder: { reference: own.decoder },
      maxLength: own.maxLength,
    },
    config: {
      vision: parseVision(json.object(keys.encoder)),
      decoder: parseDecoder(new JsonConfig(fields, json.name, keys.decoder)),
    },
  };
}

/**
 * The weights of a component's f32 graph.
 *
 * @throws {UserError} when the folder has none in f32
 * @throws {SyntaxError} when the graph is damaged
 */
export async function openExportedWeights(
  { folder, own, config }: ExportedFolder,
  component: OnnxComponent,
): Promise<CaptionerWeightsToWrite> {
  if (!own.dtypes.includes("fp32")) {
    throw new UserError(
      `Cannot quantize "${folder.name}": it has ${
        own.dtypes.join(", ")
      }, and precisions are made from fp32; ` +
        "export it with --dtype fp32 among others",
    );
  }
  const path = onnxPath(own.layout, component, "fp32");
  const tensors = await readOnnxTensors(folder, path);
  const whole = { ...config, projection: projectionOf(tensors) };
  const weights = (specs: readonly WeightSpec[]): GraphWeights =>
    storedWeights(tensors, { specs, name: `${folder.name}/${path}` });
  return {
    config: whole,
    vision: weights(visionSpecs(config.vision)),
    projection: weights(projectionSpecs({ ...whole, ...NOT_TRAINED })),
    decoder: weights(decoderSpecs(config.decoder)),
  };
}

const NOT_TRAINED: Pick<CaptionerConfig, "lora" | "unfrozenVisionLayers"> = {
  lora: { rank: 0, alpha: 0, dropout: 0, targetModules: [] },
  unfrozenVisionLayers: 0,
};

/** The projection as its weights show it; of a graph without one whatever, as nothing is asked of it. */
function projectionOf(tensors: ReadonlyMap<string, StoredTensor>): CaptionerConfig["projection"] {
  const inner = tensors.get(`projection.projection.0.weight${TRANSPOSED}`);
  return inner === undefined ? { type: "linear" } : { type: "mlp", hiddenSize: inner.dims[1]!, dropout: 0 };
}

/** Weights of a graph that was written in f32: vectors and tables under their names, matrices turned. */
function storedWeights(
  tensors: ReadonlyMap<string, StoredTensor>,
  { specs, name: file }: { specs: readonly WeightSpec[]; name: string },
): GraphWeights {
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const find = (name: string): WeightSpec => {
    const spec = byName.get(name);
    if (spec === undefined) throw new RangeError(`Cannot write a graph: there is no weight "${name}"`);
    return spec;
  };
  const read = async (name: string, turned: boolean): Promise<Float32Array<ArrayBuffer>> => {
    const { shape } = find(name);
    for (const isTurned of [false, true]) {
      const tensor = tensors.get(isTurned ? `${name}${TRANSPOSED}` : name);
      if (tensor === undefined) continue;
      const dims = isTurned ? shape.toReversed() : shape;
      if (tensor.type !== "float32" || tensor.dims.join() !== dims.join()) {
        throw new SyntaxError(
          `Cannot read "${file}": "${name}" is ${tensor.type} [${
            tensor.dims.join(", ")
          }], expected float32 [${dims.join(", ")}]`,
        );
      }
      const values = new Float32Array((await tensor.read()).buffer);
      return isTurned === turned ? values : transpose(values, dims.toReversed());
    }
    throw new SyntaxError(`Cannot read "${file}": it has no weight "${name}"`);
  };
  return {
    derive: latestOnly(),
    spec: find,
    has: (name) => byName.has(name),
    read: (name) => read(name, false),
    readTransposed: (name) => read(name, true),
  };
}
