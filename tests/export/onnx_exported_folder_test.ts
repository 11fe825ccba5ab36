/** Precisions made from an exported folder's f32 graphs: the same bytes as from the captioner itself, for every family and layout. */
import assert from "node:assert/strict";
import { openExportedFolder, openExportedWeights } from "../../lib/export/onnx/exported_folder.ts";
import { onnxComponentFiles, planOnnxWeights } from "../../lib/export/onnx/layouts.ts";
import { onnxTexts } from "../../lib/export/onnx/texts.ts";
import { memoryFolder } from "../../lib/format/byte_source.ts";
import { openOnnxSession } from "../../lib/generate/onnxruntime.ts";
import { detachOnnxWeights, readOnnxTensors } from "../../lib/format/onnx_read.ts";
import { openCaptionerSource } from "../../lib/models/captioner_source.ts";
import {
  ONNX_LAYOUTS,
  onnxComponents,
  type OnnxDtype,
  type OnnxLayout,
} from "../../lib/models/onnx_layouts.ts";
import { captionerFolders, type FoldersOptions } from "../support/captioner_folders.ts";
import { collectFiles } from "../support/collect_files.ts";
import { EVERY_FAMILY, LLAMA } from "../support/every_family.ts";
import { testRuntime } from "../support/onnx_captioner.ts";

async function exportSmall(
  options: FoldersOptions,
  layout: OnnxLayout,
  { maxInlineBytes, dtypes = ["fp32"] }: { maxInlineBytes?: number; dtypes?: OnnxDtype[] } = {},
) {
  const { folder, openModel } = captionerFolders(options);
  const source = await openCaptionerSource(folder, openModel);
  const write = (weights: Parameters<typeof onnxComponentFiles>[0], dtype: OnnxDtype) =>
    Promise.all(
      onnxComponents(layout).map((component) =>
        collectFiles(
          onnxComponentFiles(weights, {
            layout,
            component,
            dtype,
            version: "0",
            ...(maxInlineBytes === undefined ? {} : { maxInlineBytes }),
          }),
        )
      ),
    );
  const graphs = (await write(planOnnxWeights(source), "fp32")).flatMap((files) => [...files]);
  const texts = await collectFiles(onnxTexts(layout, source, { dtypes, externalFiles: {} }));
  return { source, files: new Map([...graphs, ...texts]), write };
}

for (const [name, options] of EVERY_FAMILY) {
  for (const layout of ONNX_LAYOUTS) {
    Deno.test(`${name}, ${layout}: precisions made from fp32 graphs are those of an export`, async () => {
      const { source, files, write } = await exportSmall(options, layout);
      const exported = await openExportedFolder(memoryFolder("exported", files));
      for (const dtype of ["fp32", "fp16", "q8", "q4"] as const) {
        const want = await write(planOnnxWeights(source), dtype);
        for (const [i, component] of onnxComponents(layout).entries()) {
          const weights = await openExportedWeights(exported, component);
          const found = await collectFiles(
            onnxComponentFiles(weights, { layout, component, dtype, version: "0" }),
          );
          assert.deepEqual([...found.keys()], [...want[i]!.keys()]);
          for (const [path, bytes] of want[i]!) {
            assert.ok(found.get(path)!.every((byte, at) => byte === bytes[at]), `${path} differs`);
          }
        }
      }
    });
  }
}

Deno.test("weights beside the graph are found, and must be a file beside it", async () => {
  const { files } = await exportSmall(LLAMA, "web-llava", { maxInlineBytes: 0 });
  const path = "onnx/decoder_model_merged.onnx";
  const inside = (await exportSmall(LLAMA, "web-llava")).files;
  const beside = await readOnnxTensors(memoryFolder("x", files), path);
  const want = await readOnnxTensors(memoryFolder("x", inside), path);
  assert.deepEqual([...beside.keys()], [...want.keys()]);
  for (const [name, tensor] of want) {
    assert.deepEqual(beside.get(name)!.dims, tensor.dims);
    assert.deepEqual(await beside.get(name)!.read(), await tensor.read());
  }
  const without = new Map([...files].filter(([name]) => !name.includes("_data")));
  await assert.rejects(
    readOnnxTensors(memoryFolder("x", without), path),
    /weights in "decoder_model_merged\.onnx_data"/,
  );
  const text = Array.from(files.get(path)!, (byte) => String.fromCharCode(byte)).join("").replaceAll(
    "decoder_model_merged.onnx_data",
    "../../../../etc/passwd________",
  );
  const leaving = new Map(files).set(path, Uint8Array.from(text, (char) => char.charCodeAt(0)));
  await assert.rejects(readOnnxTensors(memoryFolder("x", leaving), path), /expected a file beside it/);
});

Deno.test("a damaged graph is refused, wherever it is cut, and never read beyond its end", async () => {
  const { files } = await exportSmall(LLAMA, "parts");
  const path = "projection.onnx";
  const bytes = files.get(path)!;
  assert.ok((await readOnnxTensors(memoryFolder("x", files), path)).size > 0);
  for (let end = 0; end < bytes.length - 40; end += 97) {
    const cut = memoryFolder("x", new Map([[path, bytes.slice(0, end)]]));
    await assert.rejects(readOnnxTensors(cut, path), SyntaxError, `cut at ${end}`);
  }
  // Whatever a byte becomes, the answer is weights within the file or an error of this reader.
  for (let at = 0; at < Math.min(bytes.length, 600); at++) {
    const changed = bytes.slice();
    changed[at]! ^= 0xff;
    try {
      const found = await readOnnxTensors(memoryFolder("x", new Map([[path, changed]])), path);
      for (const tensor of found.values()) assert.ok((await tensor.read()).length <= bytes.length);
    } catch (error) {
      assert.ok(error instanceof SyntaxError || error instanceof RangeError, `${at}: ${error}`);
    }
  }
});

Deno.test("a folder that is not exported, has no fp32 or is of an older version is refused", async () => {
  const { files } = await exportSmall(LLAMA, "web-llava", { dtypes: ["q8"] });
  const exported = await openExportedFolder(memoryFolder("onnx", files));
  await assert.rejects(openExportedWeights(exported, "vision_encoder"), {
    name: "UserError",
    message: /it has q8, and precisions are made from fp32/,
  });
  const config = JSON.parse(new TextDecoder().decode(files.get("config.json")!));
  const withConfig = (json: unknown) =>
    memoryFolder("onnx", new Map(files).set("config.json", new TextEncoder().encode(JSON.stringify(json))));
  const { decoder: _, ...old } = config.captioner_onnx;
  await assert.rejects(
    openExportedFolder(withConfig({ ...config, captioner_onnx: old })),
    /an older version wrote it/,
  );
  const { captioner_onnx: __, ...foreign } = config;
  await assert.rejects(openExportedFolder(withConfig(foreign)), /it is no exported captioner/);
});

Deno.test("a graph apart from its weights computes what it computed whole", async () => {
  const { files } = await exportSmall(LLAMA, "parts");
  const graph = files.get("projection.onnx")!;
  const runtime = await testRuntime();
  const detached = await detachOnnxWeights(graph, "whole");
  assert.ok(detached.length < graph.length / 2);
  const whole = await openOnnxSession(runtime, { graph, weights: new Map() });
  const apart = await openOnnxSession(runtime, { graph: detached, weights: new Map([["whole", graph]]) });
  const width = (whole.inputMetadata[0] as { shape: readonly (number | string)[] }).shape[2] as number;
  const input = {
    vision_hidden_states: new runtime.Tensor(
      "float32",
      Float32Array.from({ length: 3 * width }, (_, i) => Math.sin(i)),
      [
        1,
        3,
        width,
      ],
    ),
  };
  const [want, found] = [await whole.run(input), await apart.run(input)];
  assert.deepEqual(found.projected_prefix!.data, want.projected_prefix!.data);
  await whole.release();
  await apart.release();
});
