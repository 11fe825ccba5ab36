/** The whole of `deno task export`, on the embedded captioner: what is written, and that nothing wrong is. */
import assert from "node:assert/strict";
import { exportOnnx, type ExportOnnxOptions } from "../../lib/host/export_onnx.ts";
import { quantizeOnnx } from "../../lib/host/quantize_onnx.ts";
import { readProofImages } from "../../lib/host/proof_images.ts";
import { loadOnnxCaptioner } from "../../lib/host/runtimes.ts";
import { testGpu } from "../support/gpu.ts";
import { inTemporaryFolder, runTaskScript } from "../support/hub_client.ts";
import { startHub } from "../support/hub_server.ts";

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
      images: await readProofImages({ check: 1 }),
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
      "confidence.json",
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

Deno.test("precisions added later are those of an export, and the folder tells of all", async () => {
  await inFolder(async (options) => {
    const [small] = await exportOnnx(options);
    const whole = `${options.outputDir}/whole`;
    await exportOnnx({ ...options, outputDir: whole, dtypes: ["fp32", "q8", "q4"] });
    const quantized = await quantizeOnnx({
      ...options,
      model: small!.path,
      outputDir: small!.path,
      dtypes: ["q8", "q4"],
    });
    assert.deepEqual(quantized.results.map(({ dtype }) => dtype), ["fp32", "q8", "q4"]);
    assert.equal(quantized.results[1]!.parity?.sameCaptions, 1);
    for (const file of filesBelow(`${whole}/web-pipeline`)) {
      const [want, found] = [`${whole}/web-pipeline/${file}`, `${small!.path}/${file}`].map((path) =>
        Deno.readFileSync(path)
      );
      if (file === "parity.json") {
        // Drifts are rounded differently: one is from the engine, the other from the fp32 graphs.
        const tokens = (bytes: Uint8Array) =>
          JSON.parse(new TextDecoder().decode(bytes)).dtypes.q4.agreeing_tokens;
        assert.equal(tokens(found!), tokens(want!));
      } else if (file !== "README.md") assert.deepEqual(found, want, file);
    }
  });
});

Deno.test("a mix of precisions has the graphs it needs, is proved, and is what captions are made with", async () => {
  await inFolder(async (options) => {
    const mix = () => ({ encoder_model: "fp16", decoder_model_merged: "q8" } as const);
    const [exported] = await exportOnnx({ ...options, dtypes: [], mix });
    assert.deepEqual(filesBelow(`${exported!.path}/onnx`), [
      "decoder_model_merged_quantized.onnx",
      "encoder_model_fp16.onnx",
    ]);
    assert.deepEqual(exported!.results.map(({ dtype, parity }) => [dtype, parity?.agreeingTokens]), [[
      "mixed",
      8,
    ]]);
    using captioner = await loadOnnxCaptioner(exported!.path, { provider: "wasm" });
    assert.equal(captioner.dtype, "mixed");
    assert.notEqual((await captioner.caption(options.images[0]!.bytes)).caption, "");
    await assert.rejects(
      quantizeOnnx({ ...options, model: exported!.path, outputDir: exported!.path, dtypes: ["q4"] }),
      /Cannot run ".*" in fp32: it was exported in mixed/,
    );
  });
});

Deno.test("what cannot be made leaves an exported folder as it was", async () => {
  await inFolder(async (options) => {
    const [exported] = await exportOnnx({ ...options, images: [] });
    const { path } = exported!;
    const before = filesBelow(path);
    const quantize = (more: Partial<Parameters<typeof quantizeOnnx>[0]>) =>
      quantizeOnnx({ ...options, model: path, outputDir: path, dtypes: ["q4"], ...more });
    await assert.rejects(quantize({ dtypes: ["fp32"] }), /fp32 is what precisions are made from/);
    await assert.rejects(quantize({ minAgreement: 1.1 }), /leave q4 out/);
    assert.deepEqual(filesBelow(path), before);
    const help = await runTaskScript("tasks/quantize.ts", ["--model-dir", path, "--dtype", "encodr=q4"], {});
    assert.match(help.stderr, /"encodr" is no component; did you mean "encoder"\?/);
    const nothing = await runTaskScript("tasks/quantize.ts", ["--model-dir", "tests"], {});
    assert.match(nothing.stderr, /holds none of parts, web-llava, web-pipeline/);
  });
});

Deno.test("an exported captioner is pushed whole, each layout to its own repository", async () => {
  const token = "hf_abcdefghijklmnopqrstuvwxyz";
  await inTemporaryFolder(async (folder) => {
    await using hub = startHub({ tokens: { [token]: "ada" } });
    const env = hub.environment(`${folder}/home`, { HF_TOKEN: token });
    const args = ["--model-dir", "embedded:captioner", "--output-dir", `${folder}/onnx`, "--dtype", "q8"];
    const push = ["--check", "0", "--layout", "web-llava", "web-pipeline", "--push-to-hub"];
    const nowhere = await runTaskScript("tasks/export.ts", [...args, ...push], env);
    assert.match(nowhere.stderr, /say where to with --model-id/);
    const pushed = await runTaskScript("tasks/export.ts", [...args, ...push, "--model-id", "ada/alt"], env);
    assert.equal(pushed.code, 0, pushed.stderr);
    for (const layout of ["web-llava", "web-pipeline"]) {
      const below = await runTaskScript(
        "mod.ts",
        ["caption", "--model", `ada/alt-${layout}`, "--runtime", "onnx-wasm", "data/sample/test/0000.png"],
        env,
      );
      assert.equal(below.code, 0, below.stderr);
    }
    await Deno.remove(`${folder}/onnx/web-llava/onnx/vision_encoder_quantized.onnx`);
    const broken = await runTaskScript(
      "tasks/upload.ts",
      ["--model-id", "ada/x", "--save-path", `${folder}/onnx/web-llava`],
      env,
    );
    assert.match(broken.stderr, /it is no whole export, .*vision_encoder_quantized\.onnx/);
  });
});
