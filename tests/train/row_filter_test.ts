import assert from "node:assert/strict";
import { parseCsv } from "../../lib/format/csv.ts";
import { projectPath } from "../../lib/host/model_folders.ts";
import { parseQualityArguments } from "../../lib/host/quality_command.ts";
import { reportQuality } from "../../lib/host/quality_report.ts";
import { openRowFilter } from "../../lib/host/row_filter.ts";
import { parseTrainArguments } from "../../lib/host/train_command.ts";
import { loadTrainData } from "../../lib/host/train_data.ts";
import { openTrainStream } from "../../lib/host/train_stream.ts";
import { testGpu } from "../support/gpu.ts";

const OPTIONS = { maxBadRows: 0.5, seed: 1, quiet: true };

let root = "";
Deno.test.beforeAll(async () => {
  root = await Deno.makeTempDir();
});
Deno.test.afterAll(() => Deno.remove(root, { recursive: true }));

/** Ten pictures of the sample in a train split and two in each other, with whatever columns. */
async function writeFolder(name: string, columns: (i: number) => object, format: "jsonl" | "csv" = "jsonl") {
  const path = `${root}/${name}`;
  for (const [split, count] of [["train", 10], ["validation", 2], ["test", 2]] as const) {
    await Deno.mkdir(`${path}/${split}`, { recursive: true });
    const rows = Array.from({ length: count }, (_, i) => ({
      file_name: `${i}.png`,
      caption: `=${split} "picture", number ${i}.`,
      ...columns(i),
    }));
    for (const { file_name } of rows) {
      await Deno.copyFile(projectPath(`data/sample/train/000${file_name}`), `${path}/${split}/${file_name}`);
    }
    const text = format === "jsonl"
      ? rows.map((row) => JSON.stringify(row)).join("\n")
      : [Object.keys(rows[0]!), ...rows.map((row) => Object.values(row))]
        .map((cells) => cells.map((cell) => `"${String(cell).replaceAll('"', '""')}"`).join(",")).join("\n");
    await Deno.writeTextFile(`${path}/${split}/metadata.${format}`, text);
  }
  return path;
}

const imagesOf = (rows: readonly { image: string }[]) => rows.map(({ image }) => image);

Deno.test("rows of the train split with too low a score or none are left out, the others stay", async () => {
  const path = await writeFolder(
    "column",
    (i) => i === 3 ? {} : i === 4 ? { clip_score: "NaN" } : { clip_score: i / 10 },
  );
  const filter = (await openRowFilter({ minScore: 0.5 }, [path]))!;
  const data = await loadTrainData({ ...OPTIONS, datasets: [path], filter });
  assert.deepEqual(imagesOf(data.rows.train), [5, 6, 7, 8, 9].map((i) => `train/${i}.png`));
  assert.deepEqual([data.rows.validation.length, data.rows.test.length], [2, 2]);
  assert.deepEqual(filter.counts, { kept: 5, below: 3, unscored: 2 });
  const all = await loadTrainData({ ...OPTIONS, datasets: [path] });
  assert.notEqual(all.hash, data.hash);
});

Deno.test("no row has enough: the error says how many there were and what to do", async () => {
  const path = await writeFolder("unscored", () => ({}));
  const filter = await openRowFilter({ minScore: 0.5 }, [path]);
  await assert.rejects(
    loadTrainData({ ...OPTIONS, datasets: [path], filter }),
    /0 of 10 rows kept, 0 below, 10 without a score.*--write-back/,
  );
});

Deno.test("tables are filtered by a column of theirs, or by a file, and so are streams", async () => {
  const path = `${root}/table.jsonl`;
  const image = await Deno.readFile(projectPath("data/sample/train/0000.png"));
  await Deno.writeFile(`${root}/one.png`, image);
  const rows = Array.from(
    { length: 30 },
    (_, i) => ({ image: "one.png", caption: `Number ${i} here.`, rating: i }),
  );
  await Deno.writeTextFile(path, rows.map((row) => JSON.stringify(row)).join("\n"));
  const byColumn = await openRowFilter({ minScore: 10, scoreColumn: "rating" }, [path]);
  const data = await loadTrainData({ ...OPTIONS, datasets: [path], filter: byColumn });
  const numbers = data.rows.train.map(({ number }) => number);
  assert.ok(numbers.length > 5 && numbers.every((number) => number >= 10));

  const scores = `${root}/scores.csv`;
  await Deno.writeTextFile(
    scores,
    `idx,clip_score\n${rows.map(({ rating }) => `${rating},${rating}`).join("\n")}\n12,0\n`,
  );
  const byFile = () => openRowFilter({ minScore: 10, scores }, [path]);
  const fromFile = await loadTrainData({ ...OPTIONS, datasets: [path], filter: await byFile() });
  assert.deepEqual(
    fromFile.rows.train.map(({ number }) => number),
    numbers.filter((number) => number !== 12),
  );
  const stream = await openTrainStream({ ...OPTIONS, datasets: [path], filter: await byFile() });
  const streamed = stream.stream!.sets.flat().flatMap(({ numbers }) => Array.from(numbers));
  assert.deepEqual(streamed, numbers.filter((number) => number !== 12));
  assert.equal(stream.stream!.rowCount, streamed.length);
  assert.deepEqual(
    (await Promise.all(stream.stream!.sets.flat().map((group) => group.read()))).flat()
      .map((row) => row.error ?? row.row.number),
    streamed,
  );
  await assert.rejects(
    openRowFilter({ minScore: 1, scores, scoreColumn: "other" }, [path]),
    /"other".*"idx"/,
  );
});

Deno.test("the report writes scores back, in JSON lines and CSV, and training filters by them", async () => {
  for (const format of ["jsonl", "csv"] as const) {
    const path = await writeFolder(`back-${format}`, (i) => ({ extra: `keep ${i}` }), format);
    const flags = parseQualityArguments(["--split", "train", "--bert-model", "none", "--write-back"]);
    const clip = { clipModel: "embedded:siglip", gpu: await testGpu(), quiet: true };
    const outputDir = `${root}/report-${format}`;
    const run = async () => await reportQuality({ ...flags, ...clip, datasets: [path], outputDir });
    const { summary } = await run();
    const text = await Deno.readTextFile(`${path}/train/metadata.${format}`);
    const rows: Record<string, unknown>[] = format === "jsonl"
      ? text.split("\n").map((line) => JSON.parse(line))
      : [...parseCsv(text)].slice(1).map(({ fields }) =>
        Object.fromEntries([...parseCsv(text)][0]!.fields.map((name, c) => [name, fields[c]]))
      );
    assert.equal(rows.length, 10);
    for (const [i, row] of rows.entries()) {
      assert.equal(row.extra, `keep ${i}`);
      assert.equal(row.caption, `=train "picture", number ${i}.`, "a formula is the user's own");
      assert.ok(Number(row.quality_score) >= 0 && Number(row.quality_score) <= 1);
    }
    const mean = rows.reduce((sum, row) => sum + Number(row.clip_score), 0) / 10;
    assert.ok(Math.abs(mean - summary.clip_score_mean!) < 1e-6);
    assert.doesNotMatch(await Deno.readTextFile(`${path}/test/metadata.${format}`), /clip_score":/);
    await run();
    assert.equal(
      await Deno.readTextFile(`${path}/train/metadata.${format}`),
      text,
      "written twice, it is the same",
    );

    const middle = rows.map((row) => Number(row.clip_score)).sort((a, b) => a - b)[5]!;
    const filter = await openRowFilter({ minScore: middle }, [path]);
    assert.equal((await loadTrainData({ ...OPTIONS, datasets: [path], filter })).rows.train.length, 5);
    const file = await openRowFilter({ minScore: middle, scores: `${outputDir}/scores.parquet` }, [path]);
    assert.equal((await loadTrainData({ ...OPTIONS, datasets: [path], filter: file })).rows.train.length, 5);
    const csv = await openRowFilter({ minScore: middle, scores: `${outputDir}/per_example_scores.csv` }, [
      path,
    ]);
    assert.equal((await loadTrainData({ ...OPTIONS, datasets: [path], filter: csv })).rows.train.length, 5);
  }
});

Deno.test("what cannot be written to is refused before any work", async () => {
  const flags = parseQualityArguments(["--write-back"]);
  const report = (datasets: string[], captions: "first" | "all" = "first") =>
    reportQuality({ ...flags, captions, datasets, outputDir: `${root}/never` });
  await assert.rejects(report(["sample"]), /only image folders on disk/);
  await assert.rejects(report([root], "all"), /--captions all/);
  await assert.rejects(Deno.stat(`${root}/never`), Deno.errors.NotFound);
});

Deno.test("flags that need each other say so", async () => {
  await assert.rejects(parseTrainArguments(["--scores", "x.csv"]), /--scores without --min-score/);
  await assert.rejects(parseTrainArguments(["--score-column", "x"]), /--score-column without --min-score/);
  await assert.rejects(parseTrainArguments(["--min-score", "1", "--streaming"]), /--scores/);
  const { minScore, scores } = await parseTrainArguments([
    "--min-score",
    "-0.5",
    "--scores",
    "x",
    "--streaming",
  ]);
  assert.deepEqual([minScore, scores], [-0.5, "x"]);
  assert.equal(await openRowFilter({}, ["a"]), undefined);
});
