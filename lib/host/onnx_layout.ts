/**
 * One layout of an exported captioner being written: graphs in the precisions asked for, the proof, and what the folder says of both.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { isExact, parityFault, parityJson } from "../export/onnx/parity.ts";
import { type DescribedCaptioner, onnxReadme, type WrittenDtypeResult } from "../export/onnx/readme.ts";
import { type CaptionerWeightsToWrite, onnxComponentFiles } from "../export/onnx/layouts.ts";
import { formatJson } from "../format/json.ts";
import {
  dtypeOf,
  type OnnxComponent,
  onnxComponents,
  type OnnxDtype,
  type OnnxLayout,
  type OnnxMix,
  onnxPath,
  type OnnxVariant,
} from "../models/onnx_layouts.ts";
import type { FolderWriter } from "./files.ts";
import { proveOnnx, type ReferenceCaption } from "./prove_onnx.ts";
import project from "../../deno.json" with { type: "json" };

/** A graph that is there: bytes with the weights beside it, and how many files those are. */
export interface WrittenGraph {
  component: OnnxComponent;
  dtype: OnnxDtype;
  bytes: number;
  filesBeside: number;
}

/** Options of {@linkcode writeOnnxGraph}. */
export interface WriteOnnxGraphOptions {
  layout: OnnxLayout;
  component: OnnxComponent;
  dtype: OnnxDtype;
  weights: CaptionerWeightsToWrite;
  onProgress(what: string): void;
}

/** Writes a component's graph in a precision. */
export async function writeOnnxGraph(
  folder: FolderWriter,
  { layout, component, dtype, weights, onProgress }: WriteOnnxGraphOptions,
): Promise<WrittenGraph> {
  const files = onnxComponentFiles(weights, { layout, component, dtype, version: project.version });
  let bytes = 0;
  for (const [name, content] of files) {
    onProgress(`write ${layout}/${name}`);
    await folder.write(name, content);
    bytes += (await Deno.stat(`${folder.path}/${name}`)).size;
  }
  return { component, dtype, bytes, filesBeside: files.size - 1 };
}

/** Graphs of a layout that variants are made of, each once. */
export function neededGraphs(
  layout: OnnxLayout,
  { variants, mix }: { variants: readonly OnnxVariant[]; mix?: OnnxMix | undefined },
): { component: OnnxComponent; dtype: OnnxDtype }[] {
  return onnxComponents(layout).flatMap((component) =>
    [...new Set(variants.map((variant) => dtypeOf(variant, component, mix)))]
      .map((dtype) => ({ component, dtype }))
  );
}

/** Number of files of weights beside graphs, by the graph's file name; of those that have any. */
export function externalFiles(layout: OnnxLayout, graphs: readonly WrittenGraph[]): Record<string, number> {
  return Object.fromEntries(
    graphs.filter(({ filesBeside }) => filesBeside > 0).map(({ component, dtype, filesBeside }) => {
      const path = onnxPath(layout, component, dtype);
      return [path.slice(path.lastIndexOf("/") + 1), filesBeside];
    }),
  );
}

/** Bytes of a variant's components. */
export function variantBytes(
  variant: OnnxVariant,
  { layout, mix, graphs }: {
    layout: OnnxLayout;
    mix?: OnnxMix | undefined;
    graphs: readonly WrittenGraph[];
  },
): Record<string, number> {
  return Object.fromEntries(
    onnxComponents(layout).map((component) => {
      const dtype = dtypeOf(variant, component, mix);
      return [
        component,
        graphs.find((graph) => graph.component === component && graph.dtype === dtype)!.bytes,
      ];
    }),
  );
}

/** Options of {@linkcode finishOnnxLayout}. */
export interface FinishOnnxLayoutOptions {
  layout: OnnxLayout;
  captioner: DescribedCaptioner;
  /** Variants yet to be compared. */
  results: readonly WrittenDtypeResult[];
  /** Variants that were compared before. */
  earlier?: readonly WrittenDtypeResult[];
  mix?: OnnxMix | undefined;
  /** None skips the proof. */
  references: readonly ReferenceCaption[];
  /** Share of tokens that must agree where not all must. */
  minAgreement: number;
  /** The folder's place, for messages. */
  target: string;
  onProgress(what: string): void;
}

/**
 * Compares, and writes `README.md` and `parity.json`.
 *
 * @throws {UserError} when captions differ by more than is allowed
 */
export async function finishOnnxLayout(
  folder: FolderWriter,
  options: FinishOnnxLayoutOptions,
): Promise<WrittenDtypeResult[]> {
  const { layout, captioner, mix, references, minAgreement, target, onProgress } = options;
  const proved: WrittenDtypeResult[] = [...options.earlier ?? []];
  for (const result of options.results) {
    if (references.length === 0) {
      proved.push(result);
      continue;
    }
    const { dtype } = result;
    onProgress(`caption with ${layout} in ${dtype}`);
    const parity = await proveOnnx({ path: folder.path, layout, dtype, ...(mix && { mix }), references });
    const fault = parityFault(dtype, parity, { isExact: isExact(dtype, { layout, mix }), minAgreement });
    if (fault !== undefined) {
      throw new UserError(`Cannot write "${target}": ${fault}; leave ${dtype} out with --dtype`);
    }
    proved.push({ ...result, parity });
  }
  await folder.write("README.md", onnxReadme(layout, captioner, proved, mix));
  await folder.write(
    "parity.json",
    formatJson({
      layout,
      runtime: "onnxruntime-web, wasm",
      ...(mix === undefined ? {} : { mix: { ...mix } }),
      dtypes: Object.fromEntries(
        proved.map(({ dtype, parity, bytes }) => [dtype, {
          bytes: { ...bytes },
          ...(parity === undefined ? {} : parityJson(parity)),
        }]),
      ),
    }),
  );
  return proved;
}
