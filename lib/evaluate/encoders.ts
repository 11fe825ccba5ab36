/**
 * Texts and images to vectors on the GPU, a batch at a time, for the scores of `similarity.ts`.
 *
 * @module
 */

import { Turns } from "../base/turns.ts";
import type { Gpu } from "../gpu/device.ts";
import type { Plan } from "../gpu/plan.ts";
import { PlanGroup } from "../gpu/plan_group.ts";
import { Recorder } from "../gpu/recorder.ts";
import { createTensor, readF32, type Tensor, writeTensor } from "../gpu/tensor.ts";
import type { TextModel, TwoTowerModel } from "../models/load.ts";
import { maxTextTokens, type TextConfig, textHiddenStates } from "../models/text.ts";
import {
  createTextInputs,
  destroyTextInputs,
  emptyTexts,
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
    readonly options: { config: TextConfig; batchSize: number; record: RecordTexts },
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
      const batch = packTexts(full, { config, length: rounded });
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
   * @param options The layer, 0 for the embeddings to the number of layers for the last; texts in a batch; and the length that all are
   * padded to, if not that of the longest of a batch
   * @throws {RangeError} If the model has no such layer
   */
  constructor(
    gpu: Gpu,
    { config, weights }: TextModel,
    options: { layer: number; batchSize?: number; length?: number },
  ) {
    const { layer, length } = options;
    if (!(Number.isInteger(layer) && layer >= 0 && layer <= config.layers)) {
      throw new RangeError(`Cannot give the states of layer ${layer}: the model has 0 to ${config.layers}`);
    }
    this.#width = config.hiddenSize;
    this.#plans = new TextPlans(gpu, {
      config,
      batchSize: options.batchSize ?? 16,
      ...(length !== undefined && { length }),
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

/** A model of two towers that embeds images and texts, a batch at a time; calls that are made while another runs wait for it. */
export class TwoTowerEmbedder {
  readonly #gpu: Gpu;
  readonly #model: TwoTowerModel;
  readonly #batchSize: number;
  readonly #group: PlanGroup<"images" | "texts">;
  readonly #pixelValues: Tensor;
  readonly #textInputs: TextTensors;
  readonly #outputs: { images: Tensor; texts: Tensor };
  readonly #turns = new Turns();
  #compiling: Promise<void> | undefined;

  /** Records both encoders. @param gpu Where the model lies; both stay the caller's */
  constructor(gpu: Gpu, model: TwoTowerModel, options: { batchSize?: number } = {}) {
    const { config, weights } = model;
    const { batchSize = 16 } = options;
    const { channels, imageSize } = config.vision;
    this.#gpu = gpu;
    this.#model = model;
    this.#batchSize = batchSize;
    this.#pixelValues = createTensor(gpu, [batchSize, channels, imageSize, imageSize], {
      label: "pixelValues",
    });
    this.#textInputs = createTextInputs(gpu, emptyTexts(batchSize, maxTextTokens(config.text)));
    const [images, texts] = [new Recorder(gpu), new Recorder(gpu)];
    const states = visionEncoder(images, weights, this.#pixelValues, config.vision);
    this.#outputs = {
      images: images.keep(imageEmbeddings(images, weights, states, config)),
      texts: texts.keep(textEmbeddings(texts, weights, this.#textInputs, config)),
    };
    const inputs = [this.#pixelValues, ...Object.values(this.#textInputs)];
    this.#group = new PlanGroup(gpu, { images, texts }, inputs);
  }

  /** GPU memory of inputs and activations in bytes; before {@linkcode TwoTowerEmbedder.compile} what it will be. */
  get memoryBytes(): number {
    return this.#group.memoryBytes;
  }

  /** Takes the memory and compiles; else the first batch does. @throws {DeviceError} when the memory is refused */
  async compile(): Promise<void> {
    await (this.#compiling ??= this.#group.compile());
  }

  /** Embeddings [E] of texts, not normalised. @param texts Token ids, with what begins and ends a text */
  async embedTexts(texts: readonly (readonly number[])[]): Promise<Float32Array[]> {
    const { config: { text: config } } = this.#model;
    return await this.#embed(texts, "texts", (some) => {
      const full = Array.from({ length: this.#batchSize }, (_, b) => some[b] ?? some[0]!);
      writeTextInputs(
        this.#gpu,
        this.#textInputs,
        packTexts(full, { config, length: maxTextTokens(config) }),
      );
    });
  }

  /** Embeddings [E] of images, not normalised. @param images Pixel values [C, I, I] each */
  async embedImages(images: readonly Float32Array[]): Promise<Float32Array[]> {
    const { size } = this.#pixelValues;
    return await this.#embed(images, "images", (some) => {
      const pixels = new Float32Array(size);
      for (const [b, image] of some.entries()) pixels.set(image, b * size / this.#batchSize);
      writeTensor(this.#gpu, this.#pixelValues, pixels);
    });
  }

  #embed<T>(
    all: readonly T[],
    which: "images" | "texts",
    write: (some: readonly T[]) => void,
  ): Promise<Float32Array[]> {
    return this.#turns.take(async () => {
      await this.compile();
      const embeddings: Float32Array[] = [];
      for (let start = 0; start < all.length; start += this.#batchSize) {
        const some = all.slice(start, start + this.#batchSize);
        write(some);
        this.#group.plans[which].run();
        const values = await readF32(this.#gpu, this.#outputs[which]);
        this.#gpu.check();
        const width = values.length / this.#batchSize;
        for (const b of some.keys()) embeddings.push(values.slice(b * width, (b + 1) * width));
      }
      return embeddings;
    });
  }

  /** Frees the plans. */
  destroy(): void {
    this.#group.destroy();
  }
}
