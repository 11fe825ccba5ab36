/**
 * Captioners exported as ONNX. A layout gets its name only after every precision of it has captioned like the model.
 *
 * @module
 */

import { planOnnxWeights } from "../export/onnx/layouts.ts";
import type { WrittenDtypeResult } from "../export/onnx/readme.ts";
import { onnxTexts } from "../export/onnx/texts.ts";
import type { Gpu } from "../gpu/device.ts";
import { type CaptionerSource, openCaptionerSource } from "../models/captioner_source.ts";
import { type OnnxDtype, type OnnxLayout, type OnnxMix, onnxVariants } from "../models/onnx_layouts.ts";
import { Captioner } from "./captioner.ts";
import { cleanUpAfterKill, openFileFolder, writeFolderAtomically } from "./files.ts";
import { openModelFolder, resolveModelFolder } from "./model_folders.ts";
import {
  externalFiles,
  finishOnnxLayout,
  neededGraphs,
  variantBytes,
  writeOnnxGraph,
  type WrittenGraph,
} from "./onnx_layout.ts";
import { type ReferenceCaption, referenceCaptions } from "./prove_onnx.ts";
import { acquireRunLock } from "./run_lock.ts";
import type { ProofImage } from "./proof_images.ts";

/** What is exported. */
export interface ExportOnnxOptions {
  /** Run folder, Python project's folder, merged folder, or embedded name. */
  model: string;
  /** Gets a folder for every layout. */
  outputDir: string;
  layouts: readonly OnnxLayout[];
  dtypes: readonly OnnxDtype[];
  /** Precisions of components, of which a further variant is made, by layout. */
  mix?(layout: OnnxLayout): OnnxMix | undefined;
  /** Encoded images that both must caption alike; none skips the proof. */
  images: readonly ProofImage[];
  /** Share of tokens that must agree where not all must. */
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
  const { layouts, images, dtypes } = options;
  const folder = await openFileFolder(await resolveModelFolder(options.model));
  const captioner = await openCaptionerSource(folder, openModelFolder);
  for (const layout of layouts) onnxTexts(layout, captioner, { dtypes, externalFiles: {} });
  planOnnxWeights(captioner);
  const mixes = new Map(layouts.map((layout) => [layout, options.mix?.(layout)]));
  let references: ReferenceCaption[] = [];
  if (images.length > 0) {
    options.onProgress(`caption ${images.length} images with the model`);
    using engine = await Captioner.load(folder.name, options.gpu === undefined ? {} : { gpu: options.gpu });
    references = await referenceCaptions(engine, images);
  }
  using _lock = await acquireRunLock(options.outputDir);
  await cleanUpAfterKill(options.outputDir);
  const exported: ExportedLayout[] = [];
  for (const layout of layouts) {
    exported.push(await exportLayout(layout, { ...options, captioner, references, mix: mixes.get(layout) }));
  }
  return exported;
}

type LayoutOptions = Omit<ExportOnnxOptions, "mix"> & {
  captioner: CaptionerSource;
  references: readonly ReferenceCaption[];
  mix: OnnxMix | undefined;
};

async function exportLayout(layout: OnnxLayout, options: LayoutOptions): Promise<ExportedLayout> {
  const { captioner, dtypes, mix } = options;
  const path = `${options.outputDir}/${layout}`;
  const precisions = { dtypes, ...(mix && { mix }) };
  const variants = onnxVariants(precisions);
  let results: WrittenDtypeResult[] = [];
  await writeFolderAtomically(path, async (folder) => {
    const graphs: WrittenGraph[] = [];
    for (const { component, dtype } of neededGraphs(layout, { variants, mix })) {
      const weights = planOnnxWeights(captioner);
      graphs.push(await writeOnnxGraph(folder, { ...options, layout, component, dtype, weights }));
    }
    const texts = onnxTexts(layout, captioner, {
      ...precisions,
      externalFiles: externalFiles(layout, graphs),
    });
    for (const [name, text] of texts) await folder.write(name, text);
    results = await finishOnnxLayout(folder, {
      ...options,
      layout,
      target: path,
      results: variants.map((dtype) => ({
        dtype,
        bytes: variantBytes(dtype, { layout, mix, graphs }),
        parity: undefined,
      })),
    });
  });
  return { layout, path, results };
}
