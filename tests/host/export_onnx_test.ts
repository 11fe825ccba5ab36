/** The whole of `deno task export`, on the embedded captioner: what is written, and that nothing wrong is. */
import assert from "node:assert/strict";
import { exportOnnx, type ExportOnnxOptions } from "../../lib/host/export_onnx.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { testGpu } from "../support/gpu.ts";

async function inFolder(
  run: (options: ExportOnnxOptions, progress: string[]) => Promise<void>,
): Promise<void> {
  const outputDir = await Deno.makeTempDir();
  const progress: string[] = [];
  try {
    await run({
      model: "embedded:captioner",
      outputDir,
      layouts: ["web-pipeline"],
      dtypes: ["fp32"],
      images: [await Deno.readFile(projectPath("data/sample/test/0000.png"))],
      minAgreement: 0.9,
      gpu: await testGpu(),
      onProgress: (what) => progress.push(what),
    }, progress);
  } finally {
    await Deno.remove(outputDir, { recursive: true });
  }
}

function filesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
    isDirectory ? filesBelow(`${folder}/${name}`).map((below) => `${name}/${below}`) : [name]
  ).sort();
}

Deno.test("a layout is written with its graphs, texts and proof", async () => {
  await inFolder(async (options, progress) => {
    const [exported] = await exportOnnx({ ...options, dtypes: ["fp32", "q8"] });
    assert.equal(exported!.path, `${options.outputDir}/web-pipeline`);
    assert.deepEqual(filesBelow(exported!.path), [
      "README.md",
      "config.json",
      "generation_config.json",
      "onnx/decoder_model_merged.onnx",
      "onnx/decoder_model_merged_quantized.onnx",
      "onnx/encoder_model.onnx",
      "onnx/encoder_model_quantized.onnx",
      "parity.json",
      "preprocessor_config.json",
      "tokenizer.json",
      "tokenizer_config.json",
    ]);
    const { dtypes } = JSON.parse(await Deno.readTextFile(`${exported!.path}/parity.json`));
    assert.equal(dtypes.fp32.same_captions, 1);
    assert.equal(dtypes.fp32.tokens, 8);
    assert.ok(dtypes.fp32.mean_log_prob_drift_per_token < 1e-5);
    assert.equal(dtypes.q8.agreeing_tokens, 8);
    assert.ok(dtypes.q8.bytes.encoder_model < dtypes.fp32.bytes.encoder_model / 2);
    assert.ok(progress.includes("write web-pipeline/onnx/encoder_model_quantized.onnx"));
  });
});

Deno.test("a layout whose captions disagree is not written, and what was there stays", async () => {
  await inFolder(async (options) => {
    await Deno.mkdir(`${options.outputDir}/web-pipeline`);
    await Deno.writeTextFile(`${options.outputDir}/web-pipeline/kept`, "");
    // Of an export that was killed.
    await Deno.mkdir(`${options.outputDir}/.tmp-web-llava-1`);
    // No agreement reaches this.
    await assert.rejects(exportOnnx({ ...options, dtypes: ["q4"], minAgreement: 1.1 }), {
      name: "UserError",
      message: /in q4 100\.0 % of the tokens agree .*; leave q4 out with --dtype$/,
    });
    assert.deepEqual(filesBelow(options.outputDir), [".lock", "web-pipeline/kept"]);
  });
});

Deno.test("without images nothing is compared, and the files say so", async () => {
  await inFolder(async (options, progress) => {
    const [exported] = await exportOnnx({ ...options, images: [] });
    assert.equal(exported!.results[0]!.parity, undefined);
    assert.match(await Deno.readTextFile(`${exported!.path}/README.md`), /Nothing was compared/);
    const { dtypes } = JSON.parse(await Deno.readTextFile(`${exported!.path}/parity.json`));
    assert.deepEqual(Object.keys(dtypes.fp32), ["bytes"]);
    assert.ok(!progress.some((what) => what.startsWith("caption")));
  });
});
