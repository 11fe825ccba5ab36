/**
 * What `export` and `quantize` share: precisions on the command line, and the tables that both print.
 *
 * @module
 */

import { suggest } from "../base/errors.ts";
import { PARITY_HEADER, parityCells } from "../export/onnx/parity.ts";
import { MIX_NAMES, ONNX_DTYPES, onnxComponents, type OnnxDtype, onnxPath } from "../models/onnx_layouts.ts";
import { InvalidArgumentError, parseNames } from "./arguments.ts";
import type { ExportedLayout } from "./export_onnx.ts";
import { formatBytes, formatTable } from "./terminal.ts";

/** Precisions of whole captioners, and those of components for a mix. */
export interface GivenDtypes {
  dtypes: OnnxDtype[];
  /** By `MIX_NAMES`; empty for no mix. */
  mix: Record<string, OnnxDtype>;
}

/** Reads `fp32,q8` and `encoder=fp16,decoder=q4`. */
export function parseDtypes(text: string): GivenDtypes {
  const found = new Set<OnnxDtype>();
  const mix: Record<string, OnnxDtype> = {};
  for (const entry of parseNames(text)) {
    const at = entry.indexOf("=");
    const [name, dtype] = at < 0 ? [undefined, entry] : [entry.slice(0, at), entry.slice(at + 1)];
    if (!isDtype(dtype)) throw new InvalidArgumentError(`"${dtype}" is none of ${ONNX_DTYPES.join(", ")}.`);
    if (name === undefined) found.add(dtype);
    else if (!MIX_NAMES.includes(name)) {
      const near = suggest(name, MIX_NAMES);
      throw new InvalidArgumentError(
        `"${name}" is no component${near === undefined ? "" : `; did you mean "${near}"?`} Components are ${
          MIX_NAMES.join(", ")
        }.`,
      );
    } else if (name in mix) throw new InvalidArgumentError(`"${name}" is given twice.`);
    else mix[name] = dtype;
  }
  return { dtypes: ONNX_DTYPES.filter((dtype) => found.has(dtype)), mix };
}

function isDtype(text: string): text is OnnxDtype {
  return (ONNX_DTYPES as readonly string[]).includes(text);
}

/** Sizes of every file, then how the captions compare. */
export function describeExported(exported: readonly ExportedLayout[]): string {
  const variants = exported[0]!.results.map(({ dtype }) => dtype);
  const sizes = exported.flatMap(({ layout, results }) =>
    onnxComponents(layout).map((component) => [
      `${layout}/${onnxPath(layout, component, "fp32")}`,
      ...results.map(({ bytes }) => formatBytes(bytes[component]!)),
    ])
  );
  const captions = exported.flatMap(({ layout, results }) =>
    results.map(({ dtype, parity }) => [
      layout,
      dtype,
      ...(parity === undefined ? ["not compared"] : parityCells(parity)),
    ])
  );
  return [
    formatTable(sizes, { header: ["size", ...variants] }),
    formatTable(captions, { header: ["layout", "precision", ...PARITY_HEADER] }),
    exported.map(({ path }) => `written: ${path}`).join("\n"),
  ].join("\n\n");
}
