/**
 * Checkpoints with the exact shapes and names of published models and random numbers in them, for trying real sizes without a download.
 *
 * @module
 */

import { Rng } from "../base/rng.ts";
import { JsonConfig } from "../format/json_config.ts";
import { parseDecoder } from "../models/decoder_families.ts";
import { DECODER_FAMILIES } from "../models/decoder_families.ts";
import { decoderSpecs } from "../models/decoder.ts";
import type { KnownModel } from "../models/presets.ts";
import { parseTwoTower, twoTowerSpecs } from "../models/two_tower.ts";
import { parseVision, visionSpecs } from "../models/vision.ts";
import type { WeightSpec } from "../nn/weights.ts";
import { roundTo, TensorPlan } from "./tensor_plan.ts";

/** Numbers that are drawn once; every tensor begins somewhere else in them. */
const BLOCK = 1 << 20;

/** Tensors of a model as it is published, in `dtype`. */
export function planRandomModel(
  model: KnownModel,
  options: { dtype: "F32" | "BF16" | "F16"; seed: number },
): TensorPlan {
  const { dtype, seed } = options;
  const rng = new Rng(seed);
  const block = Float32Array.from({ length: BLOCK }, () => rng.normal());
  const plan = new TensorPlan();
  for (const { name, shape, transposed = false } of publishedSpecs(model)) {
    const stored = transposed ? shape.toReversed() : [...shape];
    const start = rng.int(BLOCK);
    plan.add(
      name,
      { dtype, shape: stored },
      () => Promise.resolve(roundTo(draw(name, stored, block, start), dtype)),
    );
  }
  return plan;
}

/** Norms start as the identity, tables and matrices as transformers starts them: normal, deviation 0.02. */
function draw(name: string, shape: readonly number[], block: Float32Array, start: number): Float32Array {
  const values = new Float32Array(shape.reduce((product, n) => product * n, 1));
  if (name === "logit_scale") return values.fill(Math.log(100));
  if (name === "logit_bias") return values.fill(-10);
  if (shape.length < 2) return values.fill(/(norm\d?|ln_\w|layernorm_\w+)\.weight$/.test(name) ? 1 : 0);
  for (let i = 0, at = start; i < values.length; at = 0) {
    const part = block.subarray(at, at + values.length - i);
    values.set(part, i);
    i += part.length;
  }
  for (let i = 0; i < values.length; i++) values[i]! *= 0.02;
  return values;
}

/** Every tensor of the published file, under its published name. */
function publishedSpecs({ config, id }: KnownModel): WeightSpec[] {
  const json = new JsonConfig(config, id);
  const type = json.string("model_type");
  if ((DECODER_FAMILIES as readonly string[]).includes(type)) return decoderSpecs(parseDecoder(json));
  if (type === "siglip") return twoTowerSpecs(parseTwoTower(json));
  const vision = parseVision(json);
  return [
    ...visionSpecs(vision).map((spec) => ({ ...spec, name: `vit.${spec.name}` })),
    { name: "classifier.weight", shape: [1000, vision.hiddenSize] },
    { name: "classifier.bias", shape: [1000] },
  ];
}
