import assert from "node:assert/strict";
import { JsonConfig } from "../../lib/format/json_config.ts";
import { onnxFolderFiles } from "../../lib/models/onnx_files.ts";
import { formatOnnxFolder, type OnnxDtype, type OnnxLayout } from "../../lib/models/onnx_layouts.ts";

function config(layout: OnnxLayout, dtypes: readonly OnnxDtype[], beside = {}): JsonConfig {
  const fields = {
    ...formatOnnxFolder({ layout, dtypes, maxLength: 30, encoder: "a" }),
    "transformers.js_config": { use_external_data_format: beside },
  };
  return new JsonConfig(fields, "folder/config.json");
}

const graphs = (files: readonly string[]) => files.filter((path) => path.startsWith("onnx/"));

Deno.test("each device gets its precision's graphs, with the weights beside them", () => {
  const json = config("web-llava", ["fp32", "q8", "q4"], {
    "decoder_model_merged_quantized.onnx": 2,
    "decoder_model_merged.onnx": 1,
  });
  const wasm = onnxFolderFiles(json, "wasm");
  assert.equal(wasm.dtype, "q8");
  assert.deepEqual(graphs(wasm.files), [
    "onnx/vision_encoder_quantized.onnx",
    "onnx/embed_tokens_quantized.onnx",
    "onnx/decoder_model_merged_quantized.onnx",
    "onnx/decoder_model_merged_quantized.onnx_data",
    "onnx/decoder_model_merged_quantized.onnx_data_1",
  ]);
  assert.ok(wasm.files.includes("tokenizer.json"));
  const webgpu = onnxFolderFiles(json, "webgpu");
  assert.equal(webgpu.dtype, "q4");
  assert.equal(graphs(webgpu.files).length, 3);
});

Deno.test("a precision that was not exported is replaced by one that was", () => {
  const { dtype, files } = onnxFolderFiles(config("web-pipeline", ["fp32"]), "webgpu");
  assert.equal(dtype, "fp32");
  assert.deepEqual(graphs(files), ["onnx/encoder_model.onnx", "onnx/decoder_model_merged.onnx"]);
});

Deno.test("folders that pages cannot run are refused with what to do", () => {
  assert.throws(
    () => onnxFolderFiles(new JsonConfig({}, "x/config.json"), "wasm"),
    /no exported captioner; .*deno task export/,
  );
  assert.throws(
    () => onnxFolderFiles(config("parts", ["fp32"]), "wasm"),
    /layout parts; export it as web-llava/,
  );
});
