/**
 * A captioner exported as ONNX, run by onnxruntime for the same searches as the kernels.
 *
 * @module
 */

import type { OnnxComponent, OnnxLayout } from "../models/onnx_layouts.ts";
import type { InferenceSession, OnnxRuntime, Tensor } from "./onnxruntime.ts";
import { logSoftmax, topCandidates } from "./sampling.ts";
import type { Scores, Stepper, StepRows } from "./stepper.ts";

/** Opens the graphs of a layout when they are needed. */
export interface OnnxSessions {
  get(component: OnnxComponent): Promise<InferenceSession>;
}

/** What a stepper is made for. */
export interface OnnxStepperOptions {
  layout: OnnxLayout;
  sessions: OnnxSessions;
  /** B: images begun together, run one after the other. */
  batchSize: number;
  numBeams: number;
  maxNewTokens: number;
  /** Candidates of a row: K for every end token and K more. */
  candidates: number;
  /** Channels and side of the images. */
  image: { channels: number; size: number };
}

type Tensors = Record<string, Tensor>;

/** What a layout does its own way. */
interface LayoutRun {
  /** pixelValues to prefix embeddings [1, P, D]. */
  encode(run: OnnxStepper, pixelValues: Tensor): Promise<Tensor>;
  /** Prefix embeddings to logits and cache. */
  begin(run: OnnxStepper, prefix: Tensor): Promise<Tensors>;
  /** One token for every row. */
  step(run: OnnxStepper, step: { ids: Tensor; past: Tensors; length: number }): Promise<Tensors>;
}

/** Runs a captioner's graphs. Logits come back to the host at every step, and the cache where beams change places. */
export class OnnxStepper implements Stepper {
  readonly #runtime: OnnxRuntime;
  readonly #options: OnnxStepperOptions;
  /** Cache of every image begun. */
  #pasts: Tensors[] = [];

  constructor(runtime: OnnxRuntime, options: OnnxStepperOptions) {
    this.#runtime = runtime;
    this.#options = options;
  }

  get batchSize(): number {
    return this.#options.batchSize;
  }

  get numBeams(): number {
    return this.#options.numBeams;
  }

  get maxNewTokens(): number {
    return this.#options.maxNewTokens;
  }

  async prefill(images: Float32Array, count: number): Promise<Scores> {
    const { batchSize, layout, image: { channels, size } } = this.#options;
    const width = channels * size ** 2;
    if (count < 1 || count > batchSize || images.length !== count * width) {
      throw new TypeError(
        `Cannot caption ${count} images from ${images.length} values; expected 1 to ${batchSize} images of ${width} values`,
      );
    }
    // Every graph is run for all images before the next one is needed.
    const prefixes: Tensor[] = [];
    for (let b = 0; b < count; b++) {
      const values = images.slice(b * width, (b + 1) * width);
      const pixelValues = new this.#runtime.Tensor("float32", values, [1, channels, size, size]);
      prefixes.push(await LAYOUTS[layout].encode(this, pixelValues));
    }
    this.#pasts = [];
    const rows: Float32Array<ArrayBuffer>[] = [];
    for (const prefix of prefixes) {
      const { logits, ...present } = await LAYOUTS[layout].begin(this, prefix);
      this.#pasts.push(present);
      rows.push(...await lastRows(logits!));
    }
    return this.#scores(rows);
  }

  /** A stepper that goes on from here with other beams; this one stays where it is. */
  fork(numBeams: number): OnnxStepper {
    const fork = new OnnxStepper(this.#runtime, { ...this.#options, numBeams });
    fork.#pasts = [...this.#pasts];
    return fork;
  }

  async step({ tokens, parents, live }: StepRows): Promise<Scores> {
    const { numBeams: K, layout } = this.#options;
    const rows: Float32Array<ArrayBuffer>[] = [];
    for (const [b, present] of this.#pasts.entries()) {
      if (!live[b]) {
        rows.push(...Array<Float32Array<ArrayBuffer>>(K).fill(new Float32Array(0)));
        continue;
      }
      const mine = parents.subarray(b * K, (b + 1) * K).map((row) => row - b * K);
      const past: Tensors = {};
      for (const [name, tensor] of Object.entries(present)) {
        // After the prefill an image has one row, whichever the beam.
        const from = tensor.dims[0] === 1 ? mine.map(() => 0) : mine;
        past[name.replace("present", "past_key_values")] = await this.#pick(tensor, from);
      }
      const ids = this.ints([...tokens.subarray(b * K, (b + 1) * K)], [K, 1]);
      const length = Object.values(past)[0]!.dims[2]! + 1;
      const { logits, ...next } = await LAYOUTS[layout].step(this, { ids, past, length });
      this.#pasts[b] = next;
      rows.push(...await lastRows(logits!));
    }
    return this.#scores(rows);
  }

  #scores(rows: readonly Float32Array<ArrayBuffer>[]): Scores {
    const { candidates } = this.#options;
    return {
      candidates: () =>
        Promise.resolve(
          rows.map((row) =>
            row.length === 0
              ? { ids: [], logProbs: [] }
              : topCandidates(logSoftmax(row), Math.min(candidates, row.length))
          ),
        ),
      logits: () => Promise.resolve(rows.map((row) => row.slice())),
    };
  }

  /** Runs a component. */
  async run(component: OnnxComponent, inputs: Tensors): Promise<Tensors> {
    const session = await this.#options.sessions.get(component);
    return await session.run(inputs) as Tensors;
  }

  /** Whole numbers as onnxruntime takes them. */
  ints(values: readonly number[], dims: readonly number[]): Tensor {
    return new this.#runtime.Tensor("int64", BigInt64Array.from(values, (value) => BigInt(value)), [...dims]);
  }

  /** The cache before anything has run, as the graph declares it: no positions. */
  async emptyPast(component: OnnxComponent): Promise<Tensors> {
    const inputs = (await this.#options.sessions.get(component)).inputMetadata;
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
  async noRows(component: OnnxComponent, name: string, rows: number): Promise<Tensor> {
    const { inputMetadata } = await this.#options.sessions.get(component);
    const input = inputMetadata.find((one) => one.name === name);
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
}

/** Logits of every row's last position: of [rows, positions, V]. */
async function lastRows(logits: Tensor): Promise<Float32Array<ArrayBuffer>[]> {
  const [rows, positions, V] = logits.dims as [number, number, number];
  const all = await logits.getData() as Float32Array<ArrayBuffer>;
  return Array.from({ length: rows }, (_, row) => {
    const end = (row + 1) * positions * V;
    return all.slice(end - V, end);
  });
}

/** Ones that let every position be attended. */
function ones(run: OnnxStepper, rows: number, length: number): Tensor {
  return run.ints(Array<number>(rows * length).fill(1), [rows, length]);
}

const LAYOUTS: Record<OnnxLayout, LayoutRun> = {
  parts: {
    encode: async (run, pixel_values) => {
      const { last_hidden_state } = await run.run("vision_encoder", { pixel_values });
      const { projected_prefix } = await run.run("projection", { vision_hidden_states: last_hidden_state! });
      return projected_prefix!;
    },
    begin: async (run, prefix) =>
      await run.run("prefix_init", { prefix_embeddings: prefix, input_ids: run.ints([], [1, 0]) }),
    step: async (run, { ids, past, length }) =>
      await run.run("language_model", {
        input_ids: ids,
        attention_mask: ones(run, ids.dims[0]!, length),
        position_ids: run.ints(Array<number>(ids.dims[0]!).fill(length - 1), ids.dims),
        ...past,
      }),
  },
  "web-llava": {
    encode: async (run, pixel_values) => (await run.run("vision_encoder", { pixel_values })).image_features!,
    begin: async (run, prefix) =>
      await run.run("decoder_model_merged", {
        inputs_embeds: prefix,
        attention_mask: ones(run, 1, prefix.dims[1]!),
        ...await run.emptyPast("decoder_model_merged"),
      }),
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
    encode: async (run, pixel_values) =>
      (await run.run("encoder_model", { pixel_values })).last_hidden_state!,
    begin: async (run, prefix) =>
      await run.run("decoder_model_merged", {
        input_ids: run.ints([0], [1, 1]), // the start token, which the graph drops
        encoder_hidden_states: prefix,
        ...await run.emptyPast("decoder_model_merged"),
      }),
    // The image is in the cache: none of its rows are needed.
    step: async (run, { ids, past }) =>
      await run.run("decoder_model_merged", {
        input_ids: ids,
        encoder_hidden_states: await run.noRows(
          "decoder_model_merged",
          "encoder_hidden_states",
          ids.dims[0]!,
        ),
        ...past,
      }),
  },
};
