/** Files of vision and text encoders: published spellings that load, and damaged, foreign or unsupported ones that do not. */
import assert from "node:assert/strict";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { type TensorData, writeSafetensors } from "../../lib/format/safetensors.ts";
import { loadTextModel, loadTwoTowerModel, loadVisionModel } from "../../lib/models/load.ts";
import { parseText, textSpecs } from "../../lib/models/text.ts";
import { parseTwoTower, twoTowerSpecs } from "../../lib/models/two_tower.ts";
import { parseVision, visionSpecs } from "../../lib/models/vision.ts";
import type { FrozenWeights } from "../../lib/nn/weights.ts";
import { countBuffers, testGpu } from "../support/gpu.ts";
import { drawWeights, storeWeights } from "../support/weights.ts";

const LAYERS = { hidden_size: 6, intermediate_size: 7, num_hidden_layers: 2, num_attention_heads: 2 };
const IMAGES = { image_size: 9, patch_size: 4 };
const TEXTS = { vocab_size: 11, max_position_embeddings: 8 };
const SIGLIP_VISION = { model_type: "siglip_vision_model", ...LAYERS, ...IMAGES };
const CLIP_VISION = { model_type: "clip_vision_model", ...LAYERS, ...IMAGES };
const VIT = { model_type: "vit", ...LAYERS, ...IMAGES };
const SIGLIP_TEXT = { model_type: "siglip_text_model", ...LAYERS, ...TEXTS };
const CLIP_TEXT = { model_type: "clip_text_model", ...LAYERS, ...TEXTS, eos_token_id: 10 };
const ROBERTA = { model_type: "roberta", ...LAYERS, ...TEXTS, type_vocab_size: 1 };
const BERT = { model_type: "bert", ...LAYERS, ...TEXTS };
const SIGLIP = { model_type: "siglip", vision_config: SIGLIP_VISION, text_config: SIGLIP_TEXT };
const CLIP = { model_type: "clip", projection_dim: 5, vision_config: CLIP_VISION, text_config: CLIP_TEXT };

type Tensors = Map<string, TensorData>;
type Kind = "vision" | "text" | "both";

const json = (fields: object): JsonConfig =>
  new JsonConfig(JSON.parse(JSON.stringify(fields)), "m/config.json");

/** What a kind of model is, from its configuration. */
const SPECS = {
  vision: (fields: object) => visionSpecs(parseVision(json(fields))),
  text: (fields: object) => textSpecs(parseText(json(fields))),
  both: (fields: object) => twoTowerSpecs(parseTwoTower(json(fields))),
};
const LOADERS = { vision: loadVisionModel, text: loadTextModel, both: loadTwoTowerModel };

const tensorsOf = (kind: Kind, config: object): Tensors => {
  const specs = SPECS[kind](config);
  return storeWeights(specs, drawWeights(specs));
};

async function load(kind: Kind, config: object, tensors: Tensors): Promise<FrozenWeights> {
  const files = new Map([
    ["config.json", new TextEncoder().encode(JSON.stringify(config))],
    ["model.safetensors", writeSafetensors(tensors)],
  ]);
  return (await LOADERS[kind](await testGpu(), memoryFolder("m", files))).weights;
}

const renamed = (tensors: Tensors, rename: (name: string) => string): Tensors =>
  new Map([...tensors].map(([name, tensor]) => [rename(name), tensor]));
const extra = (...names: string[]): Tensors =>
  new Map(names.map((name) => [name, { dtype: "F32", shape: [2], data: new Float32Array([1, 2]) }]));
const prefixed = (prefix: string) => (name: string): string => prefix + name;
/** A file of what is inside `vision_model` or `text_model` alone. */
const inner = (prefix = "") => (name: string): string => prefix + name.replace(/^(vision|text)_model\./, "");

/** Tensors of both towers, to be read by one. */
const WHOLE = { siglip: tensorsOf("both", SIGLIP), clip: tensorsOf("both", CLIP) };

const BUFFERS = extra(
  "vision_model.embeddings.position_ids",
  "text_model.embeddings.position_ids",
);

/** Kind, configuration, tensors as published. */
const PUBLISHED: Record<string, [Kind, object, Tensors]> = {
  "SigLIP vision alone": ["vision", SIGLIP_VISION, tensorsOf("vision", SIGLIP_VISION)],
  "SigLIP vision, inner model": [
    "vision",
    SIGLIP_VISION,
    renamed(tensorsOf("vision", SIGLIP_VISION), inner()),
  ],
  "SigLIP vision with classes": [
    "vision",
    SIGLIP,
    new Map([...tensorsOf("vision", SIGLIP), ...extra("classifier.weight", "classifier.bias")]),
  ],
  "SigLIP vision of a whole model": ["vision", SIGLIP, new Map([...WHOLE.siglip, ...BUFFERS])],
  "SigLIP vision of a captioner": [
    "vision",
    SIGLIP_VISION,
    new Map([
      ...renamed(tensorsOf("vision", SIGLIP_VISION), prefixed("module.vision_encoder.")),
      ...extra("module.projection.projection.weight", "module.language_model.model.norm.weight"),
    ]),
  ],
  "SigLIP text of a whole model": ["text", SIGLIP, new Map([...WHOLE.siglip, ...BUFFERS])],
  "SigLIP text alone": ["text", SIGLIP_TEXT, tensorsOf("text", SIGLIP_TEXT)],
  "SigLIP, both": ["both", SIGLIP, new Map([...WHOLE.siglip, ...BUFFERS])],
  "CLIP vision of a whole model": ["vision", CLIP, new Map([...WHOLE.clip, ...BUFFERS])],
  "CLIP vision with projection": [
    "vision",
    CLIP_VISION,
    new Map([
      ...tensorsOf("vision", CLIP_VISION),
      ...extra(
        "vision_model.post_layernorm.weight",
        "vision_model.post_layernorm.bias",
        "visual_projection.weight",
      ),
    ]),
  ],
  "CLIP vision, inner model of a captioner": [
    "vision",
    CLIP_VISION,
    renamed(tensorsOf("vision", CLIP_VISION), inner("vision_encoder.")),
  ],
  "CLIP text of a whole model": ["text", CLIP, new Map([...WHOLE.clip, ...BUFFERS])],
  "CLIP text with projection": [
    "text",
    CLIP_TEXT,
    new Map([...tensorsOf("text", CLIP_TEXT), ...extra("text_projection.weight")]),
  ],
  "CLIP, both, wrapped": [
    "both",
    CLIP,
    renamed(new Map([...WHOLE.clip, ...BUFFERS]), prefixed("clip.")),
  ],
  "ViT alone with a pooler": [
    "vision",
    VIT,
    new Map([...tensorsOf("vision", VIT), ...extra("pooler.dense.weight", "pooler.dense.bias")]),
  ],
  "ViT with classes": [
    "vision",
    VIT,
    new Map([
      ...renamed(tensorsOf("vision", VIT), prefixed("vit.")),
      ...extra("classifier.weight", "classifier.bias"),
    ]),
  ],
  "ViT that paints": [
    "vision",
    VIT,
    new Map([
      ...renamed(tensorsOf("vision", VIT), prefixed("vit.")),
      ...extra("vit.embeddings.mask_token", "decoder.0.weight", "decoder.0.bias"),
    ]),
  ],
  "ViT of a captioner": ["vision", VIT, renamed(tensorsOf("vision", VIT), prefixed("vision_encoder."))],
  "RoBERTa with its head": [
    "text",
    ROBERTA,
    new Map([
      ...renamed(tensorsOf("text", ROBERTA), prefixed("roberta.")),
      ...extra("lm_head.bias", "lm_head.dense.weight", "lm_head.layer_norm.weight", "lm_head.decoder.weight"),
      ...extra("roberta.embeddings.position_ids", "roberta.pooler.dense.weight"),
    ]),
  ],
  "RoBERTa with classes": [
    "text",
    ROBERTA,
    new Map([
      ...renamed(tensorsOf("text", ROBERTA), prefixed("roberta.")),
      ...extra("classifier.dense.weight", "classifier.out_proj.bias"),
    ]),
  ],
  "BERT alone": ["text", BERT, new Map([...tensorsOf("text", BERT), ...extra("pooler.dense.weight")])],
  "BERT with its heads, norms under the first release's names": [
    "text",
    BERT,
    new Map([
      ...renamed(
        tensorsOf("text", BERT),
        (name) =>
          "bert." +
          name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"),
      ),
      ...extra(
        "cls.predictions.bias",
        "cls.predictions.transform.LayerNorm.gamma",
        "cls.seq_relationship.weight",
      ),
      ...extra("bert.embeddings.token_type_ids", "bert.pooler.dense.bias"),
    ]),
  ],
};

Deno.test("checkpoints load as they are published, by whatever prefix and with whatever else they hold", async () => {
  for (const [name, [kind, config, tensors]] of Object.entries(PUBLISHED)) {
    const weights = await load(kind, config, tensors).catch((error) =>
      assert.fail(`${name}: ${error.message}`)
    );
    for (const spec of SPECS[kind](config)) assert.ok(weights.has(spec.name), `${name}: ${spec.name}`);
    weights.destroy();
  }
});

/** Asserts that loading fails so, and that nothing stays on the GPU. */
async function refused(
  model: [Kind, object, Tensors],
  name: string,
  message: string | RegExp,
): Promise<void> {
  const { made, freed } = await countBuffers(await testGpu(), async () => {
    await assert.rejects(load(...model), { name, message });
  });
  assert.equal(freed, made);
}

Deno.test("missing, extra and misshapen tensors of encoders are named with their file", async () => {
  const families: [Kind, object, string][] = [
    ["vision", SIGLIP_VISION, "vision_model.encoder.layers.1.mlp.fc2.bias"],
    ["vision", VIT, "embeddings.cls_token"],
    ["vision", CLIP_VISION, "vision_model.pre_layrnorm.bias"],
    ["text", SIGLIP_TEXT, "text_model.final_layer_norm.weight"],
    ["text", ROBERTA, "embeddings.token_type_embeddings.weight"],
    ["text", BERT, "encoder.layer.0.output.LayerNorm.bias"],
    ["both", CLIP, "vision_model.post_layernorm.weight"],
    ["both", SIGLIP, "vision_model.head.probe"],
  ];
  for (const [kind, config, tensor] of families) {
    const whole = tensorsOf(kind, config);
    await refused(
      [kind, config, new Map([...whole].filter(([name]) => name !== tensor))],
      "RangeError",
      new RegExp(`^Cannot load "m/model\\.safetensors": 1 of \\d+ tensors are missing, "${tensor}"`),
    );
    await refused(
      [kind, config, new Map([...whole, ...extra("encoder.extra.weight")])],
      "RangeError",
      'Cannot load "m/model.safetensors": the model has no place for "encoder.extra.weight"; is it another model\'s file?',
    );
    const wrong = { dtype: "F32", shape: [3, 1], data: new Float32Array(3) } as const;
    await refused(
      [kind, config, new Map([...whole, [tensor, wrong]])],
      "TypeError",
      new RegExp(
        `^Cannot load "m/model\\.safetensors": tensor "${tensor}" has shape \\[3, 1\\], expected \\[`,
      ),
    );
  }
});

Deno.test("a configuration that contradicts its weights is refused with the tensor that shows it", async () => {
  const cases: [Kind, object, object, RegExp][] = [
    [
      "vision",
      VIT,
      { hidden_size: 8 },
      /tensor "embeddings\.cls_token" has shape \[1, 1, 6\], expected \[1, 1, 8\]/,
    ],
    ["vision", VIT, { num_hidden_layers: 1 }, /no place for "encoder\.layer\.1\./],
    ["vision", VIT, { num_hidden_layers: 3 }, /16 of \d+ tensors are missing, "encoder\.layer\.2\./],
    [
      "vision",
      VIT,
      { qkv_bias: false },
      /no place for "encoder\.layer\.0\.attention\.attention\.(query|key|value)\.bias"/,
    ],
    [
      "vision",
      CLIP_VISION,
      { patch_size: 3 },
      /"vision_model\.embeddings\.patch_embedding\.weight" has shape \[6, 3, 4, 4\], expected \[6, 3, 3, 3\]/,
    ],
    // Positions are not interpolated: another image size wants other positions.
    [
      "vision",
      SIGLIP_VISION,
      { image_size: 12 },
      /"vision_model\.embeddings\.position_embedding\.weight" has shape \[4, 6\], expected \[9, 6\]/,
    ],
    [
      "text",
      BERT,
      { intermediate_size: 9 },
      /"encoder\.layer\.0\.intermediate\.dense\.weight" has shape \[7, 6\], expected \[9, 6\]/,
    ],
    [
      "text",
      BERT,
      { type_vocab_size: 1 },
      /"embeddings\.token_type_embeddings\.weight" has shape \[2, 6\], expected \[1, 6\]/,
    ],
    [
      "text",
      ROBERTA,
      { max_position_embeddings: 9 },
      /"embeddings\.position_embeddings\.weight" has shape \[8, 6\]/,
    ],
    [
      "both",
      CLIP,
      { projection_dim: 4 },
      /"visual_projection\.weight" has shape \[5, 6\], expected \[4, 6\]/,
    ],
  ];
  for (const [kind, config, change, message] of cases) {
    const error = await load(kind, { ...config, ...change }, tensorsOf(kind, config)).then(
      () => assert.fail(`loaded with ${JSON.stringify(change)}`),
      (error) => error,
    );
    assert.match(error.message, /^Cannot load "m\/model\.safetensors": /);
    assert.match(error.message, message);
  }
});

Deno.test("another family's file is refused", async () => {
  const pairs: [Kind, object, Tensors][] = [
    ["vision", VIT, tensorsOf("text", BERT)],
    ["text", BERT, tensorsOf("vision", VIT)],
    // Without a prefix these two are told apart by the count of token types alone.
    ["text", BERT, tensorsOf("text", ROBERTA)],
    ["text", ROBERTA, tensorsOf("text", BERT)],
    ["text", ROBERTA, renamed(tensorsOf("text", ROBERTA), prefixed("bert."))],
    ["vision", SIGLIP_VISION, tensorsOf("vision", CLIP_VISION)],
    ["vision", CLIP_VISION, tensorsOf("vision", SIGLIP_VISION)],
    ["vision", SIGLIP_VISION, tensorsOf("text", SIGLIP_TEXT)],
    ["text", CLIP_TEXT, tensorsOf("vision", CLIP_VISION)],
    ["both", SIGLIP, WHOLE.clip],
    ["both", CLIP, WHOLE.siglip],
  ];
  for (const [kind, config, tensors] of pairs) {
    await assert.rejects(load(kind, config, tensors), (error: Error) => {
      assert.match(error.message, /^Cannot load "m\/model\.safetensors": .*"[a-z_]+\..+"/);
      return true;
    });
  }
});

Deno.test("what an encoder's configuration asks for and is not done is refused by name", () => {
  const vision: [object, RegExp][] = [
    [{ model_type: "siglip2" }, /"model_type" "siglip2" \(NaFlex: .* say "siglip"\) is not supported$/],
    [{ model_type: "siglip2_vision_model" }, /NaFlex/],
    [
      { model_type: "dinov2" },
      /"model_type" is "dinov2", expected one of siglip, siglip_vision_model, vit, clip, clip_v/,
    ],
    [{ model_type: "bert" }, /"model_type" is "bert", expected one of /],
    [{ model_type: null }, /"model_type" is missing/],
    [{ model_type: "siglip" }, /"vision_config" is missing, expected an object$/],
    [
      { hidden_act: "silu" },
      /"hidden_act" is "silu", expected one of gelu, gelu_new, gelu_pytorch_tanh, quick_gelu$/,
    ],
    [{ num_attention_heads: 4 }, /4 heads over width 6 of a .*, expected a whole head width up to 256$/],
    [{ hidden_size: 514 }, /2 heads over width 514 .*, expected a whole head width up to 256$/],
    [{ num_attention_heads: 0 }, /"num_attention_heads" is 0/],
    [{ patch_size: 10 }, /"patch_size" is 10, expected at most "image_size", 9$/],
    [{ image_size: 0 }, /"image_size" is 0/],
    [{ num_channels: 1 }, /"num_channels" 1 is not supported$/],
    [{ num_hidden_layers: -1 }, /"num_hidden_layers" is -1/],
    [{ layer_norm_eps: 0 }, /"layer_norm_eps" is 0/],
    [{ quantization_config: { bits: 4 } }, /"quantization_config" is not supported$/],
    [{ pruned_heads: { 1: [0] } }, /"pruned_heads" is not supported$/],
  ];
  for (const base of [SIGLIP_VISION, VIT, CLIP_VISION]) {
    for (const [fields, message] of vision) {
      assert.throws(() => parseVision(json({ ...base, ...fields })), { name: "RangeError", message });
    }
  }
  assert.throws(() => parseVision(json({ ...SIGLIP, vision_config: CLIP_VISION })), {
    name: "RangeError",
    message: /"vision_config\.model_type" is "clip_vision_model", expected one of siglip_vision_model$/,
  });
  const text: [object, RegExp][] = [
    [{ model_type: "siglip2" }, /NaFlex/],
    [
      { model_type: "distilbert" },
      /"model_type" is "distilbert", expected one of siglip, .*, roberta, bert$/,
    ],
    [
      { position_embedding_type: "relative_key" },
      /"position_embedding_type" "relative_key" is not supported$/,
    ],
    [{ is_decoder: true }, /"is_decoder" true is not supported$/],
    [{ add_cross_attention: true }, /"add_cross_attention" true is not supported$/],
    [{ pad_token_id: 11 }, /"pad_token_id" is 11, expected a token id below 11$/],
    [{ pad_token_id: -1 }, /"pad_token_id" is -1/],
    [{ vocab_size: 0 }, /"vocab_size" is 0/],
    [{ hidden_act: "gelu_10" }, /"hidden_act" is "gelu_10"/],
  ];
  for (const base of [ROBERTA, BERT]) {
    for (const [fields, message] of text) {
      assert.throws(() => parseText(json({ ...base, ...fields })), { name: "RangeError", message });
    }
  }
  assert.throws(() => parseText(json({ ...ROBERTA, pad_token_id: 7 })), {
    name: "RangeError",
    message: /"max_position_embeddings" 8 after "pad_token_id" 7 is not supported$/,
  });
  assert.throws(() => parseText(json({ ...CLIP_TEXT, eos_token_id: 49407 })), {
    name: "RangeError",
    message: /"eos_token_id" is 49407, expected a token id below 11$/,
  });
  const towers: [object, RegExp][] = [
    [{ ...SIGLIP, vision_config: { ...SIGLIP_VISION, vision_use_head: false } }, /"vision_use_head" false/],
    [
      { ...SIGLIP, text_config: { ...SIGLIP_TEXT, projection_size: 5 } },
      /texts are embedded in 5 numbers .*, images in 6/,
    ],
    [{ ...CLIP, projection_dim: 0 }, /"projection_dim" is 0/],
    [VIT, /"model_type" is "vit", expected one of siglip, clip$/],
  ];
  for (const [fields, message] of towers) {
    assert.throws(() => parseTwoTower(json(fields)), { name: "RangeError", message });
  }
});

Deno.test("sizes that published configurations leave out are those of Hugging Face's classes", () => {
  const vision = (fields: object) => parseVision(json(fields));
  assert.deepEqual(vision({ model_type: "siglip_vision_model" }), {
    family: "siglip",
    hiddenSize: 768,
    intermediateSize: 3072,
    layers: 12,
    heads: 12,
    eps: 1e-6,
    gelu: "tanh",
    qkvBias: true,
    imageSize: 224,
    patchSize: 16,
    channels: 3,
    dropout: 0,
  });
  const so400m = vision({
    model_type: "siglip",
    vision_config: { hidden_size: 1152, num_attention_heads: 16, patch_size: 14, image_size: 384 },
  });
  assert.equal(so400m.hiddenSize / so400m.heads, 72);
  assert.equal(vision({ model_type: "vit" }).eps, 1e-12);
  assert.equal(vision({ model_type: "vit", hidden_dropout_prob: 0.1 }).dropout, 0.1);
  const clip = vision({ model_type: "clip_vision_model" });
  assert.deepEqual([clip.patchSize, clip.gelu, clip.eps], [32, "quick", 1e-5]);
  const text = parseText(json({ model_type: "clip", text_config: {}, vision_config: {} }));
  assert.deepEqual([text.vocabSize, text.hiddenSize, text.heads, text.endId], [49408, 512, 8, 49407]);
  const roberta = parseText(json({ model_type: "roberta" }));
  assert.deepEqual([roberta.vocabSize, roberta.padId, roberta.typeVocabSize], [50265, 1, 2]);
  // Where a section stands twice, the second counts, with the class's values for what it leaves out.
  const twice = {
    model_type: "clip",
    vision_config: { hidden_size: 24 },
    vision_config_dict: { patch_size: 14 },
  };
  assert.deepEqual([vision(twice).hiddenSize, vision(twice).patchSize], [768, 14]);
  const nulls = { ...twice, vision_config_dict: null };
  assert.deepEqual([vision(nulls).hiddenSize, vision(nulls).patchSize], [24, 32]);
});
