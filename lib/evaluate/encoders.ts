/**
 * Texts and images to vectors on the GPU, a batch at a time, for the scores of `similarity.ts`.
 *
 * @module
 */

import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, destroyTensor, readF32, type Tensor, writeTensor } from "../gpu/tensor.ts";
import type { TextModel, TwoTowerModel } from "../models/load.ts";
import { maxTextTokens, type TextConfig, textHiddenStates } from "../models/text.ts";
import {
  createTextInputs,
  destroyTextInputs,
  packTexts,
  type TextTensors,
  writeTextInputs,
} from "../models/text_batch.ts";
import { imageEmbeddings, textEmbeddings } from "../models/two_tower.ts";
import { visionEncoder } from "../models/vision.ts";

/** Lengths of texts are rounded up to a multiple, so that few plans are needed. */
const LENGTH_STEP = 16;

type RecordTexts = (r: Recorder, inputs: TextTensors) => Tensor;

/** Recorded encoders of texts by length, a batch each. */
class TextPlans {
  readonly #plans = new Map<number, { plan: Plan; inputs: TextTensors; output: Tensor }>();

  constructor(
    readonly gpu: Gpu,
    readonly options: { config: TextConfig; batchSize: number; record: RecordTexts; length?: number },
  ) {}

  /** Outputs of texts, each with its share of the batch's output. */
  async run(texts: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const { config, batchSize } = this.options;
    const outputs: Float32Array[] = [];
    for (let start = 0; start < texts.length; start += batchSize) {
      const some = texts.slice(start, start + batchSize);
      const full = Array.from({ length: batchSize }, (_, b) => some[b] ?? some[0]!);
      const longest = Math.max(...full.map(({ length }) => length));
      const rounded = Math.min(maxTextTokens(config), Math.ceil(longest / LENGTH_STEP) * LENGTH_STEP);
      const batch = packTexts(full, { config, length: this.options.length ?? rounded });
      let ready = this.#plans.get(batch.length);
      if (ready === undefined) {
        const inputs = createTextInputs(this.gpu, batch);
        const r = new Recorder(this.gpu);
        const output = r.keep(this.options.record(r, inputs));
        ready = { plan: await r.compile(), inputs, output };
        this.#plans.set(batch.length, ready);
      }
      writeTextInputs(this.gpu, ready.inputs, batch);
      ready.plan.run();
      const values = await readF32(this.gpu, ready.output);
      this.gpu.check();
      const size = values.length / batchSize;
      for (const b of some.keys()) outputs.push(values.slice(b * size, (b + 1) * size));
    }
    return outputs;
  }

  destroy(): void {
    for (const { plan, inputs } of this.#plans.values()) {
      plan.destroy({ arena: true });
      destroyTextInputs(inputs);
    }
    this.#plans.clear();
  }
}

/** A text encoder that gives the states of any of its layers. */
export class TextStates {
  readonly #plans: TextPlans;
  readonly #width: number;

  /**
   * @param gpu Where the model lies; both stay the caller's
   * @param options The layer, 0 for the embeddings to the number of layers for the last, and texts in a batch
   * @throws {RangeError} If the model has no such layer
   */
  constructor(gpu: Gpu, { config, weights }: TextModel, options: { layer: number; batchSize?: number }) {
    const { layer } = options;
    if (!(Number.isInteger(layer) && layer >= 0 && layer <= config.layers)) {
      throw new RangeError(`Cannot give the states of layer ${layer}: the model has 0 to ${config.layers}`);
    }
    this.#width = config.hiddenSize;
    this.#plans = new TextPlans(gpu, {
      config,
      batchSize: options.batchSize ?? 16,
      record: (r, inputs) => textHiddenStates(r, weights, inputs, { config, layers: layer }).at(-1)!,
    });
  }

  /** States of each text's tokens, [T, D] each. @param texts Token ids, those that begin and end a text included */
  async states(texts: readonly (readonly number[])[]): Promise<{ values: Float32Array; width: number }[]> {
    const outputs = await this.#plans.run(texts);
    const width = this.#width;
    return outputs.map((values, i) => ({ values: values.slice(0, texts[i]!.length * width), width }));
  }

  /** Frees the plans. */
  destroy(): void {
    this.#plans.destroy();
  }
}

/** A model of two towers that embeds images and texts. */
export class TwoTowerEmbedder {
  readonly #gpu: Gpu;
  readonly #texts: TextPlans;
  readonly #model: TwoTowerModel;
  readonly #batchSize: number;
  #images: { plan: Plan; pixelValues: Tensor; output: Tensor } | undefined;

  /** @param gpu Where the model lies; both stay the caller's */
  constructor(gpu: Gpu, model: TwoTowerModel, options: { batchSize?: number } = {}) {
    const { config, weights } = model;
    this.#gpu = gpu;
    this.#model = model;
    this.#batchSize = options.batchSize ?? 16;
    this.#texts = new TextPlans(gpu, {
      config: config.text,
      batchSize: this.#batchSize,
      length: maxTextTokens(config.text),
      record: (r, inputs) => textEmbeddings(r, weights, inputs, config),
    });
  }

  /** Embeddings [E] of texts, not normalised. @param texts Token ids, with what begins and ends a text */
  async embedTexts(texts: readonly (readonly number[])[]): Promise<Float32Array[]> {
    return await this.#texts.run(texts);
  }

  /** Embeddings [E] of images, not normalised. @param images Pixel values [C, I, I] each */
  async embedImages(images: readonly Float32Array[]): Promise<Float32Array[]> {
    const { config, weights } = this.#model;
    const { channels, imageSize } = config.vision;
    const batchSize = this.#batchSize;
    if (this.#images === undefined) {
      const pixelValues = createTensor(this.#gpu, [batchSize, channels, imageSize, imageSize]);
      const r = new Recorder(this.#gpu);
      const states = visionEncoder(r, weights, pixelValues, config.vision);
      const output = r.keep(imageEmbeddings(r, weights, states, config));
      this.#images = { plan: await r.compile(), pixelValues, output };
    }
    const { plan, pixelValues, output } = this.#images;
    const size = channels * imageSize ** 2;
    const embeddings: Float32Array[] = [];
    for (let start = 0; start < images.length; start += batchSize) {
      const some = images.slice(start, start + batchSize);
      const pixels = new Float32Array(batchSize * size);
      for (const [b, image] of some.entries()) pixels.set(image, b * size);
      writeTensor(this.#gpu, pixelValues, pixels);
      plan.run();
      const values = await readF32(this.#gpu, output);
      this.#gpu.check();
      const width = values.length / batchSize;
      for (const b of some.keys()) embeddings.push(values.slice(b * width, (b + 1) * width));
    }
    return embeddings;
  }

  /** Frees the plans. */
  destroy(): void {
    this.#texts.destroy();
    this.#images?.plan.destroy({ arena: true });
    if (this.#images !== undefined) destroyTensor(this.#images.pixelValues);
    this.#images = undefined;
  }
}
