/**
 * Captioners exported as ONNX. A layout gets its name only after every precision of it has captioned like the model.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { formatJson } from "../format/json.ts";
import { onnxComponentFiles, planOnnxWeights } from "../export/onnx/layouts.ts";
import { parityFault, parityJson } from "../export/onnx/parity.ts";
import { onnxReadme, type WrittenDtypeResult } from "../export/onnx/readme.ts";
import { onnxTexts } from "../export/onnx/texts.ts";
import type { Gpu } from "../gpu/device.ts";
import { type CaptionerSource, openCaptionerSource } from "../models/captioner_source.ts";
import { onnxComponents, type OnnxDtype, type OnnxLayout, onnxPath } from "../models/onnx_layouts.ts";
import { cleanUpAfterKill, type FolderWriter, openFileFolder, writeFolderAtomically } from "./files.ts";
import { openModelFolder, resolveModelFolder } from "./model_folders.ts";
import { acquireRunLock } from "./run_lock.ts";
import { proveOnnx, type ReferenceCaption, referenceCaptions } from "./prove_onnx.ts";
import project from "../../deno.json" with { type: "json" };

/** What is exported. */
export interface ExportOnnxOptions {
  /** Run folder, Python project's folder, merged folder, or embedded name. */
  model: string;
  /** Gets a folder for every layout. */
  outputDir: string;
  layouts: readonly OnnxLayout[];
  dtypes: readonly OnnxDtype[];
  /** Encoded images that both must caption alike; none skips the proof. */
  images: readonly Uint8Array[];
  /** Share of tokens that must agree in q8 and q4. */
  minAgreement: number;
  /** Runs the model for the proof; it stays the caller's. @default {a device of its own, closed before exported graphs are run} */
  gpu?: Gpu;
  onProgress(what: string): void;
}

/** A layout that was written. */
export interface ExportedLayout {
  layout: OnnxLayout;
  path: string;
  results: WrittenDtypeResult[];
}

/**
 * Writes each layout to `outputDir/layout`.
 *
 * @throws {UserError} when captions differ: nothing of the layout is left; or when another export is writing there
 * @throws {RangeError} when the captioner has no tokenizer or image processor, or its captions do not fit its decoder
 */
export async function exportOnnx(options: ExportOnnxOptions): Promise<ExportedLayout[]> {
  const { layouts, images } = options;
  const folder = await openFileFolder(await resolveModelFolder(options.model));
  const captioner = await openCaptionerSource(folder, openModelFolder);
  for (const layout of layouts) onnxTexts(layout, captioner, { dtypes: options.dtypes, externalFiles: {} });
  planOnnxWeights(captioner);
  if (images.length > 0) options.onProgress(`caption ${images.length} images with the model`);
  const references = await referenceCaptions(folder.name, { ...options, captioner });
  using _lock = await acquireRunLock(options.outputDir);
  await cleanUpAfterKill(options.outputDir);
  const exported: ExportedLayout[] = [];
  for (const layout of layouts) {
    exported.push(await exportLayout(layout, { ...options, captioner, references }));
  }
  return exported;
}

type LayoutOptions = ExportOnnxOptions & {
  captioner: CaptionerSource;
  references: readonly ReferenceCaption[];
};

async function exportLayout(layout: OnnxLayout, options: LayoutOptions): Promise<ExportedLayout> {
  const { captioner, references, dtypes, minAgreement } = options;
  const path = `${options.outputDir}/${layout}`;
  const results: WrittenDtypeResult[] = [];
  await writeFolderAtomically(path, async (folder) => {
    const externalFiles: Record<string, number> = {};
    for (const dtype of dtypes) {
      const bytes = await writeGraphs(folder, { ...options, layout, dtype, externalFiles });
      results.push({ dtype, bytes, parity: undefined });
    }
    for (const [name, text] of onnxTexts(layout, captioner, { dtypes, externalFiles })) {
      await folder.write(name, text);
    }
    for (const result of references.length === 0 ? [] : results) {
      options.onProgress(`caption with ${layout} in ${result.dtype}`);
      result.parity = await proveOnnx({
        path: folder.path,
        layout,
        dtype: result.dtype,
        captioner,
        references,
      });
      const fault = parityFault(result.dtype, result.parity, minAgreement);
      if (fault !== undefined) {
        throw new UserError(`Cannot write "${path}": ${fault}; leave ${result.dtype} out with --dtype`);
      }
    }
    await folder.write("README.md", onnxReadme(layout, captioner, results));
    await folder.write(
      "parity.json",
      formatJson({
        layout,
        runtime: "onnxruntime-web, wasm",
        dtypes: Object.fromEntries(
          results.map(({ dtype, parity, bytes }) => [dtype, {
            bytes: { ...bytes },
            ...(parity === undefined ? {} : parityJson(parity)),
          }]),
        ),
      }),
    );
  });
  return { layout, path, results };
}

/** Writes a precision's graphs; gives the bytes of each, and notes how many files of weights lie beside it. */
async function writeGraphs(
  folder: FolderWriter,
  options: LayoutOptions & { layout: OnnxLayout; dtype: OnnxDtype; externalFiles: Record<string, number> },
): Promise<Record<string, number>> {
  const { layout, dtype, captioner } = options;
  const bytes: Record<string, number> = {};
  for (const component of onnxComponents(layout)) {
    const files = onnxComponentFiles(planOnnxWeights(captioner), {
      layout,
      component,
      dtype,
      version: project.version,
    });
    bytes[component] = 0;
    for (const [name, content] of files) {
      options.onProgress(`write ${layout}/${name}`);
      await folder.write(name, content);
      bytes[component] += (await Deno.stat(`${folder.path}/${name}`)).size;
    }
    const graph = onnxPath(layout, component, dtype);
    if (files.size > 1) options.externalFiles[graph.slice(graph.lastIndexOf("/") + 1)] = files.size - 1;
  }
  return bytes;
}
