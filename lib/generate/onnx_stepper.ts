/**
 * A captioner exported as ONNX, run by onnxruntime for the same searches as the kernels.
 *
 * @module
 */

import type { OnnxComponent, OnnxLayout } from "../models/onnx_layouts.ts";
import type { InferenceSession, OnnxRuntime, Tensor } from "./onnxruntime.ts";
import { logSoftmax, topCandidates } from "./sampling.ts";
import type { Scores, Stepper, StepRows } from "./stepper.ts";

/** Graphs of a layout, by component. */
export type OnnxSessions = ReadonlyMap<OnnxComponent, InferenceSession>;

/** What a stepper is made for. */
export interface OnnxStepperOptions {
  layout: OnnxLayout;
  sessions: OnnxSessions;
  numBeams: number;
  maxNewTokens: number;
  /** Candidates of a row: K for every end token and K more. */
  candidates: number;
  /** Channels and side of the images. */
  image: { channels: number; size: number };
}

type Tensors = Record<string, Tensor>;

/** What a layout does its own way: its first run, and the inputs of the next ones beside the past. */
interface LayoutRun {
  prefill(run: OnnxStepper, pixelValues: Tensor): Promise<Tensors>;
  step(run: OnnxStepper, step: { ids: Tensor; past: Tensors; length: number }): Promise<Tensors>;
}

/** Runs one image at a time. Logits and cache come back to the host between steps. */
export class OnnxStepper implements Stepper {
  readonly batchSize = 1;
  readonly #runtime: OnnxRuntime;
  readonly #options: OnnxStepperOptions;
  #past: Tensors = {};

  constructor(runtime: OnnxRuntime, options: OnnxStepperOptions) {
    this.#runtime = runtime;
    this.#options = options;
  }

  get numBeams(): number {
    return this.#options.numBeams;
  }

  get maxNewTokens(): number {
    return this.#options.maxNewTokens;
  }

  async prefill(images: Float32Array, count: number): Promise<Scores> {
    const { channels, size } = this.#options.image;
    if (count !== 1 || images.length !== channels * size ** 2) {
      throw new TypeError(
        `Cannot caption ${count} images from ${images.length} values; expected 1 image of ${
          channels * size ** 2
        } values`,
      );
    }
    const pixelValues = new this.#runtime.Tensor("float32", images, [1, channels, size, size]);
    const outputs = await LAYOUTS[this.#options.layout].prefill(this, pixelValues);
    return await this.#take(outputs);
  }

  async step({ tokens, parents }: StepRows): Promise<Scores> {
    const isFirst = Object.values(this.#past)[0]!.dims[0] === 1 && tokens.length > 1;
    const past: Tensors = {};
    for (const [name, tensor] of Object.entries(this.#past)) {
      past[name.replace("present", "past_key_values")] = await this.#pick(
        tensor,
        isFirst ? parents.map(() => 0) : parents,
      );
    }
    const ids = this.ints([...tokens], [tokens.length, 1]);
    const length = Object.values(past)[0]!.dims[2]! + 1;
    return await this.#take(await LAYOUTS[this.#options.layout].step(this, { ids, past, length }));
  }

  /** Runs a component. */
  async run(component: OnnxComponent, inputs: Tensors): Promise<Tensors> {
    const session = this.#options.sessions.get(component);
    if (session === undefined) throw new RangeError(`Cannot run "${component}": it was not opened`);
    return await session.run(inputs) as Tensors;
  }

  /** Whole numbers as onnxruntime takes them. */
  ints(values: readonly number[], dims: readonly number[]): Tensor {
    return new this.#runtime.Tensor("int64", BigInt64Array.from(values, (value) => BigInt(value)), [...dims]);
  }

  /** The cache before anything has run, as the graph declares it: no positions. */
  emptyPast(component: OnnxComponent): Tensors {
    const inputs = this.#options.sessions.get(component)!.inputMetadata;
    const past: Tensors = {};
    for (const input of inputs) {
      if (!input.isTensor || !input.name.startsWith("past_key_values")) continue;
      const dims = [1, input.shape[1] as number, 0, input.shape[3] as number];
      const data = input.type === "float16" ? new Uint16Array(0) : new Float32Array(0);
      past[input.name] = new this.#runtime.Tensor(input.type as "float32", data as Float32Array, dims);
    }
    return past;
  }

  /** An f32 input [rows, none, width] of a component, as wide as the graph declares it. */
  noRows(component: OnnxComponent, name: string, rows: number): Tensor {
    const input = this.#options.sessions.get(component)!.inputMetadata.find((one) => one.name === name);
    const width = input?.isTensor ? input.shape[2] as number : 0;
    return new this.#runtime.Tensor("float32", new Float32Array(0), [rows, 0, width]);
  }

  /** Rows of a cache [rows, K, positions, Dh]; itself where they stay as they are. */
  async #pick(tensor: Tensor, parents: Uint32Array): Promise<Tensor> {
    const rows = tensor.dims[0]!;
    if (rows === parents.length && parents.every((from, row) => from === row)) return tensor;
    const data = await tensor.getData() as Float32Array;
    const width = data.length / rows;
    const picked = new (data.constructor as Float32ArrayConstructor)(parents.length * width);
    for (const [row, from] of parents.entries()) {
      picked.set(data.subarray(from * width, (from + 1) * width), row * width);
    }
    return new this.#runtime.Tensor(tensor.type as "float32", picked, [
      parents.length,
      ...tensor.dims.slice(1),
    ]);
  }

  async #take({ logits, ...present }: Tensors): Promise<Scores> {
    this.#past = present;
    const [rows, positions, V] = logits!.dims as [number, number, number];
    const all = await logits!.getData() as Float32Array<ArrayBuffer>;
    // Of every row the last position counts.
    const row = (i: number): Float32Array<ArrayBuffer> =>
      all.slice(((i + 1) * positions - 1) * V, (i + 1) * positions * V);
    const each = Array.from({ length: rows }, (_, i) => i);
    const count = Math.min(this.#options.candidates, V);
    return {
      candidates: () => Promise.resolve(each.map((i) => topCandidates(logSoftmax(row(i)), count))),
      logits: () => Promise.resolve(each.map(row)),
    };
  }
}

/** Ones that let every position be attended. */
function ones(run: OnnxStepper, rows: number, length: number): Tensor {
  return run.ints(Array<number>(rows * length).fill(1), [rows, length]);
}

const LAYOUTS: Record<OnnxLayout, LayoutRun> = {
  parts: {
    prefill: async (run, pixel_values) => {
      const { last_hidden_state } = await run.run("vision_encoder", { pixel_values });
      const { projected_prefix } = await run.run("projection", { vision_hidden_states: last_hidden_state! });
      return await run.run("prefix_init", {
        prefix_embeddings: projected_prefix!,
        input_ids: run.ints([], [1, 0]),
      });
    },
    step: async (run, { ids, past, length }) =>
      await run.run("language_model", {
        input_ids: ids,
        attention_mask: ones(run, ids.dims[0]!, length),
        position_ids: run.ints(Array<number>(ids.dims[0]!).fill(length - 1), ids.dims),
        ...past,
      }),
  },
  "web-llava": {
    prefill: async (run, pixel_values) => {
      const { image_features } = await run.run("vision_encoder", { pixel_values });
      return await run.run("decoder_model_merged", {
        inputs_embeds: image_features!,
        attention_mask: ones(run, 1, image_features!.dims[1]!),
        ...run.emptyPast("decoder_model_merged"),
      });
    },
    step: async (run, { ids, past, length }) => {
      const { inputs_embeds } = await run.run("embed_tokens", { input_ids: ids });
      return await run.run("decoder_model_merged", {
        inputs_embeds: inputs_embeds!,
        attention_mask: ones(run, ids.dims[0]!, length),
        ...past,
      });
    },
  },
  "web-pipeline": {
    prefill: async (run, pixel_values) => {
      const { last_hidden_state } = await run.run("encoder_model", { pixel_values });
      return await run.run("decoder_model_merged", {
        input_ids: run.ints([0], [1, 1]), // the start token, which the graph drops
        encoder_hidden_states: last_hidden_state!,
        ...run.emptyPast("decoder_model_merged"),
      });
    },
    // The image is in the cache: none of its rows are needed.
    step: async (run, { ids, past }) =>
      await run.run("decoder_model_merged", {
        input_ids: ids,
        encoder_hidden_states: run.noRows("decoder_model_merged", "encoder_hidden_states", ids.dims[0]!),
        ...past,
      }),
  },
};
