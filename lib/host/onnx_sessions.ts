/**
 * The graphs of an exported folder, opened.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import type { OnnxSessions } from "../generate/onnx_stepper.ts";
import { type InferenceSession, type OnnxRuntime, openOnnxSession } from "../generate/onnxruntime.ts";
import {
  type OnnxComponent,
  onnxComponents,
  type OnnxDtype,
  type OnnxLayout,
  onnxPath,
  onnxStage,
} from "../models/onnx_layouts.ts";
import { stat } from "./files.ts";
import { formatBytes } from "./terminal.ts";

/** Largest graph that WebAssembly opens, weights included. */
const MAX_GRAPH_BYTES = 3e9;

/** Which graphs. */
export interface OnnxFolderOptions {
  path: string;
  layout: OnnxLayout;
  dtype: OnnxDtype;
  /** Closes graphs that are not needed together with the one asked for: slower, but large captioners fit. @default {false} */
  oneStage?: boolean;
}

/** A layout's graphs, opened when they are needed. */
export class OnnxFolderSessions implements OnnxSessions {
  readonly #runtime: OnnxRuntime;
  readonly #options: OnnxFolderOptions;
  /** A component's files: its graph first, then the weights beside it. */
  readonly #files: ReadonlyMap<OnnxComponent, readonly string[]>;
  readonly #open = new Map<OnnxComponent, InferenceSession>();

  private constructor(
    runtime: OnnxRuntime,
    options: OnnxFolderOptions,
    files: ReadonlyMap<OnnxComponent, readonly string[]>,
  ) {
    this.#runtime = runtime;
    this.#options = options;
    this.#files = files;
  }

  /**
   * Looks for every graph of a layout.
   *
   * @throws {UserError} when a file is missing, or too large for WebAssembly
   */
  static async find(runtime: OnnxRuntime, options: OnnxFolderOptions): Promise<OnnxFolderSessions> {
    const { path, layout, dtype } = options;
    const files = new Map<OnnxComponent, readonly string[]>();
    for (const component of onnxComponents(layout)) {
      const graph = `${path}/${onnxPath(layout, component, dtype)}`;
      const names: string[] = [];
      let bytes = 0;
      for (let name = graph;; name = `${graph}_data${names.length === 1 ? "" : `_${names.length - 1}`}`) {
        const info = await stat(name);
        if (info === undefined) break;
        names.push(name);
        bytes += info.size;
      }
      if (names.length === 0) throw new UserError(`Cannot run "${path}": "${graph}" does not exist`);
      if (bytes > MAX_GRAPH_BYTES) {
        throw new UserError(
          `Cannot run "${graph}": it has ${formatBytes(bytes)}, and WebAssembly opens graphs of ${
            formatBytes(MAX_GRAPH_BYTES)
          }; take fewer bits (--dtype), or export without the proof (--check 0)`,
        );
      }
      files.set(component, names);
    }
    return new OnnxFolderSessions(runtime, options, files);
  }

  async get(component: OnnxComponent): Promise<InferenceSession> {
    const open = this.#open.get(component);
    if (open !== undefined) return open;
    const { layout, oneStage = false } = this.#options;
    for (const [name, session] of oneStage ? this.#open : []) {
      if (onnxStage(layout, component).includes(name)) continue;
      this.#open.delete(name);
      await session.release();
    }
    const [graph, ...beside] = this.#files.get(component)!;
    const weights = new Map<string, Uint8Array>();
    for (const name of beside) weights.set(name.slice(name.lastIndexOf("/") + 1), await Deno.readFile(name));
    const session = await openOnnxSession(this.#runtime, { graph: await Deno.readFile(graph!), weights });
    this.#open.set(component, session);
    return session;
  }

  /** Frees the graphs. */
  async release(): Promise<void> {
    for (const session of this.#open.values()) await session.release();
    this.#open.clear();
  }
}
