/**
 * Parity of the contrastive SigLIP model: embeddings, logits, loss and every gradient.
 *
 * @module
 */

import { openSafetensors, type SafetensorsFile } from "../format/safetensors.ts";
import type { Gpu } from "../gpu/device.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, tensorFrom } from "../gpu/tensor.ts";
import {
  SIGLIP_LOGIT_SPECS,
  siglipHeadSpecs,
  siglipPool,
  siglipText,
  type SiglipTextConfig,
  siglipTextSpecs,
  siglipVision,
  type SiglipVisionConfig,
  siglipVisionSpecs,
} from "../models/siglip.ts";
import { ParameterSet } from "../nn/parameters.ts";
import { l2Normalize } from "../ops/l2_normalize.ts";
import { sigmoidContrastiveLoss } from "../ops/sigmoid_contrastive_loss.ts";
import { openFile } from "./files.ts";
import { compare, compareGradients, FORWARD, LOSS, type ParityRow } from "./parity_rows.ts";

/** Runs the case in `folder`: `model/`, `inputs.safetensors`, `expected.safetensors`. */
export async function runTwoTower(
  gpu: Gpu,
  folder: string,
  { vision, text }: { vision: SiglipVisionConfig; text: SiglipTextConfig },
): Promise<ParityRow[]> {
  const open = async (name: string): Promise<SafetensorsFile> =>
    await openSafetensors(await openFile(`${folder}/${name}`));
  const specs = [
    ...siglipVisionSpecs(vision),
    ...siglipHeadSpecs(vision),
    ...siglipTextSpecs(text),
    ...SIGLIP_LOGIT_SPECS,
  ];
  const [model, inputs, expected] = [
    await open("model/model.safetensors"),
    await open("inputs.safetensors"),
    await open("expected.safetensors"),
  ];
  const tensors = [];
  for (const { name, shape } of specs) tensors.push({ name, shape, data: await model.readF32(name) });
  const set = new ParameterSet(gpu, [{ name: "all", weightDecay: 0, tensors }]);
  const shapeOf = (name: string): readonly number[] => inputs.tensors.get(name)!.shape;
  const r = new Recorder(gpu, true);
  const pixels = tensorFrom(gpu, await inputs.readF32("pixel_values"), { shape: shapeOf("pixel_values") });
  const ids = tensorFrom(gpu, new Uint32Array(await inputs.readI32("input_ids")), {
    shape: shapeOf("input_ids"),
  });
  const image = siglipPool(r, set, siglipVision(r, set, pixels, vision), vision);
  const caption = siglipText(r, set, ids, text);
  const [imageUnit, textUnit] = [r.keep(l2Normalize(r, image)), r.keep(l2Normalize(r, caption))];
  const lossOut = createTensor(gpu, [1]);
  sigmoidContrastiveLoss(r, image, caption, {
    logitScale: set.get("logit_scale"),
    logitBias: set.get("logit_bias"),
    lossOut,
  });
  r.backward();
  const plan = await r.compile();
  plan.run();
  const rows: ParityRow[] = [];
  const outputs: [string, Tensor, number][] = [
    ["image_embeds", imageUnit, FORWARD],
    ["text_embeds", textUnit, FORWARD],
    ["loss", lossOut, LOSS],
  ];
  for (const [name, tensor, tolerance] of outputs) {
    rows.push(compare(name, [await readF32(gpu, tensor), await expected.readF32(name)], { tolerance }));
  }
  const [images, captions] = [await readF32(gpu, imageUnit), await readF32(gpu, textUnit)];
  const [logScale, bias] = [
    (await model.readF32("logit_scale"))[0]!,
    (await model.readF32("logit_bias"))[0]!,
  ];
  const width = text.projectionSize;
  const dot = (i: number, j: number): number => {
    let sum = 0;
    for (let c = 0; c < width; c++) sum += images[i * width + c]! * captions[j * width + c]!;
    return sum;
  };
  const count = images.length / width;
  const scores = Array.from(
    { length: count * count },
    (_, n) => Math.exp(logScale) * dot(Math.floor(n / count), n % count) + bias,
  );
  const wanted = await expected.readF32("logits_per_image");
  rows.push(compare("logits_per_image", [scores, wanted], { tolerance: FORWARD }));
  rows.push(...await compareGradients(set, expected));
  plan.destroy({ arena: true });
  set.destroy();
  [pixels, ids, lossOut].forEach(destroyTensor);
  return rows;
}
