/**
 * The vision encoder and the projection as ONNX nodes, from the same descriptions as the kernels' graph (`models/vision.ts`).
 *
 * @module
 */

import type { ProjectionConfig } from "../../models/captioner.ts";
import { type VisionConfig, visionTokens } from "../../models/vision.ts";
import { VISION_FAMILIES } from "../../models/vision_families.ts";
import type { Value } from "./graph.ts";
import { activate, addResidual, attend, floats, type Layers, linear, normalize } from "./layers.ts";

/** pixelValues [B, 3, I, I] to the states that form the prefix, [B, P, Dv] f32. */
export function visionNodes(l: Layers, pixelValues: Value, config: VisionConfig): Value {
  const { g } = l;
  const family = VISION_FAMILIES[config.family];
  const { hiddenSize: D, patchSize, eps } = config;
  const bias = family.patchBias ? floats(l, `${family.patches}.bias`, "float32") : undefined;
  // The one convolution stays f32 in every precision: it is small, and what it loses every layer sees.
  const patches = g.node("Conv", [pixelValues, floats(l, `${family.patches}.weight`, "float32"), bias], {
    attributes: {
      kernel_shape: { ints: [patchSize, patchSize] },
      strides: { ints: [patchSize, patchSize] },
    },
  });
  let x = g.transpose(g.reshape(patches, [0, D, -1]), [0, 2, 1]);
  if (family.classToken) {
    const token = g.reshape(floats(l, family.classToken.name, "float32"), [1, 1, D]);
    const shape = g.concat([g.unsqueeze(g.size(pixelValues, 0), [0]), g.ints([1, D])], 0);
    x = g.concat([g.node("Expand", [token, shape]), x], 1);
  }
  const positions = floats(l, family.positions.name, "float32");
  x = g.binary("Add", x, g.reshape(positions, [1, visionTokens(config), D]));
  const norm = (input: Value, path: string): Value => normalize(l, input, { path, norm: "layer", eps });
  if (family.embeddingNorm) x = norm(x, family.embeddingNorm);
  for (let layer = 0; layer < config.layers; layer++) {
    const path = `${family.blocks}.${layer}`;
    const { names, normFirst } = family;
    const residual = (input: Value, f: (x: Value) => Value, normPath: string): Value =>
      normFirst
        ? addResidual(l, input, f(norm(input, normPath)))
        : norm(addResidual(l, input, f(input)), normPath);
    x = residual(x, (input) => selfAttention(l, input, { config, path }), `${path}.${names.attentionNorm}`);
    const mlp = (input: Value): Value => {
      const hidden = activate(l, linear(l, input, `${path}.${names.mlpInput}`), config.gelu);
      return linear(l, hidden, `${path}.${names.mlpOutput}`);
    };
    x = residual(x, mlp, `${path}.${names.mlpNorm}`);
  }
  return family.finalNorm ? norm(x, family.finalNorm) : g.as(x, "float32");
}

function selfAttention(
  l: Layers,
  x: Value,
  { config, path }: { config: VisionConfig; path: string },
): Value {
  const { g } = l;
  const { names } = VISION_FAMILIES[config.family];
  const { heads, hiddenSize } = config;
  const headDim = hiddenSize / heads;
  const project = (name: string, perm: readonly number[]): Value =>
    g.transpose(g.reshape(linear(l, x, `${path}.${name}`), [0, 0, heads, headDim]), perm);
  const mixed = attend(l, {
    q: project(names.query, [0, 2, 1, 3]),
    kTransposed: project(names.key, [0, 2, 3, 1]),
    v: project(names.value, [0, 2, 1, 3]),
    headDim,
  });
  const rows = g.reshape(g.transpose(mixed, [0, 2, 1, 3]), [0, 0, hiddenSize]);
  return linear(l, rows, `${path}.${names.attentionOutput}`);
}

/** Vision features [B, P, Dv] to prefix embeddings [B, P, D] f32. */
export function projectionNodes(l: Layers, features: Value, projection: ProjectionConfig): Value {
  const { g } = l;
  if (projection.type === "linear") return g.as(linear(l, features, "projection.projection"), "float32");
  const hidden = activate(l, linear(l, features, "projection.projection.0"), "erf");
  return g.as(linear(l, hidden, "projection.projection.3"), "float32");
}
