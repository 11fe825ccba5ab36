/**
 * The graphs of every form in which a captioner is exported as ONNX; `models/onnx_layouts.ts` lists the forms.
 *
 * @module
 */

import { onnxFiles, type OnnxGraph } from "../../format/onnx.ts";
import { type CaptionerConfig, projectionSpecs } from "../../models/captioner.ts";
import type { CaptionerSource } from "../../models/captioner_source.ts";
import { decoderSpecs } from "../../models/decoder.ts";
import { type OnnxComponent, type OnnxDtype, type OnnxLayout, onnxPath } from "../../models/onnx_layouts.ts";
import { visionSpecs, visionTokens } from "../../models/vision.ts";
import { planEncoder } from "../merged_captioner.ts";
import { planMergedDecoder } from "../merge_lora.ts";
import { TensorPlan } from "../tensor_plan.ts";
import {
  decoderNodes,
  type LayerCache,
  logitNodes,
  pastInputs,
  presentOutputs,
  tablePositions,
  tokenNodes,
} from "./decoder.ts";
import { GraphBuilder, opsetsOf, TO_END } from "./graph.ts";
import { type GraphWeights, type Layers, plannedWeights } from "./layers.ts";
import { projectionNodes, visionNodes } from "./vision.ts";

/** Weights of a captioner as graphs take them: LoRA folded in, everything f32 when it is read. */
export interface CaptionerWeightsToWrite {
  config: Pick<CaptionerConfig, "vision" | "decoder" | "projection">;
  vision: GraphWeights;
  projection: GraphWeights;
  decoder: GraphWeights;
}

/**
 * Plans a captioner's weights; nothing is read yet.
 *
 * @throws {RangeError} when captions would need more positions than the decoder has, or than its sliding window
 */
export function planOnnxWeights(source: CaptionerSource): CaptionerWeightsToWrite {
  const { config, settings, trained } = source;
  const needed = visionTokens(config.vision) + settings.maxLength;
  const limit = tablePositions(config.decoder);
  if (needed > limit) {
    throw new RangeError(
      `Cannot export "${source.name}": its captions need ${needed} positions (image and text), the decoder tells ${limit} apart`,
    );
  }
  const [vision, decoder, projection] = [new TensorPlan(), new TensorPlan(), new TensorPlan()];
  planEncoder(vision, source, { dtype: "f32", rename: (name) => name });
  planMergedDecoder(decoder, { ...source, source: source.decoder.tensors, dtype: "f32" });
  for (const { name, shape } of projectionSpecs(config)) {
    projection.addF32(name, { dtype: "F32", shape }, () => trained.get(name)!.data);
  }
  return {
    config,
    vision: plannedWeights(vision, visionSpecs(config.vision)),
    projection: plannedWeights(projection, projectionSpecs(config)),
    decoder: plannedWeights(decoder, decoderSpecs(config.decoder)),
  };
}

type BuildGraph = (w: CaptionerWeightsToWrite, dtype: OnnxDtype) => OnnxGraph;

/** How every component's graph is made. */
const GRAPHS: { [L in OnnxLayout]: Record<OnnxComponent<L>, BuildGraph> } = {
  parts: {
    vision_encoder: visionGraph,
    projection: projectionGraph,
    prefix_init: prefixGraph,
    language_model: languageGraph,
  },
  "web-llava": {
    vision_encoder: (w, dtype) => prefixImageGraph(w, dtype, "image_features"),
    embed_tokens: embedGraph,
    decoder_model_merged: llavaDecoderGraph,
  },
  "web-pipeline": {
    encoder_model: (w, dtype) => prefixImageGraph(w, dtype, "last_hidden_state"),
    decoder_model_merged: pipelineDecoderGraph,
  },
};

/** Options of {@linkcode onnxComponentFiles}. */
export interface OnnxComponentOptions {
  layout: OnnxLayout;
  component: OnnxComponent;
  dtype: OnnxDtype;
  /** Of the program, written into the file. */
  version: string;
  /** Largest graph whose weights lie inside the file. @default {as format/onnx.ts} */
  maxInlineBytes?: number;
}

/** Files of one component, with those of its weights where they do not fit in one. */
export function onnxComponentFiles(
  w: CaptionerWeightsToWrite,
  { layout, component, dtype, version, maxInlineBytes }: OnnxComponentOptions,
): Map<string, AsyncIterable<Uint8Array>> {
  const build = (GRAPHS[layout] as Partial<Record<OnnxComponent, BuildGraph>>)[component]!;
  const graph = build(w, dtype);
  return onnxFiles(onnxPath(layout, component, dtype), graph, {
    opsets: opsetsOf(graph),
    producer: { name: "captioner", version },
    ...(maxInlineBytes === undefined ? {} : { maxInlineBytes }),
  });
}

const BATCH = "batch_size", SEQUENCE = "sequence_length";

function layers(weights: GraphWeights, dtype: OnnxDtype): Layers {
  return { g: new GraphBuilder(), weights, dtype };
}

function pixelInput({ g }: Layers, { config: { vision } }: CaptionerWeightsToWrite) {
  const { channels, imageSize } = vision;
  return g.input("pixel_values", "float32", [BATCH, channels, imageSize, imageSize]);
}

/** pixel_values to last_hidden_state [B, P, Dv]. */
function visionGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { vision } = w.config;
  const l = layers(w.vision, dtype);
  const features = visionNodes(l, pixelInput(l, w), vision);
  l.g.output("last_hidden_state", features, [BATCH, visionTokens(vision), vision.hiddenSize]);
  return l.g.finish("vision_encoder");
}

/** vision_hidden_states [B, P, Dv] to projected_prefix [B, P, D]. */
function projectionGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { vision, decoder, projection } = w.config;
  const l = layers(w.projection, dtype);
  const features = l.g.input("vision_hidden_states", "float32", ["batch", "sequence", vision.hiddenSize]);
  const prefix = projectionNodes(l, features, projection);
  l.g.output("projected_prefix", prefix, ["batch", "sequence", decoder.hiddenSize]);
  return l.g.finish("projection");
}

/** pixel_values to projected features [B, P, D], under the name that the layout gives them. */
function prefixImageGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype, output: string): OnnxGraph {
  const { vision, decoder, projection } = w.config;
  const l = layers(w.vision, dtype);
  const features = visionNodes(l, pixelInput(l, w), vision);
  const prefix = projectionNodes({ ...l, weights: w.projection }, features, projection);
  l.g.output(output, prefix, [BATCH, visionTokens(vision), decoder.hiddenSize]);
  return l.g.finish("vision_encoder");
}

/** input_ids to inputs_embeds. The image token, whose rows are replaced, may lie behind the table: it gets the last row. */
function embedGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { decoder } = w.config;
  const l = layers(w.decoder, dtype);
  const given = l.g.input("input_ids", "int64", [BATCH, SEQUENCE]);
  const ids = l.g.node("Min", [given, l.g.ints(decoder.vocabSize - 1)]);
  l.g.output("inputs_embeds", tokenNodes(l, ids, decoder), [BATCH, SEQUENCE, decoder.hiddenSize]);
  return l.g.finish("embed_tokens");
}

/** prefix_embeddings and input_ids, which may be none, to logits of every position and the cache. */
function prefixGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { decoder: config } = w.config;
  const l = layers(w.decoder, dtype);
  const prefix = l.g.input("prefix_embeddings", "float32", ["batch", "prefix_sequence", config.hiddenSize]);
  const ids = l.g.input("input_ids", "int64", ["batch", "text_sequence"]);
  const x = l.g.concat([prefix, tokenNodes(l, ids, config)], 1);
  const { hidden, present } = decoderNodes(l, x, { config });
  const logits = logitNodes(l, hidden, { config, lastOnly: false });
  l.g.output("logits", logits, ["batch", "sequence", config.vocabSize]);
  presentOutputs(l, present, { config, batch: "batch", length: "sequence" });
  return l.g.finish("prefix_init");
}

/** One step or more with a cache: input_ids, attention_mask, position_ids to logits of every position. */
function languageGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { decoder: config } = w.config;
  const l = layers(w.decoder, dtype);
  const ids = l.g.input("input_ids", "int64", [BATCH, SEQUENCE]);
  const attentionMask = l.g.input("attention_mask", "int64", [BATCH, TOTAL]);
  const positionIds = l.g.input("position_ids", "int64", [BATCH, SEQUENCE]);
  const past = pastInputs(l, config, BATCH);
  const { hidden, present } = decoderNodes(l, tokenNodes(l, ids, config), {
    config,
    past,
    attentionMask,
    positionIds,
  });
  l.g.output("logits", logitNodes(l, hidden, { config, lastOnly: false }), [
    BATCH,
    SEQUENCE,
    config.vocabSize,
  ]);
  presentOutputs(l, present, { config, batch: BATCH, length: TOTAL });
  return l.g.finish("language_model");
}

const TOTAL = "past_sequence_length + sequence_length";

/** inputs_embeds and attention_mask with a cache, empty at first, to logits of the last position. */
function llavaDecoderGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { decoder: config } = w.config;
  const l = layers(w.decoder, dtype);
  const x = l.g.input("inputs_embeds", "float32", [BATCH, SEQUENCE, config.hiddenSize]);
  const attentionMask = l.g.input("attention_mask", "int64", [BATCH, TOTAL]);
  const past = pastInputs(l, config, BATCH);
  return finishLastOnly(l, decoderNodes(l, x, { config, past, attentionMask }), w);
}

function finishLastOnly(
  l: Layers,
  { hidden, present }: ReturnType<typeof decoderNodes>,
  { config: { decoder: config } }: CaptionerWeightsToWrite,
): OnnxGraph {
  l.g.output("logits", logitNodes(l, hidden, { config, lastOnly: true }), [BATCH, 1, config.vocabSize]);
  presentOutputs(l, present, { config, batch: BATCH, length: TOTAL });
  return l.g.finish("decoder_model_merged");
}

/**
 * input_ids and encoder_hidden_states with a cache to logits of the last position. In the first run, which the empty cache tells, the
 * image's rows come first and the start token that the caller must give is dropped; in later runs the image is in the cache.
 */
function pipelineDecoderGraph(w: CaptionerWeightsToWrite, dtype: OnnxDtype): OnnxGraph {
  const { decoder: config } = w.config;
  const l = layers(w.decoder, dtype);
  const { g } = l;
  const ids = g.input("input_ids", "int64", [BATCH, SEQUENCE]);
  const states = g.input("encoder_hidden_states", "float32", [
    BATCH,
    "encoder_sequence_length",
    config.hiddenSize,
  ]);
  const past: LayerCache[] = pastInputs(l, config, BATCH);
  const isFirst = g.node("Equal", [g.unsqueeze(g.size(past[0]!.key, 2), [0]), g.ints([0])], { type: "bool" });
  const imageEnd = g.node("Where", [isFirst, g.ints([TO_END]), g.ints([0])], { type: "int64" });
  const image = g.slice(states, 1, { start: g.ints([0]), end: imageEnd });
  const text = g.slice(tokenNodes(l, ids, config), 1, {
    start: g.as(isFirst, "int64"),
    end: g.ints([TO_END]),
  });
  return finishLastOnly(l, decoderNodes(l, g.concat([image, text], 1), { config, past }), w);
}
