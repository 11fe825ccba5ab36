import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { tableToIPC } from "apache-arrow";
import { BadRows } from "../../lib/datasets/bad_rows.ts";
import {
  type CaptionSet,
  openCaptionSet,
  type OpenCaptionSetOptions,
} from "../../lib/datasets/caption_set.ts";
import { countRows } from "../../lib/datasets/group_rows.ts";
import { memoryDataFiles } from "../../lib/datasets/data_files.ts";
import { expandDatasetNames, NAMED_DATASETS, namedDataset } from "../../lib/datasets/registry.ts";
import { splitOfFile, splitRowsBySeed, SPLITS } from "../../lib/datasets/rows.ts";
import { arrowTable, parquetFile, type TestRow } from "../support/parquet.ts";
import { tarFile } from "../support/tar.ts";

const text = (value: string) => new TextEncoder().encode(value);
const image = (i: number) => ({ bytes: Uint8Array.of(1, i), path: `${i}.png` });
const rows = (count: number, start = 0, more: (i: number) => object = () => ({})): TestRow[] =>
  Array.from(
    { length: count },
    (_, i) => ({ image: image(start + i), alt_text: `A ${start + i}`, ...more(start + i) }),
  );

async function open(
  files: Record<string, Uint8Array>,
  options: Partial<OpenCaptionSetOptions> = {},
): Promise<{ set: CaptionSet; badRows: BadRows }> {
  const badRows = options.badRows ?? new BadRows();
  const set = await openCaptionSet(memoryDataFiles("set", new Map(Object.entries(files))), {
    badRows,
    ...options,
  });
  return { set, badRows };
}

const sizes = (set: CaptionSet) => SPLITS.map((split) => countRows(set.splits[split]));

async function captions(set: CaptionSet, split: typeof SPLITS[number]): Promise<string[]> {
  return (await set.load(split)).map((row) => row.captions[0]!);
}

Deno.test("rows without splits are divided 80/10/10 by seed, the same everywhere", async () => {
  const files = {
    "b.parquet": parquetFile(rows(13, 7), { rowGroupSize: 4 }),
    "a.parquet": parquetFile(rows(7)),
  };
  const { set } = await open(files);
  deepStrictEqual(sizes(set), [16, 2, 2]);
  // Files in the order of their names, whatever the order they are listed in.
  const found = (await Promise.all(SPLITS.map((split) => captions(set, split)))).flat();
  deepStrictEqual(found.toSorted(), rows(20).map(({ alt_text }) => alt_text).toSorted() as string[]);
  deepStrictEqual(await captions(set, "test"), ["A 1", "A 2"]);
  deepStrictEqual(await captions((await open(files, { seed: 7 })).set, "test"), ["A 6", "A 13"]);
  const [first] = await set.load("validation");
  deepStrictEqual(await first!.readImage(), Uint8Array.of(1, Number(first!.captions[0]!.slice(2))));
  strictEqual(first!.id, `${first!.place!.shard}#${first!.place!.row}`);
});

Deno.test("splits by seed have exact shares at every size", () => {
  for (const count of [0, 1, 2, 3, 9, 10, 11, 997]) {
    const codes = splitRowsBySeed(count);
    const counts = [0, 1, 2].map((code) => codes.filter((one) => one === code).length);
    const share = count < 3 ? Math.round(count * 0.1) : Math.max(1, Math.round(count * 0.1));
    deepStrictEqual(counts, [count - 2 * share, share, share], `${count}`);
  }
});

Deno.test("file names name splits; train and test alone give a tenth of train to validation", async () => {
  strictEqual(splitOfFile("data/train-00000-of-00002.parquet"), "train");
  strictEqual(splitOfFile("default/val/0000.parquet"), "validation");
  strictEqual(splitOfFile("data-00000-of-00001.arrow"), undefined);
  const { set } = await open({
    "data/train-00000-of-00001.parquet": parquetFile(rows(20)),
    "data/test-00000-of-00001.parquet": parquetFile(rows(5, 20)),
  });
  deepStrictEqual(sizes(set), [18, 2, 5]);
  const { set: chosen } = await open({
    "data/train-00000-of-00001.parquet": parquetFile(rows(20)),
    "data/test-00000-of-00001.parquet": parquetFile(rows(10, 20)),
  }, { rules: { sourceSplits: ["test"] } });
  deepStrictEqual(sizes(chosen), [8, 1, 1]);
  await rejects(
    open({ "data/train.parquet": parquetFile(rows(3)) }, { rules: { sourceSplits: ["extra"] } }),
    {
      name: "UserError",
      message: /no split "extra"; it has "train"/,
    },
  );
  await rejects(
    open({ "train.parquet": parquetFile(rows(3)), "other.parquet": parquetFile(rows(3)) }),
    { name: "UserError", message: /"other.parquet" belong to no split/ },
  );
});

Deno.test("a sample takes the first rows, and opens no file behind them", async () => {
  const good = parquetFile(rows(10), { rowGroupSize: 3 });
  const { set } = await open({ "a.parquet": good, "b.parquet": text("broken") }, { sample: 10 });
  deepStrictEqual(sizes(set), [8, 1, 1]);
  const all = (await Promise.all(SPLITS.map((split) => captions(set, split)))).flat();
  ok(all.every((caption) => Number(caption.slice(2)) < 10));
  await rejects(open({ "a.parquet": good, "b.parquet": text("broken, not parquet") }), {
    name: "UserError",
    message: /"b.parquet" as parquet: it does not end/,
  });
});

Deno.test("save_to_disk is read in the order of its state; captions are text or lists", async () => {
  const stream = (some: TestRow[]) => tableToIPC(arrowTable(some), "stream");
  const state = (...names: string[]) =>
    text(JSON.stringify({ _data_files: names.map((filename) => ({ filename })) }));
  const lists = rows(4, 4).map((row) => ({ ...row, alt_text: [row.alt_text as string, "again"] }));
  const files = {
    "dataset_dict.json": text(`{"splits": ["train"]}`),
    "train/state.json": state("data-1.arrow", "data-0.arrow"),
    "train/data-0.arrow": stream(rows(4)),
    "train/data-1.arrow": stream(lists),
    "train/cache-123.arrow": stream(rows(50)),
    "train/extra.parquet": text("not read"),
  };
  const coco = namedDataset("coco")!;
  const { set } = await open(files, { rules: coco.rules });
  deepStrictEqual(sizes(set), [6, 1, 1]);
  const train = await set.load("train");
  ok(train.some((row) => row.captions.length === 2) && train.some((row) => row.captions.length === 1));
  strictEqual(train[0]!.place!.shard, "train/data-1.arrow");
  await rejects(open({ "state.json": state("data-0.arrow") }), {
    name: "UserError",
    message: /lists "data-0.arrow"/,
  });
  await rejects(open({ "state.json": state("../data-0.arrow") }), {
    name: "RangeError",
    message: /leads out/,
  });
});

Deno.test("the named data sets keep their rules", async () => {
  const document = (i: number) => ({ is_document: i % 2 });
  const { set: docs } = await open({ "data/train-0.parquet": parquetFile(rows(40, 0, document)) }, {
    rules: { ...namedDataset("docornot")!.rules, head: 30 },
  });
  strictEqual(docs.total, 15);
  deepStrictEqual(new Set(await captions(docs, "train")), new Set(["Text document."]));
  const [row] = await docs.load("train");
  strictEqual((await row!.readImage())[1]! % 2, 1);

  const gpt = (i: number) => ({ gpt_alt_text: i % 3 === 0 ? " " : `G ${i}` });
  const { set: checked } = await open({ "data/train-0.parquet": parquetFile(rows(45, 0, gpt)) }, {
    rules: namedDataset("validation")!.rules,
  });
  deepStrictEqual(sizes(checked), [30, 3, 3]);
  deepStrictEqual(await captions(checked, "validation"), ["G 1", "G 2", "G 4"]);
  deepStrictEqual(await captions(checked, "test"), ["G 5", "G 7", "G 8"]);
  deepStrictEqual((await captions(checked, "train")).slice(0, 3), ["G 1", "G 2", "G 4"]);

  const { set: flickr } = await open({ "data/test-0.parquet": parquetFile(rows(10)) }, {
    rules: namedDataset("flickr")!.rules,
  });
  deepStrictEqual(sizes(flickr), [8, 1, 1]);
  const five = (i: number) => ({ caption_str: [`T ${i}`, "t"] });
  const { set: textcaps } = await open({
    "data/train-0.parquet": parquetFile(rows(10, 0, five)),
    "data/val-0.parquet": parquetFile(rows(4, 0, five)),
    "data/test-0.parquet": parquetFile(rows(4)),
  }, { rules: namedDataset("textcaps")!.rules });
  deepStrictEqual(sizes(textcaps), [10, 4, 0]);
  deepStrictEqual(expandDatasetNames(["coco", "all"]).length, NAMED_DATASETS.length);
});

Deno.test("images are bytes, structures, paths inside the data set, or addresses", async () => {
  const lines = ["images/a.png", "https://example.org/b.png", "../secret.png", "missing.png"]
    .map((image, i) => JSON.stringify({ image, caption: `C ${i}` }));
  const asked: string[] = [];
  const files = { "x/train.jsonl": text(lines.join("\n")), "x/images/a.png": Uint8Array.of(7) };
  const { set } = await open(files, {
    fetchImage: (url) => Promise.resolve((asked.push(url), Uint8Array.of(8))),
    rules: { sourceSplits: ["train"] },
  });
  const found = (await Promise.all(SPLITS.map((split) => set.load(split)))).flat()
    .sort((a, b) => a.place!.row - b.place!.row);
  deepStrictEqual(await found[0]!.readImage(), Uint8Array.of(7));
  deepStrictEqual(await found[1]!.readImage(), Uint8Array.of(8));
  deepStrictEqual(asked, ["https://example.org/b.png"]);
  await rejects(found[2]!.readImage(), { message: /"\.\.\/\.\.|leads out|no such file/ });
  await rejects(found[3]!.readImage(), { message: /missing\.png/ });
  const { set: offline } = await open(files);
  const bad = await offline.readGroup({
    ...offline.splits.train[0]!,
    rows: Uint32Array.of(0, 1, 2, 3),
    numbers: Uint32Array.of(0, 1, 2, 3),
  });
  deepStrictEqual(bad.map((row) => row.error !== undefined), [false, true, true, true]);
  ok(bad[1]!.error!.includes("address"));
});

Deno.test("tar files and CSV are sets too", async () => {
  const members = Object.fromEntries(
    Array.from({ length: 10 }, (_, i) => [[`${i}.png`, Uint8Array.of(i)], [`${i}.txt`, `Tar ${i}`]] as const)
      .flat(),
  );
  const { set } = await open({ "train/0.tar": await tarFile(members) });
  deepStrictEqual(sizes(set), [8, 1, 1]);
  strictEqual(set.captionColumn, "txt");
  const [row] = await set.load("test");
  deepStrictEqual(await row!.readImage(), Uint8Array.of(Number(row!.captions[0]!.slice(4))));
  const csv = `image,caption\n${Array.from({ length: 10 }, (_, i) => `${i}.png,C ${i}`).join("\n")}`;
  deepStrictEqual(sizes((await open({ "all.csv": text(csv), "0.png": Uint8Array.of(1) })).set), [8, 1, 1]);
});

Deno.test("bad rows are noted; wrong columns, types and files are refused with what is there", async () => {
  const mixed: TestRow[] = [
    ...rows(8),
    { image: image(8), alt_text: null },
    { image: image(9), alt_text: "  " },
  ];
  const { set, badRows } = await open({ "a.parquet": parquetFile(mixed) });
  const good = (await Promise.all(SPLITS.map((split) => captions(set, split)))).flat();
  strictEqual(good.length, 8);
  deepStrictEqual(badRows.rows.map(({ id }) => id).sort(), ["a.parquet#8", "a.parquet#9"]);
  const refused = (
    files: Record<string, Uint8Array>,
    rules: OpenCaptionSetOptions["rules"],
    message: RegExp,
  ) => rejects(open(files, rules ? { rules } : {}), { name: "UserError", message });
  const file = { "a.parquet": parquetFile(rows(3)) };
  await refused(
    file,
    { captionColumn: "alttext" },
    /no caption column "alttext"; it has "image", "alt_text". Did you mean "alt_text"/,
  );
  await refused(file, { imageColumn: "photo" }, /no image column "photo"; it has "image", "alt_text"/);
  await refused(
    file,
    { keep: { columns: ["is_document"], test: () => true } },
    /no column "is_document"; it has "image"/,
  );
  await refused(
    {
      "a.parquet": parquetFile(rows(3)),
      "b.parquet": parquetFile(
        rows(3).map(({ image, alt_text }) => ({ image, alt_text, photo: 1, caption: alt_text as string }))
          .map(({ image: _, ...row }) => row as unknown as TestRow),
      ),
    },
    undefined,
    /b\.parquet.*no image column/,
  );
  await refused({ "a.zip": text("PK") }, undefined, /unpack "a.zip" first/);
  await refused({ "README.md": text("x") }, undefined, /no file ending in parquet, arrow, tar/);
  await refused({ "a.parquet": parquetFile(rows(3)).slice(0, -9) }, undefined, /does not end as parquet/);
  const numbers = { "a.parquet": parquetFile(rows(3, 0, (i) => ({ caption: i }))) };
  const { set: wrong, badRows: all } = await open(numbers, {
    rules: { captionColumn: "caption" },
    badRows: new BadRows({ maxFraction: 1 }),
  });
  deepStrictEqual((await Promise.all(SPLITS.map((split) => wrong.load(split)))).flat(), []);
  ok(/caption is \d, expected a string or a list/.test(all.rows[0]!.reason), all.rows[0]!.reason);
});
