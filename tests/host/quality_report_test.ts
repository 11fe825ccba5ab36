import assert from "node:assert/strict";
import { parseCsv } from "../../lib/format/csv.ts";
import { parseQualityArguments } from "../../lib/host/quality_command.ts";
import {
  type QualityReportOptions,
  type QualityReportResult,
  reportQuality,
} from "../../lib/host/quality_report.ts";
import { readRowWeights } from "../../lib/host/row_weights.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { sharp } from "../../lib/host/sharp.ts";
import { openParquet } from "../../lib/datasets/parquet.ts";
import { openFile, removeIfThere } from "../../lib/host/files.ts";
import { EXAMPLE_COLUMNS, RANKED_COLUMNS } from "../../lib/quality/tables.ts";
import { cosine } from "../../lib/evaluate/similarity.ts";
import { ClipScorer } from "../../lib/host/clip_scorer.ts";
import { decodeImage } from "../../lib/host/decode.ts";
import { preprocess } from "../../lib/image/processor.ts";
import { writeGoldenModel } from "../support/captioner_folders.ts";
import { testGpu } from "../support/gpu.ts";

/** Columns that the Python report writes, in its order. */
const PYTHON_COLUMNS = [
  "idx",
  "alt_text",
  "original_text",
  "objects",
  "word_count",
  "has_image",
];

let root = "";
Deno.test.beforeAll(async () => {
  root = await Deno.makeTempDir();
});
Deno.test.afterAll(() => Deno.remove(root, { recursive: true }));

let made = 0;
const newFolder = async () => {
  const path = `${root}/${made++}`;
  await Deno.mkdir(path);
  return path;
};

/** A report without models and progress, unless options say otherwise. */
async function report(
  dataset: string,
  options: Partial<QualityReportOptions> = {},
): Promise<QualityReportResult & { outputDir: string }> {
  const flags = parseQualityArguments(["--split", "all", "--clip-model", "none", "--bert-model", "none"]);
  const outputDir = options.outputDir ?? `${await newFolder()}/report`;
  const result = await reportQuality({ ...flags, quiet: true, datasets: [dataset], ...options, outputDir });
  return { ...result, outputDir };
}

async function writeLines(rows: readonly unknown[], name = "captions.jsonl"): Promise<string> {
  const path = `${await newFolder()}/${name}`;
  await Deno.writeTextFile(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
  return path;
}

async function readTable(path: string): Promise<Record<string, string>[]> {
  const [header, ...records] = [...parseCsv(await Deno.readTextFile(path))].map(({ fields }) => fields);
  return records.map((fields) => Object.fromEntries(header!.map((name, i) => [name, fields[i]!])));
}

/** An image folder of the sample's pictures; `undefined` names a file that is not there. */
async function imageFolder(rows: readonly (Record<string, unknown> & { image?: Uint8Array | number })[]) {
  const folder = await newFolder();
  const lines: string[] = [];
  for (const [i, { image, ...columns }] of rows.entries()) {
    const name = `${i}.png`;
    if (typeof image === "number") {
      await Deno.copyFile(
        projectPath(`data/sample/test/${String(image).padStart(4, "0")}.png`),
        `${folder}/${name}`,
      );
    } else if (image !== undefined) await Deno.writeFile(`${folder}/${name}`, image);
    lines.push(JSON.stringify({ file_name: name, ...columns }));
  }
  await Deno.writeTextFile(`${folder}/metadata.jsonl`, lines.join("\n"));
  return folder;
}

Deno.test("the sample is reported on with the embedded models, and every file is there", async () => {
  const { summary, outputDir } = await report("sample", {
    split: "test",
    clipModel: "embedded:siglip",
    bertModel: "embedded:siglip",
    gpu: await testGpu(),
    plot: true,
    topk: 10,
  });
  assert.equal(summary.total_samples, 100);
  assert.ok(summary.clip_score_mean! > 0.7, "right captions");
  assert.ok(summary.clip_score_mismatched_mean! < 0.3, "wrong captions");
  assert.ok(summary.clip_ranking_accuracy! > 0.98);
  assert.ok(summary.bert_score_mean! > 0.6 && summary.bert_score_mean! < 1);
  assert.equal(summary.bert_is_reference, false);
  assert.ok(!summary.verdicts.some(({ id }) => id === "fidelity_roberta"), "no verdict on another scale");
  assert.ok(!summary.verdicts.some(({ id }) => id === "alignment_clip"));
  assert.ok(summary.bias.gender!.original! > 0 && summary.bias.gender!.transformed === 0);
  assert.equal(summary.bias.gender!.change, -1);
  assert.equal(summary.protected_gender_rate_transformed, 0);
  assert.equal(summary.avg_object_coverage, 1);

  const examples = await readTable(`${outputDir}/per_example_scores.csv`);
  assert.equal(examples.length, 100);
  assert.deepEqual(Object.keys(examples[0]!), EXAMPLE_COLUMNS);
  assert.deepEqual(EXAMPLE_COLUMNS.slice(0, PYTHON_COLUMNS.length), PYTHON_COLUMNS);
  const mean = examples.reduce((sum, row) => sum + Number(row.clip_score), 0) / 100;
  assert.ok(Math.abs(mean - summary.clip_score_mean!) < 1e-9);

  const ranked = await readTable(`${outputDir}/ranked_by_combined.csv`);
  assert.deepEqual(Object.keys(ranked[0]!), RANKED_COLUMNS);
  const combined = ranked.map((row) => Number(row.combined_score));
  assert.deepEqual(combined, combined.toSorted((a, b) => b - a));
  assert.deepEqual([combined[0], combined.at(-1)], [1, 0]);
  assert.deepEqual(ranked.map(({ idx }) => idx).sort(), examples.map(({ idx }) => idx).sort());

  const counts = await readTable(`${outputDir}/object_counts.csv`);
  const rare = await readTable(`${outputDir}/objects_below_50.csv`);
  assert.deepEqual(Object.keys(counts[0]!), ["object", "count"]);
  assert.equal(rare.length, summary.obj_rare_count);
  assert.equal(counts.reduce((sum, row) => sum + Number(row.count), 0), summary.obj_total_mentions);

  const failures = [...Deno.readDirSync(`${outputDir}/top_failures`)].map(({ name }) => name);
  const worst = ranked[0]!;
  assert.equal(failures.length, 20);
  assert.ok(failures.includes(`${worst.idx}.txt`));
  const picture = `${worst.idx}_c${Number(worst.clip_score).toFixed(3)}_b${
    Number(worst.bert_score).toFixed(3)
  }.jpg`;
  assert.ok(failures.includes(picture), picture);

  const scores = await openParquet(await openFile(`${outputDir}/scores.parquet`));
  const [first] = await scores.read(0, scores.columns);
  assert.equal(first!.source_id, `sample-${examples[0]!.idx}`);
  assert.equal(first!.clip_score, Number(examples[0]!.clip_score));
  for (const name of ["lorenz_curve", "object_freq_loglog", "caption_length_hist", "alignment_hist"]) {
    assert.match(await Deno.readTextFile(`${outputDir}/${name}.svg`), /^<svg xmlns/);
  }
  assert.deepEqual([...Deno.readDirSync(outputDir)].filter(({ name }) => name.startsWith(".")), []);
});

Deno.test("weights of the report are read by training, for one data set and for several", async () => {
  const path = await writeLines([
    { caption: "A dog and a cat.", objects: ["dog", "cat"] },
    { caption: "A dog on a chair.", objects: ["dog"] },
    { caption: "A dog at night.", objects: ["dog"] },
    { caption: "A wide view of nothing." },
  ]);
  const { outputDir } = await report(path);
  const table = await readTable(`${outputDir}/reweighting_probs.csv`);
  assert.deepEqual(Object.keys(table[0]!).slice(0, 3), ["idx", "reweight_raw", "reweight_norm"]);
  const sum = table.reduce((total, row) => total + Number(row.reweight_norm), 0);
  assert.ok(Math.abs(sum - 1) < 1e-9);
  for (const names of [[path], [path, "sample"]]) {
    const weights = await readRowWeights(`${outputDir}/reweighting_probs.csv`, names);
    const found = weights.weigh([0, 1, 2, 3].map((number) => ({ dataset: path, number })));
    // The cat is in one row, the dog in three: (1 + 1/3) / 2 against 1/3.
    assert.ok(Math.abs(found[0]! / found[1]! - 2) < 1e-4);
    assert.equal(found[3], 0);
  }
});

Deno.test("a broken report goes on where it stopped and gives the same files", async () => {
  const rows = Array.from({ length: 2500 }, (_, i) => ({
    caption: `A man with number ${i} beside a table.`,
    objects: [`table`, `object${i % 7}`],
  }));
  const path = await writeLines(rows);
  const whole = await report(path);
  const outputDir = `${await newFolder()}/report`;
  const aborting = new AbortController();
  aborting.abort();
  // Ends before the first rows; then a journal with a line cut short, as a kill leaves it.
  await assert.rejects(report(path, { outputDir, signal: aborting.signal }), { name: "AbortError" });
  const journal = `${outputDir}/.work/examples.jsonl`;
  const broken = await report(path, { outputDir: `${await newFolder()}/report`, maxSamples: 900 });
  assert.ok(broken.summary.total_samples < 2500);

  await runUntilBroken(path, outputDir);
  const lines = (await Deno.readTextFile(journal)).split("\n");
  assert.ok(lines.length > 1000 && lines.length <= 2501);
  await Deno.writeTextFile(journal, lines.slice(0, 1200).join("\n") + '\n[{"idx":12');
  const resumed = await report(path, { outputDir });
  assert.equal(resumed.resumed, 1200);
  assert.deepEqual(resumed.summary, whole.summary);
  for (const name of ["per_example_scores.csv", "ranked_by_combined.csv", "reweighting_probs.csv"]) {
    assert.equal(
      await Deno.readTextFile(`${outputDir}/${name}`),
      await Deno.readTextFile(`${whole.outputDir}/${name}`),
      name,
    );
  }
  assert.equal((await report(path, { outputDir })).resumed, 0, "a finished report is made anew");
});

Deno.test("a report with models that was cut inside a batch gives the same scores", async () => {
  const models = {
    clipModel: "embedded:siglip",
    bertModel: "embedded:siglip",
    gpu: await testGpu(),
    batchSize: 8,
  };
  const whole = await report("sample", { ...models, split: "validation" });
  const outputDir = `${await newFolder()}/report`;
  await runUntilBroken("sample", outputDir, { ...models, split: "validation" });
  const journal = `${outputDir}/.work/examples.jsonl`;
  const lines = (await Deno.readTextFile(journal)).split("\n");
  await Deno.writeTextFile(journal, lines.slice(0, 37).join("\n") + "\n");
  const resumed = await report("sample", { ...models, split: "validation", outputDir });
  assert.equal(resumed.resumed, 37);
  assert.deepEqual(resumed.summary, whole.summary);
  for (const name of ["per_example_scores.csv", "near_duplicates.csv"]) {
    assert.equal(
      await Deno.readTextFile(`${outputDir}/${name}`),
      await Deno.readTextFile(`${whole.outputDir}/${name}`),
    );
  }
});

/** Looks at all rows and then cannot write: a folder lies where a table should. */
async function runUntilBroken(
  dataset: string,
  outputDir: string,
  options: Partial<QualityReportOptions> = {},
): Promise<void> {
  await removeIfThere(`${outputDir}/per_example_scores.csv`);
  await Deno.mkdir(`${outputDir}/per_example_scores.csv/x`, { recursive: true });
  await assert.rejects(report(dataset, { ...options, outputDir }));
  await Deno.remove(`${outputDir}/per_example_scores.csv`, { recursive: true });
}

Deno.test("a report of other settings does not take over what another left", async () => {
  const path = await writeLines(Array.from({ length: 50 }, (_, i) => ({ caption: `A dog number ${i}.` })));
  const outputDir = `${await newFolder()}/report`;
  await runUntilBroken(path, outputDir);
  const other = await report(path, { outputDir, captionColumn: "caption", maxSamples: 5 });
  assert.equal(other.resumed, 0);
  await runUntilBroken(path, outputDir);
  assert.equal((await report(path, { outputDir, restart: true })).resumed, 0);
});

Deno.test("no captions: refused with the columns that are there, or listed where some rows lack them", async () => {
  await assert.rejects(
    report(await writeLines([{ file: "a", score: 1 }])),
    /no caption column.*"file", "score"/s,
  );
  await assert.rejects(
    report(await writeLines([{ caption: "" }, { caption: "  " }])),
    /no row .*has a caption.*empty/s,
  );
  const { summary, outputDir } = await report(
    await writeLines([{ caption: "A dog on a lawn." }, { caption: "" }, { caption: null }, { caption: 7 }]),
  );
  assert.equal(summary.total_samples, 1);
  assert.equal(summary.bad_rows, 3);
  assert.match(summary.bad_row_examples.map(({ reason }) => reason).sort().join("; "), /7,.*empty.*null/s);
  assert.match(await Deno.readTextFile(`${outputDir}/report.html`), /Rows that cannot be used/);
});

Deno.test("no originals and no objects: said so, and nothing is NaN", async () => {
  const { summary, outputDir } = await report(
    await writeLines([
      { caption: "A woman rides a bicycle." },
      { caption: "A tree in a field." },
    ]),
  );
  assert.equal(summary.samples_with_originals, 0);
  assert.deepEqual(summary.bias.gender, { original: null, transformed: 0.5, change: null });
  assert.equal(summary.avg_object_coverage, null);
  assert.ok(!summary.verdicts.some(({ id }) => id.startsWith("object_")));
  assert.deepEqual(summary.imbalance_warnings, []);
  const page = await Deno.readTextFile(`${outputDir}/report.html`);
  assert.match(page, /no originals to compare/);
  assert.doesNotMatch(page.slice(0, page.indexOf("<script>")), /NaN|undefined|Infinity/);
  assert.doesNotMatch(await Deno.readTextFile(`${outputDir}/per_example_scores.csv`), /NaN|undefined|null/);
  assert.equal((await readTable(`${outputDir}/object_counts.csv`)).length, 0);
  assert.match(await Deno.readTextFile(`${outputDir}/reweighting_probs.csv`), /^idx,/);
});

Deno.test("no model is asked for where there is nothing to compare", async () => {
  const { clipModel: _, bertModel: __, ...flags } = parseQualityArguments(["--split", "all"]);
  const datasets = [await writeLines([{ caption: "A dog on a lawn." }])];
  const { summary } = await reportQuality({
    ...flags,
    datasets,
    quiet: true,
    outputDir: `${await newFolder()}/r`,
  });
  assert.deepEqual([summary.clip_model, summary.bert_model], [null, null]);
});

Deno.test("objects are a list, text, or boxes, which name none", async () => {
  const { summary } = await report(
    await writeLines([
      { caption: "A dog and two cats.", objects: ["dog", "cat"] },
      { caption: "A dog and a cat.", objects: "dog; cat" },
      { caption: "A dog and a cat.", tags: "dog,cat" },
      { caption: "A dog and a cat.", objects: [{ bbox: [0, 0, 1, 1], category: 3 }] },
      { caption: "A red car.", objects: "bus" },
    ]),
  );
  assert.equal(summary.samples_with_objects, 4);
  assert.equal(summary.obj_total_mentions, 7);
  assert.equal(summary.obj_miss_rate, 0.25);
  assert.equal(summary.avg_object_coverage, 0.75);
});

Deno.test("missing, broken, blank and tiny images are told, and their pairs are not scored", async () => {
  const plain = async (side: number, colour: string) =>
    new Uint8Array(
      await sharp({ create: { width: side, height: side, channels: 3, background: colour } }).png()
        .toBuffer(),
    );
  const caption = "A red bus in the snow.";
  const folder = await imageFolder([
    { caption, image: 0 },
    { caption: "A wide blue sky at night.", image: 2 },
    { caption, image: undefined },
    { caption, image: new TextEncoder().encode("no picture") },
    { caption, image: await plain(200, "#ffffff") },
    { caption, image: await plain(20, "#ff0000") },
  ]);
  const { summary, outputDir } = await report(folder, { clipModel: "embedded:siglip", gpu: await testGpu() });
  assert.equal(summary.total_samples, 6);
  assert.equal(summary.samples_with_images, 4);
  assert.deepEqual(summary.image_flags, { broken: 2, blank: 2, tiny: 1, text: 0, screenshot: 0 });
  assert.equal(summary.flagged_images, 4);
  const table = await readTable(`${outputDir}/per_example_scores.csv`);
  const missing = table.filter(({ has_image }) => has_image === "False");
  assert.deepEqual(missing.map(({ clip_score, image_flags }) => [clip_score, image_flags]), [["", "broken"], [
    "",
    "broken",
  ]]);
  const ranked = await readTable(`${outputDir}/ranked_by_combined.csv`);
  assert.ok(
    ranked.slice(0, 2).every(({ has_image }) => has_image === "False"),
    "what cannot be compared is worst",
  );
  assert.match(
    await Deno.readTextFile(`${outputDir}/report.html`),
    /unknown content|cannot be read|No such file/i,
  );
});

Deno.test("near duplicates are found within and across splits, other pictures are not", async () => {
  const folder = await newFolder();
  const picture = (index: number) => Deno.readFile(projectPath(`data/sample/train/000${index}.png`));
  for (const split of ["train", "validation", "test"]) await Deno.mkdir(`${folder}/${split}`);
  const write = async (path: string, bytes: Uint8Array) => await Deno.writeFile(`${folder}/${path}`, bytes);
  for (let i = 0; i < 6; i++) await write(`train/${i}.png`, await picture(i));
  const changed = await sharp(await picture(0)).resize(200, 200).jpeg({ quality: 80 }).toBuffer();
  await write("test/copy.png", new Uint8Array(changed));
  await write("test/other.png", await picture(7));
  await write("train/same.png", await picture(3));
  await write("validation/new.png", await picture(8));
  const files = ["0", "1", "2", "3", "4", "5", "same"].map((name) => `train/${name}.png`)
    .concat("test/copy.png", "test/other.png", "validation/new.png");
  await Deno.writeTextFile(
    `${folder}/metadata.jsonl`,
    files.map((file_name, i) => JSON.stringify({ file_name, caption: `A picture of scene number ${i}.` }))
      .join("\n"),
  );
  const { summary, outputDir } = await report(folder);
  assert.deepEqual(summary.near_duplicates_by_hash, {
    groups: 2,
    surplus: 2,
    leakedGroups: 1,
    leakedTrainImages: 1,
  });
  assert.equal(summary.identical_images, 1);
  assert.ok(summary.verdicts.some(({ id, grade }) => id === "leaked_images" && grade === "poor"));
  const table = await readTable(`${outputDir}/near_duplicates.csv`);
  assert.deepEqual(table.filter(({ leaks }) => leaks === "True").map(({ split }) => split).sort(), [
    "test",
    "train",
  ]);
  const one = await report(folder, { split: "train" });
  assert.ok(!one.summary.verdicts.some(({ id }) => id === "leaked_images"), "one split cannot tell of leaks");
});

Deno.test("HTML and formulas inside captions stay text", async () => {
  const evil = `=HYPERLINK("http://x")<img src=x onerror=alert(1)>`;
  const path = await writeLines([
    {
      caption: evil,
      original_alt_text: `+1 <script>alert(2)</script> "man"`,
      objects: [`<b>dog</b>`, "=cmd"],
    },
    { caption: "@SUM(A1) and a dog.", objects: `"><svg onload=alert(3)>` },
  ]);
  const { outputDir } = await report(path);
  const page = await Deno.readTextFile(`${outputDir}/report.html`);
  assert.doesNotMatch(page, /<img src=x|<script>alert|<svg onload|<b>dog/);
  assert.match(page, /&lt;img src=x onerror=alert\(1\)&gt;/);
  for (const name of ["per_example_scores.csv", "ranked_by_combined.csv"]) {
    const table = await readTable(`${outputDir}/${name}`);
    const captions = table.map(({ alt_text }) => alt_text).sort();
    assert.deepEqual(captions, [`'${evil}`, "'@SUM(A1) and a dog."].sort());
    assert.ok(table.some(({ original_text }) => original_text!.startsWith("'+1")));
  }
});

Deno.test("a CSV from elsewhere is read by the columns that are named, or refused with those that it has", async () => {
  const path = `${await newFolder()}/export.csv`;
  await Deno.writeTextFile(
    path,
    `picture,words,before,things\r\na.jpg,"A dog, running.",A man's dog.,dog|cat\r\n`,
  );
  await assert.rejects(report(path), /"picture", "words", "before", "things"/);
  await assert.rejects(report(path, { captionColumn: "word" }), /Did you mean "words"/);
  const { summary } = await report(path, {
    captionColumn: "words",
    originalColumn: "before",
    objectsColumn: "things",
  });
  assert.equal(summary.total_samples, 1);
  assert.equal(summary.samples_with_originals, 1);
  assert.equal(summary.samples_with_images, 0);
});

Deno.test("of several captions the first is looked at, or each", async () => {
  const path = await writeLines([
    { captions: ["A dog runs on grass.", "The man's dog runs."], objects: ["dog"] },
    { captions: ["A cat sleeps on a bed."], objects: ["cat"] },
  ]);
  const first = await report(path);
  assert.equal(first.summary.total_samples, 2);
  const all = await report(path, { captions: "all" });
  assert.equal(all.summary.total_samples, 3);
  assert.ok(all.summary.bias.gender!.transformed > 0 && first.summary.bias.gender!.transformed === 0);
  assert.equal((await readTable(`${all.outputDir}/reweighting_probs.csv`)).length, 2, "a row has one weight");
});

Deno.test("two reports are compared", async () => {
  const rows = (caption: string) =>
    Array.from({ length: 20 }, (_, i) => ({ caption: `${caption} number ${i}.` }));
  const before = await report(await writeLines(rows("A man with a dog")));
  const path = await writeLines(rows("A person with a dog"));
  const after = await report(path, { compare: before.outputDir });
  const gender = after.comparison!.values.find(({ id }) => id === "protected_gender")!;
  assert.deepEqual([gender.before, gender.after, gender.isBetter], [1, 0, true]);
  assert.match(await Deno.readTextFile(`${after.outputDir}/report.html`), /Before and after/);
  await assert.rejects(report(path, { compare: root }), /no quality_summary\.json/);
  await Deno.writeTextFile(
    `${before.outputDir}/quality_summary.json`,
    `{"verdicts": "none", "bad_rows": "NaN"}`,
  );
  const odd = await report(path, { compare: before.outputDir });
  assert.ok(odd.comparison!.values.every((value) => value.before === null));
});

Deno.test("flags have the Python project's names and defaults", () => {
  const options = parseQualityArguments([]);
  assert.deepEqual(
    [options.datasets, options.split, options.maxSamples, options.outputDir, options.batchSize, options.topk],
    [["sample"], "test", undefined, "./quality_reports", 32, 300],
  );
  assert.deepEqual(
    [options.rareThreshold, options.imbalanceGiniAlert, options.imbalanceTopkAlert, options.plot],
    [50, 0.5, 0.5, false],
  );
  assert.deepEqual(options.weights, { clip: 0.4, bert: 0.3, obj: 0.3 });
  const set = parseQualityArguments(["--w-clip", "1", "--split", "train"], {
    DATASET: "a b",
    SPLIT: "test",
    MAX_SAMPLES: "7",
  });
  assert.deepEqual([set.datasets, set.split, set.maxSamples, set.weights.clip], [["a", "b"], "train", 7, 1]);
  assert.throws(() => parseQualityArguments(["--w-clip", "0", "--w-bert", "0", "--w-obj", "0"]), /all 0/);
  assert.throws(
    () => parseQualityArguments([], { MAX_SAMPLES: "many" }),
    /MAX_SAMPLES|maxSamples|whole number/,
  );
});

Deno.test("a CLIP and a RoBERTa in folders give cosines and F1 on the scales of the thresholds", async () => {
  const gpu = await testGpu();
  const clipModel = await writeGoldenModel("clip", await newFolder());
  const same = "a dog";
  const folder = await imageFolder([
    { caption: same, original_alt_text: same, image: 0 },
    { caption: "a red bus", original_alt_text: "two cats", image: 1 },
    { caption: "a kite", image: 2 },
  ]);
  const { summary, outputDir } = await report(folder, {
    clipModel,
    bertModel: await writeGoldenModel("roberta", await newFolder()),
    bertLayer: 1,
    gpu,
    batchSize: 2,
  });
  assert.deepEqual([summary.clip_family, summary.bert_is_reference], ["clip", true]);
  const verdicts = summary.verdicts.map(({ id }) => id);
  assert.ok(verdicts.includes("alignment_clip") && verdicts.includes("fidelity_roberta"));
  assert.ok(!verdicts.includes("alignment_ranking"));
  const table = await readTable(`${outputDir}/per_example_scores.csv`);
  const rowOf = (caption: string) => table.find(({ alt_text }) => alt_text === caption)!;
  assert.ok(Math.abs(Number(rowOf(same).bert_score) - 1) < 1e-5, "equal texts");
  assert.ok(Number(rowOf("a red bus").bert_score) < 1 - 1e-4);
  assert.equal(rowOf("a kite").bert_score, "", "no original");

  const scorer = await ClipScorer.open(gpu, { model: clipModel, batchSize: 1, prompt: "" });
  const pixels = preprocess(await decodeImage(await Deno.readFile(rowOf(same).image!)), scorer.processor);
  const [[image], [text]] = [await scorer.embedImages([pixels]), await scorer.embedTexts([same])];
  scorer.destroy();
  assert.ok(Math.abs(Number(rowOf(same).clip_score) - cosine(image!, text!)) < 1e-5, "the caption as it is");
});

Deno.test("a layer that the model does not have is refused before any row is looked at", async () => {
  const bertModel = await writeGoldenModel("roberta", await newFolder());
  const path = await writeLines([{ caption: "a dog", original_alt_text: "a cat" }]);
  await assert.rejects(
    report(path, { bertModel, bertLayer: 99, gpu: await testGpu() }),
    /layer 99.*--bert-layer/,
  );
});
