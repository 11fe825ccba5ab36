/**
 * The graphs of an exported folder, opened, wherever the folder is.
 *
 * @module
 */

import { describeError, UserError } from "../base/errors.ts";
import { type ByteSource, type FileFolder, readExactly } from "../format/byte_source.ts";
import {
  dtypeOf,
  type OnnxComponent,
  onnxComponents,
  type OnnxLayout,
  type OnnxMix,
  onnxPath,
  onnxStage,
  type OnnxVariant,
} from "../models/onnx_layouts.ts";
import type { OnnxSessions } from "./onnx_stepper.ts";
import { type InferenceSession, type OnnxRuntime, openOnnxSession } from "./onnxruntime.ts";

/** Largest graph that WebAssembly opens, weights included. */
const MAX_GRAPH_BYTES = 3e9;

/** Which graphs. */
export interface OnnxFolderOptions {
  layout: OnnxLayout;
  dtype: OnnxVariant;
  /** Needed for a mix. */
  mix?: OnnxMix;
  /** Closes graphs that are not needed together with the one asked for: slower, but large captioners fit. @default {false} */
  oneStage?: boolean;
}

/** A file, and what a graph calls it. */
interface ComponentFile {
  name: string;
  source: ByteSource;
}

/** A layout's graphs, opened when they are needed. */
export class OnnxFolderSessions implements OnnxSessions {
  readonly #runtime: OnnxRuntime;
  readonly #options: OnnxFolderOptions;
  /** A component's files: its graph first, then the weights beside it. */
  readonly #files: ReadonlyMap<OnnxComponent, readonly ComponentFile[]>;
  readonly #open = new Map<OnnxComponent, InferenceSession>();

  private constructor(
    runtime: OnnxRuntime,
    options: OnnxFolderOptions,
    files: ReadonlyMap<OnnxComponent, readonly ComponentFile[]>,
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
  static async find(
    runtime: OnnxRuntime,
    folder: FileFolder,
    options: OnnxFolderOptions,
  ): Promise<OnnxFolderSessions> {
    const { layout, dtype, mix } = options;
    const files = new Map<OnnxComponent, readonly ComponentFile[]>();
    for (const component of onnxComponents(layout)) {
      const graph = onnxPath(layout, component, dtypeOf(dtype, component, mix));
      const found: ComponentFile[] = [];
      let bytes = 0;
      for (let path = graph;; path = `${graph}_data${found.length === 1 ? "" : `_${found.length - 1}`}`) {
        const source = await folder.open(path);
        if (source === undefined) break;
        found.push({ name: path.slice(path.lastIndexOf("/") + 1), source });
        bytes += source.size;
      }
      if (found.length === 0) throw new UserError(`Cannot run "${folder.name}": it has no "${graph}"`);
      if (bytes > MAX_GRAPH_BYTES) {
        throw new UserError(
          `Cannot run "${folder.name}": "${graph}" has ${
            (bytes / 1e9).toFixed(1)
          } GB, and WebAssembly opens graphs of ${
            MAX_GRAPH_BYTES / 1e9
          } GB; take fewer bits (--dtype), or export without the proof (--check 0)`,
        );
      }
      files.set(component, found);
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
    for (const { name, source } of beside) weights.set(name, await readExactly(source, 0, source.size));
    const bytes = await readExactly(graph!.source, 0, graph!.source.size);
    let session: InferenceSession;
    try {
      session = await openOnnxSession(this.#runtime, { graph: bytes, weights });
    } catch (error) {
      throw new UserError(
        `Cannot open "${graph!.source.name}", which may be damaged: ${
          describeError(error).replace(/\.$/, "")
        }; export or fetch it again`,
        { cause: error },
      );
    }
    this.#open.set(component, session);
    return session;
  }

  /** Frees the graphs. */
  async release(): Promise<void> {
    for (const session of this.#open.values()) await session.release();
    this.#open.clear();
  }
}
