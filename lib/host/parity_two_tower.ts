/**
 * Parity of models of two towers: embeddings and scores, and for SigLIP loss and every gradient.
 *
 * @module
 */

import { openSafetensors, type SafetensorsFile } from "../format/safetensors.ts";
import type { Gpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import { loadTwoTowerModel, type TwoTowerModel } from "../models/load.ts";
import { createTextInputs, destroyTextInputs, packTexts } from "../models/text_batch.ts";
import {
  imageEmbeddings,
  logitsPerImage,
  textEmbeddings,
  type TwoTowerConfig,
  twoTowerSpecs,
} from "../models/two_tower.ts";
import { visionEncoder } from "../models/vision.ts";
import { ParameterSet } from "../nn/parameters.ts";
import { l2Normalize } from "../ops/l2_normalize.ts";
import { sigmoidContrastiveLoss } from "../ops/sigmoid_contrastive_loss.ts";
import { openFile, openFileFolder } from "./files.ts";
import { compare, compareGradients, FORWARD, LOSS, type ParityRow } from "./parity_rows.ts";
import { readTexts } from "./parity_text.ts";

/** Runs the case in `folder`: `model/`, `inputs.safetensors`, `expected.safetensors`. */
export async function runTwoTower(gpu: Gpu, folder: string): Promise<ParityRow[]> {
  const open = async (name: string): Promise<SafetensorsFile> =>
    await openSafetensors(await openFile(`${folder}/${name}`));
  const [inputs, expected] = [await open("inputs.safetensors"), await open("expected.safetensors")];
  const model = await loadTwoTowerModel(gpu, await openFileFolder(`${folder}/model`));
  const { config } = model;
  const trained = expected.tensors.has("loss");
  const set = trained ? await trainable(gpu, model) : undefined;
  const weights = set ?? model.weights;
  const r = new Recorder(gpu, trained);
  const pixels = tensorFrom(gpu, await inputs.readF32("pixel_values"), {
    shape: inputs.tensors.get("pixel_values")!.shape,
  });
  const texts = createTextInputs(gpu, packTexts(await readTexts(inputs), { config: config.text }));
  const image = r.keep(imageEmbeddings(r, weights, visionEncoder(r, weights, pixels, config.vision), config));
  const text = r.keep(textEmbeddings(r, weights, texts, config));
  const [imageUnit, textUnit] = [r.keep(l2Normalize(r, image)), r.keep(l2Normalize(r, text))];
  const lossOut = createTensor(gpu, [1]);
  if (set !== undefined) {
    sigmoidContrastiveLoss(r, image, text, {
      logitScale: set.get("logit_scale"),
      logitBias: set.get("logit_bias"),
      lossOut,
    });
    r.backward();
  }
  const plan = await r.compile();
  plan.run();
  const outputs: Record<string, Tensor> = {
    image_features: image,
    text_features: text,
    image_embeds: imageUnit,
    text_embeds: textUnit,
    loss: lossOut,
  };
  const rows: ParityRow[] = [];
  const add = async (name: string, got: ArrayLike<number>, tolerance = FORWARD): Promise<void> => {
    rows.push(compare(name, [got, await expected.readF32(name)], { tolerance }));
  };
  for (const [name, tensor] of Object.entries(outputs)) {
    if (expected.tensors.has(name)) {
      await add(name, await readF32(gpu, tensor), name === "loss" ? LOSS : FORWARD);
    }
  }
  const pair = [await readF32(gpu, imageUnit), await readF32(gpu, textUnit)] as const;
  const { embeddingSize: width } = config;
  await add("logits_per_image", logitsPerImage(pair, { width, logScale: model.logScale, bias: model.bias }));
  if (expected.tensors.has("paired_cosine")) {
    const cosines = logitsPerImage(pair, { width, logScale: 0 });
    const count = pair[0].length / width;
    await add("paired_cosine", cosines.filter((_, n) => n % (count + 1) === 0));
  }
  if (set !== undefined) rows.push(...await compareGradients(set, expected));
  plan.destroy({ arena: true });
  set?.destroy();
  model.weights.destroy();
  destroyTextInputs(texts);
  [pixels, lossOut].forEach(destroyTensor);
  return rows;
}

/** The model's weights once more, each with a gradient. */
async function trainable(
  gpu: Gpu,
  { config, weights }: TwoTowerModel & { config: TwoTowerConfig },
): Promise<ParameterSet> {
  const tensors = [];
  for (const { name, shape } of twoTowerSpecs(config)) {
    tensors.push({ name, shape, data: await readF32(gpu, weights.get(name)) });
  }
  return new ParameterSet(gpu, [{ name: "all", weightDecay: 0, tensors }]);
}
