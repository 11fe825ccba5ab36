import assert from "node:assert/strict";
import { projectPath } from "../../lib/host/model_folders.ts";

async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", projectPath("tasks/export.ts"), ...args],
    cwd: projectPath(""),
  }).output();
  const text = new TextDecoder();
  return { code, out: text.decode(stdout), err: text.decode(stderr) };
}

Deno.test("export refuses what it does not know, with what it does", async () => {
  const dtype = await run("--output-dir", "x", "--dtype", "fp32,q5");
  assert.equal(dtype.code, 2);
  assert.match(dtype.err, /"q5" is none of fp32, fp16, q8, q4/);
  const twice = await run("--output-dir", "x", "--dtype", "encoder=fp16,encoder=q8,decoder=q4");
  assert.equal(twice.code, 2);
  assert.match(twice.err, /"encoder" is given twice/);
  assert.match((await run("--output-dir", "x", "--dtype", "encoder=fp16=q8")).err, /"fp16=q8" is none of/);
  const flag = await run("--output-dir", "x", "--layuot", "parts");
  assert.equal(flag.code, 2);
  assert.match(flag.err, /--layout/);
});

Deno.test("export names the image that it cannot decode", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const image = `${folder}/broken.png`;
    await Deno.writeTextFile(image, "no picture");
    const { code, err } = await run(
      "--model-dir",
      "embedded:captioner",
      "--output-dir",
      `${folder}/o`,
      "--images",
      image,
    );
    assert.equal(code, 1);
    assert.match(err, /broken\.png": Cannot decode image/);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test({
  name: "an export that is interrupted leaves nothing half written",
  ignore: Deno.build.os === "windows",
  async fn() {
    const folder = await Deno.makeTempDir();
    try {
      const export_ = new Deno.Command(Deno.execPath(), {
        args: [
          "run",
          "-A",
          "--no-check",
          projectPath("tasks/export.ts"),
          ...[
            "--model-dir",
            "embedded:captioner",
            "--output-dir",
            folder,
            "--layout",
            "web-llava",
            "--check",
            "2",
          ],
        ],
        cwd: projectPath(""),
        stdout: "null",
        stderr: "piped",
      }).spawn();
      let said = "";
      for await (const text of export_.stderr.pipeThrough(new TextDecoderStream())) {
        if (said === "" && /write web-llava/.test(text)) export_.kill("SIGINT");
        if (/write/.test(text)) said += text;
      }
      assert.equal((await export_.status).code, 130);
      assert.doesNotMatch(said, /caption with/);
      assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), [".lock"]);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

Deno.test("export prints sizes and how captions compare, or one JSON object", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const same = [
      "--model-dir",
      "embedded:captioner",
      "--layout",
      "web-pipeline",
      "--dtype",
      "q8,fp32",
      "--check",
      "2",
    ];
    const table = await run(...same, "--output-dir", folder);
    assert.equal(table.code, 0, table.err);
    assert.match(table.out, /size +fp32 +q8\n/);
    assert.match(table.out, /web-pipeline\/onnx\/decoder_model_merged\.onnx +3\.\d MB +9\d\d\.\d kB/);
    assert.match(table.out, /web-pipeline +fp32 +2 of 2 +100\.0 %/);
    assert.match(table.err, /caption with web-pipeline in q8/);
    const json = await run(...same, "--output-dir", folder, "--json");
    const { exported } = JSON.parse(json.out);
    assert.equal(exported[0].results[1].parity.sameCaptions, 2);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), [".lock", "web-pipeline"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
