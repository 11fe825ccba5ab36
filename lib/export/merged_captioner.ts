/**
 * A captioner written as other programs know it: its decoder alone, Llava, Idefics3, and the Python project's own file.
 *
 * Conditions under which each is exact are checked before anything is written; one that does not hold is a RangeError that says which.
 *
 * @module
 */

import { formatJson, type JsonObject, parseJsonObject } from "../format/json.ts";
import { CALIBRATION_FILE } from "../models/calibration.ts";
import { VISION_PREFIX } from "../models/captioner.ts";
import type { CaptionerSource } from "../models/captioner_source.ts";
import { decoderFiles, decoderRoot, decoderSpecs } from "../models/decoder.ts";
import { findFamily } from "../models/encoder.ts";
import { DECODER_PREFIX, loraModules } from "../models/lora.ts";
import { formatMergedSettings, type MergedLayout, mergedNames } from "../models/merged_captioner.ts";
import { formatPythonConfig } from "../models/python_captioner.ts";
import { visionFiles, visionSpecs, visionTokens } from "../models/vision.ts";
import { VISION_FAMILIES } from "../models/vision_families.ts";
import { matchWeights } from "../nn/weights.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import { foldBias } from "./fold_bias.ts";
import { IMAGE_TOKEN, placeImageToken } from "./image_token.ts";
import { planMergedDecoder } from "./merge_lora.ts";
import { TensorPlan, type WrittenDtype, writtenDtype } from "./tensor_plan.ts";

/** A folder about to be written. */
export interface PlannedFolder {
  /** Its tensors. */
  plan: TensorPlan;
  /** Its other files. */
  texts: Map<string, string>;
  /** What a user should know of it. */
  notes: string[];
}

/** Options of the writers. */
export interface WriteOptions {
  /** Precision of weights. @default {"keep"} */
  dtype?: WrittenDtype;
}

/** What the bias of a projection may be off by, relative to its largest value, after being folded. */
const FOLD_TOLERANCE = 1e-6;

/** The decoder with LoRA folded in, an ordinary language model. */
export function planDecoderFolder(captioner: CaptionerSource, options: WriteOptions = {}): PlannedFolder {
  const plan = new TensorPlan();
  planMergedDecoder(plan, { ...captioner, source: captioner.decoder.tensors, ...options });
  const texts = tokenizerTexts(captioner);
  texts.set("config.json", formatJson(withDtype(captioner.decoder.config.fields, plan)));
  texts.set("generation_config.json", formatJson(generationConfig(captioner)));
  return { plan, texts, notes: [] };
}

/**
 * The whole captioner as Llava. With a SigLIP encoder, stock Python leaves out the encoder's last norm; a hook in the folder's README
 * puts it in.
 *
 * @throws {RangeError} for a ViT, an MLP projection of another width than the decoder's, or a tokenizer without a spare token
 */
export function planLlavaFolder(captioner: CaptionerSource, options: WriteOptions = {}): PlannedFolder {
  const { config, settings, trained } = captioner;
  const { projection, decoder, vision } = config;
  if (vision.family === "vit") {
    throw new RangeError(
      `Cannot write "${captioner.name}" as Llava: Llava takes no ViT, only CLIP and SigLIP`,
    );
  }
  if (projection.type === "mlp" && projection.hiddenSize !== decoder.hiddenSize) {
    throw new RangeError(
      `Cannot write "${captioner.name}" as Llava: its projection is ${projection.hiddenSize} wide inside, ` +
        `Llava's must be as wide as the decoder, ${decoder.hiddenSize}`,
    );
  }
  const plan = new TensorPlan();
  const names = mergedNames("llava", decoderRoot(decoder));
  planEncoder(plan, captioner, { ...options, rename: names.encoder });
  planMergedDecoder(plan, {
    ...captioner,
    source: captioner.decoder.tensors,
    ...options,
    rename: names.decoder,
  });
  for (const [name, { shape, data }] of trained) {
    if (!name.startsWith("projection.")) continue;
    plan.addF32(names.projection(name), { dtype: "F32", shape }, () => data);
  }
  if (projection.type === "linear") {
    const D = decoder.hiddenSize;
    plan.addF32("multi_modal_projector.linear_2.weight", { dtype: "F32", shape: [D, D] }, () => {
      const identity = new Float32Array(D * D);
      for (let i = 0; i < D; i++) identity[i * D + i] = 1;
      return identity;
    });
    plan.addF32(
      "multi_modal_projector.linear_2.bias",
      { dtype: "F32", shape: [D] },
      () => new Float32Array(D),
    );
  }
  const { texts, imageTokenId } = promptTexts(captioner, "llava");
  texts.set(
    "config.json",
    formatJson({
      ...withDtype(llavaFields(captioner, imageTokenId), plan),
      ...formatMergedSettings(settings),
    }),
  );
  const notes = vision.family === "siglip"
    ? [
      "Stock Python Llava takes the encoder's states before its last norm; the README shows the hook that makes it exact.",
    ]
    : [];
  return { plan, texts, notes };
}

/** What a `config.json` says of a captioner as Llava. */
export function llavaFields(captioner: CaptionerSource, imageTokenId: number): JsonObject {
  const { projection, vision } = captioner.config;
  return {
    ...mergedFields(captioner, "llava", imageTokenId),
    architectures: ["LlavaForConditionalGeneration"],
    image_token_index: imageTokenId,
    projector_hidden_act: projection.type === "linear" ? "linear" : "gelu",
    multimodal_projector_bias: true,
    vision_feature_layer: -1,
    vision_feature_select_strategy: "full",
    image_seq_length: visionTokens(vision),
  };
}

/**
 * The whole captioner as Idefics3, which stock Python runs exactly.
 *
 * @throws {RangeError} for another encoder than SigLIP, an MLP projection, a bias that no shift of the norm replaces, or a tokenizer
 * without a spare token
 */
export function planIdefics3Folder(captioner: CaptionerSource, options: WriteOptions = {}): PlannedFolder {
  const { config, settings, trained } = captioner;
  const { projection, decoder, vision } = config;
  const refuse = (why: string): never => {
    throw new RangeError(`Cannot write "${captioner.name}" as Idefics3: ${why}`);
  };
  if (vision.family !== "siglip") {
    refuse(`its encoder is ${VISION_FAMILIES[vision.family].title}, Idefics3's a SigLIP`);
  }
  if (projection.type !== "linear") {
    refuse("its projection is an MLP, Idefics3's one linear layer without a bias");
  }
  const weight = trained.get("projection.projection.weight")!;
  const [D, Dv] = [decoder.hiddenSize, vision.hiddenSize];
  const { shift, residual } = foldBias(weight.data, trained.get("projection.projection.bias")!.data, [D, Dv]);
  if (residual > FOLD_TOLERANCE) {
    refuse(
      `no shift of the encoder's last norm replaces the projection's bias (${
        residual.toExponential(1)
      } of it is left); ` +
        `${
          D > Dv
            ? `the decoder is wider (${D}) than the encoder (${Dv})`
            : "the projection's rows depend on one another"
        }`,
    );
  }
  const plan = new TensorPlan();
  const names = mergedNames("idefics3", decoderRoot(decoder));
  const normBias = `${VISION_FAMILIES.siglip.finalNorm}.bias`;
  planEncoder(plan, captioner, { ...options, rename: names.encoder, shift: { name: normBias, by: shift } });
  planMergedDecoder(plan, {
    ...captioner,
    source: captioner.decoder.tensors,
    ...options,
    rename: names.decoder,
  });
  plan.addF32(
    names.projection("projection.projection.weight"),
    { dtype: "F32", shape: weight.shape },
    () => weight.data,
  );
  const { texts, imageTokenId } = promptTexts(captioner, "idefics3");
  texts.set(
    "config.json",
    formatJson({
      ...withDtype(mergedFields(captioner, "idefics3", imageTokenId), plan),
      architectures: ["Idefics3ForConditionalGeneration"],
      scale_factor: 1,
      ...formatMergedSettings(settings),
    }),
  );
  return {
    plan,
    texts,
    notes: [
      `Its own processor wraps image tokens in others: feed pixel_values [B, 1, 3, ${vision.imageSize}, ${vision.imageSize}] and ` +
      `${visionTokens(vision)} image tokens yourself, as the README shows.`,
    ],
  };
}

/**
 * The captioner as the Python project saves it, LoRA apart.
 *
 * @throws {RangeError} for LoRA that the Python project's settings cannot say
 */
export function planPythonFolder(captioner: CaptionerSource, options: WriteOptions = {}): PlannedFolder {
  const { settings, config, trained, decoder } = captioner;
  const { lora } = settings;
  const refuse = (why: string): never => {
    throw new RangeError(`Cannot write "${captioner.name}" for the Python project: ${why}`);
  };
  if (lora.rank === 0) refuse("it has no LoRA, which every captioner there has");
  if (lora.rankPattern || lora.alphaPattern || lora.useRslora) {
    refuse(
      "its LoRA has ranks or factors by pattern, or is rank-stabilised, which the settings there cannot say",
    );
  }
  if (config.projection.type === "mlp" && config.projection.dropout !== 0.1) {
    refuse(`its projection drops ${config.projection.dropout}, there it is always 0.1`);
  }
  const plan = new TensorPlan();
  planEncoder(plan, captioner, { ...options, rename: (name) => VISION_PREFIX + name, withExtras: true });
  const adapted = new Set(loraModules(config.decoder, lora).map(({ path }) => path));
  const specs = decoderSpecs(config.decoder);
  for (const [name, stored] of matchWeights(decoder.tensors, specs, decoderFiles(config.decoder))) {
    const at = name.lastIndexOf(".");
    const place = adapted.has(name.slice(0, at)) ? `${name.slice(0, at)}.base_layer${name.slice(at)}` : name;
    plan.copy(DECODER_PREFIX + place, { source: decoder.tensors, stored, ...options });
  }
  for (const [name, { shape, data }] of trained) {
    if (name.startsWith(VISION_PREFIX)) continue; // in the encoder already
    const place = name.replace(/\.(lora_[AB])\.weight$/, ".$1.default.weight");
    plan.addF32(place, { dtype: "F32", shape }, () => data);
  }
  const texts = new Map(captioner.texts);
  const parts = { encoder: encoderFields(captioner), decoder: decoder.config.fields };
  texts.set("config.json", formatJson(formatPythonConfig(settings, parts)));
  return { plan, texts, notes: [] };
}

/** Adds the encoder's tensors, trained layers as they are now. `withExtras`: what captions do not need (the pooling head) too. */
export function planEncoder(
  plan: TensorPlan,
  { config, encoder, trained }: CaptionerSource,
  options: WriteOptions & {
    rename: (name: string) => string;
    withExtras?: boolean;
    shift?: { name: string; by: Float64Array };
  },
): void {
  const { rename, dtype = "keep", shift } = options;
  const source = encoder.tensors;
  const names = matchWeights(source, visionSpecs(config.vision), visionFiles(config.vision));
  for (const [name, stored] of names) {
    const own = source.tensors.get(stored)!;
    const changed = trained.get(VISION_PREFIX + name);
    if (name === shift?.name) {
      // Kept in f32: rounded to the encoder's precision it would no longer be exact.
      plan.addF32(rename(name), { dtype: "F32", shape: own.shape }, async () => {
        const values = changed?.data ?? await source.readF32(stored);
        return Float32Array.from(values, (value, i) => value + shift.by[i]!);
      });
    } else if (changed !== undefined) {
      const written = { dtype: writtenDtype(own.dtype, dtype), shape: own.shape };
      plan.addF32(rename(name), written, () => changed.data);
    } else plan.copy(rename(name), { source, stored, dtype });
  }
  if (!options.withExtras) return;
  const used = new Set(names.values());
  const inner = config.vision.family === "vit" ? "" : "vision_model.";
  for (const stored of source.tensors.keys()) {
    const extra = /(?:^|\.)((?:head|post_layernorm|pooler)\..+)$/.exec(stored)?.[1];
    if (extra === undefined || used.has(stored) || stored.includes("text_model.")) continue;
    plan.copy(rename(inner + extra), { source, stored, dtype });
  }
}

/** The encoder's own part of its `config.json`. */
export function encoderFields({ encoder, config }: CaptionerSource): JsonObject {
  const { section } = findFamily(encoder.config, VISION_FAMILIES);
  return { ...section.fields, model_type: VISION_FAMILIES[config.vision.family].modelType };
}

function mergedFields(captioner: CaptionerSource, layout: MergedLayout, imageTokenId: number): JsonObject {
  const { config, decoder } = captioner;
  return {
    model_type: layout,
    text_config: decoder.config.fields,
    vision_config: { ...encoderFields(captioner), vision_use_head: false },
    image_token_id: imageTokenId,
    tie_word_embeddings: config.decoder.tied,
    ...generationConfig(captioner, false),
  };
}

/** `torch_dtype` as most of the weights have it. */
function withDtype(fields: JsonObject, plan: TensorPlan): JsonObject {
  const names = { F64: "float64", F32: "float32", F16: "float16", BF16: "bfloat16" } as const;
  const counts = new Map<string, number>();
  for (const { dtype, shape } of plan.specs.values()) {
    counts.set(dtype, (counts.get(dtype) ?? 0) + shape.reduce((product, n) => product * n, 1));
  }
  const [most] = [...counts].toSorted(([, a], [, b]) => b - a)[0] ?? ["F32"];
  return { ...fields, torch_dtype: names[most as keyof typeof names] };
}

export function generationConfig(
  { config, settings, texts }: CaptionerSource,
  withLength = true,
): JsonObject {
  const { bosId, padId, eosIds } = config.decoder;
  const tokenizer = texts.has("tokenizer.json") ? tokenizerOf(texts) : undefined;
  const ends = [...new Set([...eosIds, ...(tokenizer ? [tokenizer.eosId] : [])])];
  return {
    bos_token_id: bosId ?? tokenizer?.bosId ?? null,
    eos_token_id: ends.length === 1 ? ends[0]! : ends,
    pad_token_id: padId ?? tokenizer?.padId ?? null,
    ...(withLength ? { max_new_tokens: settings.maxLength, do_sample: false } : {}),
  };
}

function tokenizerOf(texts: ReadonlyMap<string, string>) {
  const config = texts.get("tokenizer_config.json");
  return loadTokenizer(
    JSON.parse(texts.get("tokenizer.json")!),
    config === undefined ? undefined : JSON.parse(config),
  );
}

function tokenizerTexts({ texts }: CaptionerSource): Map<string, string> {
  const ofCaptioner: readonly string[] = ["preprocessor_config.json", CALIBRATION_FILE];
  return new Map([...texts].filter(([name]) => !ofCaptioner.includes(name)));
}

/** Tokenizer, processor and generation files of a layout whose prompt holds image tokens. */
export function promptTexts(
  captioner: CaptionerSource,
  layout: MergedLayout,
  options: { mayGrow?: boolean } = {},
): { texts: Map<string, string>; imageTokenId: number } {
  const { config, texts, name } = captioner;
  const needed = ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"];
  const missing = needed.find((file) => !texts.has(file));
  if (missing !== undefined) {
    throw new RangeError(
      `Cannot write "${name}" as ${layout}: it has no "${missing}", which the layout needs`,
    );
  }
  const tokenizer = tokenizerOf(texts);
  const { tokenizerJson, imageTokenId } = placeImageToken(texts.get("tokenizer.json")!, {
    vocabSize: config.decoder.vocabSize,
    tokenizerSize: tokenizer.vocabSize,
    reserved: [tokenizer.eosId, tokenizer.bosId, tokenizer.padId, ...config.decoder.eosIds],
    ...options,
  });
  const processor_class = layout === "llava" ? "LlavaProcessor" : "Idefics3Processor";
  const parse = (file: string): JsonObject => parseJsonObject(texts.get(file)!, file);
  const written = new Map(texts);
  written.set("tokenizer.json", tokenizerJson);
  written.set(
    "tokenizer_config.json",
    formatJson({ ...parse("tokenizer_config.json"), chat_template: CHAT_TEMPLATE, processor_class }),
  );
  // Without the "Fast" ending older releases know the class, too.
  written.set(
    "preprocessor_config.json",
    formatJson({ ...parse("preprocessor_config.json"), processor_class }),
  );
  written.set(
    "processor_config.json",
    formatJson({
      processor_class,
      image_token: IMAGE_TOKEN,
      ...(layout === "llava"
        ? {
          patch_size: config.vision.patchSize,
          num_additional_image_tokens: config.vision.family === "siglip" ? 0 : 1,
          vision_feature_select_strategy: "full",
        }
        : { image_seq_len: visionTokens(config.vision) }),
    }),
  );
  written.set("generation_config.json", formatJson(generationConfig(captioner)));
  return { texts: written, imageTokenId };
}

/** Gives exactly the image token for a picture and the text for a text. */
const CHAT_TEMPLATE =
  "{% for message in messages %}{% if message['content'] is string %}{{ message['content'] }}" +
  "{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>" +
  "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}{% endfor %}";
