import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { UserError } from "../../lib/base/errors.ts";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import { type FileSource, memoryFiles, resolveInside } from "../../lib/datasets/file_source.ts";
import { loadImageFolder } from "../../lib/datasets/image_folder.ts";
import { openFolder } from "../../lib/host/file_source.ts";

function filesOf(texts: Record<string, string>): FileSource {
  const encoder = new TextEncoder();
  return memoryFiles(
    "data",
    new Map(Object.entries(texts).map(([path, text]) => [path, encoder.encode(text)])),
  );
}

function jsonl(rows: unknown[]): string {
  return rows.map((row) => JSON.stringify(row)).join("\n");
}

function manyRows(count: number): { file_name: string; caption: string }[] {
  return Array.from({ length: count }, (_, i) => ({ file_name: `${i}.png`, caption: `Picture ${i}.` }));
}

const lenient = () => new BadRows({ maxFraction: 1 });

Deno.test("the embedded sample loads with its splits", async () => {
  const sample = openFolder(fileURLToPath(new URL("../../data/sample", import.meta.url)));
  const { rows, captionColumn, badRows } = await loadImageFolder(sample);
  assert.deepEqual([rows.train.length, rows.validation.length, rows.test.length], [600, 60, 100]);
  assert.equal(captionColumn, "alt_text");
  assert.equal(badRows.count, 0);
  const [first] = rows.test;
  assert.equal(first?.image, "test/0000.png");
  assert.ok((first?.objects?.length ?? 0) > 0);
  assert.equal(typeof first?.columns.original_alt_text, "string");
});

Deno.test("folder names give the splits, whatever their spelling", async () => {
  const row = (name: string) => jsonl([{ file_name: name, caption: "A dog." }]);
  const { rows } = await loadImageFolder(filesOf({
    "training/metadata.jsonl": row("a.png"),
    "my-val-2/metadata.jsonl": row("b.png"),
    "evaluation/metadata.jsonl": row("deep/c.png"),
  }));
  assert.deepEqual(rows.train.map(({ image }) => image), ["training/a.png"]);
  assert.deepEqual(rows.validation.map(({ image }) => image), ["my-val-2/b.png"]);
  assert.deepEqual(rows.test.map(({ image }) => image), ["evaluation/deep/c.png"]);
});

Deno.test("train and test alone lend a tenth of train to validation", async () => {
  const { rows } = await loadImageFolder(filesOf({
    "train/metadata.jsonl": jsonl(manyRows(30)),
    "test/metadata.jsonl": jsonl(manyRows(5)),
  }));
  assert.deepEqual([rows.train.length, rows.validation.length, rows.test.length], [27, 3, 5]);
});

Deno.test("without split folders images are split 80/10/10 by seed, all rows of an image together", async () => {
  const list = [...manyRows(50), ...manyRows(50).map((row) => ({ ...row, caption: "Again." }))];
  const load = (seed: number) => loadImageFolder(filesOf({ "metadata.jsonl": jsonl(list) }), { seed });
  const { rows } = await load(42);
  assert.deepEqual([rows.train.length, rows.validation.length, rows.test.length], [80, 10, 10]);
  const train = new Set(rows.train.map(({ image }) => image));
  for (const { image } of [...rows.validation, ...rows.test]) assert.ok(!train.has(image));
  assert.deepEqual((await load(42)).rows, rows);
  assert.notDeepEqual((await load(43)).rows.test, rows.test);
});

Deno.test("CSV metadata, lists of captions and byte order marks are read", async () => {
  const csv = await loadImageFolder(
    filesOf({ "metadata.csv": '\uFEFFfile_name,text,objects\na.png,"A  red, round ball.","ball, sun"\n' }),
  );
  const [row] = Object.values(csv.rows).flat();
  assert.deepEqual(row?.captions, ["A red, round ball."]);
  assert.deepEqual(row?.objects, ["ball", "sun"]);
  const lists = await loadImageFolder(
    filesOf({ "metadata.jsonl": '\uFEFF{"file_name":"a.png","captions":["\uFEFFOne."," ","Two."]}' }),
  );
  assert.deepEqual(Object.values(lists.rows).flat()[0]?.captions, ["One.", "Two."]);
});

Deno.test("bad rows are skipped and listed with their reasons", async () => {
  const badRows = lenient();
  const { rows, total } = await loadImageFolder(
    filesOf({
      "metadata.jsonl": [
        '{"file_name":"good.png","caption":"Good."}',
        '{"file_name":"empty.png","caption":"\uFEFF  "}',
        '{"file_name":"number.png","caption":7}',
        '{"file_name":"none.png"}',
        '{"caption":"No name."}',
        '{"file_name":"../../outside.png","caption":"Outside."}',
        "{broken",
        "[1]",
      ].join("\n"),
    }),
    { badRows, captionColumn: "caption" },
  );
  assert.equal(total, 8);
  assert.deepEqual(Object.values(rows).flat().map(({ image }) => image), ["good.png"]);
  const reasons = Object.fromEntries(badRows.rows.map(({ id, reason }) => [id, reason]));
  assert.match(reasons["metadata.jsonl:2"] ?? "", /empty/);
  assert.match(reasons["metadata.jsonl:3"] ?? "", /caption is 7/);
  assert.match(reasons["metadata.jsonl:4"] ?? "", /missing/);
  assert.match(reasons["metadata.jsonl:5"] ?? "", /file_name is missing/);
  assert.match(reasons["metadata.jsonl:6"] ?? "", /leads out/);
  assert.match(reasons["metadata.jsonl:7"] ?? "", /not a JSON object/);
  assert.match(reasons["metadata.jsonl:8"] ?? "", /not a JSON object/);
});

Deno.test("a CSV row with a missing field is a bad row", async () => {
  const badRows = lenient();
  await loadImageFolder(filesOf({ "metadata.csv": "file_name,caption\na.png,Good.\nb.png\n" }), { badRows });
  assert.deepEqual(badRows.rows, [{ id: "metadata.csv:3", reason: "1 fields, expected 2" }]);
});

Deno.test("more than five percent of bad rows stop, with count and reasons", async () => {
  const withBad = (bad: number) => [
    ...manyRows(100 - bad),
    ...Array.from({ length: bad }, (_, i) => ({ file_name: `bad${i}.png`, caption: "" })),
  ];
  const load = (bad: number) => loadImageFolder(filesOf({ "metadata.jsonl": jsonl(withBad(bad)) }));
  assert.equal((await load(5)).badRows.count, 5);
  await assert.rejects(load(6), (error: unknown) => {
    assert.ok(error instanceof UserError);
    assert.match(error.message, /6 of 100 rows are bad \(6 %\), at most 5 %.*metadata\.jsonl:95.*1 more/);
    return true;
  });
});

Deno.test("empty data sets, and folders without metadata, are refused", async () => {
  await assert.rejects(loadImageFolder(filesOf({ "metadata.jsonl": "\n" })), /no rows/);
  await assert.rejects(loadImageFolder(filesOf({ "metadata.csv": "file_name,caption\n" })), /no rows/);
  await assert.rejects(loadImageFolder(filesOf({ "a.png": "" })), /no metadata\.jsonl or metadata\.csv/);
  await assert.rejects(
    loadImageFolder(filesOf({ "metadata.csv": "a", "metadata.jsonl": "{}" })),
    /keep one/,
  );
});

Deno.test("an unknown caption column is refused with the columns there are", async () => {
  const files = filesOf({ "metadata.jsonl": jsonl([{ file_name: "a.png", alt_text: "A." }]) });
  await assert.rejects(
    loadImageFolder(files, { captionColumn: "alt_txt" }),
    /"alt_txt"; it has "file_name", "alt_text"\. Did you mean "alt_text"/,
  );
  const none = filesOf({ "metadata.jsonl": jsonl([{ file_name: "a.png", label: 3 }]) });
  await assert.rejects(loadImageFolder(none), /no caption column "alt_text", "caption"/);
});

Deno.test("metadata that is not UTF-8 is refused", async () => {
  const files = memoryFiles("data", new Map([["metadata.jsonl", Uint8Array.of(0xff, 0xfe, 0x7b)]]));
  await assert.rejects(loadImageFolder(files), /not UTF-8/);
});

Deno.test("file names stay inside the data set", () => {
  assert.equal(resolveInside("train", "./a//b.png"), "train/a/b.png");
  assert.equal(resolveInside("train", "../images/b.png"), "images/b.png");
  assert.equal(resolveInside("", "sub\\b.png"), "sub/b.png");
  for (
    const name of [
      "",
      "  ",
      "/etc/passwd",
      "C:\\x.png",
      "https://x/y.png",
      "../../x.png",
      "a/../..",
      "x\0.png",
    ]
  ) {
    assert.throws(() => resolveInside("train", name), RangeError, name);
  }
});
