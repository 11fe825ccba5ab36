/**
 * Further precisions of an exported folder, made from its f32 graphs: the same files that an export writes.
 *
 * @module
 */

import { UserError } from "../base/errors.ts";
import { openExportedFolder, openExportedWeights } from "../export/onnx/exported_folder.ts";
import { parseParity } from "../export/onnx/parity.ts";
import type { WrittenDtypeResult } from "../export/onnx/readme.ts";
import { browserConfig } from "../export/onnx/texts.ts";
import { formatJson } from "../format/json.ts";
import { openConfig } from "../format/json_config.ts";
import {
  formatOnnxFolder,
  ONNX_DTYPES,
  type OnnxComponent,
  type OnnxDtype,
  type OnnxLayout,
  type OnnxMix,
  onnxPath,
  type OnnxVariant,
  onnxVariants,
} from "../models/onnx_layouts.ts";
import type { ExportedLayout } from "./export_onnx.ts";
import {
  cleanUpAfterKill,
  filesBelow,
  type FolderWriter,
  openFileFolder,
  stat,
  writeFolderAtomically,
} from "./files.ts";
import {
  externalFiles,
  finishOnnxLayout,
  neededGraphs,
  variantBytes,
  writeOnnxGraph,
  type WrittenGraph,
} from "./onnx_layout.ts";
import { referenceCaptions } from "./prove_onnx.ts";
import { acquireRunLock } from "./run_lock.ts";
import { loadOnnxCaptioner } from "./runtimes.ts";
import type { ProofImage } from "./proof_images.ts";

/** What is written. */
export interface QuantizeOnnxOptions {
  /** A layout's folder. */
  model: string;
  /** Gets the folder with what it had and what is new; the folder itself is replaced in one step. */
  outputDir: string;
  dtypes: readonly OnnxDtype[];
  /** Precisions of components, of which a further variant is made, by layout. */
  mix?(layout: OnnxLayout): OnnxMix | undefined;
  /** Encoded images that fp32 and the new precisions must caption alike; none skips the proof. */
  images: readonly ProofImage[];
  minAgreement: number;
  onProgress(what: string): void;
}

/**
 * Adds precisions to an exported folder. Those that it has already are made anew.
 *
 * @throws {UserError} when the folder is not exported, has no fp32, or captions differ: what lay there stays as it was
 */
export async function quantizeOnnx(options: QuantizeOnnxOptions): Promise<ExportedLayout> {
  const { model, images, onProgress } = options;
  const exported = await openExportedFolder(await openFileFolder(model));
  const { own: { layout } } = exported;
  const given = options.mix?.(layout);
  const mix = given ?? exported.own.mix;
  const made: OnnxVariant[] = [...options.dtypes, ...(given === undefined ? [] : ["mixed" as const])];
  if (made.includes("fp32") || made.length === 0) {
    throw new UserError(
      `Cannot quantize "${model}": fp32 is what precisions are made from; give others with --dtype`,
    );
  }
  const kept = onnxVariants(exported.own).filter((variant) => !made.includes(variant));
  const dtypes = ONNX_DTYPES.filter((dtype) => kept.includes(dtype) || made.includes(dtype));
  let references: Awaited<ReturnType<typeof referenceCaptions>> = [];
  if (images.length > 0) {
    onProgress(`caption ${images.length} images in fp32`);
    using captioner = await loadOnnxCaptioner(model, {
      provider: "wasm",
      dtype: "fp32",
      oneStage: true,
    });
    references = await referenceCaptions(captioner, images);
  }
  const target = options.outputDir.replace(/\/+$/, "");
  const parent = target.includes("/") ? target.slice(0, target.lastIndexOf("/")) || "/" : ".";
  using _lock = await acquireRunLock(parent);
  await cleanUpAfterKill(parent);
  let results: WrittenDtypeResult[] = [];
  await writeFolderAtomically(target, async (folder) => {
    const wanted = neededGraphs(layout, { variants: made, mix });
    const isNew = (component: OnnxComponent, dtype: OnnxDtype): boolean =>
      dtype !== "fp32" && wanted.some((graph) => graph.component === component && graph.dtype === dtype);
    const graphs: WrittenGraph[] = [];
    const files = (await filesBelow(model)).map(({ path }) => path);
    for (const { component, dtype } of neededGraphs(layout, { variants: [...kept, ...made], mix })) {
      if (isNew(component, dtype)) {
        const weights = await openExportedWeights(exported, component);
        graphs.push(await writeOnnxGraph(folder, { layout, component, dtype, weights, onProgress }));
        continue;
      }
      const path = onnxPath(layout, component, dtype);
      const own = files.filter((file) => file === path || file.startsWith(`${path}_data`));
      let bytes = 0;
      for (const file of own) {
        await copyInto(folder, { from: `${model}/${file}`, to: file });
        bytes += (await Deno.stat(`${model}/${file}`)).size;
      }
      graphs.push({ component, dtype, bytes, filesBeside: own.length - 1 });
    }
    for (const file of files) {
      if (/\.onnx(_data(_\d+)?)?$|^(config\.json|README\.md|parity\.json)$|(^|\/)\./.test(file)) continue;
      await copyInto(folder, { from: `${model}/${file}`, to: file });
    }
    const precisions = { dtypes, ...(mix && { mix }) };
    await folder.write(
      "config.json",
      formatJson({
        ...exported.fields,
        ...("transformers.js_config" in exported.fields
          ? {
            "transformers.js_config": browserConfig({
              ...precisions,
              externalFiles: externalFiles(layout, graphs),
            }),
          }
          : {}),
        ...formatOnnxFolder({ ...exported.own, ...precisions }),
      }),
    );
    const result = (dtype: OnnxVariant): WrittenDtypeResult => ({
      dtype,
      bytes: variantBytes(dtype, { layout, mix, graphs }),
      parity: undefined,
    });
    const before = await readParities(model);
    results = await finishOnnxLayout(folder, {
      ...options,
      layout,
      captioner: exported,
      mix,
      references,
      target,
      earlier: kept.map((dtype) => ({ ...result(dtype), parity: before.get(dtype) })),
      results: made.map(result),
    });
  });
  return { layout, path: target, results };
}

/** Comparisons that the folder tells of. */
async function readParities(model: string): Promise<Map<string, WrittenDtypeResult["parity"]>> {
  if (await stat(`${model}/parity.json`) === undefined) return new Map();
  const dtypes = (await openConfig(await openFileFolder(model), "parity.json")).object("dtypes");
  const found = Object.keys(dtypes.fields).map((dtype) => [dtype, dtypes.object(dtype)] as const);
  return new Map(
    found.filter(([, json]) => json.has("images")).map(([dtype, json]) => [dtype, parseParity(json)]),
  );
}

/** Files are copied, not linked: whoever changes one folder shall not change the other. */
async function copyInto(folder: FolderWriter, { from, to }: { from: string; to: string }): Promise<void> {
  await folder.write(to, (await Deno.open(from)).readable);
}
