/** Exported folders run by onnxruntime through the same door as run folders. */
import assert from "node:assert/strict";
import { Captioner } from "../../lib/host/captioner.ts";
import { exportOnnx } from "../../lib/host/export_onnx.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { loadCaptioner, loadOnnxCaptioner } from "../../lib/host/runtimes.ts";
import type { OnnxCaptioner } from "../../lib/generate/onnx_captioner.ts";
import type { OnnxLayout } from "../../lib/models/onnx_layouts.ts";
import { testGpu } from "../support/gpu.ts";

async function withExported(layout: OnnxLayout, run: (path: string) => Promise<void>): Promise<void> {
  const outputDir = await Deno.makeTempDir();
  try {
    await exportOnnx({
      model: "embedded:captioner",
      outputDir,
      layouts: [layout],
      dtypes: ["fp32", "q8"],
      images: [],
      minAgreement: 0,
      gpu: await testGpu(),
      onProgress: () => {},
    });
    await run(`${outputDir}/${layout}`);
  } finally {
    await Deno.remove(outputDir, { recursive: true });
  }
}

const IMAGES = ["0000.png", "0001.png", "0002.png"];
const images = () =>
  Promise.all(IMAGES.map((name) => Deno.readFile(projectPath(`data/sample/test/${name}`))));

for (const layout of ["parts", "web-llava", "web-pipeline"] as const) {
  Deno.test(`${layout} captions with beams as the captioner that it was made from`, async () => {
    using engine = await Captioner.load("embedded:captioner", { gpu: await testGpu() });
    const want = await engine.captionAll(await images());
    await withExported(layout, async (path) => {
      using exported = await loadOnnxCaptioner(path, { provider: "wasm", dtype: "fp32" });
      assert.equal(exported.maxLength, engine.maxLength);
      const got = await exported.captionAll(await images());
      assert.deepEqual(got.map(({ ids }) => ids), want.map(({ ids }) => ids));
      assert.deepEqual(got.map(({ caption }) => caption), want.map(({ caption }) => caption));
      const wantScores = await engine.scoreText((await images()).slice(0, 2), "A cat on the grass.");
      const gotScores = await exported.scoreText((await images()).slice(0, 2), "A cat on the grass.");
      for (const [i, { logProb }] of got.entries()) assert.ok(Math.abs(logProb - want[i]!.logProb) < 1e-3);
      for (const [i, { confidence }] of [...want, ...wantScores].entries()) {
        const found = [...got, ...gotScores][i]!.confidence!;
        assert.ok(Math.abs(found.logProbPerToken - confidence!.logProbPerToken) < 1e-3);
        assert.ok(Math.abs(found.imageGainPerToken - confidence!.imageGainPerToken) < 1e-3);
      }
      const prepared = await Promise.all((await images()).map((image) => exported.prepare(image)));
      const again = await exported.captionPrepared(prepared);
      assert.deepEqual(again.map(({ ids }) => ids), got.map(({ ids }) => ids));
    });
  });
}

Deno.test("a runtime that does not fit the folder is refused with what would", async () => {
  await assert.rejects(loadCaptioner("embedded:captioner", { runtime: "onnx-wasm" }), {
    name: "UserError",
    message: /it is not exported; run deno task export --model-dir embedded:captioner/,
  });
  await assert.rejects(loadCaptioner("embedded:captioner", { runtime: "auto", dtype: "q8" }), {
    name: "UserError",
    message: /in q8: the kernels take weights as they are stored/,
  });
  await withExported("web-pipeline", async (path) => {
    await assert.rejects(loadCaptioner(path, { runtime: "webgpu-kernels" }), {
      name: "UserError",
      message: /it is exported, and the kernels take the captioner that it was made from/,
    });
    await assert.rejects(loadCaptioner(path, { runtime: "onnx-wasm", dtype: "q4" }), {
      name: "RangeError",
      message: /in q4: it was exported in fp32, q8/,
    });
    const { captioner, runtime, reason } = await loadCaptioner(path, { runtime: "onnx-wasm" });
    assert.equal(runtime, "onnx-wasm");
    assert.equal(reason, "");
    assert.equal((captioner as OnnxCaptioner).dtype, "q8");
    captioner[Symbol.dispose]();
    await Deno.truncate(`${path}/onnx/encoder_model.onnx`, 1000);
    await assert.rejects(loadOnnxCaptioner(path, { provider: "wasm", dtype: "fp32" }), {
      name: "UserError",
      message: /^Cannot open ".*encoder_model\.onnx", which may be damaged: .*; export or fetch it again$/,
    });
    await Deno.remove(`${path}/onnx/encoder_model.onnx`);
    await assert.rejects(loadOnnxCaptioner(path, { provider: "wasm", dtype: "fp32" }), {
      name: "UserError",
      message: /it has no "onnx\/encoder_model\.onnx"/,
    });
  });
});
