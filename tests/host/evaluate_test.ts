import assert from "node:assert/strict";
import { captionDataset, forgetCaptions } from "../../lib/host/caption_dataset.ts";
import { readPredictions } from "../../lib/host/evaluate.ts";
import { scoreWithBert, scoreWithClip } from "../../lib/host/model_scores.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { testGpu } from "../support/gpu.ts";
import { goldenCorpus, goldenImages } from "../text/metrics/golden.ts";

async function inFolder(work: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function runTask(name: string, args: string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", new URL(`../../tasks/${name}.ts`, import.meta.url).pathname, ...args],
    env,
  }).output();
  const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: decode(stdout), stderr: decode(stderr) };
}

const options = (outputDir: string) => ({
  model: "embedded:captioner",
  datasets: ["sample"],
  split: "test" as const,
  sample: 3,
  numBeams: 1,
  batchSize: 2,
  quiet: true,
  outputDir,
});

Deno.test("captions of a split are kept, continued after a kill, and not mixed with others", async () => {
  await inFolder(async (folder) => {
    const first = await captionDataset(options(folder));
    assert.deepEqual([first.rows.length, first.resumed, first.failed.length], [3, 0, 0]);
    assert.ok(first.modelBytes! > 1e6);
    const path = `${folder}/predictions.jsonl`;
    const whole = await Deno.readTextFile(path);
    // A kill in the middle of the second line.
    const cut = whole.indexOf("\n") + 20;
    await Deno.writeTextFile(path, whole.slice(0, cut).replace(first.rows[0]!.candidate, "from before"));
    const second = await captionDataset(options(folder));
    assert.equal(second.resumed, 1);
    assert.equal(second.rows[0]!.candidate, "from before");
    assert.deepEqual(
      second.rows.slice(1).map((row) => row.candidate),
      first.rows.slice(1).map((row) => row.candidate),
    );
    await assert.rejects(
      captionDataset({ ...options(folder), numBeams: 2 }),
      /another model, data set or settings/,
    );
    await forgetCaptions(folder);
    // What could not be opened has no captions that another model's could be mixed with.
    await assert.rejects(captionDataset({ ...options(folder), model: "embedded:siglip" }), /model_type/);
    const stopped = new AbortController();
    stopped.abort();
    await assert.rejects(captionDataset({ ...options(folder), signal: stopped.signal }), {
      name: "AbortError",
    });
    assert.equal((await captionDataset(options(folder))).rows.length, 3);
    await assert.rejects(captionDataset({ ...options(folder), datasets: ["no such set"] }), /no such set/);
  });
});

Deno.test("evaluate prints the corpus values of predictions as JSON and writes its files", async () => {
  await inFolder(async (folder) => {
    const predictions = `${folder}/p.jsonl`;
    await Deno.writeTextFile(
      predictions,
      goldenImages.map(({ id, candidate, references }) =>
        `${JSON.stringify({ id, candidate, references })}\n`
      ).join(""),
    );
    assert.equal((await readPredictions(predictions)).length, goldenImages.length);
    const { code, stdout, stderr } = await runTask("evaluate", [
      "--predictions",
      predictions,
      "--json",
      "--bootstrap-samples",
      "20",
      "--output-dir",
      `${folder}/out`,
    ], { WNSEARCHDIR: `${folder}/none` });
    assert.equal(code, 0, stderr);
    assert.match(stderr, /METEOR without synonyms/);
    const values = JSON.parse(stdout);
    assert.ok(Math.abs(values.cider_d - goldenCorpus.pycocoevalcap.ptb.cider_d) < 1e-6);
    assert.ok(Math.abs(values.bleu_4 - goldenCorpus.pycocoevalcap.ptb.bleu[3]!) < 1e-6);
    assert.ok(Math.abs(values.meteor - goldenCorpus.nltk_meteor.word_tokenize.no_synonyms) < 1e-6);
    const names = [...Deno.readDirSync(`${folder}/out`)].map(({ name }) => name).sort();
    assert.deepEqual(names, ["report.html", "scores.csv", "scores.jsonl", "summary.json"]);
  });
});

Deno.test("compare says what is better, and refuses sets without a common image", async () => {
  await inFolder(async (folder) => {
    const write = async (name: string, rows: unknown) => {
      await Deno.writeTextFile(`${folder}/${name}`, JSON.stringify(rows));
      return `${folder}/${name}`;
    };
    const row = (id: string, candidate: string) => ({ id, candidate, references: [`a ${id} on the grass`] });
    const ids = ["dog", "cat", "cow", "hen"];
    const a = await write("a.json", ids.map((id) => row(id, "a thing")));
    const b = await write("b.json", ids.map((id) => row(id, `a ${id} on the grass`)));
    const c = await write("c.json", [row("pig", "a pig")]);
    const args = ["--output-dir", `${folder}/out`, "--bootstrap-samples", "50", "--json"];
    const { code, stdout, stderr } = await runTask("compare", ["--before", a, "--after", b, ...args]);
    assert.equal(code, 0, stderr);
    const { count, models } = JSON.parse(stdout);
    assert.equal(count, 4);
    assert.deepEqual([models[1].better, models[1].worse], [4, 0]);
    assert.ok(models[1].differences.rougeL.difference > 0 && models[1].differences.rougeL.pValue < 0.05);
    assert.ok((await Deno.readTextFile(`${folder}/out/compare.html`)).includes("better (4)"));
    const refused = await runTask("compare", ["--before", a, "--after", c, ...args]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /no image in common/);
    const gone = await runTask("compare", ["--before", a, "--after", `${folder}/gone.jsonl`, ...args]);
    assert.equal(gone.code, 1);
    assert.match(gone.stderr, /gone\.jsonl": it does not exist/);
  });
});

Deno.test("compare looks at images too, in pairs", async () => {
  await inFolder(async (folder) => {
    const sample = new URL("../../data/sample/test/", import.meta.url).pathname;
    const lines = (await Deno.readTextFile(`${sample}metadata.jsonl`)).split("\n").slice(0, 4);
    const rows = lines.map((line) => JSON.parse(line)).map(({ file_name, alt_text }) => ({
      id: file_name,
      candidate: alt_text,
      references: [alt_text],
      image: `${sample}${file_name}`,
    }));
    await Deno.writeTextFile(`${folder}/right.json`, JSON.stringify(rows));
    // Each image has the caption of the one after.
    const turned = rows.map((row, i) => ({ ...row, candidate: rows[(i + 1) % 4]!.candidate }));
    await Deno.writeTextFile(`${folder}/wrong.json`, JSON.stringify(turned));
    const { code, stdout, stderr } = await runTask("compare", [
      ...["--before", `${folder}/wrong.json`, "--after", `${folder}/right.json`, "--json"],
      ...["--clip-model", "embedded:siglip", "--bootstrap-samples", "50", "--output-dir", `${folder}/out`],
    ]);
    assert.equal(code, 0, stderr);
    const { models: [wrong, right] } = JSON.parse(stdout);
    assert.ok(right.clip_score > wrong.clip_score + 0.5);
    const { difference, pValue } = right.differences.clip_score;
    assert.ok(Math.abs(difference - (right.clip_score - wrong.clip_score)) < 1e-9 && pValue < 0.05);
    assert.match(await Deno.readTextFile(`${folder}/out/compare.html`), /CLIPScore/);
  });
});

Deno.test("compare tells memory and failures of models, each from a process of its own, and keeps them", async () => {
  await inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/data/test`, { recursive: true });
    const from = projectPath("data/sample/test");
    const lines = (await Deno.readTextFile(`${from}/metadata.jsonl`)).split("\n").slice(0, 4);
    await Deno.writeTextFile(`${folder}/data/test/metadata.jsonl`, lines.join("\n"));
    for (const [i, line] of lines.entries()) {
      const { file_name } = JSON.parse(line);
      if (i > 0) await Deno.copyFile(`${from}/${file_name}`, `${folder}/data/test/${file_name}`);
      else await Deno.writeTextFile(`${folder}/data/test/${file_name}`, "no picture");
    }
    const models = ["--before", "embedded:captioner", "--after", projectPath("data/tiny/captioner")];
    const args = [
      ...models,
      "--dataset",
      `${folder}/data`,
      "--max-bad-rows",
      "0.5",
      "--num-beams",
      "1",
      "--json",
    ];
    const compare = async () => {
      const { code, stdout, stderr } = await runTask("compare", [
        ...args,
        ...["--output-dir", `${folder}/out`, "--bootstrap-samples", "10"],
      ]);
      assert.equal(code, 0, stderr);
      return JSON.parse(stdout);
    };
    const first = await compare();
    assert.equal(first.count, 3);
    for (const { failure_rate, peak_memory_bytes, gpu_bytes, model_bytes } of first.models) {
      assert.equal(failure_rate, 0.25);
      // The weights lie on the GPU, and the process holds more than them.
      assert.ok(gpu_bytes > model_bytes && gpu_bytes < 100e6, `${gpu_bytes}`);
      assert.ok(peak_memory_bytes > 5e7 && peak_memory_bytes < 4e9, `${peak_memory_bytes}`);
    }
    const page = await Deno.readTextFile(`${folder}/out/compare.html`);
    assert.match(page, /peak memory<\/th><td class="n">\d+\.\d MB/);
    // Nothing is left to caption but what failed: what was measured stays, unless more was needed.
    const again = await compare();
    for (const [i, { gpu_bytes, peak_memory_bytes, rougeL }] of again.models.entries()) {
      assert.equal(gpu_bytes, first.models[i].gpu_bytes);
      assert.ok(peak_memory_bytes >= first.models[i].peak_memory_bytes);
      assert.equal(rougeL, first.models[i].rougeL);
    }
    const refused = await runTask("compare", [
      "--before",
      "embedded:captioner",
      "--after",
      `${folder}/data`,
      "--json",
      ...["--output-dir", `${folder}/refused`],
    ]);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /could not be run; see above/);
  });
});

Deno.test("evaluate refuses what it cannot do with one line", async () => {
  const none = await runTask("evaluate", []);
  assert.equal(none.code, 1);
  assert.match(none.stderr, /--predictions FILE or --model DIR/);
  const unknown = await runTask("evaluate", ["--predictons", "x"]);
  assert.equal(unknown.code, 2);
  assert.match(unknown.stderr, /--predictions/);
  const missing = await runTask("evaluate", ["--predictions", "no/such/file.json"]);
  assert.equal(missing.code, 1);
  assert.match(missing.stderr, /no\/such\/file\.json/);
  const both = await runTask("evaluate", ["--model", "embedded:captioner", "--references", "x.json"]);
  assert.deepEqual([both.code, both.stdout], [1, ""]);
  assert.match(both.stderr, /--references with --model/);
});

Deno.test("the embedded SigLIP scores captions of their own pictures above those of others", async () => {
  const lines = (await Deno.readTextFile(projectPath("data/sample/test/metadata.jsonl"))).trim().split("\n");
  const rows = lines.slice(0, 6).map((line) => JSON.parse(line)).map(({ file_name, alt_text }, i) => ({
    id: String(i),
    image: projectPath(`data/sample/test/${file_name}`),
    candidate: [alt_text].flat()[0] as string,
    references: [alt_text].flat() as string[],
  }));
  const gpu = await testGpu();
  const options = { model: "embedded:siglip", batchSize: 4, quiet: true };
  const right = await scoreWithClip(gpu, rows, options);
  const wrong = await scoreWithClip(
    gpu,
    rows.map((row, i) => ({ ...row, candidate: rows[(i + 1) % rows.length]!.candidate })),
    options,
  );
  const mean = (scores: typeof right, name: string) =>
    scores.reduce((sum, score) => sum + score[name]!, 0) / scores.length;
  for (const name of ["clip_score", "ref_clip_score", "siglip_score"]) {
    assert.ok(
      mean(right, name) > mean(wrong, name) + 0.2,
      `${name}: ${mean(right, name)}, ${mean(wrong, name)}`,
    );
  }
  await assert.rejects(
    scoreWithClip(gpu, [{ id: "x", candidate: "a", references: ["b"] }], options),
    /row "x" names none/,
  );
  await assert.rejects(scoreWithBert(gpu, rows, { ...options, layer: 1 }), /RoBERTa/);
});
